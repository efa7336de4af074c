"""Pictures from tensors: grids with captions, and boxes drawn into them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

RGB = tuple[int, int, int]

PAPER: RGB = (255, 255, 255)
INK: RGB = (40, 42, 48)
SHADE: RGB = (20, 20, 24)
UNOBSERVED = 0.93
SIDE = 192
FONT = ImageFont.load_default(size=15)
NEAR = 0.05
EDGES = [(i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit]


def to_image(tensor: Tensor) -> Image.Image:
    """Turn (3, h, w) RGB in [0, 1] into a picture; values outside are clamped, NaN is black."""
    pixels = tensor.detach().float().cpu().nan_to_num(0, 1, 0).clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.movedim(0, -1).contiguous().numpy())


def grey_out(image: Image.Image) -> Image.Image:
    """Take the colour and most of the contrast away."""
    flat = Image.new("RGB", image.size, (180, 180, 180))
    return Image.blend(image.convert("L").convert("RGB"), flat, 0.7)


def enlarge(image: Image.Image, least: int) -> tuple[Image.Image, int]:
    """Repeat pixels until the shorter side has ``least`` of them; also return how often."""
    scale = max(1, -(-least // max(1, min(image.size))))
    width, height = image.size
    return image.resize((width * scale, height * scale), Image.Resampling.NEAREST), scale


def fit(image: Image.Image, side: int) -> Image.Image:
    """Make the longer side at most ``side`` pixels, and small pictures as large as fits in it."""
    longest = max(image.size)
    if longest <= side:
        return enlarge(image, min(image.size) * (side // longest))[0]
    width, height = (max(1, round(x * side / longest)) for x in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def text_size(text: str) -> tuple[int, int]:
    """Width and height of a text of one or more lines."""
    if not text:
        return 0, 0
    canvas = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    _, _, right, bottom = canvas.multiline_textbbox((0, 0), text, font=FONT)
    return int(right) + 1, int(bottom) + 1


def message(text: str) -> Image.Image:
    """A picture that only says something."""
    width, height = text_size(text)
    image = Image.new("RGB", (width + 48, height + 48), PAPER)
    ImageDraw.Draw(image).multiline_text((24, 24), text, INK, font=FONT)
    return image


def captioned(image: Image.Image, text: str, colour: RGB = INK) -> Image.Image:
    """Write a text below a picture."""
    width, height = text_size(text)
    canvas = Image.new("RGB", (max(image.width, width), image.height + height + 6), PAPER)
    canvas.paste(image, (0, 0))
    ImageDraw.Draw(canvas).multiline_text((0, image.height + 2), text, colour, font=FONT)
    return canvas


def tile(
    rows: Sequence[Sequence[Image.Image | None]],
    *,
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    scale: int = 1,
    margin: int = 8,
) -> Image.Image:
    """Put pictures of any sizes into a grid.

    Args:
        rows: rows of pictures, of any lengths; None leaves a gap.
        columns: headings of the columns.
        labels: names of the rows, on their left.
        scale: how often to repeat each pixel.
        margin: pixels between pictures, and around them.
    """
    cells = [[x and enlarge(x, min(x.size) * scale)[0] for x in row] for row in rows]
    by_column = list(zip_longest(*cells))
    heads = [*map(text_size, columns), *[(0, 0)] * len(by_column)]
    named = [*map(text_size, labels), *[(0, 0)] * len(cells)]
    widths = [
        max([head[0], *(x.width for x in column if x)])
        for column, head in zip(by_column, heads, strict=False)
    ]
    heights = [
        max([size[1], *(x.height for x in row if x)])
        for row, size in zip(cells, named, strict=False)
    ]
    left = max([0, *(size[0] + margin for size in named[: len(labels)])]) + margin
    top = max([0, *(head[1] + margin for head in heads[: len(columns)])]) + margin
    size = left + sum(widths) + margin * len(widths), top + sum(heights) + margin * len(heights)
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    lefts = [left + sum(widths[:i]) + margin * i for i in range(len(widths))]
    for x, name in zip(lefts, columns, strict=False):
        draw.multiline_text((x, margin), name, INK, font=FONT)
    for i, row in enumerate(cells):
        y = top + sum(heights[:i]) + margin * i
        if i < len(labels):
            draw.multiline_text((margin, y), labels[i], INK, font=FONT)
        for x, image in zip(lefts, row, strict=False):
            if image:
                canvas.paste(image, (x, y))
    return canvas


def draw_line(
    image: Image.Image, line: Tensor, colour: RGB, *, width: int = 2, dashed: bool = False
) -> None:
    """Draw a straight line with a dark rim, in place.

    Args:
        image: the picture.
        line: (2, 2) the ends as (column, row), pixel centres at integers.
        colour: RGB, 0 to 255.
        width: in pixels.
        dashed: leave every other 7 pixels out.
    """
    ends = clip_to_picture(line.double().cpu(), image.size)
    if ends is None:
        return
    start, end = ends
    count = max(1, round(float((end - start).norm()) / 7)) if dashed else 1
    stops = torch.linspace(0, 1, count + 1, dtype=torch.float64)[:, None]
    points = torch.lerp(start, end, stops).tolist()
    draw = ImageDraw.Draw(image)
    for i in range(0, count, 2):
        draw.line((*points[i], *points[i + 1]), SHADE, width + 2)
    for i in range(0, count, 2):
        draw.line((*points[i], *points[i + 1]), colour, width)


def draw_box(
    image: Image.Image,
    corners: Tensor,
    depth: Tensor,
    colour: RGB,
    *,
    width: int = 2,
    dashed: bool = False,
) -> None:
    """Draw the edges of a box, in place; what lies behind the camera is cut off.

    Args:
        image: the picture.
        corners: (8, 2) where :func:`ross3d.project` puts the corners of :func:`ross3d.box_corners`:
            (column, row) in pixels of ``image``, also behind the camera.
        depth: (8,) of the corners along the optical axis, metres.
        colour: RGB, 0 to 255.
        width: in pixels.
        dashed: leave every other 7 pixels out.
    """
    homogeneous = torch.cat([corners * depth[:, None], depth[:, None]], -1).double().cpu()
    for i, j in EDGES:
        one, two = homogeneous[i], homogeneous[j]
        if max(one[2], two[2]) < NEAR:
            continue
        # Straight in the homogeneous plane: cut there, where depth 0 is not yet at infinity.
        cut = [
            torch.lerp(b, a, (b[2] - NEAR) / (b[2] - a[2])) if a[2] < NEAR else a
            for a, b in ((one, two), (two, one))
        ]
        line = torch.stack([point[:2] / point[2] for point in cut])
        draw_line(image, line, colour, width=width, dashed=dashed)


def clip_to_picture(line: Tensor, size: tuple[int, int], border: float = 8.0) -> Tensor | None:
    """Cut a line (2, 2) at the picture's edges, some pixels outside; None = it does not meet it."""
    start, way = line[0], line[1] - line[0]
    first, last = 0.0, 1.0
    for axis in (0, 1):
        low, high = -border - start[axis].item(), size[axis] + border - start[axis].item()
        step = way[axis].item()
        if step == 0:
            if low > 0 or high < 0:
                return None
            continue
        first = max(first, min(low / step, high / step))
        last = min(last, max(low / step, high / step))
    if first > last:
        return None
    return torch.stack([start + first * way, start + last * way])
