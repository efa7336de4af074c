from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

import pytest
from reference.data.furniture import NOUNS
from reference.data.referents import plural
from reference.data.rooms import generate_room
from reference.data.scene import SceneObject, Turn
from reference.data.text import KINDS, TOKEN, object_turns, vocabulary

NUMBERS = {word: i for i, word in enumerate(["zero", "one", "two", "three", "four", "five"])}
ROOMS = {seed: generate_room(seed).objects for seed in range(500)}
ALL = [(ROOMS[seed], turn) for seed in ROOMS for turn in object_turns(ROOMS[seed], seed=seed)]
SCAN = tuple(
    SceneObject(name, (x, y, 0.5, 0.4, 0.4, 0.8))
    for name, x, y in [
        ("chair", 0.0, 0.0),
        ("chair", 0.0, 3.0),
        ("chair", 4.0, 0.0),
        ("chair", 4.0, 3.2),
        ("bedside table", 0.6, 3.0),
        ("table", 2.0, 1.5),
        ("Night_Stand", -1.5, -2.0),
        ("curtains", 5.0, 5.0),
        ("", 1.0, 1.0),
    ]
)


def select(pattern: str) -> list[tuple[tuple[SceneObject, ...], Turn, tuple[str, ...]]]:
    found = [(objects, turn, re.fullmatch(pattern, turn.question)) for objects, turn in ALL]
    return [(objects, turn, match.groups()) for objects, turn, match in found if match]


def matching(objects: tuple[SceneObject, ...], words: str) -> list[int]:
    """Objects that fit words: an optional colour, then a noun in either number, or "objects"."""
    *colour, noun = words.split()
    return [
        i
        for i, item in enumerate(objects)
        if colour in ([], [item.colour]) and noun in ("objects", item.name, plural(item.name))
    ]


def only(objects: tuple[SceneObject, ...], words: str) -> SceneObject:
    (index,) = matching(objects, words)
    return objects[index]


def gap(one: SceneObject, two: SceneObject) -> float:
    return math.hypot(one.box[0] - two.box[0], one.box[1] - two.box[1])


def seen_from(here: SceneObject, facing: SceneObject, item: SceneObject) -> tuple[float, float]:
    """How far an object is ahead and to the left, in metres, after turning the room."""
    heading = math.atan2(facing.box[1] - here.box[1], facing.box[0] - here.box[0])
    x, y = item.box[0] - here.box[0], item.box[1] - here.box[1]
    return (
        math.cos(heading) * x + math.sin(heading) * y,
        math.cos(heading) * y - math.sin(heading) * x,
    )


def test_counts_are_true() -> None:
    found = select(r"how many (.*) are there\?")
    assert {NUMBERS[turn.answer] for _, turn, _ in found} >= {0, 1, 2, 3, 4}
    for objects, turn, (words,) in found:
        assert len(matching(objects, words)) == NUMBERS[turn.answer]


def test_colours_are_true() -> None:
    found = select(r"what colour is the (.*)\?")
    assert len(found) > 100
    for objects, turn, (words,) in found:
        assert only(objects, words).colour == turn.answer


def test_existence_is_true_and_even_for_one_word_and_for_two() -> None:
    found = select(r"is there an? (.*)\?")
    for objects, turn, (words,) in found:
        assert turn.answer == ("yes" if matching(objects, words) else "no")
        assert turn.question.startswith("is there an ") == (words[0] in "aeiou")
    for length in (1, 2):
        answers = [turn.answer for _, turn, (words,) in found if len(words.split()) == length]
        assert 0.35 < answers.count("yes") / len(answers) < 0.65


def test_the_closest_is_clearly_closest() -> None:
    for objects, turn, (words,) in select(r"what is closest to the (.*)\?"):
        here = only(objects, words)
        order = sorted((item for item in objects if item is not here), key=lambda o: gap(here, o))
        assert order[0].name == turn.answer
        assert gap(here, order[0]) < 0.8 * gap(here, order[1])


def test_the_closer_is_clearly_closer_and_named_first_half_of_the_time() -> None:
    found = select(
        r"i am standing next to the (.*)\. which is closer to me, the (.*) or the (.*)\?"
    )
    first = 0
    for objects, turn, words in found:
        here, one, two = (only(objects, phrase) for phrase in words)
        close, far = sorted((one, two), key=lambda item: gap(here, item))
        assert close.name == turn.answer != far.name
        assert gap(here, close) < 0.8 * gap(here, far)
        first += close is one
    assert 0.3 < first / len(found) < 0.7


SITUATION = r"i am standing next to the (.*) facing the (.*)\. "


@pytest.mark.parametrize(
    ("question", "axis", "positive", "negative"),
    [
        (r"is the (.*) in front of me or behind me\?", 0, "front", "behind"),
        (r"is the (.*) on my left or on my right\?", 1, "left", "right"),
    ],
)
def test_directions_are_clear_and_even(
    question: str, axis: int, positive: str, negative: str
) -> None:
    found = select(SITUATION + question)
    for objects, turn, words in found:
        along = seen_from(*(only(objects, phrase) for phrase in words))
        assert turn.answer == (positive if along[axis] > 0 else negative)
        assert abs(along[axis]) > 0.5 * math.hypot(*along)
    share = sum(turn.answer == positive for _, turn, _ in found) / len(found)
    assert 0.3 < share < 0.7


