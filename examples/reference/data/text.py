"""Text about named objects: turns of five kinds, templated from names and boxes alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from .furniture import COLOURS, NOUNS
from .groups import GROUP_OF, Group
from .questions import ANSWERS, MAKERS, NUMBERS, TEMPLATES
from .referents import Referents, plural
from .scene import Kind, SceneObject, Turn

KINDS: tuple[Kind, ...] = (
    "qa",
    "caption",
    "grounding",
    "multi_grounding",
    "sqa",
    "qa",
    "grounding",
    "caption",
)
TOKEN = re.compile(r"<\w+>|\w+|[^\w\s]")


def object_turns(
    objects: Sequence[SceneObject], *, seed: int, count: int = 8, kinds: Sequence[Kind] = KINDS
) -> tuple[Turn, ...]:
    """Ask about objects, and never the same twice.

    Args:
        objects: of one scene; colours and unique names are used where they exist.
        seed: the only source of randomness.
        count: number of turns wanted.
        kinds: what to ask, over and over; what the objects do not allow is passed over.

    Returns:
        Up to ``count`` turns: fewer only where the objects do not allow more.

    Example:
        >>> chair = SceneObject("chair", (0, 0, 0.5, 1, 1, 1), "red")
        >>> object_turns([chair], seed=0, count=1, kinds=["grounding"])[0].objects
        (0,)
    """
    if not objects:
        return ()
    known = Referents(objects, Random(f"text/{seed}"))
    turns: dict[tuple[str, object], Turn] = {}
    passed = 0
    while len(turns) < count and passed < 8 * len(kinds):
        kind = kinds[(len(turns) + passed) % len(kinds)]
        makers = known.rng.sample(MAKERS[kind], len(MAKERS[kind]))
        turn = next((made for make in makers if (made := make(known)) is not None), None)
        if turn is None or (turn.question, turn.point) in turns:
            passed += 1
        else:
            turns[turn.question, turn.point] = turn
    return tuple(turns.values())


def kinds_of(group: Group | None) -> tuple[Kind, ...]:
    """What is asked over and over in a group of tasks; None = in all of them."""
    return tuple(kind for kind in KINDS if group in (None, GROUP_OF[kind]))


def vocabulary() -> list[str]:
    """All words, marks and special words that turns about generated rooms may hold, sorted."""
    words = {"a", "an", "objects", *ANSWERS, *NUMBERS, *COLOURS, *NOUNS, *map(plural, NOUNS)}
    return sorted(words.union(TOKEN.findall(" ".join(TEMPLATES).replace("{}", " "))))
