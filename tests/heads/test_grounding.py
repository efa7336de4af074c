from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.heads.grounding import GroundingHead, grounding_loss
from ross3d.heads.selection import select_boxes

KINDS = ["infonce", "score", "mlp"]


def head_of(kind: str, dim: int = 8) -> GroundingHead:
    return GroundingHead(dim, kind, hidden_dim=16)


@pytest.mark.parametrize("kind", KINDS)
@given(b=st.integers(1, 3), q=st.integers(0, 3), o=st.integers(0, 4))
def test_shapes(kind: str, b: int, q: int, o: int) -> None:
    logits = head_of(kind)(torch.randn(b, q, 8), torch.randn(b, o, 8))
    assert logits.shape == (b, q, o + 1)
    targets = torch.rand(b, q, o) > 0.5
    loss = grounding_loss(logits, targets, kind=kind)
    assert loss.shape == ()
    assert loss.isfinite()


def test_infonce_is_the_cosine_of_two_mlps_over_the_temperature() -> None:
    head = GroundingHead(8, temperature=0.2)
    query, objects = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    logits = head(query, objects)
    for i in range(2):
        for j in range(3):
            asked = head.query_mlp(query[i, j])
            for k, candidate in enumerate([*objects[i], head.zero_target]):
                cosine = F.cosine_similarity(asked, head.object_mlp(candidate), dim=0)
                torch.testing.assert_close(logits[i, j, k], cosine / 0.2)


def test_mlp_is_a_dot_product_with_the_raw_objects() -> None:
    head = head_of("mlp")
    query, objects = torch.randn(1, 2, 8), torch.randn(1, 3, 8)
    candidates = torch.cat([objects, head.zero_target[None, None]], dim=1)
    torch.testing.assert_close(
        head(query, objects), head.query_mlp(query) @ candidates.transpose(1, 2)
    )


def test_score_is_an_mlp_of_the_product() -> None:
    head = head_of("score")
    query, objects = torch.randn(1, 2, 8), torch.randn(1, 3, 8)
    logits = head(query, objects)
    pair = head.query_mlp(query[0, 1]) * head.object_mlp(objects[0, 2])
    torch.testing.assert_close(logits[0, 1, 2], head.score_mlp(pair)[0])
    nothing = head.query_mlp(query[0, 1]) * head.object_mlp(head.zero_target)
    torch.testing.assert_close(logits[0, 1, 3], head.score_mlp(nothing)[0])


def test_parameters_are_named_as_in_the_released_model() -> None:
    layers = [f"{index}.{part}" for index in (0, 2, 3) for part in ("weight", "bias")]
    names = {f"{mlp}.{layer}" for mlp in ("object_mlp", "query_mlp") for layer in layers}
    assert set(GroundingHead(8).state_dict()) == names | {"zero_target"}
    assert set(head_of("mlp").state_dict()) == {
        *(f"query_mlp.{layer}" for layer in layers),
        "zero_target",
    }
    layers = [f"{index}.{part}" for index in (0, 1, 3) for part in ("weight", "bias")]
    mlps = ("object_mlp", "query_mlp", "score_mlp")
    names = {f"{mlp}.{layer}" for mlp in mlps for layer in layers}
    assert set(head_of("score").state_dict()) == names | {"zero_target"}


@pytest.mark.parametrize("kind", KINDS)
def test_is_equivariant_to_the_order_of_objects(kind: str) -> None:
    head = head_of(kind)
    query, objects = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    valid = torch.tensor([[True, True, True, False, False], [True] * 5])
    order = torch.tensor([3, 0, 4, 1, 2])
    logits = head(query, objects, valid)
    shuffled = head(query, objects[:, order], valid[:, order])
    torch.testing.assert_close(shuffled[..., :-1], logits[..., order])
    torch.testing.assert_close(shuffled[..., -1], logits[..., -1])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str) -> None:
    head = head_of(kind)
    query, objects = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    targets = torch.rand(2, 3, 4) > 0.6
    logits = head(query, objects)
    valid = torch.tensor([True] * 4 + [False] * 2).expand(2, 6)
    padded = head(query, F.pad(objects, (0, 0, 0, 2), value=3.0), valid)
    assert padded[..., 4:6].isneginf().all()
    torch.testing.assert_close(padded[..., [0, 1, 2, 3, 6]], logits)
    expected = grounding_loss(logits, targets, kind=kind)
    targets = F.pad(targets, (0, 2), value=True)
    torch.testing.assert_close(grounding_loss(padded, targets, kind=kind), expected)
    unmarked = head(query, F.pad(objects, (0, 0, 0, 2), value=3.0))
    torch.testing.assert_close(grounding_loss(unmarked, targets, kind=kind, valid=valid), expected)


