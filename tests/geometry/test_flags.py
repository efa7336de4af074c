from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ross3d.geometry.flags import flag

VALUES = [-math.inf, -1.5, -0.0, 0.0, 1e-45, 1.0, 1.5, math.inf, math.nan]


@pytest.mark.parametrize("compare", [torch.gt, torch.ge, torch.lt, torch.le])
@pytest.mark.parametrize("bound", [0, 1.5, math.inf])
def test_flags_are_comparisons(compare: Callable[..., Tensor], bound: float) -> None:
    values = torch.tensor(VALUES * 5)
    expected = compare(values, bound).float()
    assert flag(compare, values, bound).equal(expected)
    assert flag(compare, values, torch.tensor([bound])).equal(expected)
    every_other = values.view(-1, 5)[:, ::2]
    assert flag(compare, every_other, bound).equal(expected.view(-1, 5)[:, ::2])


def test_flags_of_what_is_learned() -> None:
    values = torch.tensor([1.0, -1.0], requires_grad=True)
    assert flag(torch.gt, values, 0).tolist() == [1.0, 0.0]
