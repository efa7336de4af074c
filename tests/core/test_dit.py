from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ross3d.core.dit import ConditionedDiT
from ross3d.core.embedding import grid_sincos


def build(dtype: torch.dtype = torch.float32, *, random: bool = True, **options) -> ConditionedDiT:
    torch.manual_seed(0)
    options = {"channels": 4, "dim": 16, "depth": 2, "heads": 2, **options}
    denoiser = ConditionedDiT(**options)
    if random:  # the zero-initialised layers would hide everything behind them
        for parameter in denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return denoiser.to(dtype)


def inputs(n: int = 2, h: int = 3, w: int = 4, dtype: torch.dtype = torch.float32, r: int = 1):
    z_t = torch.randn(n * r, 4, h, w, dtype=dtype)
    t = torch.randint(1000, (n,))
    return z_t, t, torch.randn(n, h * w, 16, dtype=dtype)


def slow_forward(net: ConditionedDiT, z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """The DiT equations, one latent, one head at a time."""
    weights = dict(net.named_parameters())

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        return (x - mean) / ((x - mean).square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def gelu(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    outputs = []
    for i in range(len(z_t)):
        _, h, w = z_t[i].shape
        x = linear("x_embedder", z_t[i].flatten(1).T) + grid_sincos(h, w, net.dim).to(z_t.dtype)
        angles = [float(t[i]) * 10000 ** (-k / 128) for k in range(128)]
        code = torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles]).double()
        code = linear("t_embedder.mlp.2", F.silu(linear("t_embedder.mlp.0", code)))
        c = F.silu(code + condition[i])
        for b in range(len(net.blocks)):
            name = f"blocks.{b}"
            shift, scale, gate, shift2, scale2, gate2 = linear(
                f"{name}.adaLN_modulation.1", c
            ).split(net.dim, dim=-1)
            qkv = linear(f"{name}.attn.qkv", norm(x) * (1 + scale) + shift)
            read = []
            for q, k, v in zip(*(part.split(8, dim=-1) for part in qkv.split(16, -1)), strict=True):
                read.append(torch.softmax(q @ k.T / math.sqrt(8), dim=-1) @ v)
            x = x + gate * linear(f"{name}.attn.proj", torch.cat(read, dim=-1))
            hidden = gelu(linear(f"{name}.mlp.fc1", norm(x) * (1 + scale2) + shift2))
            x = x + gate2 * linear(f"{name}.mlp.fc2", hidden)
        shift, scale = linear("final_layer.adaLN_modulation.1", c).split(net.dim, dim=-1)
        out = linear("final_layer.linear", norm(x) * (1 + scale) + shift)
        outputs.append(out.T.reshape(4, h, w))
    return torch.stack(outputs)


def test_equals_the_equations_written_slowly() -> None:
    net = build(torch.float64)
    z_t, t, condition = inputs(dtype=torch.float64)
    slow = slow_forward(net, z_t, t, condition)
    torch.testing.assert_close(net(z_t, t.double(), condition), slow, atol=1e-6, rtol=1e-6)
    # In float32, the largest timesteps keep six digits of their phase.
    torch.testing.assert_close(net(z_t, t, condition), slow, atol=1e-3, rtol=1e-3)


@given(n=st.integers(0, 3), h=st.integers(1, 5), w=st.integers(1, 5), r=st.integers(1, 3))
def test_takes_any_size(n: int, h: int, w: int, r: int) -> None:
    z_t, t, condition = inputs(n, h, w, r=r)
    out = build(depth=1)(z_t, t, condition)
    assert out.shape == z_t.shape
    assert out.dtype == torch.float32


def test_draws_that_share_a_timestep_equal_repeated_ones() -> None:
    net = build()
    z_t, t, condition = inputs(n=2, r=3)
    every = net(z_t, t.repeat_interleave(3), condition.repeat_interleave(3, dim=0))
    torch.testing.assert_close(net(z_t, t, condition), every, atol=1e-5, rtol=1e-5)


def test_batch_of_two_equals_two_batches_of_one() -> None:
    net = build()
    z_t, t, condition = inputs(n=2)
    alone = [net(z_t[i : i + 1], t[i : i + 1], condition[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(net(z_t, t, condition), torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_starts_at_zero_with_identity_blocks() -> None:
    net = build(random=False)
    z_t, t, condition = inputs()
    assert torch.count_nonzero(net(z_t, t, condition)) == 0
    x = torch.randn(2, 1, 12, 16)
    torch.testing.assert_close(net.blocks[0](x, condition[:, None]), x, rtol=0, atol=0)
    assert net.blocks[0].attn.qkv.weight.abs().max() <= math.sqrt(6 / (16 + 48))


def test_each_cell_reads_its_own_condition() -> None:
    net = build(depth=0)
    z_t, t, condition = inputs()
    changed = condition.clone()
    changed[:, 5] += 1
    moved = (net(z_t, t, changed) != net(z_t, t, condition)).any(dim=1).flatten(1)
    assert moved.nonzero()[:, 1].unique().tolist() == [5]


def test_has_the_parameters_that_the_paper_counts() -> None:
    with torch.device("meta"):
        net = ConditionedDiT()

    def linear(i: int, o: int) -> int:
        return i * o + o

    d = 1024
    block = linear(d, 3 * d) + linear(d, d) + 2 * 4 * d * d + 5 * d + linear(d, 6 * d)
    trunk = 3 * block + linear(256, d) + linear(d, d) + linear(d, 2 * d) + linear(d, 64)
    stem = linear(64, d)
    assert sum(p.numel() for p in net.parameters()) == trunk + stem
    pooler = linear(3584, d) + 3 * d * d
    grids = 14 * 14 + 27 * 27  # each has a query and a trained position per cell
    assert trunk + 2 * (stem + pooler) + 2 * grids * d == 75_807_808


def test_names_its_parameters_as_dit_does() -> None:
    names = set(build(depth=1).state_dict())
    layers = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1"]
    modules = ["x_embedder", "t_embedder.mlp.0", "t_embedder.mlp.2"]
    modules += [f"blocks.0.{layer}" for layer in layers]
    modules += ["final_layer.linear", "final_layer.adaLN_modulation.1"]
    assert names == {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}


def test_timestep_may_be_a_float_and_matters() -> None:
    net = build()
    z_t, t, condition = inputs()
    torch.testing.assert_close(net(z_t, t.float(), condition), net(z_t, t, condition))
    assert not torch.allclose(net(z_t, t + 0.5, condition), net(z_t, t, condition))


def test_positions_tell_cells_apart() -> None:
    z_t, condition = torch.ones(1, 4, 3, 4), torch.zeros(1, 12, 16)
    out = build()(z_t, torch.tensor([10]), condition).flatten(2)
    assert torch.unique(out, dim=2).shape[2] == 12


def test_computes_in_float32_under_autocast() -> None:
    net = build()
    z_t, t, condition = inputs()
    expected = net(z_t, t, condition)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(z_t, t, condition)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_takes_bfloat16_inputs_and_parameters() -> None:
    z_t, t, condition = inputs()
    expected = build()(z_t, t, condition)
    mixed = build()(z_t.bfloat16(), t, condition.bfloat16())
    half = build(torch.bfloat16)(z_t, t, condition)
    assert mixed.dtype == half.dtype == torch.float32
    torch.testing.assert_close(mixed, expected, rtol=0.1, atol=0.1)
    torch.testing.assert_close(half, expected, rtol=0.3, atol=0.3)


def test_gradcheck() -> None:
    net = build(torch.float64, depth=1)
    z_t, t, condition = inputs(n=1, h=2, w=2, dtype=torch.float64, r=2)
    z_t.requires_grad_()
    condition.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, c: net(z, t, c), (z_t, condition))


def test_every_parameter_has_a_gradient_and_an_empty_batch_gives_zeros() -> None:
    net = build()
    for n in (2, 0):
        net.zero_grad()
        z_t, t, condition = inputs(n=n)
        condition.requires_grad_()
        net(z_t, t, condition).square().sum().backward()
        for parameter in net.parameters():
            assert parameter.grad is not None
            assert bool(parameter.grad.any()) == (n > 0)
        assert condition.grad is not None


def test_backward_repeats_no_linear_layer() -> None:
    net = build()
    z_t, t, condition = (x.requires_grad_(x.is_floating_point()) for x in inputs())
    with FlopCounterMode(display=False) as forward:
        out = net(z_t, t, condition)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert backward.get_total_flops() <= 2.1 * forward.get_total_flops()


def test_sharing_a_timestep_saves_memory() -> None:
    def saved(run) -> int:
        storages = {}

        def pack(x: Tensor) -> Tensor:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            kept.append(x)
            return x

        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            run()
        return sum(storages.values())

    net = build(dim=64)
    z_t, t, _ = inputs(n=4, h=8, w=8, r=4)
    condition = torch.randn(4, 64, 64)
    parameters = sum(p.numel() * p.element_size() for p in net.parameters())
    shared = saved(lambda: net(z_t, t, condition)) - parameters
    every = t.repeat_interleave(4), condition.repeat_interleave(4, dim=0)
    assert shared < 0.75 * (saved(lambda: net(z_t, *every)) - parameters)


def test_compiles() -> None:
    net = build()
    z_t, t, condition = inputs(r=2)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z_t, t, condition), net(z_t, t, condition))
    compiled(z_t, t, condition).sum().backward()
    assert net.x_embedder.weight.grad is not None


@pytest.mark.parametrize("options", [{"dim": 16, "heads": 3}, {"dim": 6, "heads": 2}])
def test_refuses_widths_that_cannot_be_divided(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="dim must be divisible by heads"):
        ConditionedDiT(**options)


@pytest.mark.parametrize(
    ("name", "z_t", "t", "condition"),
    [
        ("z_t must be of shape", (2, 5, 3, 4), 2, (2, 12, 16)),
        ("condition must be of shape", (2, 4, 3, 4), 2, (2, 11, 16)),
        ("condition must be of shape", (2, 4, 3, 4), 2, (2, 12, 8)),
        ("t must be of shape", (2, 4, 3, 4), 3, (2, 12, 16)),
        ("z_t must hold a multiple of the 2 conditions; got 3", (3, 4, 3, 4), 2, (2, 12, 16)),
        ("z_t must hold a multiple of the 2 conditions; got 0", (0, 4, 3, 4), 2, (2, 12, 16)),
        ("z_t must hold a multiple of the 0 conditions; got 2", (2, 4, 3, 4), 0, (0, 12, 16)),
    ],
)
def test_names_what_does_not_fit(name, z_t, t, condition) -> None:
    with pytest.raises(ValueError, match=name):
        build()(torch.zeros(z_t), torch.zeros(t), torch.zeros(condition))


def test_recomputing_the_blocks_changes_no_gradient_and_keeps_less() -> None:
    kept, gradients = [], []
    z_t, t, condition = inputs(r=3)
    for recompute in (False, True):
        net = build(recompute=recompute, depth=4)
        bytes_kept: list[int] = []

        def pack(saved: Tensor, held: list[int] = bytes_kept) -> Tensor:
            held.append(saved.nbytes)
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            out = net(z_t, t, condition)
        out.square().sum().backward()
        kept.append(sum(bytes_kept))
        gradients.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert kept[1] < kept[0] / 2


def test_computes_on_the_meta_device() -> None:
    net = build().to("meta")
    z_t, t, condition = (x.to("meta") for x in inputs())
    assert net(z_t, t, condition).shape == z_t.shape
