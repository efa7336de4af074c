"""Annotations joined with scans: what is asked, which candidates are meant, what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.data.benchmarks.annotations import read_benchmarks
from reference.data.benchmarks.sample import Sample
from reference.data.benchmarks.scenes import BenchmarkScenes
from reference.data.benchmarks.skips import AnnotationError, Skips
from reference.data.benchmarks.turns import BenchmarkTurns, open_turns
from reference.data.scannet import ScanNetScans
from reference.data.scene import Turn
from reference.data.sources import open_source
from scans import BOXES, write_boxes, write_json, write_scan

SMALL = {"views": 2, "size": 8}
EMPTY = [0.0] * 6
FIRST, SECOND = (tuple(box) for box in BOXES)


def question(name: str = "0", scene: str = "scannet/a", **changes: Any) -> Sample:
    turn = Turn("qa", f"What is {name}?", "a door")
    return Sample(name, "scanqa", scene, turn, ("a door",), source="a.json", **changes)


def grounding(*numbers: int, name: str = "0", **changes: Any) -> Sample:
    turn = Turn("multi_grounding", "Find them.", "<ground>", objects=numbers)
    sample = Sample(name, "multi3drefer", "scannet/a", turn, object_ids=numbers, source="a.json")
    return replace(sample, **changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two scans; of the first the true boxes of the objects 0 and 2 are known."""
    write_scan(tmp_path)
    write_scan(tmp_path, "b")
    write_boxes(tmp_path, [BOXES[0], EMPTY, BOXES[1]])
    return tmp_path


def predict(root: Path, *boxes: tuple[float, ...]) -> None:
    """Give the first scan predicted boxes."""
    (root / "metadata" / "scannet_train_gt_box.json").rename(
        root / "metadata" / "scannet_val_gt_box.json"
    )
    write_json(root / "metadata" / "scannet_val_pred_box.json", {"scannet/a": boxes})


def test_turns_one_by_one_or_together(root: Path) -> None:
    samples = [question("0"), grounding(0, name="1"), question("2"), question("3", "scannet/b")]
    sizes = {
        kind: [len(item.samples) for item in BenchmarkScenes(root, samples, together=kind).items]
        for kind in ("turn", "task", "scene")
    }
    assert sizes == {"turn": [1, 1, 1, 1], "task": [2, 1, 1], "scene": [3, 1]}
    scenes = BenchmarkScenes(root, samples, together="scene", most=2, **SMALL)
    assert [len(item.samples) for item in scenes.items] == [2, 1, 1]
    assert len(scenes) == 3
    scene = scenes[0]
    assert scene.name == "scannet/a"
    assert scene.frames.images.shape == (1, 2, 3, 8, 8)
    assert scene.turns == tuple(sample.turn for sample in scenes.samples(0))
    assert scenes[2].name == "scannet/b"
    fewer = scenes.scene(0, frames=torch.tensor([1]))
    assert fewer.frames.images.shape[1] == 1


def test_unlabelled_scans_are_kept_if_wanted(root: Path) -> None:
    samples = [question()]
    assert len(BenchmarkScenes(root, samples)) == 1
    scenes = BenchmarkScenes(root, samples, unlabelled=True, **SMALL)
    assert [scene.turns == () for scene in (scenes[0], scenes[1])] == [False, True]
    assert scenes[1].name == "scannet/b"


def test_ids_become_rows_of_the_true_boxes(root: Path) -> None:
    scenes = BenchmarkScenes(root, [grounding(0, 2)], **SMALL)
    scene = scenes[0]
    torch.testing.assert_close(scene.boxes, torch.tensor(BOXES))
    assert scene.turns[0].objects == (0, 1)
    assert scenes.samples(0)[0].target_boxes == (FIRST, SECOND)
    assert scenes.samples(0)[0].object_ids == (0, 2)


