from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ross3d.core.recompute import saving_inputs


def normed(x: Tensor, linear: nn.Linear) -> Tensor:
    out: Tensor = linear(F.silu(F.layer_norm(x, x.shape[-1:])))
    return out


def test_gradients_are_those_of_the_function() -> None:
    x, linear = torch.randn(3, 5, dtype=torch.float64, requires_grad=True), nn.Linear(5, 2).double()
    leaves = (x, linear.weight, linear.bias)
    ours = torch.autograd.grad(saving_inputs(normed, x, linear).square().sum(), leaves)
    plain = torch.autograd.grad(normed(x, linear).square().sum(), leaves)
    torch.testing.assert_close(ours, plain)


def test_nothing_on_the_way_is_kept_and_the_linear_layer_runs_once() -> None:
    x, linear = torch.randn(3, 5, requires_grad=True), nn.Linear(5, 2)
    kept: list[int] = []
    calls: list[int] = []

    def counted(x: Tensor, linear: nn.Linear) -> Tensor:
        calls.append(1)
        out = normed(x, linear)
        calls.append(2)
        return out

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = saving_inputs(counted, x, linear)
    assert sum(kept) <= x.numel(), "nothing but the input"
    out.sum().backward()
    assert calls == [1, 2, 1], "the second time, the function stops at its last layer"


def test_compiles() -> None:
    x, linear = torch.randn(3, 5), nn.Linear(5, 2)
    compiled = torch.compile(
        lambda x: saving_inputs(normed, x, linear), backend="eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(x), normed(x, linear))
