"""One scan before its pictures are read: which frames are usable, and where the camera was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d import PosedFrames

from .images import (
    check_pinhole,
    picture_size,
    read_colour,
    read_depth,
    read_intrinsics,
    read_labels,
    read_matrix,
)
from .infos import ScanInfo

POSED_IMAGES = Path("scannet", "posed_images")


@dataclass(frozen=True)
class Recording:
    """The usable frames of one scan.

    Attributes:
        images: paths of the colour pictures; depth and pose lie beside them.
        poses: (n, 4, 4) camera-to-world in the aligned world, float64.
        intrinsics: (3, 3) of the depth maps, pixels, float64.
        size: height and width of the depth maps.
        labels: folder of the pictures of object ids; None where there is none.
        skipped: number of frames that were left out because their pose is not finite.
    """

    images: tuple[Path, ...]
    poses: Tensor
    intrinsics: Tensor
    size: tuple[int, int]
    labels: Path | None
    skipped: int

    def read(self, index: int) -> tuple[PosedFrames, Tensor | None]:
        """Read one frame at the size of its depth map.

        Returns:
            The frame (b = 1, m = 1), and the (h, w) object id of each pixel or None.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged or of another size than its siblings, or the pose is
                not rigid.
        """
        path = self.images[index]
        image = read_colour(path, self.size)
        depth = read_depth(path.with_suffix(".png"), self.size)
        labels = None if self.labels is None else self.labels / f"{path.stem}.png"
        try:
            frame = PosedFrames(
                image[None, None],
                depth[None, None],
                self.intrinsics.float()[None, None],
                self.poses[index].float()[None, None],
            )
        except ValueError as error:
            read = f"read from {path.with_suffix('.txt')}, then aligned"
            raise ValueError(f"frame {path.with_suffix('')}: {error} ({read})") from error
        return frame, None if labels is None else read_labels(labels, self.size)


def read_recording(root: Path, name: str, info: ScanInfo | None = None) -> Recording:
    """Read what a scan's text files say.

    Args:
        root: the data folder.
        name: the scan, for example ``"scannet/scene0000_00"``.
        info: its frames, alignment and intrinsics as EmbodiedScan gives them. Without it every
            JPEG of the folder is a frame, and the alignment is that of
            ``scannet/scans/SCENE/SCENE.txt``, else the identity.

    Raises:
        FileNotFoundError: if a pose, the intrinsics or the first depth map is missing.
        ValueError: if one of them is damaged, or no frame is usable.
    """
    scene = name.partition("/")[2]
    folder = root / POSED_IMAGES / scene
    if info is not None and info.images:
        images = [root / path for path in info.images]
    else:
        images = sorted(folder.glob("*.jpg"))
    if not images:
        raise ValueError(f"{folder} must hold frames NNNNN.jpg; got none")
    align = None if info is None else info.axis_align
    if align is None:
        align = axis_alignment(root / "scannet" / "scans" / scene / f"{scene}.txt")
    poses = align @ torch.stack([read_matrix(path.with_suffix(".txt")) for path in images])
    finite = poses.isfinite().all(-1).all(-1)
    usable = tuple(path for path, ok in zip(images, finite.tolist(), strict=True) if ok)
    if not usable:
        raise ValueError(
            f"{folder} must hold a frame with a finite pose; got none of {len(images)}"
        )
    labels = root / "instance" / scene
    return Recording(
        images=usable,
        poses=poses[finite],
        intrinsics=_intrinsics(folder / "depth_intrinsic.txt", info),
        size=picture_size(usable[0].with_suffix(".png")),
        labels=labels if labels.is_dir() else None,
        skipped=len(images) - len(usable),
    )


def cover(
    frame: PosedFrames, ids: Tensor | None, size: tuple[int, int]
) -> tuple[PosedFrames, Tensor | None]:
    """Resize a frame until it covers a size, and cut that out of its centre.

    Args:
        frame: b = 1, m = 1.
        ids: (h, w) object id of each pixel, or None; resized as the depth is.
        size: height and width.

    Returns:
        The frame and the object ids at that size.
    """
    (h, w), (height, width) = frame.size, size
    scale = max(height / h, width / w)
    large = max(round(h * scale), height), max(round(w * scale), width)
    top, left = (large[0] - height) // 2, (large[1] - width) // 2
    if ids is not None:
        pixels = F.interpolate(ids[None, None].float(), large, mode="nearest-exact")
        ids = pixels[0, 0, top : top + height, left : left + width].long()
    if frame.size != large:
        frame = frame.resize(large)
    return frame.crop(top, left, height, width), ids


def join_views(frames: Sequence[PosedFrames]) -> PosedFrames:
    """Join frames of b = 1, m = 1 into one scene of many views."""
    return PosedFrames(
        torch.cat([x.images for x in frames], dim=1),
        torch.cat([x.depths for x in frames], dim=1),
        torch.cat([x.intrinsics for x in frames], dim=1),
        torch.cat([x.poses for x in frames], dim=1),
    )


def _intrinsics(path: Path, info: ScanInfo | None) -> Tensor:
    if not path.is_file() and info is not None and info.depth_cam2img is not None:
        infos = path.parents[3] / "embodiedscan" / f"embodiedscan_infos_{info.split}.pkl"
        return check_pinhole(info.depth_cam2img[:3, :3], f"depth_cam2img of {info.name} in {infos}")
    return read_intrinsics(path)


def axis_alignment(path: Path) -> Tensor:
    """The 16 numbers of the line ``axisAlignment = ...``; identity without file or line."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                matrix = torch.tensor([float(x) for x in value.split()], dtype=torch.float64)
                return matrix.reshape(4, 4)
            except (ValueError, RuntimeError) as error:
                raise ValueError(
                    f"{path} must give axisAlignment as 16 numbers; got {error}"
                ) from error
    return torch.eye(4, dtype=torch.float64)
