from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from reference.batching import TaskDataset, TaskSchedule, open_batches
from reference.data.groups import GROUP_OF, Group
from reference.data.scene import Scene
from reference.data.sources import RoomSource
from reference.supervision import SupervisedSource
from reference.training import batches
from tiny import PRESET

SHARES = {"qa": 105_960, "caption": 36_665, "grounding": 80_503}
"""Samples of the five benchmarks."""


def drawn(schedule: TaskSchedule, steps: int) -> list[Group]:
    return [schedule[step][0] for step in range(steps)]


@pytest.mark.parametrize(
    "shares",
    [SHARES, {"qa": 7, "caption": 2, "grounding": 6}, {"qa": 1}, {"qa": 999, "caption": 1}],
)
def test_every_group_has_its_share_and_counts_its_steps(shares: dict[Group, int]) -> None:
    schedule, seen = TaskSchedule(shares), Counter[str]()
    total = sum(shares.values())
    for step in range(500):
        group, before = schedule[step]
        assert before == seen[group]
        seen[group] += 1
        for name, share in shares.items():
            assert abs(seen[name] - (step + 1) * share / total) <= 64
    for name, share in shares.items():
        assert abs(seen[name] - 500 * share / total) < 30


def test_a_schedule_is_a_function_of_step_and_seed() -> None:
    steps = [300, 2, 70, 2, 301]
    schedule = TaskSchedule(SHARES, seed=3)
    shuffled = {step: schedule[step] for step in steps}
    assert all(TaskSchedule(SHARES, seed=3)[step] == found for step, found in shuffled.items())
    assert drawn(TaskSchedule(SHARES, 3), 64) != drawn(TaskSchedule(SHARES, 4), 64)
    assert drawn(schedule, 64) != drawn(schedule, 128)[64:]


@pytest.mark.parametrize("shares", [{}, {"qa": 0}])
def test_a_schedule_of_nothing(shares: dict[Group, int]) -> None:
    with pytest.raises(ValueError, match=r"shares must be positive, of one group or more; got \{"):
        TaskSchedule(shares)


def named(index: int, group: Group) -> tuple[Group, int]:
    return group, index


def listed(scenes: list[tuple[Group, int]]) -> list[tuple[Group, int]]:
    return scenes


def test_ranks_and_micro_batches_of_a_step_are_of_one_group_and_no_scene_is_left_out() -> None:
    schedule = TaskSchedule({"qa": 3, "caption": 2, "grounding": 3})
    options = {"accumulate": 2, "ranks": 2}
    sets = [TaskDataset(named, listed, 3, schedule, rank=rank, **options) for rank in range(2)]
    read: dict[str, list[int]] = {}
    for step in range(20):
        scenes = [s for micro in range(2) for one in sets for s in one[2 * step + micro]]
        assert {group for group, _ in scenes} == {schedule[step][0]}
        read.setdefault(scenes[0][0], []).extend(index for _, index in scenes)
    assert len(read) == 3
    assert all(found == list(range(len(found))) for found in read.values())


def test_scenes_without_text_come_on_top() -> None:
    def bare(index: int) -> tuple[None, int]:
        return None, index

    sets = [
        TaskDataset(named, listed, 2, TaskSchedule({"qa": 1}), bare, rank=rank, ranks=2)
        for rank in range(2)
    ]
    assert sets[1][3] == [("qa", 14), ("qa", 15), (None, 14), (None, 15)]
    read = [index for i in range(4) for one in sets for group, index in one[i] if not group]
    assert read == list(range(16))


def test_workers_change_nothing() -> None:
    dataset = TaskDataset(named, listed, 2, TaskSchedule(SHARES))
    alone, helped = (list(batches(dataset, range(5, 11), workers=n)) for n in (0, 1))
    assert alone == helped


def count_kinds(scenes: list[Scene]) -> list[set[str]]:
    return [{GROUP_OF[turn.kind] for turn in scene.turns} for scene in scenes]


def test_rooms_come_mixed_or_by_task() -> None:
    source = SupervisedSource(RoomSource(views=2, size=16, turns=6, hidden=1))
    preset = replace(PRESET, batch=2)
    mixed = open_batches(source, count_kinds, preset)
    assert all(len(groups) == 3 for groups in mixed[0])
    apart = open_batches(source, count_kinds, preset, "by-task", seed=1)
    found = [apart[step] for step in range(8)]
    assert all(groups == [groups[0]] * 2 and len(groups[0]) == 1 for groups in found)
    assert set().union(*(groups[0] for groups in found)) == {"qa", "caption", "grounding"}
    with pytest.raises(ValueError, match=r"kind must be one of \('mixed', 'by-task'\); got 'x'"):
        open_batches(source, count_kinds, preset, "x")
