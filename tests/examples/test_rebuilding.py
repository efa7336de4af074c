from __future__ import annotations

import math

import pytest
import torch
from reference.build import TASKS
from reference.rebuilding import (
    hide_for,
    hide_last,
    mean_colours,
    nearest_views,
    picture_figures,
    psnr,
    rebuild,
)
from tiny import Tiny, hide, tiny_ross3d

from ross3d import PosedFrames


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_ross3d()


def line(*places: float, turned: dict[int, float] | None = None) -> PosedFrames:
    """Views along x, all looking along z or turned about y by an angle; view i is all of i / 10."""
    m = len(places)
    poses = torch.eye(4).repeat(1, m, 1, 1)
    poses[0, :, 0, 3] = torch.tensor(places)
    for view, angle in (turned or {}).items():
        cos, sin = math.cos(angle), math.sin(angle)
        poses[0, view, :3, :3] = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    images = (torch.arange(m) / 10).view(1, m, 1, 1, 1).expand(1, m, 3, 8, 8).contiguous()
    intrinsics = torch.eye(3).repeat(1, m, 1, 1)
    return PosedFrames(images, torch.ones(1, m, 8, 8), intrinsics, poses)


def test_hide_last(tiny: Tiny) -> None:
    masked = hide_last(tiny.batch(), 1)
    assert masked.tolist() == [[False, False, False, True]] * 2
    assert not hide_last(tiny.batch(), 0).any()


@pytest.mark.parametrize(("tasks", "hidden"), [("both", 2), ("vanilla", 0), ("none", 0)])
def test_views_are_hidden_from_models_that_know_it(tasks: str, hidden: int) -> None:
    tiny = tiny_ross3d(tasks=TASKS[tasks])
    batch = tiny.batch(1)
    assert hide_for(tiny.model, batch, 2).sum() == hidden
    figures = picture_figures(tiny.model, [batch], 2, steps=1)
    assert {name.partition("/")[0] for name in figures} == set(TASKS[tasks])
    if tasks == "vanilla":
        flat = batch.frames.images.mean(dim=(1, 3, 4))[:, None, :, None, None]
        truth = batch.frames.images
        mean = psnr(flat.expand_as(truth), truth, torch.ones_like(truth[:, :, 0])).mean()
        assert figures["vanilla/psnr_mean"] == pytest.approx(float(mean), abs=1e-3)


def test_pictures_repeat_and_do_not_read_text(tiny: Tiny) -> None:
    batch, masked = tiny.batch(), hide(2, 4, 3)
    first = rebuild(tiny.model, batch, masked, steps=2)
    second = rebuild(tiny.model, batch.without_text(), masked, steps=2)
    other = rebuild(tiny.model, batch, masked, steps=2, seed=1)
    assert set(first) == {"cross_view", "global_view"}
    for name, rebuilt in first.items():
        assert torch.equal(rebuilt.images, second[name].images)
        assert not torch.equal(rebuilt.images, other[name].images)
        assert 0 <= rebuilt.images.min() <= rebuilt.images.max() <= 1


def test_psnr_counts_where_the_weight_is() -> None:
    truth = torch.zeros(1, 2, 3, 4, 4)
    images, weight = truth.clone(), torch.zeros(1, 2, 4, 4)
    images[:, 0] = 0.1
    images[0, 0, :, 0, 0] = 1.0
    weight[0, 0] = 1
    weight[0, 0, 0, 0] = 0
    scores = psnr(images, truth, weight)
    assert scores.tolist() == [pytest.approx(20.0, abs=1e-4)]
    assert psnr(truth, truth, torch.ones_like(weight)).tolist() == pytest.approx([100.0, 100.0])


def test_psnr_weighs_pixels() -> None:
    truth, images = torch.zeros(1, 1, 3, 1, 2), torch.zeros(1, 1, 3, 1, 2)
    images[..., 0] = 0.2
    weight = torch.tensor([0.25, 0.75]).view(1, 1, 1, 2)
    assert float(psnr(images, truth, weight)) == pytest.approx(-10 * math.log10(0.25 * 0.04))


def test_the_nearest_view_is_visible_close_and_looks_alike() -> None:
    masked = hide(1, 4, 1, 3)
    near = nearest_views(line(0.0, 1.0, 3.0, 3.1), masked, 4)
    assert near.shape == (1, 2, 3, 4, 4)
    assert near[0, :, 0, 0, 0].tolist() == pytest.approx([0.0, 0.2])
    turned = nearest_views(line(0.0, 1.0, 1.5, turned={2: math.pi}), hide(1, 3, 1), 8)
    assert turned[0, 0, 0, 0, 0].item() == pytest.approx(0.0)


def test_the_mean_colour_is_that_of_the_visible_views() -> None:
    frames = line(0.0, 1.0, 3.0, 5.0)
    frames.images[0, 1, 0, :4] = 0.9  # half of the red pixels; they were 0.1
    colours = mean_colours(frames, hide(1, 4, 0, 3))
    assert colours.shape == (1, 3)
    assert colours[0].tolist() == pytest.approx([0.35, 0.15, 0.15])


def test_one_colour_is_scored_where_the_targets_count(tiny: Tiny) -> None:
    batch, masked = tiny.batch(1), hide(1, 4, 3)
    figures = picture_figures(tiny.model, [batch], 1, steps=1)
    seen = batch.frames.images[0, :3]
    colour = torch.stack([seen[:, channel].mean() for channel in range(3)])
    for name, task in tiny.model.reconstruction.tasks.items():
        targets = task(batch.frames, masked)
        counted = targets.weight[0, 0] > 0
        assert targets.weight[0, 0][counted].eq(1).all()
        wrong = targets.images[0, 0][:, counted] - colour[:, None]
        expected = -10 * math.log10(wrong.square().mean())
        assert figures[f"{name}/psnr_mean"] == pytest.approx(expected, abs=1e-3)


def test_figures_are_means_over_pictures(tiny: Tiny) -> None:
    batches = [tiny.collate([scene]) for scene in tiny.scenes()]
    figures = picture_figures(tiny.model, batches, 1, steps=2)
    assert set(figures) == {
        "cross_view/psnr",
        "cross_view/psnr_limit",
        "cross_view/psnr_mean",
        "cross_view/psnr_nearest",
        "global_view/psnr",
        "global_view/psnr_limit",
        "global_view/psnr_mean",
    }
    alone = [picture_figures(tiny.model, [batch], 1, steps=2) for batch in batches]
    expected = sum(one["cross_view/psnr_limit"] for one in alone) / 2
    assert figures["cross_view/psnr_limit"] == pytest.approx(expected, abs=1e-4)
    assert figures["cross_view/psnr_limit"] > figures["cross_view/psnr"]
