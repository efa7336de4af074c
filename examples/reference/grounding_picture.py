"""The picture of what phrases mean and what was found: boxes in views and from above."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ross3d import box_corners, project, scale_intrinsics, world_to_bev

from .drawing import (
    FONT,
    INK,
    PAPER,
    RGB,
    SIDE,
    UNOBSERVED,
    captioned,
    draw_box,
    draw_line,
    enlarge,
    fit,
    message,
    tile,
    to_image,
)

if TYPE_CHECKING:
    from ross3d import BEV, PosedFrames

TRUE: RGB = (0, 200, 80)
CHOSEN: RGB = (255, 125, 0)


class Query(NamedTuple):
    """A phrase, the objects that it means, and those that were chosen; empty = none of them.

    Attributes:
        phrase: the words.
        true: indices of the boxes that are meant.
        chosen: indices of the boxes that the model chose.
    """

    phrase: str
    true: Sequence[int]
    chosen: Sequence[int]


def grounding_picture(
    frames: PosedFrames,
    bev: BEV,
    boxes: Tensor,
    queries: Sequence[Query | tuple[str, Sequence[int], Sequence[int]]],
    *,
    views: int = 2,
) -> Image.Image:
    """Show which boxes phrases mean (green) and which were chosen (orange, dashed).

    Args:
        frames: one scene.
        bev: its view from above.
        boxes: (o, 6) axis-aligned (x, y, z, dx, dy, dz), metres, world frame.
        queries: phrases, with the indices of the true and of the chosen boxes.
        views: how many views to show: those that see most of the true boxes, or of the chosen.
    """
    if not queries:
        return message("no queries")
    seen = visibility(frames, boxes)
    rows: list[list[Image.Image | None]] = []
    labels = []
    for query in map(Query._make, queries):
        wanted = list(query.true) or list(query.chosen)
        best = seen[:, wanted].sum(-1).argsort(descending=True, stable=True)[:views].tolist()
        drawn = [(i, TRUE, False) for i in query.true] + [(i, CHOSEN, True) for i in query.chosen]
        row = [captioned(view_with_boxes(frames, m, boxes, drawn), f"view {m}") for m in best]
        above = captioned(bev_with_boxes(bev, boxes, drawn), "from above")
        rows.append([*row, *[None] * (views - len(row)), above])
        labels.append(_verdict(query))
    picture = tile(rows, labels=labels)
    return with_legend(picture)


def _verdict(query: Query) -> str:
    lines: list[str] = []
    for word in f"“{query.phrase}”".split():
        if lines and len(lines[-1]) + len(word) < 24:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    found = set(query.true) == set(query.chosen)
    if not query.true:
        lines.append("(there is none)")
    elif not query.chosen:
        lines.append("(nothing chosen)")
    return "\n".join([*lines, "found" if found else "missed"])


def with_legend(picture: Image.Image) -> Image.Image:
    """Say above a picture what the colours of boxes mean."""
    canvas = Image.new("RGB", (picture.width, picture.height + 28), PAPER)
    canvas.paste(picture, (0, 28))
    for left, colour, dashed, name in ((10, TRUE, False, "true"), (90, CHOSEN, True, "chosen")):
        line = torch.tensor([[left, 18.0], [left + 25, 18.0]])
        draw_line(canvas, line, colour, width=4, dashed=dashed)
        ImageDraw.Draw(canvas).text((left + 32, 9), name, INK, font=FONT)
    return canvas


def view_with_boxes(
    frames: PosedFrames, m: int, boxes: Tensor, drawn: Sequence[tuple[int, RGB, bool]]
) -> Image.Image:
    """One view, large, with boxes (index, colour, dashed) in it."""
    before = to_image(frames.images[0, m])
    image = enlarge(before, 2 * SIDE)[0] if max(before.size) < 2 * SIDE else fit(before, 2 * SIDE)
    scale = image.width / before.width, image.height / before.height
    intrinsics = scale_intrinsics(frames.intrinsics[:1, m : m + 1], scale)
    corners = box_corners(boxes)[None, None].to(frames.poses)
    pixels, depth = project(corners, intrinsics, frames.poses[:1, m : m + 1])
    for i, colour, dashed in drawn:
        width = 3 if dashed else 4
        draw_box(image, pixels[0, 0, i], depth[0, 0, i], colour, width=width, dashed=dashed)
    return image


def bev_with_boxes(bev: BEV, boxes: Tensor, drawn: Sequence[tuple[int, RGB, bool]]) -> Image.Image:
    """The view from above, large, with the footprints of boxes (index, colour, dashed)."""
    before = to_image(torch.where(bev.observed[0], bev.image[0].float(), UNOBSERVED))
    image = fit(before, 2 * SIDE)
    corners = box_corners(boxes).to(bev.extent)
    cells = world_to_bev(corners.reshape(1, -1, 3), bev.extent[:1], before.width).view(-1, 8, 2)
    cells = (cells + 0.5) * (image.width / before.width) - 0.5
    for i, colour, dashed in drawn:
        (left, top), (right, bottom) = cells[i].amin(0).tolist(), cells[i].amax(0).tolist()
        outline = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        for line in pairwise(outline):
            draw_line(image, torch.tensor(line), colour, width=3 if dashed else 4, dashed=dashed)
    return image


def visibility(frames: PosedFrames, boxes: Tensor) -> Tensor:
    """How much each view of the first scene shows of each box.

    Args:
        frames: posed views; only the first scene is read.
        boxes: (o, 6) axis-aligned, metres, world frame.

    Returns:
        (m, o) number of pixels whose surface lies in the box, within 2 cm; plus, to order views
        that show none of it, a little for each of its corners that falls into the picture.
    """
    points, valid = frames.world_coords()[0], frames.valid[0]
    centre, size = boxes.to(points)[:, :3], boxes.to(points)[:, 3:]
    counts = [
        (((points - c).abs() <= s / 2 + 0.02).all(-1) & valid).flatten(1).sum(-1)
        for c, s in zip(centre, size, strict=True)
    ]
    corners = box_corners(boxes.to(points)).expand(1, frames.views, -1, -1, -1)
    pixels, depth = project(corners, frames.intrinsics[:1], frames.poses[:1])
    border = pixels.new_tensor([frames.size[1], frames.size[0]])
    inside = ((pixels >= 0) & (pixels < border)).all(-1) & (depth > 0)
    share = inside[0].float().mean(-1)
    return torch.stack(counts, -1) + 0.9 * share if counts else share
