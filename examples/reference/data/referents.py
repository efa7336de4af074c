"""What words mean among named objects, and where objects are seen from one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from .furniture import NOUNS
from .scene import SceneObject


class Referents:
    """Objects, and what words about them mean beyond doubt.

    Attributes:
        items: the objects, their names in plain lower-case words.
        nouns: names that are not a part of another object's name: with a "bedside table" around,
            "the table" is not clear.
        absent: nouns that no object's name contains.
        coloured: True if the colours of all objects are known.
    """

    def __init__(self, objects: Sequence[SceneObject], rng: Random) -> None:
        self.rng = rng
        self.items = [SceneObject(_plain(o.name), o.box, o.colour.lower()) for o in objects]
        names = sorted({item.name for item in self.items} - {""})
        self.nouns = [n for n in names if all(self.items[i].name == n for i in self.meant(n))]
        self.absent = [noun for noun in NOUNS if not self.meant(noun)]
        self.coloured = all(item.colour for item in self.items)

    def meant(self, noun: str = "", colour: str = "") -> tuple[int, ...]:
        """Indices of the objects that a noun or a colour or both could mean."""
        return tuple(
            i
            for i, item in enumerate(self.items)
            if (not noun or f" {noun} " in f" {item.name} ") and colour in ("", item.colour)
        )

    def phrases(self, index: int) -> list[str]:
        """Phrases that mean this object and no other."""
        item = self.items[index]
        if item.name not in self.nouns:
            return []
        colours = ["", item.colour] if item.colour else [""]
        return [f"{c} {item.name}".strip() for c in colours if self.meant(item.name, c) == (index,)]

    def clear(self) -> list[tuple[int, str]]:
        """Objects with a phrase of their own, the fullest if several, in random order."""
        pairs = [(i, found[-1]) for i in range(len(self.items)) if (found := self.phrases(i))]
        return self.rng.sample(pairs, len(pairs))

    def gap(self, one: int, two: int) -> float:
        """Horizontal distance between two objects' centres, metres."""
        return math.dist(self.items[one].box[:2], self.items[two].box[:2])

    def nearest(self, index: int) -> list[int]:
        """All other objects that have a name, the nearest first."""
        others = [i for i, item in enumerate(self.items) if item.name and i != index]
        return sorted(others, key=lambda other: self.gap(index, other))

    def bearing(self, here: int, towards: int, other: int) -> float:
        """Degrees from the facing direction to an object: left is positive, behind is 180."""
        (x, y), (fx, fy), (ox, oy) = (self.items[i].box[:2] for i in (here, towards, other))
        facing, seen = (fx - x, fy - y), (ox - x, oy - y)
        cross = facing[0] * seen[1] - facing[1] * seen[0]
        return math.degrees(math.atan2(cross, facing[0] * seen[0] + facing[1] * seen[1]))


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def indefinite(phrase: str) -> str:
    """A phrase behind its article."""
    return f"{'an' if phrase[:1] in 'aeiou' else 'a'} {phrase}"


def plural(noun: str) -> str:
    """The plural of a noun phrase.

    Example:
        >>> plural("box"), plural("bookshelf"), plural("bedside table"), plural("curtains")
        ('boxes', 'bookshelves', 'bedside tables', 'curtains')
    """
    if noun.endswith("s") and not noun.endswith("ss"):
        return noun
    if noun.endswith(("ss", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("shelf"):
        return f"{noun[:-1]}ves"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
