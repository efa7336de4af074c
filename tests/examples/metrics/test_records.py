from __future__ import annotations

import json
from pathlib import Path

import pytest
from reference.metrics.records import Prediction, box_of, by_id, plain_id, read_predictions

BOX = [0, 0, 0, 1, 1, 1]


def written(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "a.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_lines_are_read_in_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": 7, "text": "piano", "question": "?"},
        "",
        {"id": "b", "task": "sqa3d", "text": "é\u2028"},
        {"id": "c", "task": "scanrefer", "boxes": []},
    )
    assert list(read_predictions(path, "sqa3d").values()) == [
        Prediction("7", "piano"),
        Prediction("b", "é\u2028"),
    ]


def test_benchmarks_of_one_file_are_told_apart(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": 1, "task": "sqa3d", "text": "piano"},
        {"id": 1, "task": "scanrefer", "boxes": [BOX]},
        {"id": 1, "task": "scan2cap", "text": "a chair", "boxes": [BOX]},
    )
    assert read_predictions(path, "sqa3d") == {"1": Prediction("1", "piano")}
    assert read_predictions(path, "scanrefer") == {"1": Prediction("1", boxes=(tuple(BOX),))}
    caption = read_predictions(path, "scan2cap")["1"]
    assert caption == Prediction("1", "a chair", (tuple(BOX),))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    given = [Prediction("1", "é"), Prediction("2", "", (box_of(BOX, ""),))]
    path = written(tmp_path, *(one.line("scan2cap") for one in given))
    assert list(read_predictions(path, "scan2cap").values()) == given


def test_ids_of_scanqa_are_those_of_questions() -> None:
    assert plain_id("scanqa", "scanqa_val-scene0011-0_0", "") == "val-scene0011-0"
    assert plain_id("scanqa", "val-scene0011-0", "") == "val-scene0011-0"
    assert plain_id("sqa3d", "scanqa_1_0", "") == "scanqa_1_0"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"a\.jsonl:2 must be a JSON object; got Expecting"),
        ("[1]", r"a\.jsonl:2 must be a JSON object; got list"),
        ({"id": 2}, r"a\.jsonl:2: a prediction of sqa3d must have text; got \['id'\]"),
        ({"id": 2, "text": None}, r"a\.jsonl:2: text must be a string; got None"),
        ({"text": "a"}, r"a\.jsonl:2: id must be text or a whole number; got None"),
        ({"id": True, "text": "a"}, r"a\.jsonl:2: id must be text or a whole number; got True"),
        ({"id": "", "text": "a"}, r"a\.jsonl:2: id must be text or a whole number; got ''"),
        ({"id": 1, "text": "a"}, r"a\.jsonl:2: id must occur once; got '1' again"),
        ({"id": 2, "task": "vqa", "text": "a"}, r"task must be one of sqa3d, .*; got 'vqa'"),
        ({"id": 2, "text": "a", "boxes": 1}, r"a\.jsonl:2: boxes must be a list of boxes; got 1"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, row: object, message: str) -> None:
    path = written(tmp_path, {"id": 1, "text": "a"}, row)
    with pytest.raises(ValueError, match=message):
        read_predictions(path, "sqa3d")


@pytest.mark.parametrize(
    "box", [[1] * 5, [1] * 7, "123456", None, [0, 0, 0, 1, 1, -1], [0, 0, 0, 1, 1, float("nan")]]
)
def test_a_damaged_box_is_named(box: object) -> None:
    with pytest.raises(ValueError, match=r"here: a box must be 6 finite numbers .*; got"):
        box_of(box, "here")


def test_grounding_needs_boxes(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": 1, "text": "a"})
    with pytest.raises(ValueError, match="a prediction of scanrefer must have boxes"):
        read_predictions(path, "scanrefer")


def test_nothing_to_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": 1, "task": "sqa3d", "text": "a"})
    with pytest.raises(ValueError, match=r"a\.jsonl must hold predictions of scanqa; got none"):
        read_predictions(path, "scanqa")
    with pytest.raises(FileNotFoundError):
        read_predictions(tmp_path / "b.jsonl", "scanqa")
    with pytest.raises(ValueError, match=r"benchmark must be one of sqa3d, .*; got 'vqa'"):
        read_predictions(path, "vqa")


def test_ids_must_be_unique() -> None:
    with pytest.raises(ValueError, match="ids of predictions must be unique; got '1' twice"):
        by_id([Prediction("1"), Prediction("1")], "predictions")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.jsonl must be text in UTF-8; got"):
        read_predictions(path, "sqa3d")
