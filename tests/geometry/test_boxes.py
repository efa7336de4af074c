from __future__ import annotations

import pytest
import torch
from hypothesis import given
from strategies import scenes, seeds
from torch import Tensor

from ross3d.geometry.boxes import box_corners, box_iou, points_in_boxes


def random_boxes(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(*shape, 3, generator=generator)
    return torch.cat([centre, torch.rand(*shape, 3, generator=generator) * 3], -1)


@given(scenes, seeds)
def test_points_in_boxes_tests_every_point(b: int, seed: int) -> None:
    points, boxes = random_boxes(b, 20, seed=seed)[..., :3], random_boxes(b, 4, seed=seed + 1)
    inside = points_in_boxes(points, boxes)
    assert inside.shape == (b, 4, 20)
    for i, o, n in torch.cartesian_prod(*map(torch.arange, inside.shape)).tolist():
        centre, size = boxes[i, o, :3], boxes[i, o, 3:]
        assert inside[i, o, n] == bool(((points[i, n] - centre).abs() <= size / 2).all())


def test_faces_belong_to_the_box() -> None:
    boxes = torch.tensor([[[0.0, 0, 0, 2, 4, 6]]])
    points = torch.tensor([[[1.0, 2, 3], [-1, -2, -3], [1.001, 0, 0]]])
    assert points_in_boxes(points, boxes).tolist() == [[[True, True, False]]]
    assert points_in_boxes(box_corners(boxes[0])[0][None], boxes).all()


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        ((0.0, 0, 0, 1, 1, 1), 1.0),
        ((0.3, 0, 0, 1, 1, 1), 0.7 / 1.3),
        ((0.0, 0, 0, 2, 2, 2), 1 / 8),
        ((1.0, 0, 0, 1, 1, 1), 0.0),
        ((5.0, 5, 5, 1, 1, 1), 0.0),
        ((0.0, 0, 0, 0, 0, 0), 0.0),
    ],
)
def test_iou_of_known_boxes(other: tuple[float, ...], iou: float) -> None:
    box = torch.tensor([[0.0, 0, 0, 1, 1, 1]])
    assert box_iou(box, torch.tensor([other])).item() == pytest.approx(iou, abs=1e-6)


def test_iou_of_nothing_is_zero() -> None:
    assert box_iou(torch.zeros(1, 6), torch.zeros(1, 6)).item() == 0


@given(seeds)
def test_iou_counts_common_points(seed: int) -> None:
    boxes, others = random_boxes(2, 3, seed=seed), random_boxes(2, 4, seed=seed + 1)
    iou = box_iou(boxes, others)
    assert iou.shape == (2, 3, 4)
    torch.testing.assert_close(iou, box_iou(others, boxes).mT)
    assert ((iou >= 0) & (iou <= 1)).all()
    torch.testing.assert_close(box_iou(boxes, boxes).diagonal(dim1=1, dim2=2), torch.ones(2, 3))
    low, high = boxes[..., :3] - boxes[..., 3:] / 2, boxes[..., :3] + boxes[..., 3:] / 2
    grid = torch.cartesian_prod(*[(torch.arange(24) + 0.5) / 24] * 3)
    points = low[:, :1] + grid * (high - low)[:, :1]  # fills the first box of each scene
    volume, other_volume = boxes[:, 0, 3:].prod(-1), others[..., 3:].prod(-1)
    shared = points_in_boxes(points, others).float().mean(-1) * volume[:, None]
    counted = shared / (volume[:, None] + other_volume - shared)
    torch.testing.assert_close(iou[:, 0], counted, atol=0.08, rtol=0)


def test_corners_span_the_box() -> None:
    boxes = random_boxes(2, 3)
    corners = box_corners(boxes)
    assert corners.shape == (2, 3, 8, 3)
    torch.testing.assert_close(corners.mean(-2), boxes[..., :3])
    torch.testing.assert_close(corners.amax(-2) - corners.amin(-2), boxes[..., 3:])
    assert box_corners(torch.tensor([0.0, 0, 0, 2, 2, 2]))[1].tolist() == [-1, -1, 1]
    assert box_corners(boxes.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: points_in_boxes(torch.zeros(1, 3), torch.zeros(1, 2, 6)), "points must be"),
        (lambda: points_in_boxes(torch.zeros(1, 4, 3), torch.zeros(2, 2, 6)), "boxes must be"),
        (lambda: box_iou(torch.zeros(6), torch.zeros(2, 6)), "boxes must be of shape"),
        (lambda: box_iou(torch.zeros(2, 6), torch.zeros(2, 3)), "others must be of shape"),
        (lambda: box_corners(torch.zeros(2, 3)), "boxes must be of shape"),
    ],
)
def test_complains(call: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()  # type: ignore[operator]


def test_gradients_and_compiles() -> None:
    boxes = random_boxes(1, 2).double().requires_grad_()
    others = random_boxes(1, 3, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(box_iou, (boxes, others))
    assert torch.autograd.gradcheck(box_corners, boxes)

    def everything(a: Tensor, b: Tensor) -> list[Tensor]:
        return [box_iou(a, b), box_corners(a), points_in_boxes(box_corners(a)[:, 0], b)]

    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(boxes, others), everything(boxes, others))
