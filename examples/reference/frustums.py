"""Where the cameras were: frustums drawn into the view from above."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ross3d import BEV, PosedFrames, uniform_frames, world_to_bev

from .contact_sheet import ramp
from .drawing import FONT, INK, PAPER, RGB, UNOBSERVED, enlarge, to_image

Point = tuple[float, float]
LEAST, BORDER = 640, 16


def bev_image(bev: BEV) -> Image.Image:
    """The first scene from above; what was not observed is nearly white."""
    return to_image(torch.where(bev.observed[0], bev.image[0].float(), UNOBSERVED))


def frustum_corners(frames: PosedFrames, reach: float) -> Tensor:
    """Centre of each camera of the first scene, and the corners of its picture in the world.

    Args:
        frames: b = 1.
        reach: how far in front of the camera the corners are, metres.

    Returns:
        (m, 5, 3) the centre, and the corners in the order in which they are joined, metres.
    """
    h, w = frames.size
    pixels = [
        [-0.5, -0.5, 1.0],
        [w - 0.5, -0.5, 1.0],
        [w - 0.5, h - 0.5, 1.0],
        [-0.5, h - 0.5, 1.0],
    ]
    corners = torch.tensor([[0.0, 0.0, 0.0], *pixels], dtype=torch.float64)
    local = corners @ frames.intrinsics[0].double().cpu().inverse().mT * reach  # (m, 5, 3)
    pose = frames.poses[0].double().cpu()
    return local @ pose[:, :3, :3].mT + pose[:, None, :3, 3]


def frustums_picture(
    frames: PosedFrames, bev: BEV, *, reach: float | None = None, most: int = 24
) -> Image.Image:
    """Draw the path of the cameras and their frustums into the view from above.

    The first camera is violet, the last yellow. The picture grows until all cameras are inside.

    Args:
        frames: b = 1, the views to draw.
        bev: of the same scene.
        reach: length of a frustum in metres; None = a sixteenth of the view's side.
        most: how many frustums to draw, spread evenly; the path is that of all views.
    """
    metres = float(bev.extent[0, 2] - bev.extent[0, 0])
    view, _ = enlarge(bev_image(bev), LEAST)
    points = frustum_corners(frames, metres / 16 if reach is None else reach)
    extent = bev.extent[:1].double().cpu()
    places = world_to_bev(points.flatten(0, 1)[None], extent, view.width).view(-1, 5, 2)
    outside = max(0.0, -float(places.min()), float(places.max()) - view.width)
    # A camera that has gone astray must not ask for gigabytes.
    border = min(BORDER + math.ceil(outside), view.width)
    canvas = Image.new("RGB", (view.width + 2 * border, view.width + 2 * border + 20), PAPER)
    canvas.paste(view, (border, border))
    draw = ImageDraw.Draw(canvas, "RGBA")
    colours = (ramp(torch.linspace(0, 1, frames.views)) * 255).int().tolist()
    corners = [[tuple(point) for point in place] for place in (places + border).tolist()]
    for first, second, colour in zip(corners, corners[1:], colours, strict=False):
        draw.line((first[0], second[0]), tuple(colour), 3)
    for index in uniform_frames(frames.views, most):
        _draw_frustum(draw, corners[index], tuple(colours[index]))
    for (centre, *_), colour in zip(corners, colours, strict=True):
        draw.circle(centre, 4, tuple(colour), PAPER)
    _scale_bar(draw, view.width / metres, (border, canvas.height - 12))
    return canvas


def _draw_frustum(draw: ImageDraw.ImageDraw, points: Sequence[Point], colour: RGB) -> None:
    """Draw the four sides and the edges of a frustum; ``points`` begin with its tip."""
    tip, *base = points
    for start, end in zip(base, [*base[1:], base[0]], strict=True):
        draw.polygon([tip, start, end], (*colour, 40))
        draw.line([tip, start, end], (*colour, 255), 2)


def _scale_bar(draw: ImageDraw.ImageDraw, pixels: float, left: tuple[int, int]) -> None:
    """One metre from a point to its right, and what the colours mean."""
    x, y = left
    draw.line((x, y, x + pixels, y), INK, 3)
    text = "1 m;  cameras from violet (first) to yellow (last);  +x right, +y up"
    draw.text((x + pixels + 8, y - 9), text, INK, font=FONT)
