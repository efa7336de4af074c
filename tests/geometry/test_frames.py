from __future__ import annotations

import pytest
import torch
from hypothesis import given
from strategies import make_frames, posed_frames, rigid
from torch import Tensor

from ross3d.geometry.camera import project
from ross3d.geometry.frames import PosedFrames

FIELDS = ("images", "depths", "intrinsics", "poses")


def changed(name: str, index: object, value: float) -> dict[str, Tensor]:
    frames = make_frames()
    fields = {field: getattr(frames, field).clone() for field in FIELDS}
    fields[name][index] = value  # type: ignore[index]
    return fields


@given(posed_frames())
def test_sizes_and_validity(frames: PosedFrames) -> None:
    b, m, _, h, w = frames.images.shape
    assert (len(frames), frames.views, frames.size) == (b, m, (h, w))
    assert frames.valid.equal(frames.depths > 0)
    assert frames.world_coords().shape == (b, m, h, w, 3)


@pytest.mark.parametrize(
    ("name", "index", "value", "match"),
    [
        ("images", (0, 0, 0, 0, 0), torch.nan, "images must be finite"),
        ("depths", (0, 0, 0, 0), torch.nan, "depths must be finite and not negative"),
        ("depths", (0, 0, 0, 0), torch.inf, "depths must be finite and not negative"),
        ("depths", (0, 0, 0, 0), -1.0, "depths must be finite and not negative"),
        ("intrinsics", (0, 0, 0, 2), torch.nan, "intrinsics must be finite"),
        ("intrinsics", (0, 0, 0, 0), 0.0, "intrinsics must have fx, fy > 0"),
        ("intrinsics", (1, 2, 1, 1), -5.0, "intrinsics must have fx, fy > 0"),
        ("intrinsics", (0, 0, 2, 2), 2.0, "intrinsics must be upper triangular"),
        ("intrinsics", (0, 0, 1, 0), 1.0, "intrinsics must be upper triangular"),
        ("poses", (0, 0, 0, 3), -torch.inf, "poses must be finite"),
        ("poses", (0, 0, 3, 0), 1.0, "poses must have last row 0 0 0 1"),
        ("poses", (0, 0, 0, 0), 3.0, "poses must be rigid"),
    ],
)
def test_complains_about_values(name: str, index: object, value: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PosedFrames(**changed(name, index, value))


def test_complains_about_a_mirror() -> None:
    fields = changed("images", ..., 0.5)
    fields["poses"][0, 0, :3, 0] *= -1
    with pytest.raises(ValueError, match="poses must be rigid"):
        PosedFrames(**fields)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("images", lambda x: x[:, :, :1], "images must be of shape"),
        ("depths", lambda x: x[..., 1:], "depths must be of shape"),
        ("intrinsics", lambda x: x[:1], "intrinsics must be of shape"),
        ("poses", lambda x: x[..., :3, :], "poses must be of shape"),
        ("depths", lambda x: x.long(), "depths must be floating point; got torch.int64"),
        ("images", lambda x: (x * 255).byte(), "images must be floating point; got torch.uint8"),
        ("poses", lambda x: x.to("meta"), "poses must be on cpu as images; got meta"),
    ],
)
def test_complains_about_tensors(name: str, change: object, match: str) -> None:
    fields = changed("images", ..., 0.5)
    fields[name] = change(fields[name])  # type: ignore[operator]
    with pytest.raises(ValueError, match=match):
        PosedFrames(**fields)


def test_complains_about_no_views() -> None:
    fields = {name: values[:, :0] for name, values in changed("images", ..., 0.5).items()}
    with pytest.raises(ValueError, match="at least one view"):
        PosedFrames(**fields)


def test_frames_without_values_and_in_a_graph_are_not_checked_for_values() -> None:
    meta = make_frames().to("meta")
    assert PosedFrames(meta.images, meta.depths, meta.intrinsics, meta.poses).images.is_meta

    def world(images: Tensor, depths: Tensor, intrinsics: Tensor, poses: Tensor) -> Tensor:
        return PosedFrames(images, depths, intrinsics, poses).world_coords()

    frames = make_frames()
    compiled = torch.compile(world, fullgraph=True, backend="eager")
    result = compiled(frames.images, frames.depths, frames.intrinsics, frames.poses)
    torch.testing.assert_close(result, frames.world_coords())


