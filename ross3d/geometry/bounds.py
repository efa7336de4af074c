"""Where a scene is: its floor, its ceiling, its extent and its up axis, despite stray points."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.geometry.camera import full_precision, unproject
from ross3d.geometry.frames import PosedFrames

_SAMPLE = 4096  # pixels per view that histograms are made of
_CHUNK = 8  # views that are sampled at a time
_BINS = 8192
_REACH = 40.96  # metres around the cameras that histograms cover, in bins of about a centimetre
_HEADROOM = 2.0  # metres above the floor below which nothing is a ceiling
_JURY = 8  # cameras that it takes to agree on an up axis other than z
_CUT = 2.2  # metres above the floor where rooms are cut whose ceiling was not seen


class Histograms:
    """Counts of each scene's points along x, y and z, the same for views in any order.

    Args:
        frames: b scenes of m posed views.
        max_depth: depths beyond this many metres are unknown.
        ceiling: (b,) points above are not counted, metres; None = count all.

    Attributes:
        counts: (b, 3, bins) number of points.
        low: (b, 3) where the first bin begins, metres.
        width: (b, 1) of a bin, metres.
    """

    def __init__(
        self, frames: PosedFrames, max_depth: float, ceiling: Tensor | None = None
    ) -> None:
        centres = full_precision(frames.poses)[..., :3, 3].float()
        known = centres.isfinite()
        highest = torch.where(known, centres, -torch.inf).amax(1).nan_to_num(neginf=0.0)
        lowest = torch.where(known, centres, torch.inf).amin(1).nan_to_num(posinf=0.0)
        reach = _REACH + (highest - lowest).amax(-1, keepdim=True) / 2
        self.low, self.width = (highest + lowest) / 2 - reach, 2 * reach / _BINS
        self.counts = centres.new_zeros(len(frames), 3, _BINS, dtype=torch.long)
        for points in _samples(frames, max_depth):
            kept = points.isfinite().all(-1, keepdim=True)
            if ceiling is not None:
                kept = kept & (points[..., 2:] <= ceiling[:, None, None])
            place = (points - self.low[:, None]) / self.width[:, None]
            place = torch.where(kept, place, 0).floor().clamp(0, _BINS - 1).long().mT
            self.counts.scatter_add_(2, place, kept.mT.expand_as(place).long())

    def quantile(self, share: float) -> Tensor:
        """(b, 3) coordinates below which a share of the points lies, metres; 0 without points."""
        total = self.counts.sum(-1, keepdim=True)
        wanted = (total * share).clamp(min=1)
        # The middle of the share's bin: the same distance from either end, whatever the side.
        first = torch.searchsorted(self.counts.cumsum(-1).double(), wanted.double())[..., 0]
        place = self.low + (first + 0.5) * self.width
        return torch.where(total[..., 0] > 0, place, 0.0)


def _samples(frames: PosedFrames, max_depth: float) -> Iterator[Tensor]:
    """Evenly taken world points (b, n, 3) of a few views at a time, NaN where unknown."""
    h, w = frames.size
    stride = max(1, -int(-((h * w / _SAMPLE) ** 0.5) // 1))
    first = stride // 2
    for start in range(0, frames.views, _CHUNK):
        views = slice(start, start + _CHUNK)
        depths = frames.depths[:, views, first::stride, first::stride].float()
        intrinsics = full_precision(frames.intrinsics[:, views]).clone()
        intrinsics[..., :2, 2] -= first
        intrinsics[..., :2, :] /= stride
        points = unproject(depths, intrinsics, frames.poses[:, views]).float()
        known = (depths > 0) & (depths <= max_depth)
        yield torch.where(known[..., None], points, torch.nan).flatten(1, 3)


def ceiling_height(heights: Histograms) -> Tensor:
    """Find where to cut a room open, from the histogram of its heights.

    A ceiling is the lowest plane more than 2 m above the floor: a peak three times as high as what
    is below it. Rooms that show none are cut 2.2 m above the floor, the 1 % quantile of heights.

    Args:
        heights: of b scenes.

    Returns:
        (b,) world z in metres, just below the ceiling.
    """
    counts = heights.counts[:, 2].float()[:, None]
    near = F.avg_pool1d(counts, 5, 1, padding=2, count_include_pad=False)[:, 0] * 5
    below = F.avg_pool1d(F.pad(counts, (32, 0)), 24, 1)[:, 0, :_BINS] * 5  # 9 to 32 bins below
    z = heights.low[:, 2:] + (torch.arange(_BINS, device=counts.device) + 0.5) * heights.width
    floor = heights.quantile(0.01)[:, 2:]
    total = counts.sum(-1)
    plane = (near > 3 * below) & (near > 0.003 * total) & (z > floor + _HEADROOM)
    lowest = torch.where(plane, z, torch.inf).amin(-1)
    return torch.where(lowest.isfinite(), lowest - 0.1, floor[:, 0] + _CUT)


def square_extent(points: Histograms, *, quantile: float, margin: float) -> Tensor:
    """The smallest square that holds all points but outliers.

    Args:
        points: of b scenes.
        quantile: share of points that may be outside on each side.
        margin: share of the square's side that is added on each side.

    Returns:
        (b, 4) x_min, y_min, x_max, y_max in metres; at least 0.1 m wide.
    """
    low, high = (points.quantile(share)[:, :2] for share in (quantile, 1 - quantile))
    half = (high - low).amax(-1, keepdim=True).clamp(min=0.1) * (0.5 + margin)
    middle = (low + high) / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def check_up(poses: Tensor) -> None:
    """Refuse poses whose cameras agree that the world's up axis is not z.

    Cameras that are held level have horizontal x axes, and on average their -y axes point up. Where
    views are few, or turn too little or too freely to tell, nothing is refused.

    Args:
        poses: (b, m, 4, 4) camera-to-world.

    Raises:
        ValueError: if the cameras of a scene are level in a world whose up axis is not z.
    """
    rotation = full_precision(poses)[..., :3, :3].double().nan_to_num(0, 0, 0)
    if rotation.shape[1] < _JURY:
        return
    up = -rotation[..., 1].mean(1)
    right = rotation[..., 0]
    spread = torch.linalg.eigvalsh((right[..., :, None] * right[..., None, :]).mean(1))
    level = (spread[:, 0] < 0.03) & (spread[:, 1] > 0.05) & (up.norm(dim=-1) > 0.7)
    wrong = level & (up[:, 2] < 0.5 * up.norm(dim=-1))
    if wrong.any():
        x, y, z = torch.nn.functional.normalize(up[wrong][0], dim=0).tolist()
        got = f"cameras that hold ({x:.2f}, {y:.2f}, {z:.2f}) up"
        raise ValueError(f"poses must be of a world whose z axis is up; got {got}")
