"""The five kinds of questions about named objects; each maker gives a turn, or None."""

from __future__ import annotations

from collections.abc import Callable

from .furniture import COLOURS
from .referents import Referents, indefinite, plural
from .scene import Kind, Turn

NUMBERS = ("zero", "one", "two", "three", "four", "five")
COUNT = "how many {} are there?"
COLOUR = "what colour is the {}?"
EXISTS = "is there {}?"
NEAREST = "what is closest to the {}?"
STANDING = "i am standing next to the {}. {}"
FACING = "i am standing next to the {} facing the {}. {}"
SIDE = "what is on my {}?"
FRONT = "is the {} in front of me or behind me?"
LEFT = "is the {} on my left or on my right?"
CLOSER = "which is closer to me, the {} or the {}?"
DESCRIBE = "describe the object at <coord>."
NEXT = "{} next to the {} ."
ALONE = "{} ."
FIND = "find the {}."
FIND_NEXT = "find the {} next to the {}."
FIND_ALL = "find all {}."
GROUND = "<ground>"
ANSWERS = ("yes", "no", "left", "right", "front", "behind")
TEMPLATES = (COUNT, COLOUR, EXISTS, NEAREST, STANDING, FACING, SIDE, FRONT, LEFT, CLOSER)
TEMPLATES += (DESCRIBE, NEXT, ALONE, FIND, FIND_NEXT, FIND_ALL, GROUND)
CLEARLY = 0.75


def count(known: Referents) -> Turn | None:
    """Ask how many, all numbers being equally likely answers."""
    asked: dict[int, list[str]] = {}
    for noun in (*known.nouns, *known.absent):
        asked.setdefault(len(known.meant(noun)), []).append(plural(noun))
    for colour in COLOURS if known.coloured else ():
        asked.setdefault(len(known.meant(colour=colour)), []).append(f"{colour} objects")
    numbers = [number for number in sorted(asked) if number < len(NUMBERS)]
    if not numbers:
        return None
    number = known.rng.choice(numbers)
    return Turn("qa", COUNT.format(known.rng.choice(asked[number])), NUMBERS[number])


def colour(known: Referents) -> Turn | None:
    """Ask for the colour of the only object of a name."""
    only = [known.meant(noun)[0] for noun in known.nouns if len(known.meant(noun)) == 1]
    items = [known.items[index] for index in only if known.items[index].colour]
    if not items:
        return None
    item = known.rng.choice(items)
    return Turn("qa", COLOUR.format(item.name), item.colour)


def exists(known: Referents) -> Turn | None:
    """Ask whether something is there; what isn't mixes the colours and names of what is."""
    named = [item for item in known.items if item.name in known.nouns]
    if known.coloured and known.rng.random() < 0.7:
        colours = {item.colour: None for item in known.items}
        true = [item.phrase for item in named]
        false = [f"{c} {n}" for c in colours for n in known.nouns if not known.meant(n, c)]
    else:
        true, false = known.nouns, known.absent
    if not (true and false):
        return None
    answer = known.rng.choice(("yes", "no"))
    phrase = known.rng.choice(true if answer == "yes" else false)
    return Turn("qa", EXISTS.format(indefinite(phrase)), answer)


def nearest(known: Referents) -> Turn | None:
    """Ask for the clearly nearest neighbour of an object."""
    for index, phrase in known.clear():
        order = known.nearest(index)
        if len(order) > 1 and known.gap(index, order[0]) < CLEARLY * known.gap(index, order[1]):
            return Turn("qa", NEAREST.format(phrase), known.items[order[0]].name)
    return None


def closer(known: Referents) -> Turn | None:
    """Stand next to an object, and ask which of two others is clearly closer."""
    clear = known.clear()
    for here, place in clear:
        for one, first in clear:
            for two, second in clear:
                names = {known.items[one].name, known.items[two].name}
                if len({here, one, two}) == 3 and len(names) == 2:
                    gaps = sorted([(known.gap(here, one), one), (known.gap(here, two), two)])
                    if gaps[0][0] < CLEARLY * gaps[1][0]:
                        asked = STANDING.format(place, CLOSER.format(first, second))
                        return Turn("sqa", asked, known.items[gaps[0][1]].name)
    return None


