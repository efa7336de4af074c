from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from reference.data.benchmarks.sample import Sample
from reference.data.scene import Turn
from reference.metrics.annotations import (
    ANNOTATIONS,
    QUESTIONS,
    question_type,
    read_references,
    references_of,
)
from reference.metrics.records import Reference

A, B = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (5.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def written(tmp_path: Path, content: object, name: str = "a.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def llava(dataset: str, identity: object, said: str, **fields: object) -> dict[str, object]:
    metadata = {"dataset": dataset, **fields.pop("metadata", {})}  # type: ignore[dict-item]
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": said}]
    return {"id": identity, "conversations": turns, "metadata": metadata, **fields}


def test_sqa3d_as_released(shared: Path) -> None:
    for part in (QUESTIONS, ANNOTATIONS):
        path = shared / "annotations" / f"v1_{part}_test_scannetv2.json"
        if not path.is_file():
            pytest.skip(f"no annotations at {path}")
        found = read_references(path, "sqa3d")
        assert len(found) == 3519
        assert found["220602000002"] == Reference("220602000002", ("piano",), kind="what")
    kinds = Counter(one.kind for one in found.values())
    assert kinds == {"what": 1147, "is": 652, "others": 566, "how": 465, "which": 351, "can": 338}


def test_scanqa_as_released(shared: Path) -> None:
    path = shared / "annotations" / "ScanQA_v1.0_val.json"
    if not path.is_file():
        pytest.skip(f"no annotations at {path}")
    found = read_references(path, "scanqa")
    assert len(found) == 4675
    known = Reference("val-scene0011-0", ("dark brown", "brown"))
    assert found["val-scene0011-0"] == known


def test_the_samples_beside_the_living_room(shared: Path) -> None:
    folder = shared / "living_room" / "processed"
    if not folder.is_dir():
        pytest.skip(f"no samples at {folder}")
    read = {
        task: read_references(folder / f"{task}_train_llava_style.json", task)
        for task in ("sqa3d", "scanqa", "scan2cap", "scanrefer", "multi3drefer")
    }
    assert read["sqa3d"]["1"] == Reference("1", ("chair",), kind="what")
    assert read["scanqa"]["1"] == Reference("1", ("white", "light grey"))
    caption = read["scan2cap"]["0"]
    assert len(caption.answers) == 2
    assert caption.boxes == (caption.box_input,)
    assert len(read["scanrefer"]["0"].boxes) == 1
    assert read["multi3drefer"]["1"] == Reference("1", kind="zt_w_d")
    assert [len(one.boxes) for one in read["multi3drefer"].values()] == [2, 0, 1]


def test_a_question_of_scanqa_gathers_its_answers(tmp_path: Path) -> None:
    rows = [llava("scanQA", f"scanqa_q_{n}", said) for n, said in enumerate(["a", "b", "a"])]
    assert read_references(written(tmp_path, rows), "scanqa") == {
        "q": Reference("q", ("a", "b", "a"))
    }
    known = {"answers": ["a", "b"]}
    rows = [llava("scanQA", f"scanqa_q_{n}", said, metadata=known) for n, said in enumerate("ab")]
    assert read_references(written(tmp_path, rows), "scanqa")["q"].answers == ("a", "b")


def test_plain_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"id": 1, "box": A, "eval_type": "unique"},
        {"id": 2, "boxes": [B], "question_type": "others"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert list(read_references(path, "scanrefer").values()) == [
        Reference("1", boxes=(A,), kind="unique"),
        Reference("2", boxes=(B,)),
    ]
    captions = [
        {"id": 1, "captions": ["x", "y"], "box": A, "box_input": B},
        {"id": 2, "captions": ["z"]},
    ]
    assert list(read_references(written(tmp_path, captions), "scan2cap").values()) == [
        Reference("1", ("x", "y"), (A,), box_input=B),
        Reference("2", ("z",)),
    ]


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("scanqa", {"a": 1}, r"a\.json must be a list of samples; got dict"),
        ("scanqa", [1], r"a\.json, sample 0 must be a JSON object; got int"),
        ("scanqa", [], r"a\.json must hold samples of scanqa; got none"),
        ("scanqa", [{"id": 1}], r"sample 0 must have answers, a list of text; got \[\]"),
        ("scanqa", [{"id": 1, "answers": [2]}], r"must have answers, a list of text; got \[2\]"),
        (
            "scanqa",
            [{"id": 1, "answers": ["a"]}] * 2,
            r"sample 1: id must occur once; got '1' again",
        ),
        ("scanqa", [{"id": 1, "metadata": 3}], r"sample 0: metadata must be an object; got 3"),
        ("scanqa", [llava("sqa3d", 1, "a")], r"sample 0 must be of scanqa; got sqa3d"),
        ("scanrefer", [{"id": 1}], r"sample 0: boxes must be a list of boxes; got None"),
        ("scanrefer", [{"id": 1, "boxes": []}], r"sample 0 must have 1 true box; got 0"),
        ("scanrefer", [{"id": 1, "box": [1, 2]}], r"sample 0: a box must be 6 finite numbers"),
        ("sqa3d", {"questions": []}, r"a\.json must have balanced_questions or .* in its name"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, task: str, content: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_references(written(tmp_path, content), task)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json must be JSON; got Expecting"):
        read_references(path, "scanqa")
    questions = written(tmp_path, {"questions": [{"question_id": 1}]}, f"{QUESTIONS}_val.json")
    with pytest.raises(FileNotFoundError, match=ANNOTATIONS):
        read_references(questions, "sqa3d")
    written(tmp_path, {"annotations": []}, f"{ANNOTATIONS}_val.json")
    with pytest.raises(ValueError, match="must be SQA3D as released; got no 'question'"):
        read_references(questions, "sqa3d")


def test_samples_of_the_readers() -> None:
    turn = Turn("caption", "?", "x")
    sample = Sample("1", "scan2cap", "s", turn, ("x",), target_boxes=(A,), box_input=B)
    assert references_of([sample]) == {"1": Reference("1", ("x",), (A,), box_input=B)}
    with pytest.raises(ValueError, match="ids of samples must be unique; got '1' twice"):
        references_of([sample, sample])


def test_question_types() -> None:
    asked = ["What is it?", "Is it?", "How?", "Can I?", "which", "Am I?"]
    assert [question_type(q) for q in asked] == ["what", "is", "how", "can", "which", "others"]
