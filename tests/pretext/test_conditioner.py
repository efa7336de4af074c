from __future__ import annotations

import pytest
import torch
from strategies import make_frames

from ross3d import Conditioner, CrossViewTask, Targets, sample_view_mask

SIZE = (32, 32)
CONTEXTS = ("visible", "all", "own")


def make(context: str, *, coords: bool = True) -> Conditioner:
    return Conditioner(4, 12, 16, 4, context=context, target_coords=coords)


def targets_of(masked: torch.Tensor, seed: int = 0) -> Targets:
    frames = make_frames(*masked.shape, SIZE, seed=seed)
    return CrossViewTask(32, stride=16)(frames, masked)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("coords", [True, False])
def test_one_condition_per_target(context: str, coords: bool) -> None:
    masked = sample_view_mask(3, 5, 0.4)
    condition = make(context, coords=coords)(torch.randn(3, 5, 6, 12), masked, targets_of(masked))
    assert condition.shape == (6, 4, 16)


def test_visible_context_reads_visible_views_only() -> None:
    masked, hidden = sample_view_mask(2, 5, 0.4), torch.randn(2, 5, 6, 12)
    conditioner, targets = make("visible"), targets_of(masked)
    changed = torch.where(masked[..., None, None], torch.randn_like(hidden), hidden)
    before = conditioner(hidden, masked, targets)
    assert torch.equal(before, conditioner(changed, masked, targets))
    assert not torch.equal(before, make("all")(hidden, masked, targets))


def test_own_context_reads_the_targets_own_view() -> None:
    masked, hidden = sample_view_mask(2, 5, 0.4), torch.randn(2, 5, 6, 12, requires_grad=True)
    condition = make("own")(hidden, masked, targets_of(masked))
    condition[0].square().sum().backward()
    first = masked[0].nonzero()[0, 0]
    touched = hidden.grad.abs().sum(dim=(-2, -1)) > 0
    assert touched.sum() == 1
    assert touched[0, first]


def test_uneven_masks_equal_scenes_alone() -> None:
    masked = torch.tensor([[True, False, False, False], [True, True, False, True]])
    hidden, conditioner = torch.randn(2, 4, 6, 12), make("visible")
    targets = targets_of(masked)
    both = conditioner(hidden, masked, targets).unflatten(0, (2, 3))
    for i in range(2):
        alone = Targets(
            **{
                name: getattr(targets, name)[i : i + 1]
                for name in ("images", "weight", "coords", "known", "rays", "views")
            }
        )
        one = conditioner(hidden[i : i + 1], masked[i : i + 1], alone)
        torch.testing.assert_close(both[i], one, atol=1e-6, rtol=1e-5)


def test_without_coordinates_all_targets_share_one_condition() -> None:
    masked = sample_view_mask(1, 5, 0.4)
    condition = make("all", coords=False)(torch.randn(1, 5, 6, 12), masked, targets_of(masked))
    assert torch.equal(condition[0], condition[1])


def test_with_coordinates_targets_differ() -> None:
    masked = sample_view_mask(1, 5, 0.4)
    condition = make("all")(torch.randn(1, 5, 6, 12), masked, targets_of(masked))
    assert (condition[0] - condition[1]).abs().max() > 1e-3


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("coords", [True, False])
def test_no_target_still_reaches_every_parameter(context: str, coords: bool) -> None:
    masked, conditioner = torch.zeros(2, 3, dtype=torch.bool), make(context, coords=coords)
    empty = Targets(torch.zeros(2, 0, 3, 32, 32), torch.zeros(2, 0, 32, 32))
    condition = conditioner(torch.randn(2, 3, 6, 12), masked, empty)
    assert condition.shape == (0, 4, 16)
    condition.sum().backward()
    assert all((p.grad == 0).all() for p in conditioner.parameters())


def test_inputs_are_checked() -> None:
    masked, hidden = sample_view_mask(1, 4), torch.zeros(1, 4, 6, 12)
    targets = targets_of(masked)
    with pytest.raises(ValueError, match="context must be 'visible', 'all' or 'own'; got 'some'"):
        make("some")
    with pytest.raises(ValueError, match="masked must leave a view of every scene visible"):
        make("visible")(hidden, torch.ones(1, 4, dtype=torch.bool), targets)
    with pytest.raises(ValueError, match="targets must carry coords"):
        make("all")(hidden, masked, Targets(targets.images, targets.weight))
    with pytest.raises(ValueError, match="hidden must be of shape"):
        make("all")(hidden[0], masked, targets)


@pytest.mark.parametrize("context", CONTEXTS)
def test_places_of_the_tokens_go_along_with_them(context: str) -> None:
    masked, hidden = sample_view_mask(2, 5, 0.4), torch.randn(2, 5, 6, 12)
    conditioner, targets = make(context), targets_of(masked)
    coords, known = torch.randn(2, 5, 6, 3), torch.rand(2, 5, 6) > 0.3
    both = conditioner(hidden, masked, targets, (coords, known))
    order = torch.randperm(6)
    shuffled = conditioner(
        hidden[:, :, order], masked, targets, (coords[:, :, order], known[:, :, order])
    )
    torch.testing.assert_close(both, shuffled, atol=1e-5, rtol=1e-4)
    mixed = conditioner(hidden, masked, targets, (coords.roll(1, 2), known))
    assert (both - mixed).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"places\[0\] must be of shape"):
        conditioner(hidden, masked, targets, (coords[:, :, :4], known))
