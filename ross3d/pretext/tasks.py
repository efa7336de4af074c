"""The pretext tasks: all views, hidden views, the bird's-eye view, hidden depths."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ross3d.geometry.bev import BEV, cell_coords
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.patches import depth_patch_coords, patch_rays
from ross3d.pretext.masking import check_mask
from ross3d.pretext.targets import Targets, select_views, view_indices


class VanillaTask:
    """Recover every view (Eq. 2): the 2-D reconstruction that ROSS3D starts from.

    Args:
        size: pixels of the square targets; views of another size are resized.
        stride: pixels per latent cell of the tokenizer, for the cells' world positions.

    Raises:
        ValueError: if ``size`` is not a positive multiple of ``stride``.
    """

    def __init__(self, size: int = 224, *, stride: int = 16) -> None:
        self.config = {"size": size, "stride": stride}
        self.size, self.grid = size, latent_grid(size, stride)

    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Name all m views as targets.

        Args:
            frames: b scenes of m posed views.
            masked: (b, m) bool; not used, every view is a target.

        Returns:
            Targets with k = m.
        """
        check_mask(masked, b=frames.images.shape[0], m=frames.images.shape[1])
        return view_targets(frames, torch.ones_like(masked), self.size, self.grid)


class CrossViewTask:
    """Recover the hidden views from the others (Eq. 5).

    Args:
        size: pixels of the square targets; views of another size are resized.
        stride: pixels per latent cell of the tokenizer, for the cells' world positions.

    Raises:
        ValueError: if ``size`` is not a positive multiple of ``stride``.
    """

    def __init__(self, size: int = 224, *, stride: int = 16) -> None:
        self.config = {"size": size, "stride": stride}
        self.size, self.grid = size, latent_grid(size, stride)

    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Name the hidden views as targets.

        Args:
            frames: b scenes of m posed views.
            masked: (b, m) bool, True = hidden.

        Returns:
            Targets with k = the largest number of hidden views in a scene; others are padded with
            weight 0.
        """
        check_mask(masked, b=frames.images.shape[0], m=frames.images.shape[1])
        return view_targets(frames, masked, self.size, self.grid)


class GlobalViewTask:
    """Recover the picture of the whole room from above (Eq. 7); unobserved pixels have weight 0.

    Args:
        renderer: frames -> BEV, for example a BEVRenderer; its picture has ``size`` pixels.
        size: pixels of the square picture (paper: 432).
        stride: pixels per latent cell of the tokenizer, for the cells' world positions.

    Raises:
        ValueError: if ``size`` is not a positive multiple of ``stride``.
    """

    def __init__(
        self, renderer: Callable[[PosedFrames], BEV], size: int = 432, *, stride: int = 16
    ) -> None:
        self.config = {"renderer": renderer, "size": size, "stride": stride}
        self.renderer, self.size, self.grid = renderer, size, latent_grid(size, stride)

    @torch.no_grad()
    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Render the bird's-eye views.

        Args:
            frames: b scenes of m posed views.
            masked: (b, m) bool; not used: the picture shows what all views saw.

        Returns:
            Targets with k = 1. A cell's height is that of the surfaces seen in it. Unobserved
            pixels have the mean colour of the observed ones, so that latents of partly observed
            cells hold what was seen there, not an edge to black.

        Raises:
            ValueError: if the renderer's picture does not have ``size`` pixels.
        """
        check_mask(masked, b=frames.images.shape[0], m=frames.images.shape[1])
        bev = self.renderer(frames)
        if bev.image.shape[-2:] != (self.size, self.size):
            got = tuple(bev.image.shape[-2:])
            raise ValueError(f"renderer must return {self.size} x {self.size} pixels; got {got}")
        coords, _ = cell_coords(bev, self.grid)
        weight = bev.observed[:, None].to(bev.image.dtype)
        seen = weight.sum(dim=(-2, -1), keepdim=True).clamp(min=1)
        mean = (bev.image * weight).sum(dim=(-2, -1), keepdim=True) / seen
        return Targets(
            images=torch.where(weight > 0, bev.image, mean)[:, None],
            weight=weight,
            coords=coords[:, None],
        )