def test_infonce_golden_number() -> None:
    logits = torch.tensor([[[0.3, 0.1, -0.2, 0.05]]]) / 0.07
    loss = grounding_loss(logits, torch.tensor([[[True, True, False]]]))
    torch.testing.assert_close(loss.item(), 0.026969, atol=1e-6, rtol=0)


def by_loops(logits: Tensor, targets: Tensor, kind: str) -> Tensor:
    losses = []
    for scores, wanted in zip(logits.flatten(0, 1), targets.flatten(0, 1), strict=True):
        picks = [*wanted.tolist(), not wanted.any()]
        if kind == "infonce":
            exponents = scores.exp()
            losses.append(-torch.log(exponents[picks].sum() / exponents.sum()))
            continue
        count, hits = len(picks), sum(picks)
        terms = [
            -F.logsigmoid(s) * ((count - hits) / hits if wanted.any() else 1.0)
            if pick
            else -F.logsigmoid(-s)
            for s, pick in zip(scores, picks, strict=True)
        ]
        losses.append(torch.stack(terms).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_loss_equals_the_formula(kind: str) -> None:
    logits = torch.randn(2, 4, 6)
    targets = torch.rand(2, 4, 5) > 0.5
    targets[0, 0], targets[1, 1] = False, True
    torch.testing.assert_close(
        grounding_loss(logits, targets, kind=kind), by_loops(logits, targets, kind)
    )


def test_each_target_gets_its_share() -> None:
    targets = torch.tensor([[[True, True, False], [True, False, False], [False] * 3]])
    logits = torch.zeros(1, 3, 4, requires_grad=True)
    loss = grounding_loss(logits, targets, several="each")
    shares = torch.tensor([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1.0]])
    expected = F.cross_entropy(logits[0], shares)
    torch.testing.assert_close(loss, expected)
    optimizer = torch.optim.SGD([logits], lr=20.0)
    for _ in range(300):
        optimizer.zero_grad()
        grounding_loss(logits, targets, several="each").backward()
        optimizer.step()
    torch.testing.assert_close(logits.detach().softmax(-1)[0], shares, atol=0.05, rtol=0)


def test_each_and_any_agree_on_one_target_and_padding() -> None:
    logits = torch.randn(2, 2, 5)
    logits[:, :, 2] = -torch.inf
    targets = torch.zeros(2, 2, 4, dtype=torch.bool)
    targets[0, 0, 1] = targets[1, 1, 3] = targets[1, 1, 2] = True
    each, any_one = (grounding_loss(logits, targets, several=x) for x in ("each", "any"))
    torch.testing.assert_close(each, any_one)