def test_what_is_aside_is_the_only_thing_there() -> None:
    for objects, turn, (place, aim, side) in select(SITUATION + r"what is on my (left|right)\?"):
        here, facing = only(objects, place), only(objects, aim)
        aside = []
        for item in objects:
            ahead, left = seen_from(here, facing, item)
            if item not in (here, facing) and (left > 0) == (side == "left"):
                aside += [item.name] * (abs(ahead) < 2 * abs(left))
        assert aside == [turn.answer]


def test_captions_name_the_object_and_its_nearest_neighbour() -> None:
    captions = [(objects, turn) for objects, turn in ALL if turn.kind == "caption"]
    for objects, turn in captions:
        assert turn.question == "describe the object at <coord>."
        said, near = re.fullmatch(r"an? (.*) next to the (.*) \.", turn.answer).groups()
        (item,) = [o for o in objects if o.box[:3] == turn.point]
        nearest = min((o for o in objects if o is not item), key=lambda o: gap(item, o))
        assert (said, near) == (item.phrase, nearest.phrase)
    (alone,) = object_turns([SceneObject("lamp", (0, 0, 0, 1, 1, 1))], seed=0, kinds=["caption"])
    assert alone.answer == "a lamp ."


def test_grounding_means_one_object() -> None:
    found = select(r"find the (.*?)(?: next to the (.*))?\.")
    beside = 0
    for objects, turn, (words, landmark) in found:
        assert turn.answer == "<ground>"
        meant = matching(objects, words)
        if landmark is not None:
            beside += 1
            assert len(meant) > 1
            anchor = only(objects, landmark)
            order = sorted(meant, key=lambda i: gap(objects[i], anchor))
            assert gap(objects[order[0]], anchor) < 0.8 * gap(objects[order[1]], anchor)
            meant = order[:1]
        assert turn.objects == tuple(meant)
    assert 0.05 < beside / len(found) < 0.3


def test_multi_grounding_means_all_of_them_and_none_at_times() -> None:
    found = select(r"find all (.*)\.")
    for objects, turn, (words,) in found:
        assert turn.answer == "<ground>"
        assert turn.objects == tuple(matching(objects, words))
    sizes = Counter(min(len(turn.objects), 3) for _, turn, _ in found)
    assert all(sizes[size] > 0.1 * len(found) for size in range(4))


def test_no_answer_is_a_good_guess() -> None:
    for kind in ("qa", "sqa"):
        answers = Counter(turn.answer for _, turn in ALL if turn.kind == kind)
        assert answers.most_common(1)[0][1] < 0.2 * answers.total()


def test_rooms_allow_every_kind_and_never_repeat() -> None:
    assert len(ALL) == 8 * len(ROOMS)
    for objects in ROOMS.values():
        turns = object_turns(objects, seed=1)
        assert len({(turn.question, turn.point) for turn in turns}) == 8
    kinds = Counter(turn.kind for _, turn in ALL)
    for kind, wanted in Counter(KINDS).items():
        assert kinds[kind] == pytest.approx(wanted * len(ROOMS), rel=0.15)


def test_the_vocabulary_is_what_is_said() -> None:
    said = {word for _, turn in ALL for word in TOKEN.findall(f"{turn.question} {turn.answer}")}
    words = vocabulary()
    assert set(words) == said
    assert all(one < two for one, two in pairwise(words))
    assert not any(re.search(r"[A-Z0-9]", word) for word in words)


def test_the_seed_decides() -> None:
    assert object_turns(ROOMS[0], seed=4) == object_turns(ROOMS[0], seed=4)
    assert object_turns(ROOMS[0], seed=4) != object_turns(ROOMS[0], seed=5)


def test_scans_need_neither_colours_nor_unique_names() -> None:
    turns = [turn for seed in range(60) for turn in object_turns(SCAN, seed=seed, count=12)]
    questions = {turn.question for turn in turns}
    assert {turn.kind for turn in turns} == set(KINDS)
    for question in questions:
        assert question == question.lower()
        assert "_" not in question
        assert "colour" not in question
        assert "  " not in question
    assert all(turn.answer and not turn.answer.startswith("a next") for turn in turns)
    answers = {turn.question: turn for turn in turns}
    assert answers["how many chairs are there?"].answer == "four"
    assert answers["find all chairs."].objects == (0, 1, 2, 3)
    assert answers["find the chair next to the bedside table."].objects == (1,)
    assert answers["find all curtains."].objects == (7,)
    assert answers["find all beds."].objects == ()
    assert answers["find the night stand."].objects == (6,)
    for unclear in ("find the table.", "find all tables.", "how many tables are there?"):
        assert unclear not in questions
    assert "is there a table?" not in questions


def test_few_objects_give_few_turns() -> None:
    assert object_turns([], seed=0) == ()
    nameless = [SceneObject("", (0, 0, 0, 1, 1, 1))]
    assert {turn.kind for turn in object_turns(nameless, seed=0)} <= {"multi_grounding", "qa"}
    same = [SceneObject("chair", (x, 0, 0, 1, 1, 1)) for x in (0.0, 2.0)]
    assert object_turns(same, seed=0, kinds=["sqa", "grounding"]) == ()
    many = [SceneObject("book", (float(x), 0, 0, 1, 1, 1)) for x in range(9)]
    counts = object_turns(many, seed=0, kinds=["qa"], count=20)
    crowd = [SceneObject(n, (i, 0, 0, 1, 1, 1)) for n in NOUNS for i in range(6)]
    assert object_turns(crowd, seed=0, kinds=["qa"], count=1) == ()
    assert "how many books are there?" not in {turn.question for turn in counts}