class DepthTask:
    """Recover the depth maps of the hidden views, as grey pictures; unknown depth has weight 0.

    Args:
        size: pixels of the square targets.
        stride: pixels per latent cell of the tokenizer, for the cells' world positions.
        max_depth: depth that is shown white, metres.

    Raises:
        ValueError: if ``size`` is not a positive multiple of ``stride``, or ``max_depth`` <= 0.
    """

    def __init__(self, size: int = 224, *, stride: int = 16, max_depth: float = 10.0) -> None:
        if max_depth <= 0:
            raise ValueError(f"max_depth must be positive; got {max_depth}")
        self.config = {"size": size, "stride": stride, "max_depth": max_depth}
        self.size, self.grid, self.max_depth = size, latent_grid(size, stride), max_depth

    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Name the depth maps of the hidden views as targets.

        The cells' places are given as rays only: their coordinates would give the answer away.

        Args:
            frames: b scenes of m posed views.
            masked: (b, m) bool, True = hidden.

        Returns:
            Targets with k = the largest number of hidden views in a scene.
        """
        check_mask(masked, b=frames.images.shape[0], m=frames.images.shape[1])
        depths = select_views(frames.depths, masked)
        known = resize((depths > 0).to(depths.dtype)[:, :, None], self.size)  # (b, k, 1, s, s)
        mean = resize(depths[:, :, None], self.size) / known.clamp(min=1e-6)
        rays = select_views(view_rays(frames, self.grid), masked)
        return Targets(
            images=(mean / self.max_depth).clamp(0, 1).expand(-1, -1, 3, -1, -1),
            weight=(known[:, :, 0] > 0.5).to(depths.dtype),
            coords=torch.zeros_like(rays[..., :3]),
            known=torch.zeros_like(rays[..., 0], dtype=torch.bool),
            rays=rays,
            views=view_indices(masked)[0],
        )


def latent_grid(size: int, stride: int) -> tuple[int, int]:
    """Rows and columns of latent cells of a square picture.

    Raises:
        ValueError: if ``size`` is not a positive multiple of ``stride``.
    """
    if stride < 1 or size < stride or size % stride:
        raise ValueError(f"size must be a positive multiple of stride = {stride}; got {size}")
    return size // stride, size // stride


def view_targets(frames: PosedFrames, chosen: Tensor, size: int, grid: tuple[int, int]) -> Targets:
    """Make targets of the chosen views, with the world position of each latent cell.

    Args:
        frames: b scenes of m posed views.
        chosen: (b, m) bool.
        size: pixels of the square targets.
        grid: rows and columns of latent cells.

    Returns:
        Targets; scenes with fewer chosen views are padded with weight 0.
    """
    images = resize(select_views(frames.images, chosen), size)
    coords, known = depth_patch_coords(frames.depths, frames.intrinsics, frames.poses, grid)
    index, valid = view_indices(chosen)
    return Targets(
        images=images,
        weight=valid[..., None, None].to(images.dtype).expand(-1, -1, size, size),
        coords=select_views(coords, chosen),
        known=select_views(known, chosen),
        rays=select_views(view_rays(frames, grid), chosen),
        views=index,
    )


def view_rays(frames: PosedFrames, grid: tuple[int, int]) -> Tensor:
    """Ray through the centre of each cell of each view: (b, m, g, 6), world frame."""
    height, width = frames.depths.shape[-2:]
    return patch_rays(frames.intrinsics, frames.poses, (height, width), grid)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize (b, k, c, h, w) pictures to a square, averaging where they shrink."""
    if images.shape[-2:] == (size, size) or not images.numel():
        return images.new_zeros(*images.shape[:3], size, size) if not images.numel() else images
    flat = F.interpolate(
        images.flatten(0, 1), (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return rearrange(flat, "(b k) c h w -> b k c h w", b=images.shape[0])
