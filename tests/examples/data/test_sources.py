from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference.data.groups import GROUP_OF
from reference.data.scene import Scene
from reference.data.sources import HELD_OUT_ROOMS, RoomSource, ScanSource, Source, open_source
from scans import write_infos, write_json, write_scan

OPTIONS = {"views": 4, "size": 24, "turns": 3, "hidden": 2}


def equal(first: Scene, second: Scene) -> bool:
    same = all(
        torch.equal(getattr(first.frames, name), getattr(second.frames, name))
        for name in ("images", "depths", "intrinsics", "poses")
    )
    return same and (first.name, first.turns) == (second.name, second.turns)


def places(scene: Scene) -> set[tuple[float, ...]]:
    """The poses of a scene's views: what tells frames of a scan apart."""
    return {tuple(pose.flatten().tolist()) for pose in scene.frames.poses[0]}


@pytest.fixture(params=["rooms", "furnished_room"])
def data(request: pytest.FixtureRequest) -> str:
    return request.param


def test_scenes_are_functions_of_their_index(data: str) -> None:
    first, second = (open_source(data, **OPTIONS) for _ in range(2))
    second.train(5)
    assert equal(first.train(2), second.train(2))
    assert equal(first.held_out(1), second.held_out(1))
    assert not equal(first.train(2), first.train(3))


def test_seeds_draw_other_scenes(data: str) -> None:
    first, second = (open_source(data, seed=seed, **OPTIONS) for seed in (0, 1))
    assert not equal(first.train(0), second.train(0))
    assert not equal(first.held_out(0), second.held_out(0))


def test_scenes_have_the_wanted_sizes(data: str) -> None:
    source = open_source(data, **OPTIONS)
    for scene in (source.train(0), source.held_out(0)):
        assert scene.frames.images.shape == (1, 4, 3, 24, 24)
        assert len(scene.turns) == 3
        assert len(scene.boxes) == len(scene.objects) > 0
    assert source.hidden == 2
    assert len(source.turns(0)) == 3


def test_every_word_of_a_scene_is_known(data: str) -> None:
    source = open_source(data, **OPTIONS)
    known = " ".join(source.words()).lower().split()
    for index in range(3):
        for turn in (*source.held_out(index).turns, *source.turns(index)):
            assert set(turn.answer.lower().strip(".").split()) <= {*known, "<ground>"}


def test_held_out_rooms_are_other_rooms() -> None:
    source = RoomSource(**OPTIONS)
    trained = {source.train(index).name for index in (0, 1, HELD_OUT_ROOMS - 1)}
    held_out = {source.held_out(index).name for index in range(3)}
    assert len(trained) == len(held_out) == 3
    assert not trained & held_out
    assert source.train(HELD_OUT_ROOMS).name == source.train(0).name
    other = RoomSource(seed=1, **OPTIONS)
    assert not {other.train(0).name, other.held_out(0).name} & (trained | held_out)


def test_turns_of_rooms_need_no_pictures() -> None:
    source = RoomSource(**OPTIONS)
    assert source.turns(4) == source.train(4).turns


SMALL = {"views": 3, "size": 12, "turns": 0, "hidden": 1}


def scan(root: Path, *, frames: int = 6, **options: int) -> ScanSource:
    write_scan(root, frames=frames)
    return ScanSource(str(root), **{**SMALL, **options})


def test_held_out_frames_are_never_trained_on(tmp_path: Path) -> None:
    source = scan(tmp_path)
    trained = set().union(*(places(source.train(index)) for index in range(20)))
    assert len(trained) == 5
    for index in range(5):
        poses = source.held_out(index).frames.poses
        assert poses[0, 2, 0, 3] == 4.0
        assert len(places(source.held_out(index)) & trained) == 2
        assert poses[0, 0, 0, 3] < poses[0, 1, 0, 3]


def test_scans_of_val_are_held_out_where_there_are_splits(tmp_path: Path) -> None:
    for name in "abc":
        write_scan(tmp_path, name)
    write_infos(tmp_path, "train", "a", "b")
    write_infos(tmp_path, "val", "c")
    source = ScanSource(str(tmp_path), **SMALL)
    assert {source.train(i).name for i in range(4)} == {"scannet/a", "scannet/b"}
    assert {source.held_out(i).name for i in range(4)} == {"scannet/c"}
    assert len(places(source.held_out(0))) == 3


def test_the_living_room(shared: Path) -> None:
    source: Source = open_source(str(shared / "living_room"), **{**OPTIONS, "turns": 2})
    trained, held_out = source.train(0), source.held_out(0)
    assert trained.frames.images.shape == held_out.frames.images.shape == (1, 4, 3, 24, 24)
    assert trained.frames.depths.any()
    hidden = {tuple(p.flatten().tolist()) for p in held_out.frames.poses[0, 2:]}
    for index in range(4):
        assert not hidden & places(source.train(index))


def test_a_scan_with_too_few_frames_is_named(tmp_path: Path) -> None:
    source = scan(tmp_path, views=6, hidden=2)
    with pytest.raises(ValueError, match=r"views must be at most the 5 frames of .*a; got 6"):
        source.train(0)
    with pytest.raises(ValueError, match=r"hidden must be at most the 1 frames of .*a; got 2"):
        source.held_out(0)


def test_an_unknown_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"DATA must be a folder .*; got nowhere"):
        open_source("nowhere", **OPTIONS)


@pytest.mark.parametrize("group", ["qa", "caption", "grounding"])
def test_each_group_has_a_stream_of_its_own(data: str, group: str) -> None:
    first, second = (open_source(data, **OPTIONS) for _ in range(2))
    scene = first.train(4, group)
    assert {GROUP_OF[turn.kind] for turn in scene.turns} == {group}
    assert equal(scene, second.train(4, group))
    assert first.shares == {"qa": 3, "caption": 2, "grounding": 3}


def test_annotations_are_asked_in_epochs(tmp_path: Path) -> None:
    write_scan(tmp_path, frames=5)
    asked = [
        {
            "id": i,
            "video": "scannet/a",
            "conversations": [
                {"from": "human", "value": f"<image>\nquestion {i}?"},
                {"from": "gpt", "value": "yes"},
            ],
            "metadata": {"dataset": "scanqa"},
        }
        for i in range(5)
    ]
    write_json(tmp_path / "processed" / "scanqa_train_llava_style.json", asked)
    options = {"views": 2, "size": 8, "turns": 2, "hidden": 1}
    source = ScanSource(str(tmp_path), **options)
    assert source.shares == {"qa": 5}
    for group in (None, "qa"):
        for epoch in range(2):
            scenes = [source.train(3 * epoch + i, group) for i in range(3)]
            said = [turn.question for scene in scenes for turn in scene.turns]
            assert sorted(said) == [f"question {i}?" for i in range(5)]
    assert equal(source.train(4), ScanSource(str(tmp_path), **options).train(4))
    with pytest.raises(ValueError, match="some of the group caption; got none"):
        source.train(0, "caption")
