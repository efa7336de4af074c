"""attention, on every backend that can run here."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from ross3d.core import attention as module
from ross3d.core.attention import attention


def draw(
    b: int = 2, heads: int = 3, n: int = 5, s: int = 7, d: int = 4, **options: object
) -> tuple[Tensor, Tensor, Tensor]:
    q = torch.randn(b, heads, n, d, **options)
    return q, torch.randn(b, heads, s, d, **options), torch.randn(b, heads, s, d, **options)


def slow_attention(q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
    b, heads, n, d = q.shape
    out = torch.zeros(b, n, heads * d, dtype=torch.float64)
    for i in range(b):
        keys = valid[i].nonzero().flatten()
        for head in range(heads):
            for query in range(n):
                if len(keys):
                    scores = k[i, head, keys].double() @ q[i, head, query].double() / d**0.5
                    read = scores.softmax(0) @ v[i, head, keys].double()
                    out[i, query, head * d : (head + 1) * d] = read
    return out


def slow_flex(
    q: Tensor, k: Tensor, v: Tensor, score_mod: Callable[..., Tensor] | None = None
) -> Tensor:
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if score_mod is not None:
        for index in itertools.product(*(range(size) for size in scores.shape)):
            scores[index] = score_mod(scores[index], *map(torch.tensor, index))
    return scores.softmax(-1) @ v


def some_valid(b: int = 2, s: int = 7) -> Tensor:
    valid = torch.rand(b, s) > 0.4
    valid[0] = False
    return valid


@given(*(st.integers(0, 3) for _ in range(3)), st.integers(1, 3), st.integers(1, 3))
def test_equals_the_loop(b: int, n: int, s: int, heads: int, d: int) -> None:
    q, k, v = draw(b, heads, n, s, d)
    everything = torch.ones(b, s, dtype=torch.bool)
    valid = torch.rand(b, s) > 0.5
    for given_valid, mask in ((None, everything), (valid, valid), (everything, everything)):
        out = attention(q, k, v, valid=given_valid)
        assert out.shape == (b, n, heads * d)
        torch.testing.assert_close(out.double(), slow_attention(q, k, v, mask), rtol=0, atol=1e-5)


def test_keys_that_may_not_be_read_do_not_matter() -> None:
    q, k, v = draw()
    valid = some_valid()
    hidden = ~valid[:, None, :, None]
    other = attention(q, k + 9 * hidden, v - 9 * hidden, valid=valid)
    torch.testing.assert_close(attention(q, k, v, valid=valid), other)


def test_a_scene_without_valid_keys_reads_zeros_and_passes_zero_gradients() -> None:
    q, k, v = (x.requires_grad_() for x in draw())
    out = attention(q, k, v, valid=some_valid())
    assert not out[0].any()
    assert out[1].any()
    out.square().sum().backward()
    for x in (q, k, v):
        assert x.grad.isfinite().all()
        assert not x.grad[0].any()
        assert x.grad[1].any()


@pytest.mark.parametrize("empty", ["b", "n", "s"])
def test_empty_tensors_pass_zero_gradients(empty: str) -> None:
    q, k, v = (x.requires_grad_() for x in draw(**{empty: 0}))
    attention(q, k, v).sum().backward()
    for x in (q, k, v):
        assert x.grad.shape == x.shape
        assert not x.grad.any()


def test_keeps_bfloat16() -> None:
    q, k, v = draw()
    out = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), valid=some_valid())
    assert out.dtype == torch.bfloat16


def test_gradients() -> None:
    q, k, v = (x.requires_grad_() for x in draw(2, 2, 2, 3, 2, dtype=torch.float64))
    valid = torch.tensor([[True, False, True], [False, False, False]])
    assert torch.autograd.gradcheck(lambda *qkv: attention(*qkv, valid=valid), (q, k, v))


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_compiles(backend: str) -> None:
    q, k, v = draw()
    valid = some_valid()
    compiled = torch.compile(attention, fullgraph=True, backend="eager")
    out = compiled(q, k, v, valid=valid, backend=backend)
    torch.testing.assert_close(out, attention(q, k, v, valid=valid))


@pytest.mark.parametrize("masked", [False, True])
def test_flex_equals_sdpa(monkeypatch: pytest.MonkeyPatch, masked: bool) -> None:
    compiled = torch.compile(flex_attention, backend="eager")
    monkeypatch.setattr(module, "_compiled_flex", lambda: compiled)
    q, k, v = draw()
    valid = some_valid() if masked else None
    out = attention(q, k, v, valid=valid, backend="flex")
    torch.testing.assert_close(out, attention(q, k, v, valid=valid))


def test_flex_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or slow_flex)
    monkeypatch.setattr(module, "_compiled_flex", cache(module._compiled_flex.__wrapped__))
    q, k, v = draw()
    for valid in (None, some_valid()):
        out = attention(q, k, v, valid=valid, backend="flex")
        torch.testing.assert_close(out, attention(q, k, v, valid=valid))
    assert compiled == [flex_attention]


@pytest.fixture
def xformers_stub(monkeypatch: pytest.MonkeyPatch) -> list[Tensor | None]:
    """A module with xformers' layout and its demand on a bias; returns the biases it was given."""
    biases: list[Tensor | None] = []

    def memory_efficient_attention(
        query: Tensor, key: Tensor, value: Tensor, attn_bias: Tensor | None = None
    ) -> Tensor:
        biases.append(attn_bias)
        if attn_bias is not None:
            b, n, heads, _ = query.shape
            assert attn_bias.shape == (b, heads, n, key.shape[1])
            assert attn_bias.stride(-1) == 1
            assert attn_bias.stride(0) % 8 == 0
            assert attn_bias.dtype == query.dtype
        scores = torch.einsum("blhd,bshd->bhls", query, key) / query.shape[-1] ** 0.5
        weights = (scores if attn_bias is None else scores + attn_bias).softmax(-1)
        return torch.einsum("bhls,bshd->blhd", weights, value)

    package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.memory_efficient_attention = memory_efficient_attention
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    return biases


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("s", [7, 8])
def test_xformers_is_called_in_its_own_layout(
    monkeypatch: pytest.MonkeyPatch, xformers_stub: list[Tensor | None], s: int, masked: bool
) -> None:
    monkeypatch.setattr(module, "_check_backend", lambda *_: None)
    q, k, v = draw(s=s)
    valid = some_valid(s=s) if masked else None
    out = attention(q, k, v, valid=valid, backend="xformers")
    torch.testing.assert_close(out, attention(q, k, v, valid=valid))
    assert [bias is not None for bias in xformers_stub] == [masked]


