"""The pictures of a run: what was seen, what was rebuilt, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from .drawing import SIDE, UNOBSERVED, captioned, fit, grey_out, message, tile, to_image
from .grounding_picture import Query, grounding_picture
from .rebuilding import psnr

if TYPE_CHECKING:
    from ross3d import PosedFrames, Reconstruction

__all__ = ["Query", "bev_picture", "grounding_picture", "reconstruction_picture", "views_picture"]


def views_picture(
    frames: PosedFrames, masked: Tensor, *, scenes: int = 4, max_width: int = 1800
) -> Image.Image:
    """Show the views of each scene, the masked ones greyed out.

    Args:
        frames: b scenes of m posed views.
        masked: (b, m) bool, True = hidden from the language model.
        scenes: how many scenes to show at most.
        max_width: pixels after which a scene's views go on in the next row.
    """
    if not len(frames):
        return message("no scenes")
    per_row = max(1, (max_width - 100) // (SIDE + 8))
    rows: list[list[Image.Image | None]] = []
    labels: list[str] = []
    for b in range(min(scenes, len(frames))):
        views: list[Image.Image | None] = []
        for m, hidden in enumerate(masked[b].tolist()):
            view = fit(to_image(frames.images[b, m]), SIDE)
            text = f"view {m}, hidden" if hidden else f"view {m}"
            views.append(captioned(grey_out(view) if hidden else view, text))
        for start in range(0, len(views), per_row):
            rows.append(views[start : start + per_row])
            labels.append("" if start else f"scene {b}")
    return tile(rows, labels=labels)


def reconstruction_picture(
    reconstruction: Reconstruction, nearest: Tensor | None = None, *, rows: int = 12
) -> Image.Image:
    """Show each target: what was rebuilt of it, the truth, and the most that the tokenizer allows.

    Targets that are mere padding are left out.

    Args:
        reconstruction: of the hidden views.
        nearest: (b, k, 3, s, s) the visible view nearest to each target, the baseline to beat.
        rows: how many targets to show at most; as many of each scene as there is room for.
    """
    targets = reconstruction.targets
    shown = [targets.images, reconstruction.images, targets.images, reconstruction.round_trip]
    columns = ["hidden", "rebuilt", "truth", "tokenizer's round trip"]
    if nearest is not None:
        shown.append(nearest)
        columns.append("nearest visible view")
    counted = targets.weight.flatten(2).amax(-1) > 0 if targets.weight.numel() else targets.weight
    # The k-th targets of all scenes come before the (k+1)-th, so that every scene has its turn.
    real = [(b, k) for k, b in counted.reshape(counted.shape[:2]).T.nonzero().tolist()]
    if not real:
        return message("no hidden views")
    cells: list[list[Image.Image | None]] = []
    labels = []
    for b, k in sorted(real[:rows]):
        view = k if targets.views is None else int(targets.views[b, k])
        images = [fit(to_image(x[b, k]), SIDE) for x in shown]
        cells.append([grey_out(images[0]), *images[1:]])
        labels.append(f"scene {b}\nview {view}\n{_error(reconstruction, b, k)}")
    return tile(cells, columns=columns, labels=labels)


def bev_picture(reconstruction: Reconstruction, *, rows: int = 6) -> Image.Image:
    """Show the view from above: target, tokenizer's round trip, rebuilt, and what was observed.

    Args:
        reconstruction: of the bird's-eye view; what was not observed has weight 0.
        rows: how many to show at most.
    """
    targets = reconstruction.targets
    cells: list[list[Image.Image | None]] = []
    labels = []
    for b in range(targets.images.shape[0]):
        for k in range(targets.images.shape[1]):
            weight = targets.weight[b, k]
            tone = torch.where(weight > 0, 0.35, UNOBSERVED)
            shown = [
                torch.where(weight > 0, x[b, k].float(), UNOBSERVED)
                for x in (targets.images, reconstruction.round_trip, reconstruction.images)
            ]
            pictures = [*shown, tone.expand(3, -1, -1)]
            cells.append([fit(to_image(x), 2 * SIDE) for x in pictures])
            seen = (weight > 0).float().mean().item()
            labels.append(f"scene {b}\n{_error(reconstruction, b, k)}\n{seen:.0%} observed")
    if not cells:
        return message("no bird's-eye view")
    columns = ["target", "tokenizer's round trip", "rebuilt", "coverage (dark = observed)"]
    return tile(cells[:rows], columns=columns, labels=labels[:rows])


def _error(reconstruction: Reconstruction, b: int, k: int) -> str:
    """PSNR of one target, where it counts."""
    truth, weight = reconstruction.targets.images, reconstruction.targets.weight
    pictures = (x[b, k][None, None].float() for x in (reconstruction.images, truth, weight))
    return f"PSNR {psnr(*pictures).mean():.1f} dB"
