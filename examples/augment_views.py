"""Augment views with kornia: images, depths, intrinsics and poses stay in step.

python examples/augment_views.py furnished_room --frames 4 -o augmented.png

kornia moves a pixel x to T x, so a camera K becomes K' = T K. A rotation of the picture is split
off as a turn of the camera about its optical axis, which changes no depth. A flip is no camera of
this world (and "left of" in a text would be wrong), a change of perspective changes depths: both
are refused. What moves in from outside the picture is of unknown depth, 0. Colours are no geometry.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import kornia.augmentation as ka
import torch
from kornia.constants import DataKey
from PIL import Image, ImageDraw
from reference.contact_sheet import ramp
from reference.drawing import tile, to_image
from reference.files import replacing
from reference.scan_options import add_scan_options, scan_of
from torch import Tensor

from ross3d import PosedFrames, project


def view_augmentation(size: int) -> ka.AugmentationSequential:
    """Rotate, scale, shift, crop to ``size`` pixels, and change colours."""
    return ka.AugmentationSequential(
        ka.RandomAffine(degrees=15.0, scale=(0.9, 1.1), translate=(0.05, 0.05), p=1.0),
        ka.RandomResizedCrop((size, size), scale=(0.4, 1.0), ratio=(1.0, 1.0)),
        ka.ColorJitter(0.2, 0.2, 0.2, 0.02),
        data_keys=["input", "mask"],
        # Between two depths there need not be anything: nearest, never a mean.
        extra_args={DataKey.MASK: {"resample": "NEAREST", "align_corners": None}},
    )


def augment(frames: PosedFrames, transform: ka.AugmentationSequential) -> PosedFrames:
    """Augment every view on its own.

    Args:
        frames: the views; resize them first where a crop would shrink them by much.
        transform: of data keys "input" and "mask", without flips and changes of perspective.

    Raises:
        ValueError: if the transform mirrors, or changes the perspective.
    """
    sizes = frames.depths.shape[:2]
    images, depths = transform(frames.images.flatten(0, 1), frames.depths.flatten(0, 1)[:, None])
    matrix = transform.transform_matrix.unflatten(0, sizes).to(frames.intrinsics)
    intrinsics, turn = split_camera(matrix @ frames.intrinsics)
    poses = frames.poses.clone()
    poses[..., :3, :3] = frames.poses[..., :3, :3] @ turn.mT
    images, depths = images.clamp(0, 1).unflatten(0, sizes), depths[:, 0].unflatten(0, sizes)
    return PosedFrames(images, depths, intrinsics, poses)


def split_camera(camera: Tensor) -> tuple[Tensor, Tensor]:
    """Split T K (..., 3, 3) into intrinsics and a turn about the optical axis, whose product it is.

    Raises:
        ValueError: if the camera is mirrored, or its last row is not 0 0 1.
    """
    last = camera.new_tensor([0.0, 0.0, 1.0])
    if not torch.allclose(camera[..., 2, :], last.expand_as(camera[..., 2, :]), atol=1e-5):
        raise ValueError("transform must keep the perspective; got one that changes it")
    if (torch.linalg.det(camera[..., :2, :2]) <= 0).any():
        raise ValueError("transform must not mirror; got a flip")
    intrinsics, turn = camera.clone(), torch.eye(3).to(camera).expand_as(camera).clone()
    sine, cosine = (camera[..., 1, :2] / camera[..., 1, :2].norm(dim=-1, keepdim=True)).unbind(-1)
    turn[..., 0, 0] = turn[..., 1, 1] = cosine
    turn[..., 0, 1], turn[..., 1, 0] = -sine, sine
    intrinsics[..., :2, :2] = (camera[..., :2, :2] @ turn[..., :2, :2].mT).triu()
    intrinsics[..., 2, :] = last
    return intrinsics, turn


def depth_errors(before: PosedFrames, after: PosedFrames) -> Tensor:
    """Reproject augmented pixels: (n,) how far their depth is off, as a share, in the old views."""
    world = after.world_coords().flatten(2, 3)
    pixels, z = project(world, before.intrinsics, before.poses)
    (h, w), (u, v) = before.size, pixels.round().unbind(-1)
    inside = after.valid.flatten(2) & (u >= 0) & (u < w) & (v >= 0) & (v < h) & (z > 0)
    found = before.depths.flatten(2).gather(2, torch.where(inside, v * w + u, 0).long())
    return ((found - z).abs() / z)[inside & (found > 0)]


def picture(before: PosedFrames, after: PosedFrames) -> Image.Image:
    """Draw each view, what became of it, and its depth; the same places have the same colours."""
    rows: list[list[Image.Image]] = [[] for _ in range(before.views)]
    colours = (ramp(torch.linspace(0, 1, 12)) * 255).int().tolist()
    for m, row in enumerate(rows):
        places = after.world_coords()[0, m][after.valid[0, m]]
        places = places[len(places) // 24 :: max(1, len(places) // 12)]
        for frames in (before, after):
            row.append(to_image(frames.images[0, m]))
            cameras = frames.intrinsics[:1, m : m + 1], frames.poses[:1, m : m + 1]
            for place, colour in zip(
                project(places[None, None], *cameras)[0][0, 0], colours, strict=False
            ):
                ImageDraw.Draw(row[-1]).circle(place.tolist(), 5, tuple(colour), (255, 255, 255))
        shade = ramp(after.depths[0, m] / 5).movedim(-1, 0)
        row.append(to_image(torch.where(after.valid[0, m].cpu(), shade, 1.0)))
    return tile(rows, columns=["view", "augmented", "its depth (white = unknown)"])


def main() -> None:
    """Augment, check by reprojection, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_scan_options(parser)
    parser.set_defaults(frames=4)
    parser.add_argument("-o", "--out", type=Path, default=Path("augmented.png"))
    parser.add_argument("--size", type=int, default=224, help="pixels of an augmented view")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    try:
        scan, chosen = scan_of(args)
        before = scan.read_views(chosen)
        (h, w), size = before.size, args.size
        before = before.resize((2 * size * h // min(h, w), 2 * size * w // min(h, w)))
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    after, cut = augment(before, view_augmentation(size)), before.centre_crop(size, size)
    left_behind = PosedFrames(after.images, after.depths, cut.intrinsics, cut.poses)
    for name, frames in (("in step", after), ("left behind", left_behind)):
        right = (depth_errors(before, frames) < 0.02).float().mean()
        print(f"cameras {name}: {right:.1%} of pixels within 2 % of the depth that is there")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.out) as temporary:
        picture(before, after).save(temporary)
    print(f"{args.out} is written")


if __name__ == "__main__":
    main()
