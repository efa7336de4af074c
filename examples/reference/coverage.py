"""How much of a room some of its frames see."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ross3d import BEV, PosedFrames, uniform_frames, world_to_bev

from .files import replacing
from .plots import Curve

LEAST_OF_ALL = 0.9


def seen_cells(frames: PosedFrames, bev: BEV) -> Tensor:
    """Which pixels of the view from above each frame of the first scene sees.

    Args:
        frames: b = 1.
        bev: of the same scene, perhaps of more frames.

    Returns:
        (m, s, s) True where a point of the frame is in an observed pixel, and not above what the
        picture shows: ceilings do not count.
    """
    size = bev.observed.shape[-1]
    seen = torch.zeros(frames.views, size * size, dtype=torch.bool, device=bev.observed.device)
    heights, observed = bev.height[0].flatten(), bev.observed[0].flatten()
    for view in range(frames.views):
        frame = frames.select(torch.tensor([view], device=frames.depths.device))
        points = frame.world_coords()[frame.valid]
        column, row = world_to_bev(points[None], bev.extent[:1], size)[0].round().long().unbind(-1)
        inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        cell = (row * size + column)[inside]
        below = points[inside, 2] <= heights[cell] + 0.1
        seen[view, cell[below]] = True
    return (seen & observed).view(-1, size, size)


def coverage_curve(seen: Tensor) -> Curve:
    """Share of what all frames see together, against a number of evenly sampled ones.

    Args:
        seen: (m, s, s) pixels that each frame sees.

    Returns:
        (number of frames, share in [0, 1]) for 1, 2, 3, 4, 6, 8, 12, ... and all frames.

    Example:
        >>> coverage_curve(torch.eye(4).bool().view(4, 2, 2))
        [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]
    """
    total = len(seen)
    grown = {round(2 ** (i / 2)) for i in range(2 * total.bit_length() + 2)}
    counts = sorted({n for n in grown if n < total} | {total})
    whole = max(1, int(seen.any(0).sum()))
    return [(n, int(seen[uniform_frames(total, n)].any(0).sum()) / whole) for n in counts]


def frames_for(curve: Curve, share: float = LEAST_OF_ALL) -> int:
    """The fewest frames of a curve that see this share."""
    return int(next(count for count, value in curve if value >= share or value == curve[-1][1]))


def coverage_picture(curve: Curve, path: Path | str) -> None:
    """Draw a coverage curve.

    Args:
        curve: (number of frames, share).
        path: the picture to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=110, layout="constrained")
    panel = figure.subplots()
    counts, shares = zip(*curve, strict=True)
    panel.plot(counts, [100 * share for share in shares], "o-", markersize=4)
    panel.axhline(100 * LEAST_OF_ALL, color="0.6", linewidth=0.8, linestyle="--")
    panel.set_xscale("log", base=2)
    ticks = [2**i for i in range(int(counts[-1]).bit_length())]
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.set_ylim(0, 104)
    panel.set_xlabel("frames, evenly sampled")
    panel.set_ylabel("% of the area that all frames see")
    panel.set_title(
        f"{counts[-1]:g} frames; {frames_for(curve)} see {LEAST_OF_ALL:.0%}", fontsize=11
    )
    panel.grid(alpha=0.25)
    target = Path(path)
    with replacing(target) as temporary:
        figure.savefig(temporary, format=target.suffix.removeprefix(".") or "png")
