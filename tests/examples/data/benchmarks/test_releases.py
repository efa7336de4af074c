"""The released files: real ones of SQA3D and ScanQA, and ones that are true of generated rooms."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from reference.data.benchmarks.annotations import find_annotations, read_benchmarks
from reference.data.benchmarks.boxes import SceneBoxes, best_match
from reference.data.benchmarks.classes import class_of, read_classes
from reference.data.benchmarks.multi3drefer import read_multi3drefer
from reference.data.benchmarks.sample import TASKS
from reference.data.benchmarks.scan2cap import read_scan2cap
from reference.data.benchmarks.scanqa import read_scanqa
from reference.data.benchmarks.scanrefer import read_scanrefer
from reference.data.benchmarks.skips import AnnotationError, Skips
from reference.data.benchmarks.sqa3d import read_sqa3d
from scannet_fixture import RawRoom, raw_rooms, write_releases

Box = tuple[float, float, float, float, float, float]
UNIT: Box = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
NEAR: Box = (0.2, 0.0, 0.0, 1.0, 1.0, 1.0)
FAR: Box = (9.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_released_questions_of_sqa3d(shared: Path) -> None:
    files = (
        shared / "annotations" / f"v1_balanced_{kind}_test_scannetv2.json"
        for kind in ("questions", "sqa_annotations")
    )
    questions, annotations = files
    samples = read_sqa3d(questions, annotations, train=False)
    assert len(samples) == len({sample.id for sample in samples}) == 3519
    assert Counter(sample.question_type for sample in samples) == {
        "what": 1147,
        "is": 652,
        "others": 566,
        "how": 465,
        "which": 351,
        "can": 338,
    }
    assert len({sample.scene for sample in samples}) == 67
    assert len({sample.turn.answer for sample in samples}) == 403
    assert sum(sample.answers == ("yes",) for sample in samples) == 385
    first = samples[0]
    assert (first.id, first.turn.answer) == ("220602000002", "piano")
    assert first.words.startswith("I am standing by the ottoman")
    assert first.words.endswith("What instrument in front of me is ebony and ivory?")
    assert first.turn.question == f"{first.words} Answer with a single word or a short phrase."
    learned = read_sqa3d(questions, annotations, train=True)
    assert 2.9 * 3519 < len(learned) < 3 * 3519
    assert [sample.id for sample in learned[:3]] == [first.id, f"{first.id}#1", f"{first.id}#2"]
    assert learned[0] == first


def test_the_released_questions_of_scanqa(shared: Path) -> None:
    path = shared / "annotations" / "ScanQA_v1.0_val.json"
    samples = read_scanqa(path, train=False)
    assert len(samples) == len({sample.id for sample in samples}) == 4675
    assert samples[0].answers == ("dark brown", "brown")
    assert samples[0].turn.question == "What color is the chair in the kitchen? Answer briefly."
    learned = read_scanqa(path, train=True)
    assert len(learned) == sum(len(dict.fromkeys(sample.answers)) for sample in samples)
    assert [s.turn.answer for s in learned[:2]] == ["dark brown", "brown"]
    assert [s.id for s in learned[:2]] == ["val-scene0011-0", "val-scene0011-0/1"]


def test_secret_answers(tmp_path: Path) -> None:
    row = {"question_id": "a", "scene_id": "a", "question": "what?"}
    (sample,) = read_scanqa(write(tmp_path / "a.json", [row]), train=False)
    assert sample.answers == ()
    with pytest.raises(AnnotationError, match=r"annotation a: answers must be a list of words"):
        read_scanqa(write(tmp_path / "a.json", [row]), train=True)
    with pytest.raises(AnnotationError, match=r"annotation a: answers must be a list of words"):
        read_scanqa(write(tmp_path / "a.json", [row | {"answers": []}]), train=False)


def sqa(folder: Path, question: dict[str, Any], annotation: dict[str, Any]) -> tuple[Path, Path]:
    key = {"question_id": 5, "scene_id": "a"}
    asked = {**key, "situation": "I sit.", "question": "What?", **question}
    known = {**key, "answers": [{"answer": "door"}], **annotation}
    return (
        write(folder / "q.json", {"questions": [asked]}),
        write(folder / "a.json", {"annotations": [known]}),
    )


@pytest.mark.parametrize(
    ("question", "annotation", "message"),
    [
        ({"question_id": 6}, {}, r"q\.json, annotation 6: question_id must be that of an annot"),
        ({"scene_id": "b"}, {}, r"a\.json, .*scene_id must be that of the question, scannet/b"),
        ({"situation": ""}, {}, r"q\.json, annotation 5: situation must be words"),
        ({"alternative_situation": [""]}, {}, "alternative_situation must be a list of words"),
        ({}, {"answers": []}, r"a\.json, annotation 5: answers must be a list of answers; got \["),
        ({}, {"answers": ["door"]}, r"a\.json, annotation 5: answers must be a JSON object"),
        ({}, {"answers": [{"answer": ""}]}, r"answers\.answer must be words"),
    ],
)
def test_damaged_questions(
    tmp_path: Path, question: dict[str, Any], annotation: dict[str, Any], message: str
) -> None:
    paths = sqa(tmp_path, question, annotation)
    with pytest.raises(AnnotationError, match=message):
        read_sqa3d(*paths, train=True)
    skips = Skips()
    assert read_sqa3d(*paths, train=True, skips=skips) == ()
    assert len(skips) == 1


def test_a_file_without_its_list(tmp_path: Path) -> None:
    questions, _ = sqa(tmp_path, {}, {})
    with pytest.raises(ValueError, match=r"q\.json must hold a list in 'annotations'; got None"):
        read_sqa3d(questions, questions, train=False)


def reference(number: object = 1, annotation: str = "0", **changes: Any) -> dict[str, Any]:
    known = {"scene_id": "a", "object_id": str(number), "object_name": "chair"}
    return {**known, "ann_id": annotation, "description": "the  red chair", **changes}


def test_unique_and_multiple(tmp_path: Path) -> None:
    rows = [
        reference(1),
        reference(1, "1"),
        reference(2, object_name="office_chair"),
        reference(3, object_name="bed"),
        reference(4, object_name="ufo"),
        reference(5, object_name="kite"),
        reference(1, scene_id="b"),
    ]
    path = write(tmp_path / "a.json", rows)
    before = path.read_bytes()
    classes = {"chair": 5, "office chair": 5, "bed": 4, "kite": 39}
    samples = read_scanrefer(path, classes=classes)
    kinds = ["multiple", "multiple", "multiple", "unique", "multiple", "multiple", "unique"]
    assert [sample.eval_type for sample in samples] == kinds
    assert path.read_bytes() == before
    assert samples[1].id == "a/1/1"
    assert samples[0].turn.question == "Find the object that is described: the red chair"
    assert samples[0].target_boxes == ()
    assert {sample.eval_type for sample in read_scanrefer(path)} == {""}


def test_classes(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("id\traw_category\tx\tcount\tnyu40id\n1\toffice chair\t\t\t5\n2\ta\t\t\t13\n")
    classes = read_classes(path)
    assert classes == {"office chair": 5, "a": 39}
    assert class_of("office_chair", classes) == 5
    path.write_text("id\traw_category\n")
    with pytest.raises(ValueError, match=r"labels\.tsv must have the columns .*got no \{'nyu40id"):
        read_classes(path)
    path.write_text("raw_category\tnyu40id\nchair\tx\n")
    with pytest.raises(ValueError, match=r"must give the nyu40id of chair; got 'x'"):
        read_classes(path)
    with pytest.raises(FileNotFoundError, match="table of labels; got no such file"):
        read_classes(tmp_path / "nowhere.tsv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (reference(9), "annotation a/9/0: object_id must be an object of scannet/a that has a box"),
        (reference(scene_id="b"), "object_id must be an object of scannet/b, of which true boxes"),
        (reference(description=" "), "annotation a/1/0: description must be words"),
        (reference(ann_id=None), "scene_id, object_id, ann_id must be there; got"),
        (3, "annotation 0: it must be a JSON object; got 3"),
    ],
)
def test_damaged_descriptions(tmp_path: Path, row: object, message: str) -> None:
    boxes = SceneBoxes({"scannet/a": {1: UNIT}})
    path = write(tmp_path / "a.json", [row])
    with pytest.raises(AnnotationError, match=message):
        read_scanrefer(path, boxes=boxes)
    skips = Skips()
    assert read_scanrefer(path, boxes=boxes, classes={}, skips=skips) == ()
    assert len(skips) == 1


def test_a_description_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [reference(), reference(description="another")])
    with pytest.raises(AnnotationError, match="id must be unique; got a/1/0 twice"):
        read_scanrefer(path)


def test_captions(tmp_path: Path) -> None:
    rows = [reference(1), reference(1, "1", description="it is red"), reference(2)]
    path = write(tmp_path / "a.json", rows)
    boxes = SceneBoxes({"scannet/a": {1: UNIT, 2: FAR}}, {"scannet/a": ((*FAR[:5], 0.3), NEAR)})
    learned = read_scan2cap(path, boxes=boxes, train=True)
    assert [sample.id for sample in learned] == ["a/1/0", "a/1/1", "a/2/0"]
    assert {sample.turn.answer for sample in learned} == {"the red chair", "it is red"}
    assert all(sample.box_input == sample.target_boxes[0] for sample in learned)
    judged = read_scan2cap(path, boxes=boxes, train=False)
    assert [sample.id for sample in judged] == ["a/1/chair", "a/2/chair"]
    assert judged[0].answers == ("the red chair", "it is red")
    assert judged[0].box_input == NEAR
    assert judged[0].turn.point == NEAR[:3]
    assert judged[0].target_boxes == (UNIT,)
    assert judged[1].box_input is None
    assert judged[1].turn.point is None
    assert not judged[1].matched


def test_the_best_overlap() -> None:
    assert best_match((), UNIT) is None
    assert best_match((FAR,), UNIT) is None
    assert best_match((FAR, NEAR, UNIT), UNIT) == 2
    assert best_match((FAR, NEAR), UNIT) == 1
    assert best_match((NEAR,), UNIT, least=0.7) is None


def test_several_objects(tmp_path: Path) -> None:
    row = {"scene_id": "a", "object_ids": [1, 2], "ann_id": 0, "description": "both"}
    boxes = SceneBoxes({"scannet/a": {1: UNIT, 2: FAR}})
    path = write(tmp_path / "a.json", [row | {"eval_type": "mt"}])
    (sample,) = read_multi3drefer(path, boxes=boxes)
    assert (sample.id, sample.question_type) == ("a/0", "mt")
    assert sample.target_boxes == (UNIT, FAR)
    assert sample.turn.objects == (1, 2)
    assert read_multi3drefer(path)[0].target_boxes == ()
    path = write(tmp_path / "a.json", [row | {"eval_type": "zt_w_d"}])
    with pytest.raises(AnnotationError, match="eval_type must be mt, having 2 objects; got zt_w_d"):
        read_multi3drefer(path, boxes=boxes)
    path = write(tmp_path / "a.json", [row | {"ann_id": None}])
    with pytest.raises(AnnotationError, match="annotation number 0: ann_id must be a number"):
        read_multi3drefer(path, boxes=boxes)


@pytest.fixture(scope="module")
def rooms() -> dict[str, RawRoom]:
    return raw_rooms(views=1)


@pytest.fixture(scope="module")
def released(rooms: dict[str, RawRoom], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("released")
    write_releases(root / "benchmark" / "somewhere", rooms)
    return root


def boxes_of(rooms: dict[str, RawRoom]) -> SceneBoxes:
    true = {
        f"scannet/{name}": {i: tuple(map(float, box)) for i, box in room.boxes.items()}
        for name, room in rooms.items()
    }
    return SceneBoxes(true, {name: tuple(own.values()) for name, own in true.items()})


@pytest.mark.parametrize("split", ["train", "val"])
def test_releases_of_rooms(rooms: dict[str, RawRoom], released: Path, split: str) -> None:
    samples = read_benchmarks(released, split, boxes=boxes_of(rooms))
    assert {sample.task for sample in samples} == set(TASKS)
    for sample in samples:
        room = rooms[sample.scene.partition("/")[2]]
        for number, box in zip(sample.object_ids, sample.target_boxes, strict=False):
            assert box == tuple(room.boxes[number])
        if sample.task == "scanrefer":
            place = room.ids.index(sample.object_ids[0])
            assert room.room.objects[place].name in sample.words
            assert sample.eval_type in ("unique", "multiple")


def test_half_a_release(released: Path, tmp_path: Path) -> None:
    assert find_annotations(tmp_path, "sqa3d", "train") is None
    assert read_benchmarks(tmp_path, "train") == ()
    name = "v1_balanced_questions_train_scannetv2.json"
    (tmp_path / "benchmark").mkdir()
    source = released / "benchmark" / "somewhere" / name
    (tmp_path / "benchmark" / name).write_bytes(source.read_bytes())
    with pytest.raises(ValueError, match=r"benchmark must hold .* and .*got no v1_balanced_sqa_"):
        find_annotations(tmp_path, "sqa3d", "train")


def test_labels_may_be_with_the_boxes(released: Path, tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "metadata").mkdir()
    name = "scannetv2-labels.combined.tsv"
    for source, to in ((name, "metadata"), ("ScanRefer_filtered_val.json", "benchmark")):
        content = (released / "benchmark" / "somewhere" / source).read_bytes()
        (tmp_path / to / source).write_bytes(content)
    found = find_annotations(tmp_path, "scanrefer", "val")
    assert found is not None
    assert found.labels == tmp_path / "metadata" / name
    assert {x.eval_type for x in read_scanrefer(found.paths[0], classes=read_classes(found.labels))}


def test_the_test_split_of_scanqa(tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    row = {"question_id": "a", "scene_id": "a", "question": "what?"}
    write(tmp_path / "benchmark" / "ScanQA_v1.0_test_w_obj.json", [row])
    assert [sample.id for sample in read_benchmarks(tmp_path, "test")] == ["a"]
