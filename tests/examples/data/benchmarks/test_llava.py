from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from reference.data.benchmarks.annotations import find_annotations, read_benchmarks
from reference.data.benchmarks.llava import read_llava
from reference.data.benchmarks.sample import TASKS, Task
from reference.data.benchmarks.skips import AnnotationError, Skips


def llava(shared: Path, task: Task) -> Path:
    return shared / "living_room" / "processed" / f"{task}_train_llava_style.json"


def test_the_living_room(shared: Path) -> None:
    samples = read_benchmarks(shared / "living_room", "train")
    counts = [sum(sample.task == task for sample in samples) for task in TASKS]
    assert counts == [3, 4, 2, 3, 3]
    assert len({(sample.task, sample.id) for sample in samples}) == 15
    assert {sample.scene for sample in samples} == {"scannet/living_room_00"}
    assert not any("<image>" in sample.turn.question for sample in samples)
    first = {sample.task: sample for sample in reversed(samples)}
    assert first["sqa3d"].turn.question.startswith("I am standing by the curtain, facing the")
    assert (first["sqa3d"].question_type, first["sqa3d"].answers) == ("what", ("chair",))
    assert (first["scanqa"].turn.answer, first["scanqa"].answers) == (
        "white",
        ("white", "light grey"),
    )
    caption = first["scan2cap"]
    assert caption.turn.question == "Describe the object at <coord> in detail."
    assert caption.turn.point == (-0.065, 1.65, 0.44)
    assert caption.box_input == caption.target_boxes[0]
    assert caption.matched
    assert len(caption.answers) == 2
    assert first["scanrefer"].turn.objects == first["scanrefer"].object_ids == (0,)
    assert first["scanrefer"].turn.answer == "<ground>"
    types = [s.question_type for s in samples if s.task == "multi3drefer"]
    assert types == ["mt", "zt_w_d", "st_w_d"]
    meant = [s.turn.objects for s in samples if s.task == "multi3drefer"]
    assert meant == [(1, 2), (), (1,)]
    assert [s.turn.kind for s in first.values()] != []


@pytest.mark.parametrize(
    ("task", "folder", "stem"),
    [
        ("sqa3d", "sqa_task", "sqa3d"),
        ("scanrefer", "scanrefer", "scanrefer_vg"),
        ("multi3drefer", "multi3drefer", "multi3drefer_vg"),
    ],
)
def test_folders_by_task(shared: Path, tmp_path: Path, task: Task, folder: str, stem: str) -> None:
    to = tmp_path / "processed" / folder / f"{stem}_val_llava_style.json"
    to.parent.mkdir(parents=True)
    shutil.copyfile(llava(shared, task), to)
    found = find_annotations(tmp_path, task, "val")
    assert found is not None
    assert found.paths == (to,)
    assert len(read_benchmarks(tmp_path, "val")) == 3
    assert find_annotations(tmp_path, task, "train") is None
    shutil.copyfile(to, tmp_path / "processed" / to.name)
    with pytest.raises(ValueError, match=r"processed must hold one file of a kind; got .*, "):
        find_annotations(tmp_path, task, "val")


