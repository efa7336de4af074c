from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ross3d import ViewMasker, sample_view_mask
from ross3d.pretext.masking import check_mask, sample_overlap_mask


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


@given(
    views=st.integers(1, 12),
    percent=st.integers(0, 99),
    batch=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_overlap_mask_hides_as_many_as_the_plain_one(
    views: int, percent: int, batch: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    overlap = torch.rand(batch, views, views, generator=generator)
    masked = sample_overlap_mask(overlap, percent / 100, generator=generator)
    plain = sample_view_mask(batch, views, percent / 100)
    assert masked.dtype == torch.bool
    assert masked.shape == (batch, views)
    assert masked.sum(1).equal(plain.sum(1))
    assert not masked.all(1).any()


@given(views=st.integers(2, 7), ratio=st.sampled_from([0.3, 0.5, 0.8]), seed=st.integers(0, 99))
def test_cold_overlap_mask_is_the_slow_greedy_one(views: int, ratio: float, seed: int) -> None:
    overlap = torch.rand(2, views, views, generator=torch.Generator().manual_seed(seed))
    masked = sample_overlap_mask(overlap, ratio, temperature=0.0)
    for b in range(2):
        hidden: list[int] = []
        while len(hidden) < masked[b].sum():
            scores = {}
            for i in set(range(views)) - set(hidden):
                visible = set(range(views)) - {*hidden, i}
                seen = [max(overlap[b, h, j].item() for j in visible) for h in (*hidden, i)]
                scores[i] = min(seen)
            best = max(scores.values())
            hidden.append(min(i for i in scores if scores[i] == best))
        assert masked[b].nonzero().flatten().tolist() == sorted(hidden)


def test_hidden_views_stay_seen_by_visible_ones() -> None:
    pairs = torch.eye(8) + torch.eye(8).flip(0) * 0.9  # views i and 7 - i see the same
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        masked = sample_overlap_mask(pairs[None], 0.5, temperature=0.05, generator=generator)[0]
        assert (masked ^ masked.flip(0)).all()


def test_a_view_without_depth_is_hidden_last_and_nothing_known_means_any() -> None:
    overlap = torch.full((64, 4, 4), 0.8)
    overlap[:, 2] = overlap[:, :, 2] = 0
    assert not sample_overlap_mask(overlap, 0.5, temperature=0.05)[:, 2].any()
    nothing = sample_overlap_mask(torch.zeros(2000, 4, 4))
    assert (nothing.float().mean(0) - 0.25).abs().max() < 0.05


def test_overlap_mask_draws_by_the_score() -> None:
    overlap = torch.tensor([[1.0, 0.3, 0.2], [0.2, 1.0, 0.1], [0.1, 0.1, 1.0]])
    masked = sample_overlap_mask(overlap.expand(6000, 3, 3), temperature=0.2)
    expected = (torch.tensor([0.3, 0.2, 0.1]) / 0.2).softmax(0)
    assert (masked.float().mean(0) - expected).abs().max() < 0.03


def test_overlap_mask_is_decided_by_the_generator_and_compiles() -> None:
    overlap = torch.rand(3, 9, 9)
    draws = [
        sample_overlap_mask(overlap, 0.5, generator=torch.Generator().manual_seed(s))
        for s in (4, 4, 5)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    compiled = torch.compile(sample_overlap_mask, fullgraph=True, backend="eager")
    cold = compiled(overlap.bfloat16(), 0.5, temperature=0.0)
    assert cold.equal(sample_overlap_mask(overlap.bfloat16(), 0.5, temperature=0.0))
    assert ViewMasker(4)(torch.zeros(3, 9, 2, 4), cold).shape == (3, 9, 2, 4)


def test_overlap_mask_complains() -> None:
    with pytest.raises(ValueError, match="overlap must be of shape"):
        sample_overlap_mask(torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="views must be at least 1; got 0"):
        sample_overlap_mask(torch.zeros(1, 0, 0))
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\)"):
        sample_overlap_mask(torch.zeros(1, 2, 2), 1.0)
    with pytest.raises(ValueError, match="temperature must be at least 0; got -1"):
        sample_overlap_mask(torch.zeros(1, 2, 2), temperature=-1.0)


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


@given(st.integers(0, 3), st.integers(1, 5), st.integers(0, 3), st.integers(0, 99))
def test_masker_and_its_gradients_are_those_of_the_arithmetic(
    b: int, m: int, p: int, seed: int
) -> None:
    """Scenes with different numbers of hidden views, among them none and all."""
    generator = torch.Generator().manual_seed(seed)
    visual = torch.randn(b, m, p, 6, generator=generator, requires_grad=True)
    masked = torch.rand(b, m, generator=generator) < torch.rand(b, 1, generator=generator)
    weight = torch.randn(b, m, p, 6, generator=generator)
    masker = ViewMasker(6)
    keep = (~masked)[..., None, None].float()
    results = []
    for hidden in (masker(visual, masked), visual * keep + masker.mask_token * (1 - keep)):
        leaves = visual, masker.mask_token
        results.append((hidden, *torch.autograd.grad((hidden * weight).sum(), leaves)))
    torch.testing.assert_close(*results)


def test_masker_gradients() -> None:
    masker = ViewMasker(3).double()
    visual = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    masked = torch.tensor([[True, False, True], [False, False, True]])
    torch.autograd.gradcheck(lambda x, _: masker(x, masked), (visual, masker.mask_token))
    torch.autograd.gradgradcheck(
        lambda x, _: masker(x, masked).square(), (visual, masker.mask_token)
    )


@pytest.mark.parametrize("frozen", ["visual", "mask_token"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    masker, visual = ViewMasker(6), torch.randn(2, 5, 3, 6, requires_grad=True)
    leaves = {"visual": visual, "mask_token": masker.mask_token}
    leaves[frozen].requires_grad_(False)
    masker(visual, sample_view_mask(2, 5, 0.4)).sum().backward()
    assert {name for name, leaf in leaves.items() if leaf.grad is not None} == {*leaves} - {frozen}


def test_low_precision_gradients_of_the_token_are_summed_in_full() -> None:
    masker = ViewMasker(4)
    visual = torch.zeros(1, 3, 3000, 4, dtype=torch.bfloat16, requires_grad=True)
    masked = torch.tensor([[True, True, False]])
    masker(visual, masked).sum().backward()
    grad = masker.mask_token.grad
    assert grad is not None
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad, torch.full((4,), 6000.0), rtol=2**-8, atol=0)


def test_masker_keeps_nothing_but_the_mask() -> None:
    masker, visual = ViewMasker(64), torch.randn(1, 4, 9, 64, requires_grad=True)
    masked, saved = sample_view_mask(1, 4), list[torch.Tensor]()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        masker(visual, masked)
    assert [x.data_ptr() for x in saved] == [masked.data_ptr()]


# torch itself warns while it traces an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_masker_compiles() -> None:
    masker, masked = ViewMasker(4), sample_view_mask(2, 3)
    visual = torch.randn(2, 3, 2, 4, requires_grad=True)
    compiled = torch.compile(masker, fullgraph=True, backend="aot_eager")
    weight, results = torch.randn(2, 3, 2, 4), []
    for function in (masker, compiled):
        hidden = function(visual, masked)
        leaves = visual, masker.mask_token
        results.append((hidden, *torch.autograd.grad((hidden * weight).sum(), leaves)))
    torch.testing.assert_close(*results)


def test_mask_is_checked() -> None:
    with pytest.raises(ValueError, match="visual must be of shape"):
        ViewMasker(4)(torch.zeros(2, 3, 2, 5), torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"masked must be of shape \(b m\)"):
        ViewMasker(4)(torch.zeros(2, 3, 2, 4), torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="masked must be boolean, True = hidden"):
        check_mask(torch.zeros(2, 3), b=2, m=3)
