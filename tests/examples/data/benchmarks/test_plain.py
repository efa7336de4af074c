from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reference.data.benchmarks.annotations import find_annotations, read_benchmarks
from reference.data.benchmarks.boxes import SceneBoxes, read_scene_boxes
from reference.data.benchmarks.plain import read_plain, write_plain
from reference.data.benchmarks.sample import TASKS, Task
from reference.data.benchmarks.skips import AnnotationError, Skips
from scannet_fixture import raw_rooms, write_releases

BOX = [0.0, 0.0, 0.5, 1.0, 1.0, 1.0]
BOXES = SceneBoxes({"scannet/kitchen": {3: tuple(BOX), 4: (5.0, *BOX[1:])}})
ROWS: dict[Task, dict[str, Any]] = {
    "sqa3d": {"situation": "I sit.", "question": "What is it?", "answers": ["a door", "door"]},
    "scanqa": {"question": "What is it?", "answers": ["a door", "door"]},
    "scan2cap": {"captions": ["a door", "the red door"], "object": 3},
    "scanrefer": {"description": "the door", "object": 3, "eval_type": "unique"},
    "multi3drefer": {"description": "doors", "objects": [3, 4]},
}


def write(folder: Path, task: Task, **changes: Any) -> Path:
    row = {"id": "a", "scene": "kitchen", **ROWS[task], **changes}
    row = {name: value for name, value in row.items() if value is not ...}
    path = folder / "a.json"
    path.write_text(json.dumps([row]))
    return path


def test_questions(tmp_path: Path) -> None:
    (sample,) = read_plain(write(tmp_path, "sqa3d"), "sqa3d")
    assert sample.scene == "scannet/kitchen"
    asked = "I sit. What is it? Answer with a single word or a short phrase."
    assert sample.turn.question == asked
    assert (sample.turn.answer, sample.answers) == ("a door", ("a door", "door"))
    assert (sample.words, sample.question_type) == ("I sit. What is it?", "what")
    learned = read_plain(write(tmp_path, "scanqa"), "scanqa", train=True)
    assert [(x.id, x.turn.answer) for x in learned] == [("a", "a door"), ("a/1", "door")]
    (sample,) = read_plain(write(tmp_path, "scanqa", prompt="Say what it is!"), "scanqa")
    assert sample.turn.question == "Say what it is!"


def test_captions(tmp_path: Path) -> None:
    (sample,) = read_plain(write(tmp_path, "scan2cap"), "scan2cap", boxes=BOXES)
    assert sample.turn.question == "Describe the object at <coord> in detail."
    assert sample.turn.point == (0, 0, 0.5)
    assert sample.box_input == sample.target_boxes[0] == tuple(BOX)
    assert sample.answers == ("a door", "the red door")
    (sample,) = read_plain(write(tmp_path, "scan2cap", object=..., box=BOX), "scan2cap")
    assert (sample.object_ids, sample.box_input) == ((), tuple(BOX))
    path = write(tmp_path, "scan2cap", box_input=None)
    (sample,) = read_plain(path, "scan2cap", boxes=BOXES)
    assert not sample.matched


def test_grounding(tmp_path: Path) -> None:
    (sample,) = read_plain(write(tmp_path, "scanrefer"), "scanrefer", boxes=BOXES)
    assert sample.turn.objects == sample.object_ids == (3,)
    assert (sample.target_boxes, sample.eval_type) == ((tuple(BOX),), "unique")
    (sample,) = read_plain(write(tmp_path, "multi3drefer"), "multi3drefer", boxes=BOXES)
    assert sample.turn.objects == (3, 4)
    assert len(sample.target_boxes) == 2
    path = write(tmp_path, "multi3drefer", objects=[], question_type="zt_w_d")
    assert read_plain(path, "multi3drefer")[0].turn.objects == ()
    path = write(tmp_path, "multi3drefer", objects=..., boxes=[BOX])
    assert read_plain(path, "multi3drefer")[0].target_boxes == (tuple(BOX),)


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("scanqa", {"scene": ...}, "annotation a: scene must be words; got None"),
        ("scanqa", {"scene": "a/b"}, "scene must be scannet/SCENE; got a/b"),
        ("scanqa", {"answers": []}, "answers must be a list of words"),
        ("scanqa", {"prompt": 3}, "prompt must be words; got 3"),
        ("scanqa", {"prompt": "a <coord>"}, "prompt must be text with 0 <coord> and nothing else"),
        ("scanqa", {"prompt": "<image> a"}, "prompt must be text with 0 <coord> and nothing else"),
        ("scan2cap", {"prompt": "a"}, "prompt must be text with 1 <coord>"),
        ("scan2cap", {"object": 7}, "object must be an object of scannet/kitchen that has a box"),
        ("scan2cap", {"object": ...}, "object must be a whole number; got None"),
        ("scan2cap", {"captions": ...}, "captions must be a list of words; got None"),
        ("scanrefer", {"scene": "b"}, "an object of scannet/b, of which true boxes are known; go"),
        ("scanrefer", {"eval_type": "x"}, "eval_type must be unique or multiple; got x"),
        ("multi3drefer", {"objects": None}, "objects must be a list of whole numbers; got None"),
        ("multi3drefer", {"objects": [3], "boxes": []}, r"a box for each of the objects \[3\]"),
        ("multi3drefer", {"question_type": "st_w_d"}, "question_type must be mt, having 2 objects"),
    ],
)
def test_damaged_entries(tmp_path: Path, task: Task, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, task, **changes)
    with pytest.raises(AnnotationError, match=message):
        read_plain(path, task, boxes=BOXES)
    skips = Skips()
    assert read_plain(path, task, boxes=BOXES, skips=skips) == ()
    assert [row["id"] for row in skips.as_json()] == ["a"]


def test_what_is_written_is_read_again(shared: Path, tmp_path: Path) -> None:
    rooms = raw_rooms(views=1)
    write_releases(tmp_path / "a" / "benchmark", rooms)
    true = {
        f"scannet/{name}": {i: tuple(map(float, box)) for i, box in room.boxes.items()}
        for name, room in rooms.items()
    }
    boxes = SceneBoxes(true, {name: tuple(own.values())[:3] for name, own in true.items()})
    for task in TASKS:
        for split in ("train", "val"):
            found = find_annotations(tmp_path / "a", task, split)
            assert found is not None
            samples = found.read(boxes, every_answer=False)
            assert samples
            write_plain(tmp_path / "b" / "tasks" / f"{task}_{split}.json", samples)
    for split in ("train", "val"):
        before, after = (read_benchmarks(tmp_path / x, split, boxes=boxes) for x in "ab")
        assert before == after
    assert not all(sample.matched for sample in after)
    for task in TASKS:
        samples = read_benchmarks(shared / "living_room", "train", tasks=[task])
        write_plain(tmp_path / "c.json", samples)
        known = read_scene_boxes(shared / "living_room")
        again = read_plain(tmp_path / "c.json", task, boxes=known)
        assert [x.turn for x in again] == [x.turn for x in samples]
        assert [x.answers for x in again] == [x.answers for x in samples]


def test_objects_of_a_scan_may_be_named_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    named = {"object_id": 3, "name": "door", "box": BOX}
    content = {"scene": "scannet/kitchen", "objects": [named]}
    (tmp_path / "objects" / "kitchen.json").write_text(json.dumps(content))
    assert read_scene_boxes(tmp_path).true == {"scannet/kitchen": {3: tuple(BOX)}}