def test_select_takes_the_same_or_own_views() -> None:
    frames = make_frames(2, 4)
    same = frames.select(torch.tensor([3, 1]))
    own = frames.select(torch.tensor([[3, 1], [0, 0]]))
    for name in FIELDS:
        before = getattr(frames, name)
        assert getattr(same, name).equal(before[:, [3, 1]])
        assert getattr(own, name)[0].equal(before[0, [3, 1]])
        assert getattr(own, name)[1].equal(before[1, [0, 0]])


@pytest.mark.parametrize(
    ("index", "match"),
    [
        (torch.tensor([True, False, True]), r"index must be a long tensor .* got torch.bool"),
        (torch.zeros(1, 1, 1, dtype=torch.long), r"index must .* got torch.int64 \(1, 1, 1\)"),
        (torch.zeros(3, 1, dtype=torch.long), "index must be of shape"),
    ],
)
def test_select_complains(index: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make_frames(2, 3).select(index)


@pytest.mark.parametrize("size", [(6, 8), (24, 32), (9, 7)])
def test_resize_keeps_what_is_seen_where(size: tuple[int, int]) -> None:
    h, w = 12, 16
    frames = make_frames(1, 2, (h, w), unknown=0.0)
    resized = frames.resize(size)
    assert (resized.size, resized.depths.shape[-2:]) == (size, size)
    point = torch.randn(1, 2, 5, 3) * 3
    before, depth = project(point, frames.intrinsics, frames.poses)
    after, _ = project(point, resized.intrinsics, frames.poses)
    scale = torch.tensor([size[1] / w, size[0] / h])
    front = depth > 0.5
    expected = (before + 0.5) * scale - 0.5
    torch.testing.assert_close(after[front], expected[front], atol=1e-3, rtol=1e-3)
    assert torch.isin(resized.depths, frames.depths).all()


def test_resize_by_half_averages_images_and_keeps_planes_flat() -> None:
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 3, 12, 16)
    poses = torch.eye(4)[None, None]
    intrinsics = torch.tensor([[16.0, 0, 7.5], [0, 16, 5.5], [0, 0, 1]])[None, None]
    frames = PosedFrames(ramp, torch.full((1, 1, 12, 16), 2.0), intrinsics, poses)
    half = frames.resize((6, 8))
    inner = (ramp[..., ::2, ::2] + ramp[..., ::2, 1::2])[..., 1:-1] / 2
    torch.testing.assert_close(half.images[..., 1:-1], inner)
    expected = (
        frames.world_coords()[..., ::2, ::2, :] + frames.world_coords()[..., 1::2, 1::2, :]
    ) / 2
    torch.testing.assert_close(half.world_coords(), expected)


def test_resize_takes_the_middle_depth_and_all_of_the_image() -> None:
    frames = make_frames(1, 2, (12, 16)).crop(0, 0, 12, 15)
    assert frames.resize((4, 5)).depths.equal(frames.depths[..., 1::3, 1::3])
    images = torch.zeros(1, 2, 3, 12, 15)
    images[..., ::3] = 1.0
    stripes = PosedFrames(images, frames.depths, frames.intrinsics, frames.poses)
    grey = stripes.resize((4, 5)).images[..., 1:-1]
    torch.testing.assert_close(grey, torch.full_like(grey, 1 / 3))


