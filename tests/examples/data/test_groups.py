from __future__ import annotations

from typing import get_args

from reference.data.groups import GROUP_OF, GROUPS, Group, count_groups, of_group
from reference.data.scene import Kind, Turn
from reference.data.text import KINDS, kinds_of

TURNS = tuple(Turn(kind, "?", "") for kind in KINDS)


def test_every_kind_is_of_one_group() -> None:
    assert set(GROUP_OF) == set(get_args(Kind))
    assert list(GROUPS) == list(get_args(Group))
    assert sum(map(len, GROUPS.values())) == len(GROUP_OF)


def test_turns_are_divided_among_the_groups() -> None:
    assert of_group(TURNS, None) == TURNS
    parts = [of_group(TURNS, group) for group in GROUPS]
    assert sorted(map(str, TURNS)) == sorted(str(turn) for part in parts for turn in part)
    assert count_groups(KINDS) == {g: len(p) for g, p in zip(GROUPS, parts, strict=True)}
    for group, part in zip(GROUPS, parts, strict=True):
        assert kinds_of(group) == tuple(turn.kind for turn in part)
    assert kinds_of(None) == KINDS


def test_groups_of_nothing_are_left_out() -> None:
    assert count_groups(["caption"]) == {"caption": 1}
    assert count_groups([]) == {}
