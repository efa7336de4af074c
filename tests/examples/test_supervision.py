from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from reference.data.sources import RoomSource, open_source
from reference.supervision import (
    Stream,
    add_supervision_options,
    open_supervised,
    split_scenes,
)
from scans import write_scan
from tiny import PRESET

LAYOUT = {"views": 4, "size": 32, "turns": 3, "hidden": 1}


def options(*given: str, **more: Any) -> dict[str, Any]:
    """What the parser makes of the options, with those that it does not know."""
    parser = argparse.ArgumentParser()
    add_supervision_options(parser)
    return {"data": "rooms", "seed": 0, "tasks": "both", **vars(parser.parse_args(given)), **more}


def names(source: Any, count: int) -> list[str]:
    return [source.train(index).name for index in range(count)]


def test_by_default_the_source_is_that_of_the_data() -> None:
    plain, source = RoomSource(**LAYOUT), open_supervised(PRESET, options())
    assert names(source, 3) == names(plain, 3)
    assert (source.name, source.hidden, source.num_train) == (plain.name, plain.hidden, None)
    assert source.held_out(1).name == plain.held_out(1).name
    assert source.turns(2) == plain.turns(2)
    assert list(source.words()) == list(plain.words())
    assert source.unlabelled is None


def test_a_finite_number_of_rooms_comes_in_another_order_every_time() -> None:
    source = open_supervised(PRESET, options("--rooms=5"))
    first, second, third = (names(source, 15)[i : i + 5] for i in (0, 5, 10))
    assert sorted(first) == sorted(second) == sorted(third) == names(RoomSource(**LAYOUT), 5)
    assert len({tuple(x) for x in (first, second, third)}) > 1
    assert source.num_train == 5
    assert source.train(3).turns == source.turns(3)


def test_every_arm_has_the_same_labelled_scenes() -> None:
    given = ("--rooms=8", "--labelled=0.5")
    none = open_supervised(PRESET, options(*given))
    rest = open_supervised(PRESET, options(*given, "--unlabelled=rest"))
    assert names(none, 12) == names(rest, 12)
    labelled = set(names(none, 4))
    assert len(labelled) == none.num_train == 4
    others = {rest.unlabelled(index).name for index in range(4)}
    assert labelled | others == set(names(RoomSource(**LAYOUT), 8))
    assert not labelled & others
    assert all(rest.unlabelled(index).turns == () for index in range(4))
    assert all(rest.train(index).turns for index in range(4))
    other_seed = open_supervised(PRESET, options(*given, seed=1))
    numbers = [{int(x[-6:]) % 10_000_000 for x in names(s, 4)} for s in (none, other_seed)]
    assert numbers[0] != numbers[1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_larger_share_holds_a_smaller_one(seed: int) -> None:
    few, more, all_of_them = (split_scenes(12, x, seed)[0] for x in (0.25, 0.5, 1.0))
    assert len(few) == 3
    assert set(few) < set(more) < set(all_of_them) == set(range(12))


def test_a_stream_goes_on_from_anywhere() -> None:
    stream = Stream([2, 5, 7], count=8, seed=3)
    whole = [stream(i) for i in range(9)]
    assert [Stream([2, 5, 7], count=8, seed=3)(i) for i in (4, 8)] == [whole[4], whole[8]]
    assert [sorted(i % 8 for i in whole[k : k + 3]) for k in (0, 3, 6)] == [[2, 5, 7]] * 3
    assert [i // 8 for i in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_share_of_scans_sees_other_frames_every_time(tmp_path: Path) -> None:
    for name in "abcd":
        write_scan(tmp_path, name, frames=6)
    given = ("--labelled=0.5", "--unlabelled=rest")
    source = open_supervised(PRESET, options(*given, data=str(tmp_path)))
    assert source.num_train == 2
    assert len(set(names(source, 6))) == 2
    same = [source.train(i) for i in range(8) if source.train(i).name == source.train(0).name]
    assert len({tuple(s.frames.poses.flatten().tolist()) for s in same}) > 1
    others = {source.unlabelled(i).name for i in range(4)}
    assert others | set(names(source, 4)) == set(names(open_source(str(tmp_path), **LAYOUT), 4))


def test_a_folder_of_scans_is_read_beside_all_rooms(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", frames=5)
    source = open_supervised(PRESET, options(f"--unlabelled={tmp_path}"))
    assert source.num_train is None
    assert source.unlabelled(0).name == "unlabelled/a"
    assert source.unlabelled(0).frames.images.shape == source.train(0).frames.images.shape


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("--labelled=0.5",), "rooms must be given where a share of them is labelled; got 0.5"),
        (("--rooms=0",), "rooms must be 1 to 1000000; got 0"),
        (("--rooms=4", "--labelled=0"), "labelled must be a share that parts 4 scenes; got 0.0"),
        (("--rooms=4", "--labelled=1.5"), "labelled must be a share that parts 4 scenes; got 1.5"),
        (("--rooms=4", "--labelled=0.95"), "labelled must be a share that parts 4 scenes; got 0.9"),
        (("--rooms=4", "--unlabelled=rest"), "labelled must be less than 1 where the rest is read"),
        (("--unlabelled=nowhere",), "FOLDER must hold scans; got nowhere"),
    ],
)
def test_options_that_mean_nothing_are_refused(given: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        open_supervised(PRESET, options(*given))


def test_a_share_of_the_scenes_is_not_read_by_task() -> None:
    given = options("--rooms=4", "--labelled=0.5", batches="by-task")
    with pytest.raises(ValueError, match=r"labelled must be 1 where batches are by task; got 0\.5"):
        open_supervised(PRESET, given)


def test_only_pretext_tasks_learn_without_text() -> None:
    given = options("--rooms=4", "--labelled=0.5", "--unlabelled=rest", tasks="none")
    with pytest.raises(ValueError, match="unlabelled must be none where no pretext task is"):
        open_supervised(PRESET, given)


def test_rooms_are_counted_of_rooms_alone() -> None:
    with pytest.raises(ValueError, match="rooms must be left out, unless they are generated; got"):
        open_supervised(PRESET, options("--rooms=4", data="furnished_room"))
