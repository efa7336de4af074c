from __future__ import annotations

import pytest
import torch
from reference.seeing import encode_shown
from torch import Tensor

IMAGES = torch.rand(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
MASKS = (
    [[False, False, False], [False, False, False]],
    [[False, True, False], [True, False, False]],
    [[True, True, True], [False, True, False]],
    [[True, True, True], [True, True, True]],
)


def rows(images: Tensor) -> Tensor:
    """A token per row of pixels, view by view."""
    return images.sum(2)


@pytest.mark.parametrize("mask", MASKS)
def test_shown_views_are_as_ever_and_hidden_ones_zero(mask: list[list[bool]]) -> None:
    masked = torch.tensor(mask)
    visual = encode_shown(rows, IMAGES, masked)
    assert torch.equal(visual, rows(IMAGES).masked_fill(masked[..., None, None], 0))


@pytest.mark.parametrize("mask", MASKS)
def test_gradients_are_those_of_the_shown_views(mask: list[list[bool]]) -> None:
    masked, weight = torch.tensor(mask), torch.tensor(2.0, requires_grad=True)
    encode_shown(lambda images: weight * rows(images), IMAGES, masked).sum().backward()
    torch.testing.assert_close(weight.grad, IMAGES[~masked].sum())


def test_hidden_views_are_not_encoded() -> None:
    seen: list[int] = []

    def encode(images: Tensor) -> Tensor:
        seen.append(images.shape[0] * images.shape[1])
        return rows(images)

    encode_shown(encode, IMAGES, torch.tensor(MASKS[1]))
    assert seen == [4]
