from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from PIL import Image
from reference.coverage import coverage_curve, coverage_picture, frames_for, seen_cells
from reference.data.rooms import room_scene

from ross3d import BEVRenderer, PosedFrames


def above(x: float, height: float = 2.0) -> PosedFrames:
    """A camera that looks straight down at the floor; its picture is 1 m wide."""
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    pose[:3, 3] = torch.tensor([x, 0.0, height])
    k = torch.tensor([[40.0, 0, 9.5], [0, 40.0, 9.5], [0, 0, 1]])
    depths = torch.full((1, 1, 20, 20), 2.0)
    return PosedFrames(torch.rand(1, 1, 3, 20, 20), depths, k[None, None], pose[None, None])


def joined(*frames: PosedFrames) -> PosedFrames:
    fields = ("images", "depths", "intrinsics", "poses")
    return PosedFrames(*(torch.cat([getattr(x, f) for x in frames], 1) for f in fields))


def test_frames_see_what_is_below_them() -> None:
    frames = joined(above(0.0), above(0.0), above(1.0))
    bev = BEVRenderer(40)(frames)
    seen = seen_cells(frames, bev)
    assert seen.shape == (3, 40, 40)
    assert torch.equal(seen[0], seen[1])
    assert not (seen[0] & seen[2]).any()
    columns = seen.any(1).float() * torch.arange(40)
    assert columns[0].max() < 20 <= columns[2][columns[2] > 0].min()
    assert not (seen & ~bev.observed).any()


def test_ceilings_do_not_count() -> None:
    frames = joined(above(0.0), above(1.0), above(1.0, height=5.0))
    bev = BEVRenderer(40)(frames)
    seen = seen_cells(frames, bev)
    assert seen[1].any()
    assert not seen[2].any()


def test_unknown_depth_sees_nothing() -> None:
    frames = above(0.0)
    blind = PosedFrames(frames.images, 0 * frames.depths, frames.intrinsics, frames.poses)
    both = joined(frames, blind)
    assert seen_cells(both, BEVRenderer(16)(both)).flatten(1).any(1).tolist() == [True, False]


def test_all_frames_together_see_nearly_the_whole_picture() -> None:
    frames = room_scene(2, views=4, size=64).frames
    bev = BEVRenderer(48)(frames)
    seen = seen_cells(frames, bev).any(0)
    assert (seen & bev.observed[0]).sum() > 0.7 * bev.observed.sum()


@pytest.mark.parametrize("total", [1, 2, 5, 17])
def test_a_curve_ends_with_all_frames(total: int) -> None:
    seen = torch.rand(total, 6, 6) > 0.7
    curve = coverage_curve(seen)
    counts, shares = zip(*curve, strict=True)
    assert list(counts) == sorted(set(counts))
    assert (counts[0], curve[-1]) == (1, (total, 1.0))
    assert all(0 <= share <= 1 for share in shares)


def test_nested_samples_only_grow() -> None:
    seen = torch.eye(17).bool().view(17, 17, 1).expand(-1, -1, 17)
    curve = coverage_curve(seen)
    assert [round(17 * share) for _, share in curve] == [count for count, _ in curve]
    assert all(a < b for (_, a), (_, b) in itertools.pairwise(curve))


def test_the_fewest_frames() -> None:
    assert frames_for([(1, 0.2), (2, 0.95), (4, 1.0)]) == 2
    assert frames_for([(1, 0.2), (2, 0.95), (4, 1.0)], 1.0) == 4
    assert frames_for(coverage_curve(torch.zeros(3, 2, 2).bool())) == 1


@pytest.mark.parametrize("total", [1, 3, 40])
def test_a_picture_is_written(total: int, tmp_path: Path) -> None:
    coverage_picture(coverage_curve(torch.rand(total, 6, 6) > 0.7), tmp_path / "coverage.png")
    with Image.open(tmp_path / "coverage.png") as picture:
        assert picture.convert("L").getextrema()[0] < 128
    assert [path.name for path in tmp_path.iterdir()] == ["coverage.png"]
