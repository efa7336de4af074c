from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ross3d.heads.selection import select_boxes


def by_loops(scores: list[float], threshold: float) -> set[int]:
    probabilities = torch.tensor(scores).softmax(0).tolist()
    if max(probabilities[:-1]) < probabilities[-1]:
        return set()
    chosen, total = set(), 0.0
    for index in sorted(range(len(scores) - 1), key=lambda i: -probabilities[i]):
        if total >= threshold:
            break
        chosen.add(index)
        total += probabilities[index]
    return chosen


@given(
    scores=st.lists(st.floats(-3, 3, width=16), min_size=2, max_size=7, unique=True),
    threshold=st.sampled_from([0.1, 0.4, 0.77]),
)
def test_multiple_equals_a_loop(scores: list[float], threshold: float) -> None:
    chosen = select_boxes(torch.tensor([[scores]]), rule="multiple", threshold=threshold)
    assert set(chosen[0, 0].nonzero().flatten().tolist()) == by_loops(scores, threshold)


def test_multiple_includes_the_box_that_crosses() -> None:
    logits = torch.tensor([[[0.1, 0.3, 0.35, 0.25]]]).log()
    assert select_boxes(logits, rule="multiple").tolist() == [[[False, True, True]]]
    lower = select_boxes(logits, rule="multiple", threshold=0.3)
    assert lower.tolist() == [[[False, False, True]]]
    everything = select_boxes(logits, rule="multiple", threshold=1.0)
    assert everything.tolist() == [[[True, True, True]]]


def test_each_takes_all_that_share_the_probability() -> None:
    logits = torch.tensor(
        [[[0.3, 0.31, 0.29, 0.1], [0.5, 0.26, 0.2, 0.04], [0.9, 0.04, 0.03, 0.03]]]
    ).log()
    chosen = select_boxes(logits, rule="each")
    assert chosen.tolist() == [[[True, True, True], [True, True, False], [True, False, False]]]
    nothing = torch.tensor([[[0.3, 0.3, 0.4]]]).log()
    assert not select_boxes(nothing, rule="each").any()


def test_nothing_wins_only_under_multiple() -> None:
    logits = torch.tensor([[[1.0, 2.0, 3.0], [1.0, 2.0, 1.5]]])
    assert select_boxes(logits).tolist() == [[[False, True], [False, True]]]
    assert select_boxes(logits, rule="multiple").tolist() == [[[False, False], [False, True]]]


@pytest.mark.parametrize("rule", ["single", "multiple", "each"])
def test_padding_is_never_chosen(rule: str) -> None:
    logits = torch.tensor([[[-torch.inf, -5.0, -torch.inf, -6.0]], [[-torch.inf] * 3 + [0.0]]])
    chosen = select_boxes(logits, rule=rule, threshold=1.0)
    assert chosen.tolist() == [[[False, True, False]], [[False, False, False]]]


@pytest.mark.parametrize("rule", ["single", "multiple", "each"])
def test_no_objects_no_choice(rule: str) -> None:
    assert select_boxes(torch.zeros(2, 3, 1), rule=rule).shape == (2, 3, 0)


@pytest.mark.parametrize("rule", ["single", "multiple", "each"])
def test_every_query_on_its_own_and_in_bf16(rule: str) -> None:
    logits = (torch.rand(2, 5, 7).argsort(-1) / 2.0).bfloat16()
    chosen = select_boxes(logits, rule=rule)
    assert chosen.shape == (2, 5, 6)
    assert chosen.dtype == torch.bool
    assert chosen.any()
    for i in range(2):
        for j in range(5):
            alone = select_boxes(logits[i, j].float()[None, None], rule=rule)
            assert torch.equal(alone[0, 0], chosen[i, j])


@pytest.mark.parametrize("rule", ["single", "multiple", "each"])
def test_compiles_into_one_graph(rule: str) -> None:
    logits = torch.randn(2, 3, 5)
    compiled = torch.compile(select_boxes, fullgraph=True, backend="eager")
    assert torch.equal(compiled(logits, rule=rule), select_boxes(logits, rule=rule))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((2, 5), {}, "logits must be of shape"),
        ((2, 3, 0), {}, "logits must be of at least one column; got 0"),
        ((2, 3, 5), {"rule": "best"}, "rule must be single, multiple or each; got 'best'"),
        ((2, 3, 5), {"threshold": 0.0}, r"threshold must be in \(0, 1\]; got 0.0"),
        ((2, 3, 5), {"threshold": 1.1}, r"threshold must be in \(0, 1\]; got 1.1"),
    ],
)
def test_complains(shape: tuple[int, ...], arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_boxes(torch.zeros(shape), **arguments)
