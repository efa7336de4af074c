"""A contact sheet: colour and depth of many frames at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ross3d import PosedFrames, uniform_frames

from .drawing import SIDE, captioned, fit, tile, to_image

STOPS = (
    (0.27, 0.0, 0.33),
    (0.23, 0.32, 0.55),
    (0.13, 0.57, 0.55),
    (0.37, 0.79, 0.38),
    (0.99, 0.91, 0.14),
)


def ramp(values: Tensor) -> Tensor:
    """Colours from violet over green to yellow.

    Args:
        values: (...) in [0, 1]; others are clamped.

    Returns:
        (..., 3) RGB in [0, 1].

    Example:
        >>> ramp(torch.zeros(2, 4)).shape
        torch.Size([2, 4, 3])
    """
    stops = torch.tensor(STOPS)
    place = values.float().cpu().clamp(0, 1) * (len(STOPS) - 1)
    low = place.floor().long().clamp(max=len(STOPS) - 2)
    return torch.lerp(stops[low], stops[low + 1], (place - low)[..., None])


def contact_sheet(
    frames: PosedFrames, names: Sequence[str], *, most: int = 24, across: int = 6
) -> Image.Image:
    """Show frames of the first scene: colour, below it depth, below it what it is.

    Near is violet, far is yellow, unknown is black; the range is that of all frames.

    Args:
        frames: b = 1.
        names: of the m views.
        most: how many to show, spread evenly.
        across: frames per row.
    """
    known = frames.depths[frames.valid][::101]
    far = float(known.quantile(0.98)) if 0 < len(known) < 2**24 else 1.0
    cells: list[Image.Image | None] = []
    for view in uniform_frames(frames.views, most):
        depth, valid = frames.depths[0, view].float(), frames.valid[0, view]
        colours = torch.where(valid[..., None], ramp(depth / far), 0).movedim(-1, 0)
        pair = tile(
            [[fit(to_image(frames.images[0, view]), SIDE)], [fit(to_image(colours), SIDE)]],
            margin=0,
        )
        share = valid.float().mean().item()
        cells.append(captioned(pair, f"{names[view][-22:]}\n{share:.0%} depth"))
    rows = [cells[start : start + across] for start in range(0, len(cells), across)]
    return captioned(tile(rows), f"  depth: 0 m violet, {far:.1f} m yellow, unknown black")
