"""Bird's-eye views: the room from above, straight from posed RGB-D frames."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.bounds import Histograms, ceiling_height, check_up, square_extent
from ross3d.geometry.filling import fill_holes
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.sighting import Views, vote
from ross3d.geometry.surface import Surface, agree, centres
from ross3d.geometry.topdown import BEV, bev_to_world, cell_coords, world_to_bev
from ross3d.geometry.zbuffer import (
    EMPTY,
    PAYLOADS,
    Window,
    pack_colours,
    rasterise,
    unpack,
    unpack_colours,
)

__all__ = ["BEV", "BEVRenderer", "bev_to_world", "cell_coords", "world_to_bev"]

Extent = tuple[float, float, float, float]


class BEVRenderer:
    """Render frames from above: an exact z-buffer, then a second look of every view at its surface.

    In every pixel the highest point wins; then its height and colour become the mean of what the
    views see there (``tolerance``). Views are read one after the other, so their number costs no
    memory; their order changes nothing. Unknown, infinite and NaN depths are left out.

    Args:
        size: pixels s of the square picture (paper: 432).
        max_height: points whose world z (metres) is above are dropped, so that ceilings do not
            hide the room; "auto" = just below the ceiling that the histogram of heights shows, or
            2.2 m above the floor where it shows none; None = keep all.
        height_quantile: share of the points, from the lowest, that are kept.
        extent: x_min, y_min, x_max, y_max of the picture in metres, a square; None = the bounds
            of each scene's points without ``quantile`` outliers, widened by ``margin``.
        margin: share of the automatic extent that is added to each side.
        quantile: share of points that the automatic extent may ignore on each side.
        max_depth: depths beyond this many metres are unknown.
        splat: largest radius in pixels of a point's footprint: what one camera pixel covers of
            level ground at that depth. Gaps inside a surface close, its outline stays; 0 = single
            pixels.
        tolerance: how far views may disagree about the depth of a surface and still be averaged,
            metres; 0 = height and colour (of 8 bits) of the highest point.
        fill: small holes, gaps of up to 2^fill pixels, take the colour and height around them and
            are marked as ``filled``; 0 = none.
        count_filled: whether filled pixels count as observed too.
        label_rule: what a pixel's label is: of those that the views see at its surface the most
            frequent, or that of the highest point alone.
        require_z_up: refuse cameras that are held level in a world whose up axis is not z.

    Raises:
        ValueError: if a number is out of range or the extent is not a square.

    Example:
        >>> poses = torch.eye(4).expand(1, 2, 4, 4)
        >>> images, depths = torch.rand(1, 2, 3, 6, 8), torch.ones(1, 2, 6, 8)
        >>> BEVRenderer(32)(PosedFrames(images, depths, poses[..., :3, :3], poses)).image.shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        size: int = 432,
        *,
        max_height: float | Literal["auto"] | None = "auto",
        height_quantile: float = 1.0,
        extent: Extent | None = None,
        margin: float = 0.02,
        quantile: float = 0.002,
        max_depth: float = 50.0,
        splat: int = 4,
        tolerance: float = 0.1,
        fill: int = 3,
        count_filled: bool = False,
        label_rule: Literal["majority", "top"] = "majority",
        require_z_up: bool = True,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be positive; got {size}")
        if not max_depth > 0:
            raise ValueError(f"max_depth must be positive; got {max_depth}")
        if min(splat, tolerance, fill, margin) < 0:
            got = f"{splat}, {tolerance}, {fill}, {margin}"
            raise ValueError(f"splat, tolerance, fill and margin must not be negative; got {got}")
        if not 0 <= quantile < 0.5:
            raise ValueError(f"quantile must be in [0, 0.5); got {quantile}")
        if not 0 < height_quantile <= 1:
            raise ValueError(f"height_quantile must be in (0, 1]; got {height_quantile}")
        if label_rule not in ("majority", "top"):
            raise ValueError(f"label_rule must be 'majority' or 'top'; got {label_rule!r}")
        if extent is not None:
            x, y = extent[2] - extent[0], extent[3] - extent[1]
            if not (x > 0 and abs(x - y) <= 1e-4 * x):
                raise ValueError(f"extent must be a square of positive size; got {extent}")
        self.config: dict[str, Any] = {"size": size, "max_height": max_height}
        self.config |= {"extent": extent, "margin": margin, "quantile": quantile}
        self.config |= {"max_depth": max_depth, "splat": splat, "tolerance": tolerance}
        self.config |= {"fill": fill, "count_filled": count_filled, "label_rule": label_rule}
        self.config |= {"require_z_up": require_z_up, "height_quantile": height_quantile}
        self.size, self.max_height, self.extent = size, max_height, extent
        self.height_quantile, self.quantile, self.margin = height_quantile, quantile, margin
        self.max_depth, self.splat, self.tolerance = max_depth, splat, tolerance
        self.fill, self.count_filled = fill, count_filled
        self.label_rule, self.require_z_up = label_rule, require_z_up

    @torch.no_grad()
    def __call__(self, frames: PosedFrames, labels: Tensor | None = None) -> BEV:
        """Render b scenes of m posed views.

        Args:
            frames: the views.
            labels: (b, m, h, w) integer labels of their pixels, classes or instances from 0 to
                2^24 - 2, negative = none; the BEV then has ``labels``.

        Returns:
            The pictures, in the dtype of the images; heights in float32.

        Raises:
            ValueError: if the labels do not fit, or a world is not z-up.
        """
        if self.require_z_up:
            check_up(frames.poses)
        if labels is not None:
            _check_labels(labels, frames)
        window = self._window(frames)
        layers = rasterise(frames, window, lambda views: pack_colours(frames.images[:, views]))
        observed = layers.keys != EMPTY
        colours, height = unpack(layers.keys)
        image = unpack_colours(colours)
        if self.tolerance and len(frames):
            level = torch.where(observed, height, torch.inf)
            surfaces = [
                agree(scene, Surface(image[b], level[b]), layers.lowest[b], one, self.tolerance)
                for b, (scene, one) in enumerate(_scenes(frames, window))
            ]
            image, height = (torch.stack(x) for x in zip(*surfaces, strict=True))
        chosen = None if labels is None else self._labels(frames, labels, window, height, observed)
        height = torch.where(observed, height, 0)
        image, height, filled = fill_holes(image, height, observed, self.fill)
        if self.count_filled:
            observed = observed | filled
        return BEV(image.to(frames.images.dtype), observed, height, window.extent, filled, chosen)

    def _window(self, frames: PosedFrames) -> Window:
        """What each scene's picture shows."""
        b, ceiling = len(frames), frames.poses.new_full((len(frames),), torch.inf).float()
        if self.max_height == "auto" or self.height_quantile < 1:
            heights = Histograms(frames, self.max_depth)
            if self.height_quantile < 1:
                ceiling = heights.quantile(self.height_quantile)[:, 2]
            if self.max_height == "auto":
                ceiling = torch.minimum(ceiling, ceiling_height(heights))
        if isinstance(self.max_height, int | float):
            ceiling = ceiling.clamp(max=self.max_height)
        if self.extent is not None:
            extent = ceiling.new_tensor(self.extent).repeat(b, 1)
        else:
            points = Histograms(frames, self.max_depth, ceiling)
            extent = square_extent(points, quantile=self.quantile, margin=self.margin)
        return Window(extent, ceiling, self.size, self.max_depth, self.splat)

    def _labels(
        self, frames: PosedFrames, labels: Tensor, window: Window, height: Tensor, observed: Tensor
    ) -> Tensor:
        """(b, s, s) label of each pixel, -1 = none."""
        keys = rasterise(frames, window, lambda views: labels[:, views].clamp(min=-1) + 1).keys
        chosen = unpack(keys)[0] - 1
        if self.label_rule == "top" or not self.tolerance:
            return chosen
        for b, (scene, one) in enumerate(_scenes(frames, window)):
            cells = observed[b].flatten().nonzero()[:, 0]
            points = centres(cells, height[b].flatten(), one)
            most = vote(scene, labels[b], points, self.tolerance, self.max_depth)
            flat = chosen[b].view(-1)
            flat[cells] = torch.where(most >= 0, most, flat[cells])
        return chosen


def _scenes(frames: PosedFrames, window: Window) -> list[tuple[Views, Window]]:
    """The views of each scene, and what its picture shows."""
    fields = frames.images, frames.depths, frames.intrinsics, frames.poses
    scenes = [Views(*each) for each in zip(*fields, strict=True)]
    bounds = zip(window.extent[:, None], window.ceiling[:, None], strict=True)
    windows = [window._replace(extent=extent, ceiling=ceiling) for extent, ceiling in bounds]
    return list(zip(scenes, windows, strict=True))


def _check_labels(labels: Tensor, frames: PosedFrames) -> None:
    b, m, (h, w) = len(frames), frames.views, frames.size
    check_shape("labels", labels, "b m h w", b=b, m=m, h=h, w=w)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers; got {labels.dtype}")
    if labels.max() >= PAYLOADS - 1:
        raise ValueError(f"labels must be below {PAYLOADS - 1}; got {labels.max().item()}")
