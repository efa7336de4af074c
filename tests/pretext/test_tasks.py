from __future__ import annotations

import pytest
import torch
from strategies import make_frames, one_scene

from ross3d import (
    BEV,
    BEVRenderer,
    CrossViewTask,
    DepthTask,
    GlobalViewTask,
    PosedFrames,
    VanillaTask,
    patch_coords,
    sample_view_mask,
)
from ross3d.pretext.tasks import latent_grid

SIZE = (32, 32)
TASKS = [
    VanillaTask(32, stride=16),
    CrossViewTask(32, stride=16),
    GlobalViewTask(BEVRenderer(32), 32, stride=16),
    DepthTask(32, stride=16),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
@pytest.mark.parametrize("b", [1, 3])
def test_shapes(task: CrossViewTask, b: int) -> None:
    frames, masked = make_frames(b, 5, SIZE), sample_view_mask(b, 5, 0.4)
    targets = task(frames, masked)
    k = {"VanillaTask": 5, "GlobalViewTask": 1}.get(type(task).__name__, 2)
    assert targets.images.shape == (b, k, 3, 32, 32)
    assert targets.weight.shape == (b, k, 32, 32)
    assert targets.coords is not None
    assert targets.coords.shape == (b, k, 4, 3)
    assert targets.images.min() >= 0
    assert targets.images.max() <= 1


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_batch_of_two_equals_two_batches_of_one(task: CrossViewTask) -> None:
    frames, masked = make_frames(2, 4, SIZE), sample_view_mask(2, 4, 0.5)
    both = task(frames, masked)
    for i in range(2):
        one = task(one_scene(frames, i), masked[i : i + 1])
        assert torch.equal(both.images[i : i + 1], one.images)
        assert torch.equal(both.weight[i : i + 1], one.weight)
        torch.testing.assert_close(both.coords[i : i + 1], one.coords)


def test_cross_view_targets_are_the_hidden_views() -> None:
    frames = make_frames(2, 4, SIZE, unknown=0.5)
    masked = torch.tensor([[False, True, False, True], [True, False, False, False]])
    targets = CrossViewTask(32, stride=16)(frames, masked)
    assert torch.equal(targets.images[0], frames.images[0, [1, 3]])
    assert torch.equal(targets.images[1, 0], frames.images[1, 0])
    assert targets.weight.mean(dim=(-2, -1)).tolist() == [[1, 1], [1, 0]]
    assert targets.views[0].tolist() == [1, 3]
    coords, known = patch_coords(frames.world_coords(), frames.valid, (2, 2))
    torch.testing.assert_close(targets.coords[0], coords[0, [1, 3]], atol=1e-5, rtol=0)
    assert torch.equal(targets.known[0], known[0, [1, 3]])


def test_rays_pass_through_the_cells() -> None:
    frames = make_frames(1, 3, SIZE, unknown=0.0)
    frames = PosedFrames(
        frames.images, torch.full_like(frames.depths, 2.0), frames.intrinsics, frames.poses
    )
    targets = VanillaTask(32, stride=16)(frames, torch.zeros(1, 3, dtype=torch.bool))
    centre, direction = targets.rays[..., :3], targets.rays[..., 3:]
    torch.testing.assert_close(centre, frames.poses[:, :, None, :3, 3].expand_as(centre))
    towards = torch.nn.functional.normalize(targets.coords - centre, dim=-1)
    torch.testing.assert_close(towards, direction, atol=1e-4, rtol=0)


def test_no_hidden_view_is_no_target() -> None:
    frames, masked = make_frames(2, 4, SIZE), torch.zeros(2, 4, dtype=torch.bool)
    for task in (CrossViewTask(32, stride=16), DepthTask(32, stride=16)):
        assert task(frames, masked).images.shape == (2, 0, 3, 32, 32)


def test_resizing_averages() -> None:
    frames = make_frames(1, 2, (64, 64))
    targets = VanillaTask(32, stride=16)(frames, torch.zeros(1, 2, dtype=torch.bool))
    assert abs(targets.images.mean() - frames.images.mean()) < 5e-3
    assert targets.images.std() < 0.7 * frames.images.std()


def test_depth_targets_say_depth_but_not_where() -> None:
    frames = make_frames(2, 4, SIZE, unknown=0.3)
    masked = sample_view_mask(2, 4)
    targets = DepthTask(32, stride=16, max_depth=4.0)(frames, masked)
    known = frames.depths[masked] > 0
    assert torch.equal(targets.weight[:, 0] > 0, known)
    torch.testing.assert_close(
        targets.images[:, 0, 0][known], frames.depths[masked][known] / 4, atol=1e-4, rtol=0
    )
    assert not targets.known.any()
    assert (targets.coords == 0).all()


def test_depth_of_shrunk_views_ignores_unknown_pixels() -> None:
    frames = make_frames(1, 2, (64, 64), unknown=0.4)
    constant = torch.where(frames.valid, 2.0, 0.0)
    frames = PosedFrames(frames.images, constant, frames.intrinsics, frames.poses)
    targets = DepthTask(32, stride=16)(frames, torch.tensor([[True, False]]))
    grey = targets.images[:, :, 0][targets.weight > 0]
    torch.testing.assert_close(grey, torch.full_like(grey, 0.2), atol=1e-4, rtol=0)


def test_global_view_is_the_renderers_picture() -> None:
    frames, renderer = make_frames(2, 4, SIZE, unknown=0.0), BEVRenderer(32)
    bev = renderer(frames)
    targets = GlobalViewTask(renderer, 32, stride=16)(frames, sample_view_mask(2, 4))
    seen = bev.observed[:, None].expand_as(bev.image)
    assert torch.equal(targets.images[:, 0][seen], bev.image[seen])
    assert torch.equal(targets.weight[:, 0] > 0, bev.observed)
    for scene in range(2):
        for channel in range(3):
            known = bev.observed[scene]
            unseen = targets.images[scene, 0, channel][~known]
            assert len(unseen)
            mean = bev.image[scene, channel][known].mean()
            torch.testing.assert_close(unseen, mean.expand_as(unseen))
    low, high = bev.extent[:, None, :2], bev.extent[:, None, 2:]
    inside = targets.coords[:, 0, :, :2]
    assert ((inside > low) & (inside < high)).all()


def test_sizes_are_checked() -> None:
    with pytest.raises(
        ValueError, match="size must be a positive multiple of stride = 16; got 216"
    ):
        CrossViewTask(216)
    with pytest.raises(ValueError, match="size must be a positive multiple of stride = 0; got 16"):
        latent_grid(16, 0)
    with pytest.raises(ValueError, match="max_depth must be positive; got 0"):
        DepthTask(max_depth=0)
    frames, masked = make_frames(1, 2, SIZE), torch.zeros(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"renderer must return 32 x 32 pixels; got \(48, 48\)"):
        GlobalViewTask(BEVRenderer(48), 32)(frames, masked)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_masks_are_checked(task: CrossViewTask) -> None:
    with pytest.raises(ValueError, match="masked must be of shape"):
        task(make_frames(1, 2, SIZE), torch.zeros(1, 3, dtype=torch.bool))


def test_a_renderer_is_any_callable() -> None:
    def white(frames: PosedFrames) -> BEV:
        b = frames.images.shape[0]
        plane = torch.zeros(b, 32, 32)
        extent = torch.tensor([[-1.0, -1, 1, 1]] * b)
        return BEV(torch.ones(b, 3, 32, 32), plane == 0, plane, extent)

    targets = GlobalViewTask(white, 32, stride=16)(
        make_frames(2, 2, SIZE), torch.zeros(2, 2, dtype=torch.bool)
    )
    assert (targets.images == 1).all()
    assert (targets.weight == 1).all()
