from __future__ import annotations

from random import Random

import pytest
from reference.data.referents import Referents, plural
from reference.data.scene import SceneObject


def around(*places: tuple[str, str, float, float]) -> Referents:
    objects = [SceneObject(noun, (x, y, 0.5, 1, 1, 1), colour) for noun, colour, x, y in places]
    return Referents(objects, Random(0))


def test_words_that_could_mean_two_things_are_not_clear() -> None:
    known = around(("table", "", 0, 0), ("coffee table", "", 1, 0), ("Arm_Chair", "", 2, 0))
    assert known.nouns == ["arm chair", "coffee table"]
    assert known.meant("table") == (0, 1)
    assert [known.phrases(i) for i in range(3)] == [[], ["coffee table"], ["arm chair"]]
    assert "table" not in known.absent
    assert "lamp" in known.absent
    assert not known.coloured


def test_colours_single_out() -> None:
    known = around(("box", "red", 0, 0), ("box", "blue", 1, 0), ("lamp", "red", 3, 0))
    assert [known.phrases(i) for i in range(3)] == [["red box"], ["blue box"], ["lamp", "red lamp"]]
    assert sorted(known.clear()) == [(0, "red box"), (1, "blue box"), (2, "red lamp")]
    assert known.meant(colour="red") == (0, 2)
    assert known.nearest(0) == [1, 2]


def test_bearings_turn_left() -> None:
    known = around(
        ("a", "", 0, 0), ("b", "", 0, 2), ("c", "", -1, 0), ("d", "", 1, 0), ("e", "", 0, -1)
    )
    assert [known.bearing(0, 1, i) for i in (1, 2, 3)] == pytest.approx([0, 90, -90])
    assert abs(known.bearing(0, 1, 4)) == pytest.approx(180)
    assert known.bearing(0, 2, 1) == pytest.approx(-90)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("box", "boxes"),
        ("glass", "glasses"),
        ("bench", "benches"),
        ("brush", "brushes"),
        ("shelf", "shelves"),
        ("curtains", "curtains"),
        ("lobby", "lobbies"),
        ("toy", "toys"),
        ("office chair", "office chairs"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many