def side(known: Referents) -> Turn | None:
    """Stand and face, and ask what alone is on the left or on the right."""
    answer_side = known.rng.choice(("left", "right"))
    sign = 1 if answer_side == "left" else -1
    for here, towards, situation in _situations(known):
        angles = {i: sign * known.bearing(here, towards, i) for i in known.nearest(here)}
        aside = [i for i, angle in angles.items() if i != towards and 25 < angle < 155]
        if len(aside) == 1 and 50 < angles[aside[0]] < 130:
            asked = FACING.format(*situation, SIDE.format(answer_side))
            return Turn("sqa", asked, known.items[aside[0]].name)
    return None


def front(known: Referents) -> Turn | None:
    """Stand and face, and ask whether an object is in front or behind."""
    answer = known.rng.choice(("front", "behind"))
    low, high = (0, 55) if answer == "front" else (125, 180)
    return _where(known, FRONT, answer, lambda angle: low <= abs(angle) <= high)


def left(known: Referents) -> Turn | None:
    """Stand and face, and ask whether an object is on the left or on the right."""
    answer = known.rng.choice(("left", "right"))
    sign = 1 if answer == "left" else -1
    return _where(known, LEFT, answer, lambda angle: 35 <= sign * angle <= 145)


def _where(
    known: Referents, template: str, answer: str, fits: Callable[[float], bool]
) -> Turn | None:
    for here, towards, situation in _situations(known):
        for index, phrase in known.clear():
            if index not in (here, towards) and fits(known.bearing(here, towards, index)):
                return Turn("sqa", FACING.format(*situation, template.format(phrase)), answer)
    return None


def _situations(known: Referents) -> list[tuple[int, int, tuple[str, str]]]:
    """Pairs of objects at least a metre apart: one to stand next to, one to face."""
    clear = known.clear()
    return [
        (here, towards, (place, aim))
        for here, place in clear
        for towards, aim in clear
        if here != towards and known.gap(here, towards) > 1.0
    ]


def caption(known: Referents) -> Turn | None:
    """Ask for the description of an object: what it is, and its nearest neighbour."""
    named = [index for index, item in enumerate(known.items) if item.name]
    if not named:
        return None
    index = known.rng.choice(named)
    item, order = known.items[index], known.nearest(index)
    said = indefinite(item.phrase)
    answer = NEXT.format(said, known.items[order[0]].phrase) if order else ALONE.format(said)
    return Turn("caption", DESCRIBE, answer, point=item.box[:3])


def grounding(known: Referents) -> Turn | None:
    """Ask for one object, by its neighbour where its own words mean several."""
    indices = range(len(known.items))
    for index in known.rng.sample(indices, len(indices)):
        phrases = known.phrases(index)
        said = FIND.format(known.rng.choice(phrases)) if phrases else _beside(known, index)
        if said is not None:
            return Turn("grounding", said, GROUND, objects=(index,))
    return None


def _beside(known: Referents, index: int) -> str | None:
    """Single out one of several objects by a landmark that is close to it, and clearly closest."""
    item = known.items[index]
    if item.name not in known.nouns:
        return None
    rivals = [i for i in known.meant(item.name, item.colour) if i != index]
    for anchor, phrase in known.clear():
        margin = CLEARLY * min(known.gap(anchor, rival) for rival in rivals)
        if known.gap(anchor, index) < min(margin, 2.0):
            return FIND_NEXT.format(item.phrase, phrase)
    return None


def multi_grounding(known: Referents) -> Turn:
    """Ask for all objects of a name or of a colour, one time in four for one that isn't there."""
    present = [(plural(noun), known.meant(noun)) for noun in known.nouns]
    absent = [plural(noun) for noun in known.absent]
    if known.coloured and (not present or known.rng.random() < 0.5):
        colours = [(f"{c} objects", known.meant(colour=c)) for c in COLOURS]
        present = [(words, found) for words, found in colours if found]
        absent = [words for words, found in colours if not found]
    choices = present
    if absent and (not present or known.rng.random() < 0.25):
        choices = [(words, ()) for words in absent]
    words, found = known.rng.choice(choices)
    return Turn("multi_grounding", FIND_ALL.format(words), GROUND, objects=found)


MAKERS: dict[Kind, tuple[Callable[[Referents], Turn | None], ...]] = {
    "qa": (count, colour, exists, nearest),
    "sqa": (closer, side, front, left),
    "caption": (caption,),
    "grounding": (grounding,),
    "multi_grounding": (multi_grounding,),
}
