from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from torch import Tensor

from ross3d.geometry import position
from ross3d.geometry.position import PositionAwareEncoder, discretise


def slow_code(points: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """The code of points (n, 3), channel by channel."""
    width = dim // points.numel()
    code = torch.zeros(dim, dtype=torch.float64)
    for block, value in enumerate(points.double().flatten()):
        for i in range(width):
            angle = value / temperature ** (2 * (i // 2) / width)
            code[block * width + i] = angle.cos() if i % 2 else angle.sin()
    return code


@pytest.mark.parametrize(
    ("point", "bins"),
    [
        ((0.0, 0.0, 0.0), [150, 150, 50]),
        ((-20.0, 3.14, 9.0), [0, 181, 100]),
        ((1.05, -2.25, 0.77), [160, 128, 58]),  # -2.25 is bin 127.5: to the even one
    ],
)
def test_bins(point: tuple[float, ...], bins: list[int]) -> None:
    assert discretise(torch.tensor(point)).tolist() == bins


def test_bins_count_from_the_bounds() -> None:
    bins = discretise(torch.tensor([1.0, 2.0, 3.0]), 0.5, bounds=((0, 1, 2), (9, 9, 2.5)))
    assert bins.tolist() == [2, 2, 1]


def test_the_code_of_a_known_point() -> None:
    point = torch.tensor([0.0, -14.0, 0.0])  # bins (150, 10, 50)
    code = PositionAwareEncoder(3584).code(point)
    golden = {
        0: -0.714876, 1: 0.699251, 2: -0.048739, 3: -0.998812, 1193: 0.999884, 1194: -0.544021,
        1195: -0.839072, 2388: -0.262375, 2389: 0.964966, 3580: 0.005078, 3581: 0.999987, 3582: 0.0,
        3583: 0.0,
    }  # fmt: skip
    for channel, value in golden.items():
        assert code[channel].item() == pytest.approx(value, abs=2e-5)


@pytest.mark.parametrize(("points", "width"), [(1, 1194), (2, 597), (5, 238), (9, 132)])
def test_channels_are_shared_out_to_the_points(points: int, width: int) -> None:
    encoder = PositionAwareEncoder(3584, points=points)
    coords = torch.randn(1, 1, 1, points, 3)
    code = encoder(torch.zeros(1, 1, 1, 3584), coords)[0, 0, 0]
    used = 3 * points * width
    assert (code[used:] == 0).all()
    assert code[used - 1] != 0
    expected = slow_code(discretise(coords[0, 0, 0]), 3584)
    torch.testing.assert_close(code.double(), expected, atol=2e-5, rtol=0)


def test_many_tokens_are_coded_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position, "_CHUNK", 7 * 36)  # numbers of seven tokens: the last are fewer
    encoder, visual, coords = (
        PositionAwareEncoder(37),
        torch.randn(3, 8, 37, 50),
        torch.randn(3, 8, 50, 3),
    )
    visual = visual.mT  # not contiguous
    result = encoder(visual, coords)
    expected = [encoder(visual[i : i + 1], coords[i : i + 1], None) for i in range(3)]
    assert result.equal(torch.cat(expected))
    torch.testing.assert_close(result, visual + encoder.code(coords))


@given(seeds, st.sampled_from([1, 2, 5]), st.integers(30, 41), st.sampled_from([None, 0.1, 5.0]))
def test_forward_adds_the_slow_code(
    seed: int, points: int, dim: int, voxel_size: float | None
) -> None:
    generator = torch.Generator().manual_seed(seed)
    visual = torch.randn(2, 3, 5, dim, generator=generator)
    coords = torch.randn(2, 3, 5, points, 3, generator=generator) * 5
    valid = torch.rand(2, 3, 5, generator=generator) < 0.7
    encoder = PositionAwareEncoder(dim, voxel_size, points=points, temperature=100.0)
    result = encoder(visual, coords, valid)
    values = coords if voxel_size is None else discretise(coords, voxel_size)
    assert result[~valid].equal(visual[~valid])
    for i in valid.nonzero().tolist():
        expected = visual[*i] + slow_code(values[*i], dim, 100.0)
        torch.testing.assert_close(result[*i].double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["sincos", "mlp"])
@pytest.mark.parametrize("voxel_size", [None, 0.1, 5.0])
def test_the_code_alone_is_what_forward_adds(kind: str, voxel_size: float | None) -> None:
    encoder = PositionAwareEncoder(32, voxel_size, kind=kind, points=2)  # type: ignore[arg-type]
    coords = torch.randn(2, 3, 5, 3)
    result = encoder(torch.zeros(2, 3, 5, 32), coords)
    torch.testing.assert_close(result, encoder.code(coords), atol=1e-5, rtol=1e-5)


def test_mlp_has_the_released_layers_and_takes_several_points() -> None:
    encoder = PositionAwareEncoder(24, kind="mlp", points=5)
    sizes = {name: tuple(p.shape) for name, p in encoder.named_parameters() if p.ndim == 2}
    assert sizes == {"first.weight": (512, 15), "rest.2.weight": (24, 512)}
    coords = torch.randn(1, 2, 3, 5, 3)
    bins = discretise(coords).flatten(-2).float()
    expected = encoder.rest(encoder.first(bins))
    torch.testing.assert_close(encoder(torch.zeros(1, 2, 3, 24), coords), expected)


@pytest.mark.parametrize("kind", ["sincos", "mlp"])
@pytest.mark.parametrize("voxel_size", [None, 0.1, 5.0])
def test_low_precision_features_get_a_full_precision_code(
    kind: str, voxel_size: float | None
) -> None:
    encoder = PositionAwareEncoder(32, voxel_size, kind=kind)  # type: ignore[arg-type]
    coords = torch.rand(1, 2, 40, 3) * 14  # bins above 256, which bfloat16 does not have
    expected = encoder(torch.zeros(1, 2, 40, 32), coords)
    with torch.autocast("cpu", torch.bfloat16):
        result = encoder(torch.zeros(1, 2, 40, 32, dtype=torch.bfloat16), coords)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, atol=2e-2, rtol=2e-2)
    assert encoder.bfloat16()(result, coords).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"kind": "fourier"}, "kind must be 'sincos' or 'mlp'; got 'fourier'"),
        ({"points": 0}, "points and voxel_size must be positive; got 0"),
        ({"voxel_size": 0.0}, "points and voxel_size must be positive; got 1 and 0.0"),
        ({"points": 6}, "dim must be at least 6 channels per point; got 32 for 6"),
    ],
)
def test_construction_complains(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PositionAwareEncoder(32, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        (((2, 3, 5, 31), (2, 3, 5, 3), (2, 3, 5)), "visual must be of shape"),
        (((2, 3, 5, 32), (2, 3, 4, 3), (2, 3, 5)), "coords must be of shape"),
        (((2, 3, 5, 32), (2, 3, 5, 2, 3), (2, 3, 5)), "coords must be of shape"),
        (((2, 3, 5, 32), (2, 3, 5, 3), (2, 3, 4)), "valid must be of shape"),
    ],
)
def test_forward_complains(shapes: tuple[tuple[int, ...], ...], match: str) -> None:
    visual, coords, valid = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=match):
        PositionAwareEncoder(32)(visual, coords, valid > 0)


