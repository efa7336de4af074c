from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ross3d import Targets, select_views
from ross3d.pretext.targets import view_indices


@given(data=st.data(), b=st.integers(1, 3), m=st.integers(1, 6))
def test_select_views_equals_a_loop(data: st.DataObject, b: int, m: int) -> None:
    rows = data.draw(
        st.lists(st.lists(st.booleans(), min_size=m, max_size=m), min_size=b, max_size=b)
    )
    chosen, values = torch.tensor(rows).reshape(b, m), torch.randn(b, m, 2, 3)
    taken = select_views(values, chosen)
    assert taken.shape[:2] == (b, max(sum(row) for row in rows))
    for i in range(b):
        expected = [values[i, j] for j in range(m) if rows[i][j]]
        for j, value in enumerate(taken[i]):
            assert torch.equal(value, expected[j] if j < len(expected) else torch.zeros(2, 3))


def test_select_views_of_nothing_is_empty() -> None:
    chosen = torch.zeros(2, 4, dtype=torch.bool)
    assert select_views(torch.zeros(2, 4, 5), chosen).shape == (2, 0, 5)
    assert select_views(torch.zeros(0, 4, 5), chosen[:0]).shape == (0, 0, 5)


def test_view_indices_are_in_order() -> None:
    index, valid = view_indices(
        torch.tensor([[True, False, True, True], [False, True, False, False]])
    )
    assert index[0].tolist() == [0, 2, 3]
    assert index[1, 0].item() == 1
    assert valid.tolist() == [[True, True, True], [True, False, False]]


def test_select_views_is_checked() -> None:
    with pytest.raises(ValueError, match=r"values must begin with \(2, 3\); got \(2, 4, 1\)"):
        select_views(torch.zeros(2, 4, 1), torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"chosen must be of shape \(b m\)"):
        select_views(torch.zeros(2, 4, 1), torch.zeros(2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(1, 2, 4, 8, 8)}, "images must be of shape"),
        ({"weight": torch.zeros(1, 2, 8, 9)}, "weight must be of shape"),
        ({"coords": torch.zeros(1, 3, 4, 3)}, "coords must be of shape"),
        ({"known": torch.ones(1, 2, 5)}, "known must be of shape"),
        ({"rays": torch.zeros(1, 2, 4, 3)}, "rays must be of shape"),
        ({"views": torch.zeros(1, 3)}, "views must be of shape"),
        ({"coords": None}, "coords must be given with known or rays; got None"),
    ],
)
def test_targets_are_checked(changes: dict[str, torch.Tensor], message: str) -> None:
    whole = {
        "images": torch.zeros(1, 2, 3, 8, 8),
        "weight": torch.zeros(1, 2, 8, 8),
        "coords": torch.zeros(1, 2, 4, 3),
        "known": torch.ones(1, 2, 4, dtype=torch.bool),
        "rays": torch.zeros(1, 2, 4, 6),
        "views": torch.zeros(1, 2, dtype=torch.long),
    }
    Targets(**whole)
    with pytest.raises(ValueError, match=message):
        Targets(**{**whole, **changes})
