from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ross3d.geometry.sampling import uniform_frames


@given(st.integers(1, 300), st.integers(1, 64))
def test_frames_are_spread_and_never_taken_twice(total: int, count: int) -> None:
    frames = uniform_frames(total, count)
    assert len(frames) == min(total, count)
    assert frames == sorted(set(frames))
    assert frames[0] == 0
    assert frames[-1] < total
    if len(frames) > 1:
        assert frames[-1] == total - 1
        steps = [b - a for a, b in pairwise(frames)]
        assert max(steps) - min(steps) <= 1


def test_a_short_recording_gives_all_it_has() -> None:
    assert uniform_frames(31, 32) == list(range(31))


@pytest.mark.parametrize(("total", "count"), [(0, 4), (4, 0)])
def test_complains(total: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"must be positive; got {total} and {count}"):
        uniform_frames(total, count)
