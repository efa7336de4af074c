from __future__ import annotations

import pytest

from ross3d import Schedule


def test_every_fourth_step() -> None:
    schedule = Schedule(every=4)
    assert [s for s in range(13) if schedule.active(s)] == [0, 4, 8, 12]


def test_offset() -> None:
    schedule = Schedule(every=3, offset=2)
    assert [s for s in range(12) if schedule.active(s)] == [2, 5, 8, 11]


def test_probability_is_met_and_needs_no_state() -> None:
    schedule = Schedule(probability=0.25, seed=7)
    steps = [s for s in range(4000) if schedule.active(s)]
    assert abs(len(steps) / 4000 - 0.25) < 0.03
    again = Schedule(probability=0.25, seed=7)
    assert [s for s in range(2000, 4000) if again.active(s)] == [s for s in steps if s >= 2000]
    assert steps != [s for s in range(4000) if Schedule(probability=0.25, seed=8).active(s)]


def test_never_and_always() -> None:
    assert not any(Schedule(probability=0.0).active(s) for s in range(100))
    assert all(Schedule().active(s) for s in range(100))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be at least 1; got 0"),
        ({"offset": -1}, "offset must be at least 0; got -1"),
        ({"probability": 1.5}, r"probability must be in \[0, 1\]; got 1.5"),
    ],
)
def test_numbers_are_checked(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**arguments)