def test_functions_complain() -> None:
    with pytest.raises(ValueError, match="coords must be of shape"):
        discretise(torch.zeros(2))
    with pytest.raises(ValueError, match="coords must be of shape"):
        PositionAwareEncoder(32).code(torch.zeros(2))


@pytest.mark.parametrize("voxel_size", [None, 0.1, 5.0])
def test_gradients(voxel_size: float | None) -> None:
    visual = torch.randn(1, 2, 10, 12, dtype=torch.float64, requires_grad=True)
    coords = torch.randn(1, 2, 10, 3, dtype=torch.float64, requires_grad=voxel_size is None)
    encoder = PositionAwareEncoder(12, voxel_size)
    assert torch.autograd.gradcheck(encoder, (visual, coords))
    mlp = PositionAwareEncoder(12, None, kind="mlp", hidden_dim=8).double()
    assert torch.autograd.gradcheck(mlp, (visual, coords))


@pytest.mark.parametrize("kind", ["sincos", "mlp"])
@pytest.mark.parametrize("voxel_size", [None, 5.0])
def test_compiles(kind: str, voxel_size: float | None) -> None:
    encoder = PositionAwareEncoder(32, voxel_size, kind=kind)  # type: ignore[arg-type]
    visual = torch.randn(1, 2, 10, 32, requires_grad=True)
    inputs = visual, torch.randn(1, 2, 10, 3), torch.rand(1, 2, 10) < 0.5
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), encoder(*inputs))
    compiled(*inputs).sum().backward()
    assert visual.grad is not None
    assert (visual.grad == 1).all()


@pytest.mark.parametrize("kind", ["sincos", "mlp"])
@pytest.mark.parametrize("views", [1, 40])  # few tokens, and enough for a table of all bins
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_positions_that_are_not_finite_have_no_code(kind: Any, views: int, value: float) -> None:
    encoder = PositionAwareEncoder(12, kind=kind)
    visual, coords = torch.randn(2, views, 49, 12), torch.rand(2, views, 49, 3)
    lost = torch.rand(2, views, 49) < 0.3
    coords[..., 1] = coords[..., 1].masked_fill(lost, value)
    expected = encoder(visual, coords.nan_to_num(0.0, 0.0, 0.0), ~lost)
    assert encoder(visual, coords).equal(expected)
    assert (encoder.code(coords)[lost] == 0).all()
