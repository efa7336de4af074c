"""CrossAttentionFusion."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.core.fusion import CrossAttentionFusion

DIM, CONTEXT, HEADS = 8, 6, 2


def awake() -> CrossAttentionFusion:
    fusion = CrossAttentionFusion(DIM, CONTEXT, HEADS)
    torch.nn.init.normal_(fusion.out.weight)
    return fusion


def draw(b: int = 2, m: int = 3, p: int = 4, s: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(b, m, p, DIM), torch.randn(b, s, CONTEXT), torch.rand(b, s) > 0.4


def slow(fusion: CrossAttentionFusion, visual: Tensor, context: Tensor, valid: Tensor) -> Tensor:
    """The definition in float64: one token and one head at a time."""
    w = {name: x.detach().double() for name, x in fusion.named_parameters()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    out = visual.double().clone()
    for scene in range(len(visual)):
        kept = norm(context[scene][valid[scene]].double(), "context_norm")
        keys, values = kept @ w["key.weight"].T, kept @ w["value.weight"].T
        for view in range(visual.shape[1]):
            for token in range(visual.shape[2]):
                normal = norm(visual[scene, view, token].double(), "visual_norm")
                query, read = w["query.weight"] @ normal, []
                for head in torch.arange(DIM).chunk(HEADS):
                    scores = keys[:, head] @ query[head] / math.sqrt(len(head))
                    read.append(scores.softmax(0) @ values[:, head])
                out[scene, view, token] += w["out.weight"] @ torch.cat(read)
    return out


def test_equals_the_definition() -> None:
    fusion, (visual, context, valid) = awake(), draw()
    valid[:, 0] = True
    expected = slow(fusion, visual, context, valid)
    torch.testing.assert_close(fusion(visual, context, valid), expected.float(), rtol=0, atol=1e-5)
    everything = torch.ones_like(valid)
    torch.testing.assert_close(fusion(visual, context), fusion(visual, context, everything))


def test_starts_as_the_identity_and_learns() -> None:
    fusion, (visual, context, valid) = CrossAttentionFusion(DIM, CONTEXT, HEADS), draw()
    out = fusion(visual, context, valid)
    assert torch.equal(out, visual)
    (out * torch.randn_like(out)).sum().backward()
    assert fusion.out.weight.grad.any()


@given(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3), st.integers(0, 4))
def test_shapes(b: int, m: int, p: int, s: int) -> None:
    visual, context, valid = draw(b, m, p, s)
    out = awake()(visual, context, valid)
    assert out.shape == visual.shape
    assert out.isfinite().all()


def test_padding_does_not_matter() -> None:
    fusion, (visual, context, valid) = awake(), draw()
    noise = torch.where(valid[..., None], context, 9.0)
    assert torch.equal(fusion(visual, context, valid), fusion(visual, noise, valid))
    assert not torch.equal(fusion(visual, context), fusion(visual, noise))


def test_a_scene_without_features_stays_as_it_is() -> None:
    fusion, (visual, context, valid) = awake(), draw()
    valid[0], valid[1, 0] = False, True
    out = fusion(visual, context, valid)
    assert torch.equal(out[0], visual[0])
    assert not torch.equal(out[1], visual[1])


def test_features_are_a_set_and_scenes_are_apart() -> None:
    fusion, (visual, context, valid) = awake(), draw()
    order = torch.randperm(7)
    out = fusion(visual, context, valid)
    torch.testing.assert_close(fusion(visual, context[:, order], valid[:, order]), out)
    each = [fusion(*(x[i : i + 1] for x in (visual, context, valid))) for i in range(2)]
    torch.testing.assert_close(torch.cat(each), out)


def test_gradients() -> None:
    fusion = awake().double()
    visual, context, valid = (x.double() if x.is_floating_point() else x for x in draw(1, 2, 2, 3))
    valid[:, 0] = True
    inputs = visual.requires_grad_(), context.requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: fusion(*x, valid), inputs)


def test_dtypes() -> None:
    fusion, (visual, context, valid) = awake(), draw()
    assert fusion(visual.bfloat16(), context.bfloat16(), valid).dtype == torch.bfloat16
    assert fusion.bfloat16()(visual, context, valid).dtype == torch.float32


def test_compiles() -> None:
    fusion, inputs = awake(), draw()
    compiled = torch.compile(fusion, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), fusion(*inputs))


def test_errors() -> None:
    fusion, (visual, context, valid) = awake(), draw()
    with pytest.raises(ValueError, match="dim must be a multiple of heads = 3; got 8"):
        CrossAttentionFusion(DIM, CONTEXT, 3)
    with pytest.raises(ValueError, match="dim must be a multiple of heads = 0; got 8"):
        CrossAttentionFusion(DIM, CONTEXT, 0)
    with pytest.raises(ValueError, match="visual must be of shape"):
        fusion(visual[..., :3], context)
    with pytest.raises(ValueError, match="context must be of shape"):
        fusion(visual, context[:1])
    with pytest.raises(ValueError, match="valid must be of shape"):
        fusion(visual, context, valid[:, :2])
    with pytest.raises(ValueError, match="valid must be boolean"):
        fusion(visual, context, valid.float())
