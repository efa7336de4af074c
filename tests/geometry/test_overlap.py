from __future__ import annotations

import pytest
import torch
from hypothesis import given
from strategies import make_frames, posed_frames
from torch import Tensor

from benchmarks.baselines_sampling import overlap_by_pairs
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.overlap import view_overlap


def overlap_of(frames: PosedFrames, **options: float) -> Tensor:
    cameras = frames.depths, frames.intrinsics, frames.poses
    return view_overlap(*cameras, **options)  # type: ignore[arg-type]


def facing_a_wall(*steps: float, size: tuple[int, int] = (8, 16)) -> PosedFrames:
    """Cameras side by side, ``steps`` pixels apart, that look at a wall 2 m away."""
    h, w = size
    m = len(steps)
    poses = torch.eye(4).repeat(1, m, 1, 1)
    poses[0, :, 0, 3] = torch.tensor(steps) * 2.0 / w
    intrinsics = torch.tensor([[w, 0, (w - 1) / 2], [0, w, (h - 1) / 2], [0, 0, 1.0]])
    images, depths = torch.rand(1, m, 3, h, w), torch.full((1, m, h, w), 2.0)
    return PosedFrames(images, depths, intrinsics.repeat(1, m, 1, 1), poses)


@given(posed_frames(unknown=0.3))
def test_equals_the_slow_way(frames: PosedFrames) -> None:
    overlap = overlap_of(frames, stride=1, tolerance=0.3)
    cameras = zip(frames.depths, frames.intrinsics, frames.poses, strict=True)
    expected = torch.stack([overlap_by_pairs(*scene, tolerance=0.3) for scene in cameras])
    # A point on the border of two pixels may fall into the other one.
    one_pixel = 2.5 / frames.valid.sum((-1, -2)).clamp(min=1)
    assert ((overlap - expected).abs() <= one_pixel[..., None]).all()


@given(posed_frames(unknown=0.9))
def test_is_a_share_and_whole_on_the_diagonal(frames: PosedFrames) -> None:
    overlap = overlap_of(frames, stride=1)
    b, m = len(frames), frames.views
    assert overlap.shape == (b, m, m)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    some = frames.valid.any(-1).any(-1)
    torch.testing.assert_close(overlap.diagonal(dim1=1, dim2=2), some.float())
    assert (overlap[~some] == 0).all()
    assert (overlap.mT[~some] == 0).all()


def test_is_what_is_left_in_the_picture() -> None:
    overlap = overlap_of(facing_a_wall(0, 4, 8, 16), stride=1)[0]
    shares = [1.0, 0.75, 0.5, 0.0]
    torch.testing.assert_close(overlap[0], torch.tensor(shares))
    torch.testing.assert_close(overlap[:, 0], torch.tensor(shares))


def test_what_is_occluded_is_not_seen() -> None:
    frames = facing_a_wall(0, 0)
    frames.depths[0, 1, :, :8] = 1.0  # something stands in front of the left half
    assert overlap_of(frames, stride=1)[0].tolist() == [[1.0, 0.5], [0.5, 1.0]]
    assert overlap_of(frames, stride=1, tolerance=1.0)[0].min() == 1.0


def test_what_is_behind_is_not_seen() -> None:
    frames = facing_a_wall(0, 0)
    frames.poses[0, 1, 0, 0] = frames.poses[0, 1, 2, 2] = -1.0  # turned around
    torch.testing.assert_close(overlap_of(frames)[0], torch.eye(2))


def test_many_views_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames(2, 5)
    expected = overlap_of(frames)
    monkeypatch.setattr("ross3d.geometry.overlap._views_at_once", lambda asked: 2)
    assert overlap_of(frames).equal(expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (48, 64)])
def test_a_stride_asks_fewer_pixels(size: tuple[int, int]) -> None:
    frames = facing_a_wall(0, size[1] / 4, size=size)
    every, some = (overlap_of(frames, stride=stride) for stride in (1, 4))
    assert (every - some).abs().max() <= 1 / max(1, size[1] // 4)


def test_moves_with_the_world_and_works_in_any_precision() -> None:
    frames = facing_a_wall(0, 3, 8)
    cameras = frames.depths, frames.intrinsics, frames.poses
    moved = make_frames(1, 1).poses[:, 0, None] @ frames.poses
    expected = overlap_of(frames, stride=1)
    torch.testing.assert_close(
        view_overlap(frames.depths, frames.intrinsics, moved, stride=1), expected, atol=0.1, rtol=0
    )
    double = view_overlap(*(x.double() for x in cameras), stride=1)
    torch.testing.assert_close(double, expected.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert overlap_of(frames, stride=1).equal(expected)
    assert view_overlap(*(x[:, :0] for x in cameras)).shape == (1, 0, 0)


def test_compiles() -> None:
    frames = make_frames(1, 2)
    cameras = frames.depths, frames.intrinsics, frames.poses
    compiled = torch.compile(view_overlap, fullgraph=True, backend="eager")
    assert compiled(*cameras).equal(view_overlap(*cameras))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tolerance": -0.1}, "tolerance must be at least 0; got -0.1"),
        ({"stride": 0}, "stride must be at least 1; got 0"),
    ],
)
def test_complains_about_numbers(options: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        overlap_of(make_frames(1, 2), **options)


@pytest.mark.parametrize("name", ["depths", "intrinsics", "poses"])
def test_complains_about_shapes(name: str) -> None:
    frames = make_frames(1, 2)
    cameras = {x: getattr(frames, x) for x in ("depths", "intrinsics", "poses")}
    cameras[name] = cameras[name][0]
    with pytest.raises(ValueError, match=f"{name} must be of shape"):
        view_overlap(**cameras)
