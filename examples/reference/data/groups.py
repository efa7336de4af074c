"""Groups of tasks that run the same parts of a model: a step of one group is alike on all ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from .scene import Kind, Turn

Group = Literal["qa", "caption", "grounding"]
GROUPS: dict[Group, tuple[Kind, ...]] = {
    "qa": ("sqa", "qa"),
    "caption": ("caption",),
    "grounding": ("grounding", "multi_grounding"),
}
GROUP_OF: dict[Kind, Group] = {kind: group for group, kinds in GROUPS.items() for kind in kinds}


def count_groups(kinds: Iterable[Kind]) -> dict[Group, int]:
    """How many of some kinds are of each group, in the order of GROUPS; those of none left out.

    Example:
        >>> count_groups(["qa", "caption", "sqa"])
        {'qa': 2, 'caption': 1}
    """
    found = Counter(GROUP_OF[kind] for kind in kinds)
    return {group: found[group] for group in GROUPS if found[group]}


def of_group(turns: Iterable[Turn], group: Group | None) -> tuple[Turn, ...]:
    """The turns of a group; None = all."""
    return tuple(turn for turn in turns if group in (None, GROUP_OF[turn.kind]))
