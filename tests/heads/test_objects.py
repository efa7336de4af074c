from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.heads import cells, objects
from ross3d.heads.objects import average_rows, pool_objects


def scene(
    b: int = 2, m: int = 3, h: int = 12, w: int = 12, p: int = 9, d: int = 5, o: int = 6
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Waving surfaces with unknown pixels, and boxes that hold much or little of them."""
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    surface = torch.stack([3 * x, 3 * y, torch.sin(4 * x) + torch.cos(3 * y)], dim=-1)
    coords = surface + torch.rand(b, m, 1, 1, 3)
    valid = torch.rand(b, m, h, w) > 0.1
    coords = torch.where(valid[..., None], coords, torch.nan)
    boxes = torch.cat([torch.rand(b, o, 3) * 3, torch.rand(b, o, 3) * 3 + 0.1], dim=-1)
    return torch.randn(b, m, p, d), coords, valid, boxes


def by_loops(
    visual: Tensor,
    coords: Tensor,
    valid: Tensor,
    boxes: Tensor,
    grid: tuple[int, int],
    min_fraction: float | None,
) -> Tensor:
    """One box at a time, every pixel tested, cells cut by torch."""
    spans = [
        [-((i + 1) * -size // n) - i * size // n for i in range(n)]
        for n, size in zip(grid, valid.shape[-2:], strict=True)
    ]
    area = torch.outer(torch.tensor(spans[0]), torch.tensor(spans[1])).flatten()
    features = torch.zeros(*boxes.shape[:2], visual.shape[-1])
    for i in range(len(boxes)):
        for j, box in enumerate(boxes[i]):
            low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
            inside = ((coords[i] >= low) & (coords[i] <= high)).all(-1) & valid[i]
            counts = F.adaptive_avg_pool2d(inside.double(), grid).flatten(1) * area
            torch.testing.assert_close(counts, counts.round(), atol=1e-9, rtol=0)
            weight = counts.round()
            if min_fraction is not None:
                needed = [max(int(n * min_fraction), 1) for n in area.tolist()]
                weight = (weight >= torch.tensor(needed)).double()
            if weight.sum() > 0:
                features[i, j] = (weight[..., None] * visual[i]).sum((0, 1)) / weight.sum()
    return features


@pytest.mark.parametrize("min_fraction", [0.5, 0.25, 1.0, None])
@pytest.mark.parametrize(
    ("size", "grid"), [((12, 12), (3, 3)), ((13, 17), (4, 5)), ((5, 7), (6, 3))]
)
def test_equals_a_loop_over_boxes(
    size: tuple[int, int], grid: tuple[int, int], min_fraction: float | None
) -> None:
    visual, coords, valid, boxes = scene(h=size[0], w=size[1], p=grid[0] * grid[1], o=12)
    expected = by_loops(visual, coords, valid, boxes, grid, min_fraction)
    assert (expected.abs().sum(-1) > 0).any()
    actual = pool_objects(visual, coords, valid, boxes, grid, min_fraction=min_fraction)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("at_once", [1, 2 * 12 * 12, 2**30])
def test_views_pairs_and_rows_are_looked_at_in_parts(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    visual, coords, valid, boxes = scene()
    whole = pool_objects(visual, coords, valid, boxes, (3, 3), min_fraction=None)
    monkeypatch.setattr(cells, "PIXELS_AT_ONCE", at_once)
    monkeypatch.setattr(objects, "NUMBERS_AT_ONCE", at_once)
    parts = pool_objects(visual, coords, valid, boxes, (3, 3), min_fraction=None)
    assert whole.abs().sum() > 0
    torch.testing.assert_close(parts, whole)


def test_a_cell_needs_half_of_all_its_pixels() -> None:
    coords = torch.arange(8.0)[None, None, None, :, None].expand(1, 1, 2, 8, 3)
    visual = torch.tensor([[[[1.0], [10.0]]]])
    valid = torch.ones(1, 1, 2, 8, dtype=torch.bool)
    box = torch.tensor([[[2.75, 2.75, 2.75, 4.5, 4.5, 4.5]]])  # pixels 1 to 5: 6 of 8, then 4 of 8
    assert pool_objects(visual, coords, valid, box, (1, 2)).item() == 5.5
    assert pool_objects(visual, coords, valid, box, (1, 2), min_fraction=0.7).item() == 1.0
    weighted = pool_objects(visual, coords, valid, box, (1, 2), min_fraction=None)
    torch.testing.assert_close(weighted.item(), (6 * 1.0 + 4 * 10.0) / 10)
    valid[..., 0, 4] = False  # now 3 of 8, though 3 of the 7 known
    assert pool_objects(visual, coords, valid, box, (1, 2)).item() == 1.0


def test_a_small_object_vanishes_only_under_a_fraction() -> None:
    visual, coords, valid, _ = scene(b=1)
    valid[..., 4, 4] = True
    coords[0, 0, 4, 4] = torch.tensor([50.0, 50.0, 50.0])
    box = torch.tensor([[[50.0, 50.0, 50.0, 0.1, 0.1, 0.1]]])
    assert pool_objects(visual, coords, valid, box, (3, 3)).count_nonzero() == 0
    seen = pool_objects(visual, coords, valid, box, (3, 3), min_fraction=None)
    torch.testing.assert_close(seen[0, 0], visual[0, 0, 4])


@pytest.mark.parametrize("min_fraction", [0.5, None])
def test_boxes_that_hold_nothing_give_zeros(min_fraction: float | None) -> None:
    visual = torch.randn(1, 1, 4, 3)
    coords, valid = torch.zeros(1, 1, 4, 4, 3), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    padding = torch.zeros(6)
    far = torch.tensor([9.0, 9, 9, 1, 1, 1])
    around = torch.tensor([0.0, 0, 0, 1, 1, 1])
    boxes = torch.stack([padding, far, around])[None]
    features = pool_objects(visual, coords, valid, boxes, (2, 2), min_fraction=min_fraction)
    assert features[0, :2].count_nonzero() == 0
    torch.testing.assert_close(features[0, 2], visual.mean((0, 1, 2)))
    unknown = pool_objects(visual, coords, ~valid, boxes, (2, 2), min_fraction=min_fraction)
    assert unknown.count_nonzero() == 0


def test_a_batch_of_two_equals_two_of_one() -> None:
    inputs = scene()
    both = pool_objects(*inputs, (3, 3))
    alone = [pool_objects(*(part[i : i + 1] for part in inputs), (3, 3)) for i in range(2)]
    assert both.abs().sum() > 0
    torch.testing.assert_close(both, torch.cat(alone))


@given(*(st.integers(0, 3) for _ in range(4)))
def test_average_rows_is_a_product(b: int, o: int, s: int, d: int) -> None:
    rows, weights = torch.randn(b, s, d), torch.randint(0, 3, (b, o, s))
    shares = weights / weights.sum(-1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(average_rows(rows, weights), shares @ rows)
    torch.testing.assert_close(average_rows(rows, weights > 0), average_rows(rows, weights.sign()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_average_rows_is_an_operator_with_gradients(dtype: torch.dtype) -> None:
    rows = torch.randn(2, 5, 3, dtype=dtype, requires_grad=True)
    weights = torch.randint(0, 3, (2, 4, 5))
    weights[0, 0] = 0
    torch.library.opcheck(average_rows, (rows, weights))
    if dtype == torch.float64:
        assert torch.autograd.gradcheck(lambda x: average_rows(x, weights), rows)


def test_gradients_reach_visual() -> None:
    visual, coords, valid, boxes = scene(b=1, m=2, d=2, o=3)
    visual = visual.double().requires_grad_()
    fixed = coords.nan_to_num().double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: pool_objects(v, fixed, valid, boxes, (3, 3), min_fraction=None), visual
    )


def test_bf16_features_keep_their_type() -> None:
    visual, coords, valid, boxes = scene()
    features = pool_objects(visual.bfloat16(), coords, valid, boxes.bfloat16(), (3, 3))
    expected = pool_objects(visual, coords, valid, boxes.bfloat16().float(), (3, 3))
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), expected, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("min_fraction", [0.5, None])
def test_compiles_into_one_graph(min_fraction: float | None) -> None:
    inputs = scene()
    compiled = torch.compile(pool_objects, fullgraph=True, backend="aot_eager")
    actual = compiled(*inputs, (3, 3), min_fraction=min_fraction)
    torch.testing.assert_close(actual, pool_objects(*inputs, (3, 3), min_fraction=min_fraction))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visual": torch.zeros(2, 3, 9)}, "visual must be of shape"),
        ({"world_coords": torch.zeros(2, 3, 12, 12, 2)}, "world_coords must be of shape"),
        ({"valid": torch.ones(2, 3, 11, 12, dtype=torch.bool)}, "valid must be of shape"),
        ({"boxes": torch.zeros(1, 6, 6)}, "boxes must be of shape"),
        ({"grid": (3, 4)}, "grid must be of 9 cells; got 3 x 4"),
        ({"grid": (-3, -3)}, "grid must be of 9 cells; got -3 x -3"),
        ({"min_fraction": 0.0}, r"min_fraction must be in \(0, 1\] or None; got 0.0"),
        ({"min_fraction": 1.5}, r"min_fraction must be in \(0, 1\] or None; got 1.5"),
    ],
)
def test_complains(changes: dict[str, object], message: str) -> None:
    names = ("visual", "world_coords", "valid", "boxes")
    arguments = {**dict(zip(names, scene(), strict=True)), "grid": (3, 3), **changes}
    with pytest.raises(ValueError, match=message):
        pool_objects(**arguments)