@given(posed_frames())
def test_crop_is_a_window_of_the_world(frames: PosedFrames) -> None:
    h, w = frames.size
    part = frames.crop(1, 2, h - 2, w - 3)
    assert part.size == (h - 2, w - 3)
    assert part.images.equal(frames.images[..., 1 : h - 1, 2 : w - 1])
    expected = frames.world_coords()[:, :, 1 : h - 1, 2 : w - 1]
    torch.testing.assert_close(part.world_coords(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [(-1, 0, 4, 4), (0, 0, 0, 4), (0, 13, 4, 4), (9, 0, 4, 4)])
def test_crop_complains(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="crop must be a window inside 12 x 16"):
        make_frames().crop(*window)


@pytest.mark.parametrize("size", [(12, 16), (17, 10), (8, 8)])
def test_square_is_the_centre(size: tuple[int, int]) -> None:
    square = make_frames(1, 2, size, unknown=0.0).square(8)
    assert square.size == (8, 8)
    ideal = make_frames(1, 2, size, unknown=0.0)
    centre = torch.tensor([size[1] - 1, size[0] - 1]) / 2
    ray = project_centre(ideal, centre)
    moved, _ = project(ray, square.intrinsics, square.poses)
    torch.testing.assert_close(moved, torch.full_like(moved, 3.5), atol=0.51, rtol=0)


@given(posed_frames())
def test_centre_crop_is_the_middle(frames: PosedFrames) -> None:
    h, w = frames.size
    middle = frames.centre_crop(h - 2, w - 3)
    assert middle.images.equal(frames.images[..., 1 : h - 1, 1 : w - 2])
    expected = frames.world_coords()[:, :, 1 : h - 1, 1 : w - 2]
    torch.testing.assert_close(middle.world_coords(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(13, 8), (0, 8)])
def test_centre_crop_complains(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="crop must be a window inside 12 x 16"):
        make_frames().centre_crop(*size)


@given(posed_frames(unknown=0.5))
def test_pad_adds_unknown_depth_and_a_crop_takes_it_off(frames: PosedFrames) -> None:
    (h, w), window = frames.size, (..., slice(1, -3), slice(2, -4))
    padded = frames.pad(top=1, left=2, bottom=3, right=4, value=0.5)
    assert padded.size == (h + 4, w + 6)
    assert padded.depths[window].equal(frames.depths)
    assert padded.valid.sum() == frames.valid.sum()
    assert (padded.images[..., 0, :] == 0.5).all()
    assert padded.images[..., -1].unique().tolist() == [0.5]
    world = padded.world_coords()[:, :, 1:-3, 2:-4]
    torch.testing.assert_close(world, frames.world_coords(), atol=1e-4, rtol=1e-4)
    back = padded.crop(1, 2, h, w)
    assert back.images.equal(frames.images)
    torch.testing.assert_close(back.intrinsics, frames.intrinsics)


def test_pad_complains() -> None:
    with pytest.raises(ValueError, match="at least 0; got top 0, left -1, bottom 0, right 2"):
        make_frames().pad(left=-1, right=2)


@pytest.mark.parametrize("unknown", [0.0, 1.1])
def test_what_is_derived_would_pass_the_checks(unknown: float) -> None:
    frames = make_frames(1, 1, (9, 14), unknown=unknown)
    for derived in (
        frames.resize((5, 31)),
        frames.square(7),
        frames.centre_crop(1, 1),
        frames.pad(top=3).resize((4, 4)),
        frames.select(torch.tensor([0, 0])),
    ):
        checked = PosedFrames(derived.images, derived.depths, derived.intrinsics, derived.poses)
        assert checked.images.min() >= 0
        assert checked.images.max() <= 1 + 1e-6
        assert bool(checked.valid.any()) == (unknown == 0.0)


def project_centre(frames: PosedFrames, pixel: Tensor) -> Tensor:
    """World point one metre in front of a pixel."""
    ray = torch.linalg.solve(frames.intrinsics, torch.cat([pixel, torch.ones(1)]).expand(1, 2, 3))
    return (frames.poses[..., :3, :3] @ ray[..., None])[..., 0] + frames.poses[..., :3, 3]


def test_cat_joins_scenes() -> None:
    first, second = make_frames(1, seed=1), make_frames(2, seed=2)
    both = PosedFrames.cat([first, second])
    assert len(both) == 3
    for name in FIELDS:
        assert getattr(both, name).equal(torch.cat([getattr(first, name), getattr(second, name)]))


@pytest.mark.parametrize("others", [[], [make_frames(1, 2), make_frames(1, 3)]])
def test_cat_complains(others: list[PosedFrames]) -> None:
    with pytest.raises(ValueError, match=r"frames must be of one \(m 3 h w\)"):
        PosedFrames.cat(others)


def test_to_moves_everything() -> None:
    moved = make_frames().to("meta", non_blocking=True)
    assert all(getattr(moved, name).is_meta for name in FIELDS)


def test_low_precision_images_and_poses_are_accepted() -> None:
    frames = make_frames()
    half = PosedFrames(frames.images.bfloat16(), frames.depths, frames.intrinsics, rigid(2, 3))
    assert half.resize((6, 8)).images.dtype == torch.bfloat16
