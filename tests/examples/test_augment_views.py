from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import kornia.augmentation as ka
import pytest
import torch
from augment_views import augment, depth_errors, split_camera, view_augmentation
from kornia.constants import DataKey
from PIL import Image
from recipes import run_example
from strategies import make_frames

from ross3d import PosedFrames, project


def wall(b: int = 2, m: int = 2, size: tuple[int, int] = (48, 64)) -> PosedFrames:
    """Views of a wall 2 m away, whose red and green say where on it one looks."""
    frames = make_frames(b, m, size)
    depths = torch.full_like(frames.depths, 2.0)
    v, u = torch.meshgrid(*(torch.linspace(0, 1, n) for n in size), indexing="ij")
    images = torch.stack([u, v, torch.zeros_like(u)]).expand(b, m, -1, -1, -1).clone()
    return PosedFrames(images, depths, frames.intrinsics, frames.poses)


def only(*steps: torch.nn.Module) -> ka.AugmentationSequential:
    return ka.AugmentationSequential(
        *steps,
        data_keys=["input", "mask"],
        extra_args={DataKey.MASK: {"resample": "NEAREST", "align_corners": None}},
    )


@pytest.mark.parametrize(
    "step",
    [
        ka.RandomAffine(degrees=40.0, scale=(0.7, 1.3), translate=(0.1, 0.1), shear=10.0, p=1.0),
        ka.RandomRotation(degrees=180.0, p=1.0),
        ka.RandomResizedCrop((40, 40), scale=(0.3, 1.0), p=1.0),
        ka.CenterCrop((30, 30)),
    ],
)
def test_what_a_pixel_shows_stays_where_it_is(step: torch.nn.Module) -> None:
    before = wall()
    after = augment(before, only(step))
    pixels, depth = project(after.world_coords(), before.intrinsics, before.poses)
    torch.testing.assert_close(depth[after.valid], torch.full_like(depth[after.valid], 2.0))
    # The picture says by its colour from which old pixel it came.
    colour = after.images[:, :, :2].movedim(2, -1) * torch.tensor([63.0, 47.0])
    inner = after.valid & (pixels > 1).all(-1) & (pixels < torch.tensor([62.0, 46.0])).all(-1)
    assert inner.float().mean() > 0.2
    torch.testing.assert_close(pixels[inner], colour[inner], atol=2e-2, rtol=0)


def test_depths_are_kept_and_what_comes_in_is_unknown() -> None:
    before = make_frames(1, 3, (40, 40))
    after = augment(before, only(ka.RandomAffine(degrees=(45.0, 45.0), p=1.0)))
    assert torch.isin(after.depths, before.depths).all()
    assert not after.valid[..., 0, 0].any()
    assert not after.images[..., 0, 0].any()


def test_colours_change_no_geometry() -> None:
    before = wall()
    after = augment(before, only(ka.ColorJitter(0.3, 0.3, 0.3, 0.1, p=1.0)))
    assert after.depths.equal(before.depths)
    torch.testing.assert_close(after.intrinsics, before.intrinsics)
    torch.testing.assert_close(after.poses, before.poses)
    assert not after.images.equal(before.images)


def test_frames_without_depth_and_a_single_view() -> None:
    before = make_frames(1, 1, (40, 40), unknown=1.1)
    after = augment(before, view_augmentation(24))
    assert after.size == (24, 24)
    assert not after.valid.any()
    assert len(depth_errors(before, after)) == 0


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (ka.RandomHorizontalFlip(p=1.0), "transform must not mirror; got a flip"),
        (ka.RandomPerspective(0.5, p=1.0), "transform must keep the perspective; got one"),
    ],
)
def test_no_camera_of_this_world_is_refused(step: torch.nn.Module, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        augment(wall(), only(step))


def test_the_parts_of_a_camera_make_it_up() -> None:
    camera = torch.tensor([[30.0, -20.0, 7.0], [18.0, 25.0, 9.0], [0.0, 0.0, 1.0]])
    intrinsics, turn = split_camera(camera)
    torch.testing.assert_close(intrinsics @ turn, camera)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3))
    assert intrinsics.equal(intrinsics.triu())
    assert intrinsics.diagonal().min() > 0


def test_the_shipped_room_is_augmented_in_step(tmp_path: Path) -> None:
    out = tmp_path / "made" / "augmented.png"
    printed = run_example(
        "augment_views.py", "furnished_room", "--frames", 2, "--size", 96, "-o", out
    )
    followed, left = (float(line.split(": ")[1].split("%")[0]) for line in printed.splitlines()[:2])
    assert followed > 95 > 50 > left
    with Image.open(out) as picture:
        assert min(picture.size) > 192


def test_bad_options_end_in_one_line(call_main: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match=r"SCAN must be a data folder .*; got nowhere"):
        call_main("augment_views.py", "nowhere")
    with pytest.raises(SystemExit, match="size must be positive"):
        call_main("augment_views.py", "furnished_room", "--frames", 1, "--size", 0)
