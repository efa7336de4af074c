"""check_shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ross3d.core.shapes import check_shape


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_every_letter_gets_its_size(shape: list[int]) -> None:
    letters = "bmpdk"[: len(shape)]
    assert check_shape("x", torch.zeros(shape), " ".join(letters)) == dict(
        zip(letters, shape, strict=True)
    )


def test_known_sizes_are_kept_and_returned() -> None:
    sizes = check_shape("x", torch.zeros(2, 5), "b t", d=8)
    assert sizes == {"b": 2, "t": 5, "d": 8}
    assert check_shape("y", torch.zeros(2, 8), "b d", **sizes) == sizes


def test_the_given_sizes_are_not_changed() -> None:
    sizes = {"b": 2}
    check_shape("x", torch.zeros(2, 5), "b t", **sizes)
    assert sizes == {"b": 2}


@given(st.lists(st.integers(0, 3), max_size=3))
def test_dots_stand_for_any_axes_in_front(front: list[int]) -> None:
    assert check_shape("points", torch.zeros(*front, 7, 3), "... n 3") == {"n": 7}


@pytest.mark.parametrize(
    ("shape", "pattern", "sizes", "message"),
    [
        ((2, 4), "b m h", {}, r"x must be of shape \(b m h\); got \(2, 4\)"),
        ((2, 4, 1), "b m", {}, r"x must be of shape \(b m\); got \(2, 4, 1\)"),
        ((2, 4), "b 3", {}, r"x must be of shape \(b 3\); got \(2, 4\)"),
        ((2, 4), "b b", {}, r"x must be of shape \(b b\); got \(2, 4\)"),
        ((2, 4), "b m", {"m": 5}, r"x must be of shape \(b m\) with m = 5; got \(2, 4\)"),
        ((3,), "... n 3", {}, r"x must be of shape \(\.\.\. n 3\); got \(3,\)"),
        ((), "b", {}, r"x must be of shape \(b\); got \(\)"),
    ],
)
def test_a_wrong_shape_is_named(
    shape: tuple[int, ...], pattern: str, sizes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_shape("x", torch.zeros(shape), pattern, **sizes)


def test_only_tensors_have_a_shape() -> None:
    with pytest.raises(ValueError, match=r"x must be a tensor of shape \(b 3\); got list"):
        check_shape("x", [[1, 2, 3]], "b 3")


def test_compiles() -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * check_shape("x", x, "... n 3")["n"]

    x = torch.ones(4, 2, 3)
    compiled = torch.compile(double, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), 2 * x)
