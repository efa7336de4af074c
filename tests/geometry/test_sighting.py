from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_frames, posed_frames, seeds
from torch import Tensor

from ross3d.geometry import sighting
from ross3d.geometry.camera import project
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.sighting import Views, look, settle, vote

TOLERANCE, FAR = 0.2, 50.0


def views_of(frames: PosedFrames) -> Views:
    fields = frames.images, frames.depths, frames.intrinsics, frames.poses
    return Views(*(x[0] for x in fields))


def near_surfaces(frames: PosedFrames, seed: int, n: int = 12) -> Tensor:
    """(3, n) points near what the frames show."""
    generator = torch.Generator().manual_seed(seed)
    world = frames.world_coords()[0].flatten(0, 2)
    index = torch.randint(len(world), (n,), generator=generator)
    return (world[index] + 0.1 * torch.randn(n, 3, generator=generator)).T


def visits(frames: PosedFrames, points: Tensor) -> list[list[tuple[int, int, int, float]]]:
    """For each point the view, row, column and distance of all that see it, one by one."""
    pixels, depths = project(
        points.T.expand(1, frames.views, -1, -1), frames.intrinsics[:1], frames.poses[:1]
    )
    found: list[list[tuple[int, int, int, float]]] = []
    h, w = frames.size
    for n in range(points.shape[1]):
        found.append([])
        for m in range(frames.views):
            column, row = (pixels[0, m, n] + 0.5).floor().long().tolist()
            if depths[0, m, n] > 0.05 and 0 <= row < h and 0 <= column < w:
                there = frames.depths[0, m, row, column].item()
                ahead = there - depths[0, m, n].item()
                if there > 0 and ahead >= -TOLERANCE:
                    found[-1].append((m, row, column, ahead))
    return found


@given(posed_frames(), seeds)
def test_look_averages_what_agrees(frames: PosedFrames, seed: int) -> None:
    points = near_surfaces(frames, seed)
    seen = look(views_of(frames), points, TOLERANCE, FAR)
    settled = settle(views_of(frames), points, TOLERANCE, FAR)
    world, distances, wrong = frames.world_coords()[0], [], 0
    for n, found in enumerate(visits(frames, points)):
        agreeing = [x for x in found if x[3] <= TOLERANCE]
        distances += [abs(x[3]) for x in agreeing]
        colours = [frames.images[0, m, :, row, column] for m, row, column, _ in agreeing]
        heights = [world[m, row, column, 2] for m, row, column, _ in agreeing]
        gaps = [min(x[3] / TOLERANCE, 1.0) for x in found]
        if seen.agreeing[n] != len(agreeing):  # on the border of a pixel
            wrong += 1
            continue
        colour = torch.stack(colours).mean(0) if colours else torch.zeros(3)
        height = torch.stack(heights).mean() if heights else points[2, n]
        wrong += not torch.allclose(seen.colour[:, n], colour, atol=0.51 / 255)
        wrong += not torch.allclose(settled[2, n], height, atol=1e-3)
        wrong += abs(seen.gap[n].item() - (sum(gaps) / len(gaps) if gaps else 1.0)) > 1e-3
    assert wrong <= 1
    assert settled[:2].equal(points[:2])
    if distances and not wrong:
        expected = torch.tensor(distances).mean()
        torch.testing.assert_close(seen.noise.float(), expected, atol=1e-3, rtol=1e-3)


@given(posed_frames(), seeds, st.integers(1, 4))
def test_votes_are_counted(frames: PosedFrames, seed: int, kinds: int) -> None:
    points = near_surfaces(frames, seed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, kinds, frames.depths[0].shape, generator=generator)
    chosen = vote(views_of(frames), labels, points, TOLERANCE, FAR)
    wrong = 0
    for n, found in enumerate(visits(frames, points)):
        cast = [int(labels[m, row, column]) for m, row, column, far in found if far <= TOLERANCE]
        expected = min(set(cast), key=lambda x: (-cast.count(x), x)) if cast else -1
        wrong += chosen[n].item() != expected
    assert wrong <= 1


def test_nothing_is_seen_without_depth() -> None:
    points = torch.rand(3, 4)
    views = Views(torch.rand(2, 3, 5, 5), torch.zeros(2, 5, 5), torch.eye(3).expand(2, 3, 3),
                  torch.eye(4).expand(2, 4, 4))  # fmt: skip
    seen = look(views, points, TOLERANCE, FAR)
    assert seen.agreeing.sum() == 0
    assert (seen.gap == 1).all()
    assert (seen.colour == 0).all()
    assert seen.noise == 0
    assert settle(views, points, TOLERANCE, FAR).equal(points)
    assert (vote(views, torch.ones(2, 5, 5).long(), points, TOLERANCE, FAR) == -1).all()


def all_seen(views: Views, labels: Tensor, points: Tensor) -> list[Tensor]:
    how = points, TOLERANCE, FAR
    return [settle(views, *how), *look(views, *how), vote(views, labels, *how)]


@given(posed_frames(), seeds)
def test_views_are_seen_together_as_one_by_one(frames: PosedFrames, seed: int) -> None:
    views, points = views_of(frames), near_surfaces(frames, seed)
    labels = torch.arange(views.depths.numel()).view(views.depths.shape) % 3
    together = all_seen(views, labels, points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sighting, "_CHUNK", 2 * points.shape[1])
        in_pairs = all_seen(views, labels, points)
        patch.setattr(sighting, "_CHUNK", 1)
        patch.setattr(sighting, "_WIDE", 0)
        one_by_one = all_seen(views, labels, points)
    assert all(
        x.equal(y) and x.equal(z) for x, y, z in zip(together, in_pairs, one_by_one, strict=True)
    )


@given(posed_frames(), seeds)
def test_views_are_read_where_they_lie(frames: PosedFrames, seed: int) -> None:
    views, points = views_of(frames), near_surfaces(frames, seed)
    labels = torch.arange(views.depths.numel()).view(views.depths.shape) % 3
    lying = Views(
        views.images.movedim(1, -1).contiguous().movedim(-1, 1),
        torch.stack([views.depths, views.depths], -1)[..., 1].mT.contiguous().mT,
        views.intrinsics,
        views.poses,
    )
    expected = all_seen(views, labels, points)
    found = all_seen(lying, labels.mT.contiguous().mT, points)
    assert all(x.equal(y) for x, y in zip(expected, found, strict=True))
    repeated = Views(*(x[:1].expand(3, *x.shape[1:]) for x in views))
    copied = Views(*(x.clone() for x in repeated))
    same = [all_seen(x, labels[:1].expand(3, -1, -1), points) for x in (repeated, copied)]
    assert all(x.equal(y) for x, y in zip(*same, strict=True))


def test_no_points_are_nowhere() -> None:
    frames = make_frames(1, 2, (4, 4))
    settled, colour, *_ = all_seen(views_of(frames), torch.zeros(2, 4, 4).long(), torch.ones(3, 0))
    assert settled.shape == colour.shape == (3, 0)
