from __future__ import annotations

from collections import Counter

import pytest
from reference.data.scene import Turn
from reference.data.turn_stream import TurnStream

ASKED = {
    3: [Turn("qa", f"q{i}", "yes") for i in range(5)],
    8: [Turn("grounding", f"g{i}", "<ground>") for i in range(2)] + [Turn("sqa", "s", "no")],
}
EVERYTHING = [(scan, turn) for scan, turns in ASKED.items() for turn in turns]


def asked(stream: TurnStream, first: int, count: int, group: object = None) -> Counter[object]:
    items = [stream.item(first + i, group) for i in range(count)]
    return Counter((scan, turn) for scan, turns in items for turn in turns)


@pytest.mark.parametrize(("count", "items"), [(1, 8), (2, 5), (16, 2)])
def test_every_epoch_asks_every_turn_once(count: int, items: int) -> None:
    stream = TurnStream(ASKED, count)
    assert stream.items() == items
    for epoch in range(3):
        assert asked(stream, epoch * items, items) == Counter(EVERYTHING)
        assert all(len(stream[epoch * items + i][1]) <= count for i in range(items))


@pytest.mark.parametrize(("group", "wanted"), [("qa", 6), ("grounding", 2)])
def test_a_group_has_a_stream_of_its_own(group: str, wanted: int) -> None:
    stream = TurnStream(ASKED, 1)
    found = asked(stream, 0, stream.items(group), group)
    assert found.total() == wanted
    assert stream.shares == {"qa": 6, "grounding": 2}


def test_an_item_is_a_function_of_its_number_and_the_seed() -> None:
    stream = TurnStream(ASKED, 2, seed=4)
    far = [stream[i] for i in (13, 0, 7)]
    assert far == [TurnStream(ASKED, 2, seed=4)[i] for i in (13, 0, 7)]
    orders = [[stream[i] for i in range(first, first + 5)] for first in (0, 5)]
    assert orders[0] != orders[1]
    assert orders[0] != [TurnStream(ASKED, 2, seed=5)[i] for i in range(5)]


def test_a_scan_asks_all_of_its_turns_before_it_repeats_one() -> None:
    stream = TurnStream(ASKED, 2)
    for first in (0, 3):
        found = [turn for time in range(first, first + 3) for turn in stream.of_scan(3, time)]
        assert Counter(found) == Counter(ASKED[3])
    again = TurnStream(ASKED, 2)
    assert [again.of_scan(3, time) for time in (4, 1)] == [stream.of_scan(3, t) for t in (4, 1)]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="count must be positive; got 0"):
        TurnStream(ASKED, 0)
    with pytest.raises(ValueError, match="some of the group caption; got none"):
        TurnStream(ASKED, 1).item(0, "caption")
