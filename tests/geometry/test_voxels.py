"""voxel_pool."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ross3d.geometry.voxels import Voxels, voxel_pool

SIZE = 0.5


def draw(b: int = 2, m: int = 3, p: int = 4, d: int = 5, *, seed: int = 0) -> tuple[Tensor, ...]:
    """Tokens in a few voxels around the origin, a third of them of unknown place."""
    g = torch.Generator().manual_seed(seed)
    visual = torch.randn(b, m, p, d, generator=g)
    coords = torch.rand(b, m, p, 3, generator=g) * 2 - 1
    return visual, coords, torch.rand(b, m, p, generator=g) > 0.3


def slow(visual: Tensor, coords: Tensor, valid: Tensor) -> list[dict[tuple[int, ...], list[int]]]:
    """For each scene, voxel -> the tokens in it."""
    scenes = []
    for points, known in zip(coords.flatten(1, 2).tolist(), valid.flatten(1).tolist(), strict=True):
        held: dict[tuple[int, ...], list[int]] = {}
        for i, (point, counts) in enumerate(zip(points, known, strict=True)):
            if counts:
                held.setdefault(tuple(math.floor(x / SIZE) for x in point), []).append(i)
        scenes.append(dict(sorted(held.items())))
    return scenes


@settings(max_examples=12)
@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 5), st.integers(0, 99))
def test_equals_the_definition(b: int, m: int, p: int, seed: int) -> None:
    visual, coords, valid = draw(b, m, p, seed=seed)
    voxels, expected = voxel_pool(visual, coords, valid, SIZE), slow(visual, coords, valid)
    assert voxels.tokens.shape[1] == max(map(len, expected), default=0)
    for row, held in enumerate(expected):
        count = len(held)
        assert voxels.occupied[row].tolist() == [
            i < count for i in range(len(voxels.occupied[row]))
        ]
        index = torch.full((m * p,), -1)
        for number, members in enumerate(held.values()):
            index[members] = number
            for pooled, values in ((voxels.tokens, visual), (voxels.coords, coords)):
                mean = values[row].flatten(0, 1)[members].mean(0)
                torch.testing.assert_close(pooled[row, number], mean, rtol=0, atol=1e-6)
        assert torch.equal(voxels.index[row].flatten(), index)
        assert not voxels.tokens[row, count:].any()
        assert not voxels.coords[row, count:].any()


def test_the_order_of_the_tokens_does_not_matter() -> None:
    visual, coords, valid = draw(p=20)
    first = voxel_pool(visual, coords, valid, SIZE)
    order = torch.randperm(60)
    shuffled = (x.flatten(1, 2)[:, order].view(x.shape) for x in (visual, coords, valid))
    second = voxel_pool(*shuffled, SIZE)
    torch.testing.assert_close(second.tokens, first.tokens, rtol=0, atol=1e-6)
    torch.testing.assert_close(second.coords, first.coords, rtol=0, atol=1e-6)
    assert torch.equal(second.occupied, first.occupied)
    assert torch.equal(second.index.flatten(1), first.index.flatten(1)[:, order])


def test_repeats_bit_for_bit() -> None:
    inputs = draw(p=50)
    first, second = (voxel_pool(*inputs, SIZE) for _ in range(2))
    for name in ("tokens", "coords", "occupied", "index"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_a_batch_of_two_equals_two_batches_of_one() -> None:
    inputs = draw(p=9)
    both = voxel_pool(*inputs, SIZE)
    for row in range(2):
        alone = voxel_pool(*(x[row : row + 1] for x in inputs), SIZE)
        count = alone.tokens.shape[1]
        assert int(both.occupied[row].sum()) == count
        torch.testing.assert_close(both.tokens[row, :count], alone.tokens[0])
        assert torch.equal(both.index[row], alone.index[0])


def test_whole_voxels_of_shift_move_the_coordinates_alone() -> None:
    visual, coords, valid = draw()
    shift = torch.tensor([3.0, -2.0, 1.0]) * SIZE
    here, there = (voxel_pool(visual, x, valid, SIZE) for x in (coords, coords + shift))
    torch.testing.assert_close(here.tokens, there.tokens)
    moved = torch.where(here.occupied[..., None], here.coords + shift, 0)
    torch.testing.assert_close(there.coords, moved)


def test_what_is_not_valid_is_not_read() -> None:
    visual, coords, valid = draw()
    wrong = [torch.where(valid[..., None], x, float("nan")) for x in (visual, coords)]
    for name in ("tokens", "coords", "index"):
        actual = getattr(voxel_pool(*wrong, valid, SIZE), name)
        assert torch.equal(actual, getattr(voxel_pool(visual, coords, valid, SIZE), name))


def test_places_beyond_all_measure_stay_apart() -> None:
    far = torch.tensor([[9e30, 9e30, 9e30], [-9e30, 0.0, 0.0], [0.0, 0.0, 0.0]])[None, None]
    valid = torch.ones(1, 1, 3, dtype=torch.bool)
    assert voxel_pool(torch.ones(1, 1, 3, 1), far, valid).index.tolist() == [[[2, 0, 1]]]


@pytest.mark.parametrize("count", [1, 3, 6, 40])
def test_a_number_of_voxels_keeps_the_fullest(count: int) -> None:
    visual, coords, valid = draw(p=20)
    voxels = voxel_pool(visual, coords, valid, SIZE, num_voxels=count)
    assert voxels.tokens.shape == (2, count, 5)
    for row, held in enumerate(slow(visual, coords, valid)):
        ranked = sorted(held, key=lambda voxel: (-len(held[voxel]), voxel))
        kept = sorted(ranked[:count])
        assert int(voxels.occupied[row].sum()) == len(kept) == min(count, len(held))
        for number, voxel in enumerate(kept):
            mean = visual[row].flatten(0, 1)[held[voxel]].mean(0)
            torch.testing.assert_close(voxels.tokens[row, number], mean, rtol=0, atol=1e-6)
        members = sorted(i for voxel in kept for i in held[voxel])
        assert (voxels.index[row].flatten() >= 0).nonzero()[:, 0].tolist() == members


def test_pool_and_spread() -> None:
    visual, coords, valid = draw(p=20)
    voxels = voxel_pool(visual, coords, valid, SIZE)
    torch.testing.assert_close(voxels.pool(visual), voxels.tokens)
    fewer = valid & (torch.rand(valid.shape) > 0.5)
    other = voxel_pool(visual, coords, fewer, SIZE)
    back = voxels.spread(voxels.pool(visual, fewer))
    torch.testing.assert_close(back[fewer], other.spread(other.tokens)[fewer])
    assert not back[~valid].any()
    assert back.shape == visual.shape
    # What is the same within each voxel survives the way there and back.
    torch.testing.assert_close(voxels.spread(voxels.pool(back)), back)


@pytest.mark.parametrize("num_voxels", [None, 4, 40])
def test_gradients(num_voxels: int | None) -> None:
    visual, coords, valid = draw(p=3, d=2)

    def pooled(values: Tensor) -> tuple[Tensor, Tensor]:
        voxels = voxel_pool(values, coords, valid, SIZE, num_voxels=num_voxels)
        return voxels.tokens, voxels.spread(voxels.tokens)

    assert torch.autograd.gradcheck(pooled, visual.double().requires_grad_())


def test_dtypes() -> None:
    visual, coords, valid = draw(p=200, d=3)
    half = visual.bfloat16()
    voxels = voxel_pool(half, coords, valid, SIZE)
    assert voxels.tokens.dtype == torch.bfloat16
    assert voxels.coords.dtype == torch.float32
    exact = voxel_pool(half.double(), coords, valid, SIZE).tokens
    torch.testing.assert_close(voxels.tokens, exact.bfloat16(), rtol=1e-2, atol=1e-3)


# torch itself warns while it traces an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles() -> None:
    visual, coords, valid = draw()
    visual.requires_grad_()
    results = []
    for pool in (voxel_pool, torch.compile(voxel_pool, fullgraph=True, backend="eager")):
        voxels = pool(visual, coords, valid, SIZE, num_voxels=7)
        (grad,) = torch.autograd.grad(voxels.tokens.square().sum(), visual)
        results.append((voxels.tokens, voxels.coords, voxels.occupied, voxels.index, grad))
    torch.testing.assert_close(*results)


def test_nothing_but_indices_is_kept_for_the_gradient() -> None:
    visual, coords, valid = draw(p=50, d=64)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.nbytes), lambda x: x):
        voxel_pool(visual.requires_grad_(), coords, valid, SIZE)
    assert 0 < sum(saved) < visual.nbytes / 10


def test_errors() -> None:
    visual, coords, valid = draw()
    with pytest.raises(ValueError, match="visual must be of shape"):
        voxel_pool(visual[0], coords, valid)
    with pytest.raises(ValueError, match="coords must be of shape"):
        voxel_pool(visual, coords[..., :2], valid)
    with pytest.raises(ValueError, match="valid must be of shape"):
        voxel_pool(visual, coords, valid[:1])
    with pytest.raises(ValueError, match=r"valid must be boolean; got torch\.float32"):
        voxel_pool(visual, coords, valid.float())
    with pytest.raises(ValueError, match=r"must be positive; got 0\.0 and None"):
        voxel_pool(visual, coords, valid, 0.0)
    with pytest.raises(ValueError, match=r"must be positive; got 0\.2 and 0"):
        voxel_pool(visual, coords, valid, num_voxels=0)
    voxels = voxel_pool(visual, coords, valid)
    with pytest.raises(ValueError, match="values must be of shape"):
        voxels.pool(visual[:, :1])
    with pytest.raises(ValueError, match="valid must be of shape"):
        voxels.pool(visual, valid[:, :1])
    with pytest.raises(ValueError, match="tokens must be of shape"):
        voxels.spread(voxels.tokens[:, :1])
    for wrong in ("coords", "occupied", "index"):
        parts = {n: getattr(voxels, n) for n in ("tokens", "coords", "occupied", "index")}
        with pytest.raises(ValueError, match=f"{wrong} must be of shape"):
            Voxels(**{**parts, wrong: parts[wrong][:1]})
