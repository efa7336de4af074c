"""QueryPooler."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.core.pooler import QueryPooler

Q, D, DIM, HEADS, CODE = 5, 12, 8, 2, 24
Inputs = dict[str, Tensor]


def build(**options: object) -> QueryPooler:
    return QueryPooler(Q, D, DIM, HEADS, position_dim=CODE, **options)


def draw(b: int = 2, k: int = 3, s: int = 7, dtype: torch.dtype = torch.float32) -> Inputs:
    n = k * Q
    direction = torch.nn.functional.normalize(torch.randn(b, n, 3, dtype=dtype), dim=-1)
    return {
        "context": torch.randn(b, s, D, dtype=dtype),
        "where": 3 * torch.randn(b, n, 3, dtype=dtype),
        "rays": torch.cat((torch.randn(b, n, 3, dtype=dtype), direction), dim=-1),
        "known": torch.rand(b, n) > 0.4,
        "valid": torch.rand(b, s) > 0.3,
    }


def slow_code(coords: Tensor) -> Tensor:
    numbers = coords.tolist()
    dim = CODE // len(numbers)
    code = []
    for number in numbers:
        for i in range(dim):
            angle = 2 * math.pi * number / (0.2 * 250.0 ** (2 * (i // 2) / dim))
            code.append(math.cos(angle) if i % 2 else math.sin(angle))
    return torch.tensor(code, dtype=torch.float64)


def slow_pooler(
    pooler: QueryPooler,
    context: Tensor,
    where: Tensor | None = None,
    rays: Tensor | None = None,
    known: Tensor | None = None,
    valid: Tensor | None = None,
    at: Tensor | None = None,
    placed: Tensor | None = None,
) -> Tensor:
    """The definition in float64: one query, one head and one scene at a time."""
    weights = {name: x.detach().double() for name, x in pooler.named_parameters()}
    out = []
    for i, scene in enumerate(context.double()):
        read_here = range(len(scene)) if valid is None else valid[i].nonzero()[:, 0].tolist()
        kept = scene[list(read_here)]
        centred = kept - kept.mean(-1, keepdim=True)
        normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        tokens = normal * normal.sigmoid() @ weights["proj.weight"].T + weights["proj.bias"]
        keys, values = tokens @ weights["key.weight"].T, tokens @ weights["value.weight"].T
        for row, token in enumerate(read_here):
            if at is not None and (placed is None or placed[i, token]):
                keys[row] += weights["position.weight"][:, :CODE] @ slow_code(at[i, token])
        for n in range(Q if where is None else where.shape[1]):
            query = weights["queries"][n % Q]
            if where is not None:
                to_place, to_ray = weights["position.weight"].split(CODE, dim=1)
                if known is None or known[i, n]:
                    query = query + to_place @ slow_code(where[i, n])
                elif rays is not None:
                    query = query + to_ray @ slow_code(rays[i, n])
            read = []
            for head in torch.arange(DIM).chunk(HEADS):
                scores = keys[:, head] @ query[head] / math.sqrt(len(head))
                read.append(scores.softmax(0) @ values[:, head])
            out.append(weights["out.weight"] @ torch.cat(read))
    return torch.stack(out).reshape(len(context), -1, DIM)


@pytest.mark.parametrize(
    "given_names",
    [
        ("context",),
        ("context", "valid"),
        ("context", "where"),
        ("context", "where", "known"),
        ("context", "where", "rays"),
        ("context", "where", "rays", "known", "valid"),
        ("context", "where", "at"),
        ("context", "where", "rays", "known", "valid", "at", "placed"),
    ],
)
def test_equals_the_definition(given_names: tuple[str, ...]) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        pooler = build()
        drawn = draw(dtype=torch.float64)
        drawn |= {"at": 3 * torch.randn(2, 7, 3), "placed": torch.rand(2, 7) > 0.4}
        inputs = {name: x for name, x in drawn.items() if name in given_names}
        expected = slow_pooler(pooler, **inputs)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(pooler(**inputs), expected, rtol=0, atol=1e-9)
    inputs = {name: x.float() if x.is_floating_point() else x for name, x in inputs.items()}
    single = pooler.float()(**inputs)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, expected.float(), rtol=0, atol=2e-5)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4), st.booleans())
def test_shapes(b: int, k: int, s: int, masked: bool) -> None:
    inputs = draw(b, k, s)
    pooler = build()
    out = pooler(**inputs) if masked else pooler(inputs["context"], inputs["where"])
    assert out.shape == (b, k * Q, DIM)
    assert out.isfinite().all()
    assert pooler(inputs["context"]).shape == (b, Q, DIM)


@pytest.mark.parametrize("with_where", [False, True])
def test_context_is_a_set(with_where: bool) -> None:
    pooler, inputs = build().double(), draw(dtype=torch.float64)
    where = inputs["where"] if with_where else None
    frames = inputs["context"].repeat(1, 4, 1) + torch.randn(2, 28, D, dtype=torch.float64)
    out = pooler(frames, where)
    shuffled = frames[:, torch.randperm(28)]
    repeated = frames.repeat(1, 4, 1)
    torch.testing.assert_close(pooler(shuffled, where), out)
    torch.testing.assert_close(pooler(repeated, where), out)


def test_a_batch_of_two_equals_two_batches_of_one() -> None:
    pooler, inputs = build(), draw()
    each = [pooler(**{name: x[i : i + 1] for name, x in inputs.items()}) for i in range(2)]
    torch.testing.assert_close(pooler(**inputs), torch.cat(each))


def test_targets_do_not_see_each_other() -> None:
    pooler, inputs = build(), draw(k=3)
    together = pooler(**inputs).unflatten(1, (3, Q))
    for k in range(3):
        cells = slice(k * Q, (k + 1) * Q)
        alone = {name: inputs[name][:, cells] for name in ("where", "rays", "known")}
        out = pooler(inputs["context"], **alone, valid=inputs["valid"])
        torch.testing.assert_close(out, together[:, k])


def test_context_that_may_not_be_read_does_not_matter() -> None:
    pooler, inputs = build(), draw()
    out = pooler(**inputs)
    other = torch.where(inputs["valid"][..., None], inputs["context"], 9.0)
    torch.testing.assert_close(pooler(**{**inputs, "context": other}), out)


def test_a_scene_that_may_not_be_read_gives_zeros() -> None:
    pooler, inputs = build(), draw()
    inputs["valid"][0] = False
    out = pooler(**inputs)
    assert not out[0].any()
    assert out[1].any()
    out.square().sum().backward()
    assert all(x.grad.isfinite().all() for x in pooler.parameters())


def test_position_matters_from_the_start() -> None:
    pooler = QueryPooler(1, 64, 64, 4)
    context = torch.randn(1, 200, 64)
    places = torch.tensor([[[0.0, 0, 0], [0.05, 0, 0], [1, 0, 0], [20, 0, 0]]])
    code = pooler.position(torch.cat((pooler_code(places), torch.zeros(1, 4, 192)), dim=-1))[0]
    assert 2.0 < code.std() < 4.0
    assert code.std() > 20 * pooler.queries.std()
    assert torch.pdist(code).min() > 0.1 * code.norm(dim=-1).max()
    with torch.no_grad():
        read = pooler(context, places)[0]
    assert torch.pdist(read).min() > 0.05 * read.norm(dim=-1).max()


def pooler_code(places: Tensor) -> Tensor:
    code = []
    for axis in places.unbind(-1):
        i = torch.arange(64)
        angles = 2 * math.pi * axis[..., None] / (0.2 * 250.0 ** (2 * (i // 2) / 64))
        code.append(torch.where(i % 2 == 0, angles.sin(), angles.cos()))
    return torch.cat(code, dim=-1)


def test_a_cell_of_unknown_depth_ignores_its_place() -> None:
    pooler, inputs = build(), draw()
    out = pooler(**inputs)
    lost = inputs["where"].masked_fill(~inputs["known"][..., None], float("nan"))
    torch.testing.assert_close(pooler(**{**inputs, "where": lost}), out)
    turned = inputs["rays"] + inputs["known"][..., None]
    torch.testing.assert_close(pooler(**{**inputs, "rays": turned}), out)
    pooler.zero_grad()
    pooler(**{**inputs, "where": lost}).square().sum().backward()
    assert all(x.grad.isfinite().all() for x in pooler.parameters())


def test_a_cell_without_any_code_is_the_learned_query() -> None:
    pooler, inputs = build(), draw(k=1)
    nowhere = torch.zeros_like(inputs["known"])
    out = pooler(inputs["context"], inputs["where"], known=nowhere)
    torch.testing.assert_close(out, pooler(inputs["context"]))


def test_no_targets_give_every_parameter_a_zero_gradient() -> None:
    pooler, inputs = build(), draw(k=0)
    out = pooler(**inputs)
    assert out.shape == (2, 0, DIM)
    out.sum().backward()
    for name, parameter in pooler.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@pytest.mark.parametrize("names", [("where",), ("where", "known"), ("where", "rays", "known")])
def test_every_parameter_gets_a_gradient(names: tuple[str, ...]) -> None:
    pooler, inputs = build(), draw()
    out = pooler(inputs["context"], **{name: inputs[name] for name in names})
    out.square().sum().backward()
    assert all(x.grad is not None and x.grad.any() for x in pooler.parameters())


def test_keys_and_values_are_computed_once_per_scene() -> None:
    pooler = build()
    rows: list[int] = []
    for linear in (pooler.proj, pooler.key, pooler.value):
        linear.register_forward_hook(lambda _, args, out: rows.append(args[0].shape[:-1].numel()))
    pooler(**draw(b=2, k=6, s=7))
    assert rows == [14, 14, 14]


@pytest.mark.parametrize("parameters", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("context", [torch.float32, torch.bfloat16])
def test_computes_in_the_dtype_of_its_parameters(
    parameters: torch.dtype, context: torch.dtype
) -> None:
    pooler, inputs = build(), draw()
    expected = pooler(**inputs)
    out = pooler.to(parameters)(**{**inputs, "context": inputs["context"].to(context)})
    assert out.dtype == parameters
    exact = parameters == context == torch.float32
    tolerance = 1e-6 if exact else 0.1
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)


def released_size(num_queries: int, context_dim: int = 3584, dim: int = 1024) -> int:
    return num_queries * dim + context_dim * dim + dim + 3 * dim * dim


def test_parameter_budget_at_paper_size() -> None:
    added = 0
    for num_queries in (196, 729):
        with torch.device("meta"):
            pooler = QueryPooler(num_queries, 3584)
            plain = QueryPooler(num_queries, 3584, position_dim=0)
        count = sum(x.numel() for x in pooler.parameters())
        assert sum(x.numel() for x in plain.parameters()) == released_size(num_queries)
        assert count == released_size(num_queries) + 2 * 192 * 1024
        added += count - released_size(num_queries)
    assert added == 786_432
    assert added <= 800_000


def test_initialisation() -> None:
    pooler = QueryPooler(100, 96, 64, 4)
    assert pooler.queries.std().item() == pytest.approx(0.02, rel=0.1)
    for linear in (pooler.proj, pooler.key, pooler.value, pooler.out):
        bound = math.sqrt(6 / sum(linear.weight.shape))
        assert 0.95 * bound < linear.weight.abs().max() <= bound
    assert not pooler.proj.bias.any()


def test_gradients() -> None:
    pooler, inputs = build().double(), draw(b=2, k=1, s=3, dtype=torch.float64)
    inputs["valid"][0] = False

    def run(context: Tensor, where: Tensor, rays: Tensor, *_: Tensor) -> Tensor:
        return pooler(context, where, rays, inputs["known"], inputs["valid"])

    leaves = [inputs[name].requires_grad_() for name in ("context", "where", "rays")]
    assert torch.autograd.gradcheck(run, (*leaves, *pooler.parameters()), fast_mode=True)


def test_compiles() -> None:
    pooler, inputs = build(), draw()
    compiled = torch.compile(pooler, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(**inputs), pooler(**inputs))
    torch.testing.assert_close(compiled(inputs["context"]), pooler(inputs["context"]))


def test_the_backend_is_passed_on() -> None:
    with pytest.raises(ValueError, match="xformers has CUDA kernels only"):
        build(backend="xformers")(torch.zeros(1, 3, D))


def test_constructor_errors() -> None:
    with pytest.raises(ValueError, match="num_queries must be at least 1; got 0"):
        QueryPooler(0, D, 8, 2)
    with pytest.raises(ValueError, match="dim must be a multiple of heads = 3; got 8"):
        QueryPooler(Q, D, 8, 3)
    for position_dim in (-6, 5):
        with pytest.raises(ValueError, match=f"0 or at least 6; got {position_dim}"):
            QueryPooler(Q, D, 8, 2, position_dim=position_dim)


def test_errors() -> None:
    pooler, inputs = build(), draw()
    context, where, known = inputs["context"], inputs["where"], inputs["known"]
    with pytest.raises(ValueError, match=r"context must be of shape \(b s D\) with D = 12"):
        pooler(context[..., 1:])
    with pytest.raises(ValueError, match=r"where must be of shape \(b n 3\) with b = 2"):
        pooler(context, where[:1])
    with pytest.raises(ValueError, match=r"where must be of a multiple of 5 cells.* got 14"):
        pooler(context, where[:, 1:])
    with pytest.raises(ValueError, match=r"rays must be of shape \(b n 6\) with b = 2, n = 15"):
        pooler(context, where, inputs["rays"][:, 1:])
    with pytest.raises(ValueError, match=r"known must be of shape \(b n\) with b = 2, n = 15"):
        pooler(context, where, known=known[:, 1:])
    with pytest.raises(ValueError, match=r"known must be boolean; got torch\.float32"):
        pooler(context, where, known=known.float())
    with pytest.raises(ValueError, match=r"valid must be of shape \(b s\) with b = 2, s = 7"):
        pooler(context, valid=inputs["valid"][:, 1:])
    for extra in ("rays", "known"):
        with pytest.raises(ValueError, match="where must be given along with rays and known"):
            pooler(context, **{extra: inputs[extra]})
    with pytest.raises(ValueError, match="where must be None where position_dim is 0"):
        QueryPooler(Q, D, DIM, HEADS, position_dim=0)(context, where)


def test_queries_find_the_tokens_at_their_own_place() -> None:
    torch.manual_seed(0)
    pooler = QueryPooler(1, 32, 64, 4)
    places = torch.tensor([[[0.0, 0, 0], [3.0, 0, 1], [0, 4.0, 2], [2.0, 2, 0]]])
    context = torch.randn(1, 4, 32)
    alone = torch.cat([pooler(context[:, i : i + 1]) for i in range(4)], dim=1)
    found = pooler(context, where=places, at=places)
    distance = torch.cdist(found, alone)[0]
    assert torch.equal(distance.argmin(dim=1), torch.arange(4))
    blind = torch.cdist(pooler(context, where=places), alone)[0]
    assert distance.diagonal().mean() < 0.7 * blind.diagonal().mean()


def test_tokens_whose_place_is_unknown_get_no_code() -> None:
    pooler, context = QueryPooler(2, 8, 16, 2), torch.randn(2, 5, 8)
    where, at = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    nowhere = torch.zeros(2, 5, dtype=torch.bool)
    torch.testing.assert_close(
        pooler(context, where=where, at=at, placed=nowhere), pooler(context, where=where)
    )
    half = torch.tensor([[True, False, True, False, True]]).expand(2, -1)
    moved = torch.where(half[..., None], at, at + 1)
    torch.testing.assert_close(
        pooler(context, where=where, at=at, placed=half),
        pooler(context, where=where, at=moved, placed=half),
    )


def test_places_of_the_context_are_checked() -> None:
    pooler, context = QueryPooler(2, 8, 16, 2), torch.randn(1, 5, 8)
    with pytest.raises(ValueError, match="at must be of shape"):
        pooler(context, at=torch.zeros(1, 4, 3))
    with pytest.raises(ValueError, match="placed must be of shape"):
        pooler(context, at=torch.zeros(1, 5, 3), placed=torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"placed must be boolean; got torch\.float32"):
        pooler(context, at=torch.zeros(1, 5, 3), placed=torch.ones(1, 5))
    with pytest.raises(ValueError, match="at must be None where position_dim is 0"):
        QueryPooler(2, 8, 16, 2, position_dim=0)(context, at=torch.zeros(1, 5, 3))


@pytest.mark.parametrize(("dim", "heads"), [(128, 4), (256, 4), (256, 16)])
def test_a_token_starts_with_less_weight_the_farther_it_lies(dim: int, heads: int) -> None:
    torch.manual_seed(0)
    pooler = QueryPooler(1, 8, dim, heads)
    places = 4 * torch.rand(300, 1, 3)
    directions = torch.nn.functional.normalize(torch.randn(300, 1, 3), dim=-1)
    distances = torch.tensor([0.0, 0.25, 0.5, 1.0, 2.0])[:, None]
    query, key = (
        pooler.position(pooler._codes(at, None, None)).unflatten(-1, (heads, -1))
        for at in (places, places + directions * distances)
    )
    logits = (query * key).sum(dim=-1).mean(dim=(0, 2)) / math.sqrt(dim // heads)
    slopes = (logits[1:-1] - logits[2:]) / math.log(2)
    torch.testing.assert_close(slopes, torch.full((3,), 6.0), atol=1.0, rtol=0)
    assert logits[0] > logits[1] + 6
