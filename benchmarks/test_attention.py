"""The backends of attention that can run here, and why the others cannot; ragged batches.

``flex`` compiles for the better part of a minute: ``ROSS3D_BENCH_FLEX=0`` leaves it out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.bars import compare
from benchmarks.in_turn import in_turn, seconds
from ross3d import attention

HEADS, DIM, ROUNDS = 16, 64, 3
CELLS = {  # queries and keys
    "denoiser, a view": (196, 196),
    "denoiser, the bird's-eye view": (729, 729),
    "pooler, 8 views of 24 x 196": (1568, 24 * 196),
}
LENGTHS = (784, 196, 588, 392, 196, 784, 196, 392)  # visible tokens of the scenes of a batch


def draw(b: int, queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    shapes = ((b, HEADS, n, DIM) for n in (queries, keys, keys))
    q, k, v = (torch.randn(shape, generator=g) for shape in shapes)
    return q, k, v


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT / DIM**0.5).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler, of torch itself
@pytest.mark.parametrize("shape", CELLS)
def test_backends(benchmark: Any, shape: str) -> None:
    """Forward, as ``flex`` has no backward on a CPU."""
    q, k, v = draw(1, *CELLS[shape])
    expected = plain(q.double(), k.double(), v.double())
    results: dict[str, dict[str, Any]] = {}
    for backend in ("sdpa", "xformers", "flex"):
        # One compilation is enough to see: each shape has its own.
        if backend == "flex" and (CELLS[shape][0] > 196 or not flex_wanted()):
            why = "left out: it compiles for long" if not flex_wanted() else "see 196 cells"
            results[backend] = {"runs": False, "why": why}
            continue
        results[backend] = timed(lambda backend=backend: attention(q, k, v, backend=backend))
        if results[backend]["runs"]:
            out = attention(q, k, v, backend=backend)
            results[backend]["error"] = (out - expected).abs().max().item()
            torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)
    assert results["sdpa"]["runs"]
    benchmark.extra_info |= {"backends": results, "shape": shape, "baseline": "softmax in torch"}
    bar = "attention" if CELLS[shape][0] == 1568 else None
    ways = (lambda: attention(q, k, v)), (lambda: plain(q, k, v))
    ratio = in_turn(benchmark, *ways, rounds=ROUNDS, bar=bar)
    if bar is None:
        compare(benchmark, f"attention of {shape}, forward", "softmax in torch", ratio)


def flex_wanted() -> bool:
    return os.environ.get("ROSS3D_BENCH_FLEX", "1") != "0"


def timed(work: Callable[[], object]) -> dict[str, Any]:
    """Milliseconds of processor time, or why it does not run: what the library says itself."""
    try:
        work()
    except (ValueError, ImportError) as error:
        return {"runs": False, "why": str(error)}
    return {"runs": True, "ms": 1000 * min(seconds(work) for _ in range(ROUNDS))}


@pytest.mark.parametrize("way", ["padded", "packed"])
def test_ragged(benchmark: Any, way: str) -> None:
    """Scenes of several lengths in one batch, against one call for each; forward and backward.

    Packed, ``sdpa`` computes and masks what lies between the scenes; only ``flex`` leaves it out.
    """
    scenes = [draw(1, 196, n) for n in LENGTHS]
    one_by_one = [attention(*scene) for scene in scenes]
    b, longest = len(LENGTHS), max(LENGTHS)
    if way == "padded":
        q = torch.cat([scene[0] for scene in scenes])
        k, v = (q.new_zeros(b, HEADS, longest, DIM) for _ in range(2))
        for i, (_, key, value) in enumerate(scenes):
            k[i, :, : LENGTHS[i]], v[i, :, : LENGTHS[i]] = key[0], value[0]
        options: dict[str, Any] = {"valid": torch.arange(longest) < torch.tensor(LENGTHS)[:, None]}
        joined = torch.cat(one_by_one)
    else:
        q, k, v = (torch.cat(parts, dim=2) for parts in zip(*scenes, strict=True))
        number = torch.arange(b)
        q_groups = number.repeat_interleave(196)[None]
        options = {"groups": (q_groups, number.repeat_interleave(torch.tensor(LENGTHS))[None])}
        joined = torch.cat(one_by_one, dim=1)
    torch.testing.assert_close(attention(q, k, v, **options), joined, rtol=0, atol=1e-5)
    whole = [x.requires_grad_() for x in (q, k, v)]
    parts = [[x.requires_grad_() for x in scene] for scene in scenes]

    def singly() -> None:
        for scene in parts:
            attention(*scene).sum().backward()

    benchmark.extra_info |= {"way": way, "baseline": "one call per scene", "lengths": LENGTHS}
    ratio = in_turn(
        benchmark, lambda: attention(*whole, **options).sum().backward(), singly, rounds=2
    )
    work = f"ragged batch, {way}, sdpa, forward + backward"
    compare(benchmark, work, "one call per scene", ratio, "CPU; 8 scenes of 196 to 784 keys")