def test_xformers_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_check_backend", lambda *_: None)
    monkeypatch.setitem(sys.modules, "xformers", None)
    with pytest.raises(ImportError, match=r"needs xformers: pip install 'ross3d\[xformers\]'"):
        attention(*draw(), backend="xformers")


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["xformers", "flex"])
@pytest.mark.parametrize("masked", [False, True])
def test_every_backend_equals_sdpa_on_a_gpu(backend: str, masked: bool) -> None:
    if backend == "xformers":
        pytest.importorskip("xformers.ops")
    results = []
    valid = some_valid(s=77).to("cuda") if masked else None
    q, k, v = draw(n=130, s=77, d=64, device="cuda")
    for name in ("sdpa", backend):
        inputs = [x.detach().clone().requires_grad_() for x in (q, k, v)]
        out = attention(*inputs, valid=valid, backend=name)
        out.square().sum().backward()
        results.append([out, *(x.grad for x in inputs)])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_a_backend_that_cannot_run_says_why() -> None:
    q, k, v = draw()
    with pytest.raises(ValueError, match=r"backend must be one of \('sdpa', .* got 'fast'"):
        attention(q, k, v, backend="fast")
    with pytest.raises(ValueError, match="on cpu, as xformers has CUDA kernels only"):
        attention(q, k, v, backend="xformers")
    with pytest.raises(ValueError, match=r"gradients are needed on a CPU.* got 'flex'"):
        attention(q, k.requires_grad_(), v, backend="flex")


def test_flex_runs_on_a_cpu_where_gradients_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile(flex_attention, backend="eager")
    monkeypatch.setattr(module, "_compiled_flex", lambda: compiled)
    q, k, v = (x.requires_grad_() for x in draw())
    with torch.no_grad():
        out = attention(q, k, v, backend="flex")
        torch.testing.assert_close(out, attention(q, k, v))


def test_errors() -> None:
    q, k, v = draw()
    with pytest.raises(ValueError, match=r"q must be of shape \(b heads l d\)"):
        attention(q[0], k, v)
    with pytest.raises(ValueError, match=r"k must be of shape \(b heads s d\) with b = 2"):
        attention(q, k[:1], v)
    with pytest.raises(ValueError, match=r"v must be of shape \(b heads s d\) with .* s = 7"):
        attention(q, k, v[:, :, :6])
    with pytest.raises(ValueError, match=r"valid must be of shape \(b s\) with b = 2, s = 7"):
        attention(q, k, v, valid=torch.ones(2, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"valid must be boolean; got torch\.float32"):
        attention(q, k, v, valid=torch.ones(2, 7))