@pytest.mark.parametrize("kind", KINDS)
def test_no_target_asks_for_the_last_column(kind: str) -> None:
    logits = torch.randn(1, 1, 4, requires_grad=True)
    grounding_loss(logits, torch.zeros(1, 1, 3, dtype=torch.bool), kind=kind).backward()
    assert logits.grad is not None
    assert (logits.grad[..., :-1] > 0).all()
    assert (logits.grad[..., -1] < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_only_asked_queries_count(kind: str) -> None:
    logits, targets = torch.randn(2, 3, 5), torch.rand(2, 3, 4) > 0.5
    asked = torch.tensor([[True, False, False], [False, False, False]])
    expected = grounding_loss(logits[:1, :1], targets[:1, :1], kind=kind)
    logits[1] = torch.nan
    logits.requires_grad_()
    loss = grounding_loss(logits, targets, kind=kind, asked=asked)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[~asked].count_nonzero() == 0
    assert logits.grad[asked].count_nonzero() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("queries", [0, 2])
def test_no_asked_query_is_zero_in_the_graph(kind: str, queries: int) -> None:
    head = head_of(kind)
    valid = torch.tensor([[True, False, True]])
    logits = head(torch.randn(1, queries, 8), torch.randn(1, 3, 8), valid)
    asked = torch.zeros(1, queries, dtype=torch.bool)
    targets = torch.ones(1, queries, 3, dtype=torch.bool)
    loss = grounding_loss(logits, targets, kind=kind, asked=asked)
    assert loss.item() == 0
    loss.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() == 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: str) -> None:
    head = GroundingHead(4, kind, hidden_dim=5).double()
    query = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    objects = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True, True, False]])
    targets = torch.tensor([[[True, False, False], [False, False, False]]])

    def loss(query: Tensor, objects: Tensor) -> Tensor:
        return grounding_loss(head(query, objects, valid), targets, kind=kind)

    assert torch.autograd.gradcheck(loss, (query, objects))


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_weights_give_float32_logits(kind: str) -> None:
    head = head_of(kind)
    query, objects = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    expected = head(query, objects)
    logits = head.bfloat16()(query.bfloat16(), objects)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=0.3, rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_into_one_graph(kind: str) -> None:
    head = head_of(kind)
    query, objects = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    valid = torch.rand(2, 4) > 0.3
    targets = torch.rand(2, 3, 4) > 0.5

    def step(query: Tensor, objects: Tensor) -> Tensor:
        return grounding_loss(head(query, objects, valid), targets, kind=kind)

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(query, objects), step(query, objects))


@pytest.mark.parametrize("kind", KINDS)
def test_learns_to_pick_and_to_pick_nothing(kind: str) -> None:
    """A query is a noisy copy of one of eight prototypes; the scene shows five of them."""
    torch.manual_seed(0)
    head = GroundingHead(16, kind, hidden_dim=32)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    prototypes = torch.randn(8, 16)

    def draw(scenes: int) -> tuple[Tensor, Tensor, Tensor]:
        shown = torch.rand(scenes, 8).argsort(-1)[:, :5]
        meant = torch.randint(8, (scenes, 4))
        query = prototypes[meant] + 0.1 * torch.randn(scenes, 4, 16)
        return query, prototypes[shown], meant[..., None] == shown[:, None]

    for _ in range(150):
        query, objects, targets = draw(16)
        loss = grounding_loss(head(query, objects), targets, kind=kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    query, objects, targets = draw(64)
    logits = head(query, objects)
    exists = targets.any(-1)
    hits = (select_boxes(logits) & targets).any(-1)
    assert hits[exists].float().mean() > 0.9
    nothing = logits.argmax(-1) == objects.shape[1]
    assert (nothing == ~exists).float().mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cosine"}, "kind must be one of infonce, score, mlp; got 'cosine'"),
        ({"temperature": 0.0}, "temperature must be positive; got 0.0"),
    ],
)
def test_head_complains(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroundingHead(8, **arguments)


@pytest.mark.parametrize(
    ("query", "objects", "valid", "message"),
    [
        ((2, 8), (2, 4, 8), (2, 4), "query must be of shape"),
        ((2, 3, 7), (2, 4, 7), (2, 4), "query must be of shape"),
        ((2, 3, 8), (1, 4, 8), (2, 4), "objects must be of shape"),
        ((2, 3, 8), (2, 4, 8), (2, 5), "valid must be of shape"),
    ],
)
def test_forward_complains(
    query: tuple[int, ...], objects: tuple[int, ...], valid: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GroundingHead(8)(torch.zeros(query), torch.zeros(objects), torch.ones(valid).bool())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "bce"}, "kind must be one of infonce, score, mlp; got 'bce'"),
        ({"several": "all"}, "several must be one of any, each; got 'all'"),
        ({"targets": torch.zeros(2, 3)}, "targets must be of shape"),
        ({"logits": torch.zeros(2, 3, 4)}, "logits must be of shape"),
        ({"valid": torch.ones(2, 5).bool()}, "valid must be of shape"),
        ({"asked": torch.ones(2, 4).bool()}, "asked must be of shape"),
    ],
)
def test_loss_complains(changes: dict[str, object], message: str) -> None:
    arguments = {"logits": torch.zeros(2, 3, 5), "targets": torch.zeros(2, 3, 4).bool(), **changes}
    with pytest.raises(ValueError, match=message):
        grounding_loss(**arguments)
