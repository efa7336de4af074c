from __future__ import annotations

import pytest
import torch
from PIL import Image
from reference import drawing
from reference.drawing import draw_box, draw_line, enlarge, fit, tile, to_image
from torch import Tensor

from ross3d import box_corners, project

RED = (255, 0, 0)
INTRINSICS = torch.tensor([[[[50.0, 0, 32], [0, 50, 32], [0, 0, 1]]]])


def blank(width: int = 64, height: int = 64) -> Image.Image:
    return Image.new("RGB", (width, height), "white")


def painted(image: Image.Image) -> Tensor:
    """(h, w) True where the picture is red."""
    pixels = torch.tensor(list(image.tobytes())).view(image.height, image.width, 3)
    return (pixels == torch.tensor(RED)).all(-1)


def seen(box: list[float]) -> tuple[Tensor, Tensor]:
    corners = box_corners(torch.tensor([box]))[None]
    pixels, depth = project(corners, INTRINSICS, torch.eye(4)[None, None])
    return pixels[0, 0], depth[0, 0]


def test_colours_survive_and_bad_values_are_clamped() -> None:
    tensor = torch.zeros(3, 1, 5, dtype=torch.bfloat16)
    tensor[0, 0] = torch.tensor([0.0, 1.0, 2.0, -1.0, float("nan")])
    image = to_image(tensor)
    assert image.size == (5, 1)
    assert [image.getpixel((x, 0))[0] for x in range(5)] == [0, 255, 255, 0, 0]


def test_enlarging_repeats_pixels() -> None:
    image, scale = enlarge(to_image(torch.rand(3, 2, 3)), 6)
    assert (scale, image.size) == (3, (9, 6))
    assert image.getpixel((0, 0)) == image.getpixel((2, 2))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((96, 96), (192, 192)),
        ((64, 48), (192, 144)),
        ((640, 480), (192, 144)),
        ((99, 5), (99, 5)),
    ],
)
def test_fit_never_exceeds_the_side(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit(blank(*size), 192).size == expected


def test_tile_copes_with_gaps_ragged_rows_and_labels() -> None:
    red = Image.new("RGB", (10, 6), RED)
    picture = tile([[red, None, red], [red]], columns=("a", "b"), labels=("one", "two"), scale=2)
    assert painted(picture).sum() == 3 * 20 * 12
    assert tile([[red]], margin=3).size == (10 + 2 * 3, 6 + 2 * 3)
    assert tile([]).size == (8, 8)


def test_a_box_in_front_is_drawn_where_its_corners_are() -> None:
    image = blank()
    corners, depth = seen([0, 0, 4, 2, 2, 1])
    draw_box(image, corners, depth, RED, width=1)
    found = painted(image).nonzero().flip(-1)
    near = 50 / 3.5
    assert found.amin(0).tolist() == pytest.approx([32 - near] * 2, abs=1)
    assert found.amax(0).tolist() == pytest.approx([32 + near] * 2, abs=1)
    for corner in corners.round().long().tolist():
        assert (found - torch.tensor(corner)).abs().amax(-1).min() <= 1


def test_edges_are_twelve_and_change_one_coordinate() -> None:
    corners = box_corners(torch.tensor([[0.0, 0, 0, 1, 2, 3]]))[0]
    assert len(set(drawing.EDGES)) == 12
    changed = [int((corners[i] != corners[j]).sum()) for i, j in drawing.EDGES]
    assert changed == [1] * 12


def test_a_box_behind_the_camera_is_not_drawn() -> None:
    image = blank()
    draw_box(image, *seen([0, 0, -4, 1, 1, 1]), RED)
    assert not painted(image).any()


def test_a_box_across_the_camera_plane_is_cut_there() -> None:
    image, dense = blank(), blank()
    box = [0.3, 0.5, 0.0, 0.4, 0.2, 4.0]
    draw_box(image, *seen(box), RED, width=1)
    found = painted(image)
    # Every drawn pixel is the picture of a point of an edge in front of the camera.
    corners = box_corners(torch.tensor([box]))[0]
    steps = torch.linspace(0, 1, 4001)[:, None]
    points = torch.cat([torch.lerp(corners[i], corners[j], steps) for i, j in drawing.EDGES])
    points = points[points[:, 2] > drawing.NEAR]
    pixels = project(points[None, None], INTRINSICS, torch.eye(4)[None, None])[0][0, 0].round()
    inside = ((pixels >= 0) & (pixels < 64)).all(-1)
    reference = torch.zeros(dense.height, dense.width)
    reference[pixels[inside, 1].long(), pixels[inside, 0].long()] = 1
    spread = torch.nn.functional.max_pool2d(reference[None], 3, 1, 1)[0] > 0
    assert found.sum() > 10
    assert not (found & ~spread).any()
    missed = (reference > 0) & ~(
        torch.nn.functional.max_pool2d(found[None].float(), 5, 1, 2)[0] > 0
    )
    assert not missed.any()


def test_lines_are_dashed_clipped_and_outside_ones_are_left_out() -> None:
    solid, dashed, outside = blank(), blank(), blank()
    line = torch.tensor([[-1e6, 30.0], [1e6, 30.0]])
    draw_line(solid, line, RED, width=1)
    draw_line(dashed, line, RED, width=1, dashed=True)
    for away in ([[-50.0, 80.0], [300.0, 80.0]], [[80.0, 0], [80, 60]], [[-90.0, 20], [20, -90]]):
        draw_line(outside, torch.tensor(away), RED)
    assert painted(solid)[30].all()
    assert 16 < painted(dashed)[30].sum() < 48
    assert not painted(outside).any()
    draw_line(outside, torch.tensor([[5.0, 5.0], [5.0, 5.0]]), RED, dashed=True)
