from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ross3d import ViewMasker, sample_view_mask
from ross3d.pretext.masking import check_mask


@given(
    views=st.integers(1, 40),
    percent=st.integers(0, 99),
    batch=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_mask_count_is_exact(views: int, percent: int, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masked = sample_view_mask(batch, views, percent / 100, generator=generator)
    visible = max(1, math.floor(views * (1 - Fraction(percent, 100))))
    assert masked.dtype == torch.bool
    assert masked.shape == (batch, views)
    assert (masked.sum(dim=1) == views - visible).all()


@pytest.mark.parametrize(("views", "hidden"), [(32, 8), (30, 8), (20, 5), (10, 3), (3, 1)])
def test_released_counts(views: int, hidden: int) -> None:
    assert sample_view_mask(1, views).sum().item() == hidden


def test_every_view_is_hidden_equally_often() -> None:
    masked = sample_view_mask(4000, 8, generator=torch.Generator().manual_seed(1))
    assert (masked.float().mean(dim=0) - 0.25).abs().max() < 0.03


def test_generator_decides() -> None:
    draws = [sample_view_mask(3, 9, generator=torch.Generator().manual_seed(s)) for s in (4, 4, 5)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5])
def test_all_views_masked_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\)"):
        sample_view_mask(1, 4, ratio)


def test_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="views must be at least 1; got 0"):
        sample_view_mask(1, 0)
    with pytest.raises(ValueError, match="batch must be at least 0; got -1"):
        sample_view_mask(-1, 4)


def test_masker_replaces_whole_views_and_nothing_else() -> None:
    masker, visual = ViewMasker(6), torch.randn(2, 5, 3, 6)
    masked = sample_view_mask(2, 5, 0.4)
    hidden = masker(visual, masked)
    for b in range(2):
        for m in range(5):
            expected = masker.mask_token.expand(3, 6) if masked[b, m] else visual[b, m]
            assert torch.equal(hidden[b, m], expected)


def test_masked_views_do_not_leak_into_visual() -> None:
    masker, visual = ViewMasker(6), torch.randn(2, 5, 3, 6, requires_grad=True)
    masked = sample_view_mask(2, 5, 0.4)
    masker(visual, masked).square().sum().backward()
    assert visual.grad is not None
    assert (visual.grad[masked] == 0).all()
    assert (visual.grad[~masked] != 0).all()


def test_masker_keeps_the_dtype() -> None:
    visual = torch.randn(1, 2, 3, 4, dtype=torch.bfloat16)
    assert ViewMasker(4)(visual, torch.tensor([[True, False]])).dtype == torch.bfloat16


def test_masker_gradients() -> None:
    masker = ViewMasker(3).double()
    visual = torch.randn(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    masked = torch.tensor([[True, False, True]])
    torch.autograd.gradcheck(lambda x, _: masker(x, masked), (visual, masker.mask_token))


def test_masker_compiles() -> None:
    masker, visual, masked = ViewMasker(4), torch.randn(2, 3, 2, 4), sample_view_mask(2, 3)
    compiled = torch.compile(masker, fullgraph=True, backend="eager")
    assert torch.equal(compiled(visual, masked), masker(visual, masked))


def test_mask_is_checked() -> None:
    with pytest.raises(ValueError, match="visual must be of shape"):
        ViewMasker(4)(torch.zeros(2, 3, 2, 5), torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"masked must be of shape \(b m\)"):
        ViewMasker(4)(torch.zeros(2, 3, 2, 4), torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="masked must be boolean, True = hidden"):
        check_mask(torch.zeros(2, 3), b=2, m=3)