def test_boxes_of_your_own_are_matched_by_overlap(root: Path) -> None:
    sample = grounding(target_boxes=(SECOND,))
    assert BenchmarkScenes(root, [sample]).samples(0)[0].turn.objects == (1,)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (question(scene="scannet/nowhere"), "scene must be a scan of .*; got scannet/nowhere"),
        (grounding(1), "object_id must be an object of scannet/a that has a box; got 1"),
        (grounding(0, target_boxes=(SECOND,)), "box must be that of object 0 of scannet/a"),
        (grounding(1, target_boxes=(SECOND,)), "object_id must be a candidate of scannet/a; got 1"),
        (grounding(target_boxes=((9, 9, 9, 1, 1, 1),)), "box must be one that a candidate overl"),
        (
            Sample(
                "5", "scan2cap", "scannet/a", Turn("caption", "<coord>", "a door"), source="a.json"
            ),
            "a.json, annotation 5: box_input must be a box that shows the object; got None",
        ),
    ],
)
def test_what_cannot_be_learned_is_named_or_counted(
    root: Path, sample: Sample, message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        BenchmarkScenes(root, [sample, question()])
    skips = Skips()
    scenes = BenchmarkScenes(root, [sample, question()], skips=skips)
    assert [item.samples[0].turn.question for item in scenes.items] == ["What is 0?"]
    assert len(skips) == 1


def test_predicted_boxes_stand_for_true_ones(root: Path) -> None:
    near = (0.1, *FIRST[1:])
    predict(root, (9, 9, 9, 1, 1, 1), near)
    skips = Skips()
    samples = [grounding(0), grounding(0, 2, name="1")]
    scenes = BenchmarkScenes(root, samples, skips=skips, **SMALL)
    assert [scenes[i].turns[0].objects for i in range(len(scenes))] == [(1,)]
    assert len(skips) == 1
    assert "box must be one that a candidate overlaps by 0.5" in str(skips)


def test_what_is_judged_is_kept(root: Path) -> None:
    predict(root, (9, 9, 9, 1, 1, 1), (0.1, *FIRST[1:]))
    caption = Sample("5", "scan2cap", "scannet/a", Turn("caption", "<coord>", "a door"))
    samples = [grounding(0, 2), grounding(2, name="1"), caption]
    scenes = BenchmarkScenes(root, samples, judged=True)
    assert [item.samples[0].turn.objects for item in scenes.items] == [(1,), (), ()]
    assert scenes.samples(1)[0].target_boxes == (SECOND,)
    with pytest.raises(AnnotationError, match="object_id must be an object of scannet/a that has"):
        BenchmarkScenes(root, [grounding(1)], judged=True)


def test_true_boxes_as_candidates(root: Path) -> None:
    predict(root, (9, 9, 9, 1, 1, 1))
    scans = ScanNetScans(root, true_boxes=True, **SMALL)
    assert scans.predicted == frozenset()
    scenes = BenchmarkScenes(scans, [grounding(2)], judged=True)
    assert scenes[0].turns[0].objects == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"together": "all"}, "together must be turn, task or scene; got 'all'"),
        ({"most": 0}, "most must be positive or None; got 0"),
    ],
)
def test_options(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkScenes(root, [], **options)


def test_the_living_room(shared: Path) -> None:
    root = shared / "living_room"
    scenes = BenchmarkScenes(root, read_benchmarks(root, "train"), together="scene", **SMALL)
    (scene,) = [scenes[i] for i in range(len(scenes))]
    assert len(scene.turns) == 15
    names = [[scene.objects[i].name for i in t.objects] for t in scene.turns if t.objects]
    assert names == [["chair"], ["tv"], ["vase"], ["cabinet", "tv"], ["cabinet"]]


def test_a_source_asks_what_the_annotations_ask(shared: Path) -> None:
    root = str(shared / "living_room")
    options = {"views": 4, "size": 16, "hidden": 1}
    source = open_source(root, turns=6, **options)
    known = {s.turn for s in read_benchmarks(Path(root), "train")}
    drawn = {turn for index in range(12) for turn in source.turns(index)}
    assert drawn == known
    for scene in (source.train(0), source.held_out(0)):
        assert len(set(scene.turns)) == 6
        assert set(scene.turns) <= known
    words = set(source.words())
    assert all({turn.question, turn.answer} <= words for turn in known)
    assert len(open_source(root, turns=99, **options).turns(0)) == 15


def test_turns_for_training_and_for_judging(root: Path) -> None:
    scans = ScanNetScans(root, **SMALL)
    turns = BenchmarkTurns(scans, [question("1")], [question("2"), question("3", "scannet/b")])
    assert turns.draw("scannet/a", count=3, seed=0) == (question("1").turn,)
    assert turns.draw("scannet/a", count=3, seed=0, held_out=True) == (question("2").turn,)
    assert turns.draw("scannet/b", count=3, seed=0) == ()
    assert len(turns.of("scannet/b", held_out=True)) == 1
    alone = BenchmarkTurns(scans, [question("1")])
    assert alone.of("scannet/a", held_out=True) == alone.of("scannet/a")


def test_a_source_without_annotations_to_train_on(root: Path) -> None:
    assert open_turns(ScanNetScans(root, **SMALL)) is None
    options = {"views": 1, "size": 8, "turns": 2, "hidden": 0}
    row = {"id": "a", "scene": "a", "question": "What is it?", "answers": ["a door"]}
    write_json(root / "tasks" / "scanqa_val.json", [row])
    with pytest.raises(ValueError, match="must hold annotations to train on; got none"):
        open_source(str(root), **options)
    write_json(root / "tasks" / "scanqa_train.json", [row, row])
    with pytest.warns(UserWarning, match=r"1 annotation left out of .*id must be unique"):
        source = open_source(str(root), **options)
    assert {source.train(i).name for i in range(3)} == {"scannet/a"}
    assert [turn.answer for turn in source.turns(1)] == ["a door"]
