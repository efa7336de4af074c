"""attention, on every backend that can run here."""

from __future__ import annotations

import itertools
import sys
from functools import cache
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

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


def slow_flex(q: Tensor, k: Tensor, v: Tensor, block_mask: BlockMask | None = None) -> Tensor:
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if block_mask is not None:
        for index in itertools.product(*(range(size) for size in scores.shape)):
            if not block_mask.mask_mod(*map(torch.tensor, index)):
                scores[index] = -torch.inf
    return scores.softmax(-1) @ v


def some_groups(b: int = 2, n: int = 5, s: int = 7) -> tuple[Tensor, Tensor]:
    """Groups of queries, of keys, of both; the last query and the last two keys are padding."""
    q_groups, k_groups = torch.randint(0, 3, (b, n)), torch.randint(1, 4, (b, s))
    q_groups[:, 0], k_groups[:, 0] = 2, 2
    q_groups[:, 1] = 0
    q_groups[:, -1:], k_groups[:, -2:] = -1, -1
    return q_groups, k_groups


def group_by_group(
    q: Tensor, k: Tensor, v: Tensor, groups: tuple[Tensor, Tensor], valid: Tensor
) -> Tensor:
    """Attention of each group of each scene on its own."""
    out = torch.zeros(q.shape[0], q.shape[2], q.shape[1] * q.shape[3], dtype=torch.float64)
    for i in range(len(q)):
        for group in range(int(groups[0][i].max()) + 1):
            queries, keys = groups[0][i] == group, (groups[1][i] == group) & valid[i]
            parts = q[i : i + 1, :, queries], k[i : i + 1, :, keys], v[i : i + 1, :, keys]
            read = slow_attention(*parts, torch.ones(1, int(keys.sum()), dtype=torch.bool))
            out[i, queries] = read[0]
    return out


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


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize("masked", [False, True])
def test_groups_are_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch, backend: str, masked: bool
) -> None:
    compiled = torch.compile(flex_attention, backend="eager")
    monkeypatch.setattr(module, "_compiled_flex", lambda: compiled)
    (q, k, v), groups = draw(), some_groups()
    valid = torch.rand(2, 7) > 0.3 if masked else torch.ones(2, 7, dtype=torch.bool)
    valid[1, 0] = True
    out = attention(q, k, v, valid=valid if masked else None, groups=groups, backend=backend)
    expected = group_by_group(q, k, v, groups, valid)
    assert expected[1, 0].any()
    assert not out[:, [1, -1]].any()
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)


def test_flex_skips_the_blocks_between_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[BlockMask] = []

    def keep(q: Tensor, k: Tensor, v: Tensor, block_mask: BlockMask) -> Tensor:
        masks.append(block_mask)
        return torch.zeros_like(q)

    monkeypatch.setattr(module, "_compiled_flex", lambda: keep)
    group = torch.arange(4).repeat_interleave(256)[None]
    attention(*draw(1, 1, 1024, 1024), groups=(group, group), backend="flex")
    assert masks[0].sparsity() == 75


def test_groups_pass_gradients_to_what_is_read_alone() -> None:
    q, k, v = (x.double().requires_grad_() for x in draw(d=2))
    groups, valid = some_groups(), torch.rand(2, 7) > 0.3
    read = lambda *qkv: attention(*qkv, valid=valid, groups=groups)  # noqa: E731
    assert torch.autograd.gradcheck(read, (q, k, v))
    read(q, k, v).square().sum().backward()
    for x in (k, v):
        assert not x.grad[:, :, -2:].any()
    assert not q.grad[:, :, [1, -1]].any()
    everything = torch.zeros(2, 5).long(), torch.full((2, 7), -1)
    assert not attention(q, k, v, groups=everything).any()


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


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch, of its own function
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize("grouped", [False, True])
def test_compiles(backend: str, grouped: bool) -> None:
    q, k, v = draw()
    options = {"valid": some_valid(), "groups": some_groups() if grouped else None}
    compiled = torch.compile(attention, fullgraph=True, backend="eager")
    out = compiled(q, k, v, **options, backend=backend)
    torch.testing.assert_close(out, attention(q, k, v, **options))


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


def test_xformers_reads_groups(
    monkeypatch: pytest.MonkeyPatch, xformers_stub: list[Tensor | None]
) -> None:
    monkeypatch.setattr(module, "_check_backend", lambda *_: None)
    (q, k, v), groups = draw(), some_groups()
    out = attention(q, k, v, groups=groups, backend="xformers")
    torch.testing.assert_close(out, attention(q, k, v, groups=groups))
    assert xformers_stub[0] is not None


def test_xformers_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_check_backend", lambda *_: None)
    monkeypatch.setitem(sys.modules, "xformers", None)
    with pytest.raises(ImportError, match=r"needs xformers: pip install 'ross3d\[xformers\]'"):
        attention(*draw(), backend="xformers")


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["xformers", "flex"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_backend_equals_sdpa_on_a_gpu(backend: str, masked: bool, grouped: bool) -> None:
    if backend == "xformers":
        pytest.importorskip("xformers.ops")
    results = []
    valid = some_valid(s=77).to("cuda") if masked else None
    groups = tuple(x.to("cuda") for x in some_groups(n=130, s=77)) if grouped else None
    q, k, v = draw(n=130, s=77, d=64, device="cuda")
    for name in ("sdpa", backend):
        inputs = [x.detach().clone().requires_grad_() for x in (q, k, v)]
        out = attention(*inputs, valid=valid, groups=groups, backend=name)
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
    group = torch.zeros(2, 5).long(), torch.zeros(2, 7).long()
    with pytest.raises(ValueError, match=r"groups\[0\] must be of shape \(b l\) with .* l = 5"):
        attention(q, k, v, groups=(group[1], group[1]))
    with pytest.raises(ValueError, match=r"groups\[1\] must be of shape \(b s\) with .* s = 7"):
        attention(q, k, v, groups=(group[0], group[0]))
    with pytest.raises(ValueError, match=r"groups\[1\] must be long; got torch\.int32"):
        attention(q, k, v, groups=(group[0], group[1].int()))