def one(task: Task, **changes: Any) -> dict[str, Any]:
    """A sound entry, but for some fields; ``...`` takes a field away."""
    box = [0.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    answer = "<ground>" if task in ("scanrefer", "multi3drefer") else "yes"
    asked = "Describe the object at <coord>." if task == "scan2cap" else "Is it?"
    metadata = {"dataset": task, "question_type": "is"}
    entry: dict[str, Any] = {"id": 0, "video": "scannet/a"}
    if task == "scan2cap":
        entry |= {"box_input": box, "gt_box": box}
    if task == "scanrefer":
        entry |= {"box": box}
        metadata |= {"object_id": "3"}
    if task == "multi3drefer":
        entry |= {"box": [box]}
        metadata |= {"object_id": [3]}
    human = {"from": "human", "value": f"<image>\n{asked}"}
    entry |= {"conversations": [human, {"from": "gpt", "value": answer}], "metadata": metadata}
    for path, value in changes.items():
        place: Any = entry
        *parents, last = path.split("__")
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        key = int(last) if isinstance(place, list) else last
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return entry


def written(folder: Path, *rows: object) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("task", TASKS)
def test_a_sound_entry(tmp_path: Path, task: Task) -> None:
    (sample,) = read_llava(written(tmp_path, one(task)), task)
    assert (sample.id, sample.task, sample.scene) == ("0", task, "scannet/a")


def test_an_object_without_a_box_is_kept_unmatched(tmp_path: Path) -> None:
    (sample,) = read_llava(written(tmp_path, one("scan2cap", box_input=None)), "scan2cap")
    assert not sample.matched
    assert sample.turn.point is None
    assert sample.target_boxes == ((0, 0, 0.5, 1, 1, 1),)


def test_captions_may_stand_beside_or_in_the_metadata(tmp_path: Path) -> None:
    path = written(tmp_path, one("scan2cap", annotations=["a", "b"]))
    assert read_llava(path, "scan2cap")[0].answers == ("a", "b")
    path = written(tmp_path, one("scan2cap"))
    assert read_llava(path, "scan2cap")[0].answers == ("yes",)


def test_unique_and_multiple(tmp_path: Path) -> None:
    path = written(tmp_path, one("scanrefer", metadata__question_type="unique"))
    assert read_llava(path, "scanrefer")[0].eval_type == "unique"
    path = written(tmp_path, one("scanrefer", metadata__eval_type="multiple"))
    assert read_llava(path, "scanrefer")[0].eval_type == "multiple"


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("scanqa", {"id": ...}, "number 0: id must be a number or words; got None"),
        ("scanqa", {"id": True}, "id must be a number or words; got True"),
        ("scanqa", {"video": ...}, "0: video must be words; got None"),
        ("scanqa", {"video": "3rscan/a"}, "video must be scannet/SCENE; got 3rscan/a"),
        ("scanqa", {"metadata": 3}, r"metadata must be a JSON object; got 3"),
        ("scanqa", {"metadata__dataset": "sqa3d"}, r"metadata\.dataset must be scanqa; got sqa3d"),
        ("scanqa", {"metadata__answers": []}, r"metadata\.answers must be a list of words; got \["),
        ("scanqa", {"metadata__answers": ["a", " "]}, r"metadata\.answers must be a list of words"),
        ("scanqa", {"conversations": []}, "conversations must be a turn of human and one of gpt"),
        ("scanqa", {"conversations": None}, "conversations must be a turn of human and one of gpt"),
        ("scanqa", {"conversations__1__from": "human"}, "must be a turn of human and one of gpt"),
        ("scanqa", {"conversations__1__value": " "}, r"conversations\.value must be words; got  "),
        ("scanqa", {"conversations__0__value": "<image>"}, "must be a question in words; got <im"),
        ("scanqa", {"conversations__0__value": "<image><image> a"}, "a question with one <image>"),
        ("scanqa", {"conversations__0__value": "a <coord>"}, "must be a question with 0 <coord>"),
        ("scanqa", {"conversations__1__value": "<ground>"}, "must be an answer in words; got <gr"),
        ("scanrefer", {"conversations__1__value": "a"}, "conversations must be <ground>; got a"),
        ("scanrefer", {"box": ...}, "box must be 6 finite numbers, a box of some size; got None"),
        ("scanrefer", {"box": [0, 0, 0, 0, 0, 0]}, "box must be 6 finite numbers, a box of some"),
        ("scanrefer", {"box": [0, 0, 0, -1, 0, 1]}, "box must be 6 finite numbers, a box of some"),
        ("scanrefer", {"box": [0, 0, 0, 1, 1, 1e999]}, "box must be 6 finite numbers"),
        ("scanrefer", {"metadata__object_id": "x"}, r"metadata\.object_id must be a whole number"),
        ("scanrefer", {"metadata__object_id": -1}, r"metadata\.object_id must be a whole number"),
        ("multi3drefer", {"metadata__object_id": [1, 1]}, "numbers that are all different"),
        ("multi3drefer", {"metadata__object_id": 3}, "must be a list of whole numbers; got 3"),
        ("multi3drefer", {"box": []}, r"box must be a box for each of the objects \[3\]; got \["),
        ("multi3drefer", {"box": None}, "box must be a list of boxes; got None"),
        ("scan2cap", {"conversations__0__value": "a"}, "a question with 1 <coord>; got a"),
        ("scan2cap", {"box_input": ...}, "box_input must be a box or null; got None"),
        ("scan2cap", {"annotations": "a"}, "annotations must be a list of words; got a"),
    ],
)
def test_damaged_entries_are_named_or_counted(
    tmp_path: Path, task: Task, changes: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, one(task, **changes), one(task, id=7))
    with pytest.raises(AnnotationError, match=rf"a\.json, annotation .*{message}"):
        read_llava(path, task)
    skips = Skips()
    assert [sample.id for sample in read_llava(path, task, skips=skips)] == ["7"]
    assert len(skips) == 1
    assert str(skips).startswith(f"1 annotation left out of {path}: ")


def test_an_entry_that_is_no_object(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="annotation number 0: it must be a JSON object"):
        read_llava(written(tmp_path, [1]), "scanqa")


def test_ids_are_unique_but_for_situations(tmp_path: Path) -> None:
    first, other = one("sqa3d"), one("sqa3d", conversations__0__value="<image> Is it, from there?")
    samples = read_llava(written(tmp_path, first, other), "sqa3d")
    assert [sample.id for sample in samples] == ["0", "0#1"]
    with pytest.raises(AnnotationError, match="annotation 0: id must be unique; got 0 twice"):
        read_llava(written(tmp_path, first, copy.deepcopy(first)), "sqa3d")
    twice = [one("scanqa"), one("scanqa", conversations__0__value="Is that so?")]
    skips = Skips()
    kept = read_llava(written(tmp_path, *twice), "scanqa", skips=skips)
    assert [sample.turn.question for sample in kept] == ["Is it?"]
    assert len(skips) == 1


@pytest.mark.parametrize("content", ["{", "{}", "3", "[" * 100_000])
def test_a_file_that_is_no_list(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"a\.json must (hold a list|be a JSON file); got"):
        read_llava(path, "scanqa", skips=Skips())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.json must be a JSON file; got no such file"):
        read_llava(tmp_path / "a.json", "scanqa")
