"""Posed RGB-D frames of a batch of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import crop_intrinsics, full_precision, scale_intrinsics, unproject
from ross3d.geometry.frame_checks import check_frame_values


@dataclass(frozen=True, eq=False)
class PosedFrames:
    """M posed RGB-D views of B scenes.

    OpenCV camera axes (x right, y down, z forward), world z up, metres, pixel centres at
    integers. Construction checks every value, which waits for the device; what the methods derive
    is not checked again.

    Attributes:
        images: (b, m, 3, h, w) RGB in [0, 1].
        depths: (b, m, h, w) depth along the optical axis in metres, 0 = unknown.
        intrinsics: (b, m, 3, 3) in pixels of these images.
        poses: (b, m, 4, 4) camera-to-world.

    Raises:
        ValueError: if shapes, devices or dtypes do not fit, there is no view or no pixel, an image
            is not finite or far outside [0, 1], a depth is negative or not finite, intrinsics are
            not those of a pinhole camera, or a pose is not rigid; the message holds the first such
            value and its place.

    Example:
        >>> poses = torch.eye(4).expand(1, 2, 4, 4)
        >>> frames = PosedFrames(
        ...     torch.rand(1, 2, 3, 6, 8), torch.ones(1, 2, 6, 8), poses[..., :3, :3], poses
        ... )
        >>> frames.world_coords().shape
        torch.Size([1, 2, 6, 8, 3])
    """

    images: Tensor
    depths: Tensor
    intrinsics: Tensor
    poses: Tensor

    def __post_init__(self) -> None:
        sizes = check_shape("images", self.images, "b m 3 h w")
        check_shape("depths", self.depths, "b m h w", **sizes)
        check_shape("intrinsics", self.intrinsics, "b m 3 3", **sizes)
        check_shape("poses", self.poses, "b m 4 4", **sizes)
        if not (sizes["m"] and sizes["h"] and sizes["w"]):
            got = tuple(self.images.shape)
            raise ValueError(f"images must be of at least one view and one pixel; got {got}")
        for name, values in self._fields().items():
            if values.device != self.images.device:
                device = self.images.device
                raise ValueError(f"{name} must be on {device} as images; got {values.device}")
            if not values.is_floating_point():
                raise ValueError(f"{name} must be floating point; got {values.dtype}")
        if not (torch.compiler.is_compiling() or self.images.is_meta):
            check_frame_values(self.images, self.depths, self.intrinsics, self.poses)

    def __len__(self) -> int:
        """Number of scenes b."""
        return self.images.shape[0]

    @property
    def views(self) -> int:
        """Number of views m of each scene."""
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def valid(self) -> Tensor:
        """(b, m, h, w) True where the depth is known."""
        return self.depths > 0

    def world_coords(self) -> Tensor:
        """(b, m, h, w, 3) world position of each pixel, metres; the camera centre if not valid."""
        return unproject(self.depths, self.intrinsics, self.poses)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> PosedFrames:
        """The same frames on another device."""
        return _unchecked(
            *(x.to(device, non_blocking=non_blocking) for x in self._fields().values())
        )

    def select(self, index: Tensor) -> PosedFrames:
        """Pick views.

        Args:
            index: (n,) views to take of every scene, or (b, n) of each scene its own; long.

        Raises:
            ValueError: if the index has another shape or dtype, picks no view, or one that is not
                there (which only the CPU says at once).
        """
        if index.dtype != torch.long or index.ndim not in (1, 2):
            got = f"{index.dtype} {tuple(index.shape)}"
            raise ValueError(f"index must be a long tensor of shape (n) or (b n); got {got}")
        if not index.shape[-1]:
            raise ValueError(f"index must pick at least one view; got {tuple(index.shape)}")
        scene: slice | Tensor = slice(None)
        if index.ndim == 2:
            check_shape("index", index, "b n", b=len(self))
            scene = torch.arange(len(self), device=index.device)[:, None]
        try:
            return _unchecked(*(x[scene, index] for x in self._fields().values()))
        except IndexError as error:
            views = f"some of the {self.views} views"
            raise ValueError(f"index must be {views}; got {index.tolist()}") from error

    def resize(self, size: tuple[int, int]) -> PosedFrames:
        """Resize images (bilinear, antialiased) and depths (nearest); the intrinsics follow.

        Args:
            size: new height and width.

        Raises:
            ValueError: if they are not positive.
        """
        if min(size) < 1:
            raise ValueError(f"size must be positive; got {size}")
        h, w = self.size
        pixels = full_precision(self.images.flatten(0, 1))
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
        return _unchecked(
            pixels.view(len(self), self.views, 3, *size).to(self.images.dtype),
            F.interpolate(self.depths, size, mode="nearest-exact"),
            scale_intrinsics(self.intrinsics, (size[1] / w, size[0] / h)),
            self.poses,
        )

    def crop(self, top: int, left: int, height: int, width: int) -> PosedFrames:
        """Cut a window out of every view; the intrinsics follow.

        Args:
            top: first row.
            left: first column.
            height: number of rows.
            width: number of columns.

        Raises:
            ValueError: if the window is empty or leaves the picture.
        """
        h, w = self.size
        if not (0 <= top < top + height <= h and 0 <= left < left + width <= w):
            got = f"top {top}, left {left}, {height} x {width}"
            raise ValueError(f"crop must be a window inside {h} x {w}; got {got}")
        window = (..., slice(top, top + height), slice(left, left + width))
        intrinsics = crop_intrinsics(self.intrinsics, top, left)
        return _unchecked(self.images[window], self.depths[window], intrinsics, self.poses)

    def centre_crop(self, height: int, width: int) -> PosedFrames:
        """Cut the middle out of every view; the intrinsics follow.

        Args:
            height: number of rows.
            width: number of columns.

        Raises:
            ValueError: if the window is empty or larger than the picture.
        """
        h, w = self.size
        return self.crop((h - height) // 2, (w - width) // 2, height, width)

    def pad(
        self, *, top: int = 0, left: int = 0, bottom: int = 0, right: int = 0, value: float = 0.0
    ) -> PosedFrames:
        """Add a border of unknown depth to every view; the intrinsics follow.

        Args:
            top: number of rows to add above.
            left: number of columns to add on the left.
            bottom: number of rows to add below.
            right: number of columns to add on the right.
            value: red, green and blue of the border, in [0, 1].

        Raises:
            ValueError: if a number of rows or columns is negative.
        """
        border = (left, right, top, bottom)
        if min(border) < 0:
            got = f"top {top}, left {left}, bottom {bottom}, right {right}"
            raise ValueError(f"pad must be of borders of at least 0; got {got}")
        return _unchecked(
            F.pad(self.images, border, value=value),
            F.pad(self.depths, border),
            crop_intrinsics(self.intrinsics, -top, -left),
            self.poses,
        )

    def square(self, size: int) -> PosedFrames:
        """Resize the shorter side to ``size`` pixels and crop the centre of the longer one.

        Raises:
            ValueError: if the size is not positive.
        """
        h, w = self.size
        height, width = size * h // min(h, w), size * w // min(h, w)
        return self.resize((height, width)).centre_crop(size, size)

    @staticmethod
    def cat(frames: Sequence[PosedFrames]) -> PosedFrames:
        """Join scenes of equally many, equally large views into one batch.

        Raises:
            ValueError: if there are none, or their views differ in number or size.
        """
        shapes = sorted({tuple(x.images.shape[1:]) for x in frames})
        if len(shapes) != 1:
            raise ValueError(f"frames must be of one (m 3 h w); got {shapes}")
        return _unchecked(
            *(torch.cat(x) for x in zip(*(f._fields().values() for f in frames), strict=True))
        )

    def _fields(self) -> dict[str, Tensor]:
        names = ("images", "depths", "intrinsics", "poses")
        return {name: getattr(self, name) for name in names}


def _unchecked(images: Tensor, depths: Tensor, intrinsics: Tensor, poses: Tensor) -> PosedFrames:
    """Frames derived from checked ones: no second check, no wait for the device."""
    frames = object.__new__(PosedFrames)
    frames.__dict__.update(images=images, depths=depths, intrinsics=intrinsics, poses=poses)
    return frames
