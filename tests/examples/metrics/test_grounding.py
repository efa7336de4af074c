from __future__ import annotations

import sys
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.metrics.grounding import accuracy_scores, f1, f1_scores
from reference.metrics.records import Prediction, Reference
from reference.metrics.score import Pair

from ross3d import box_iou

A, B, C = ((x, 0.0, 0.0, 1.0, 1.0, 1.0) for x in (0.0, 50.0, 0.3))
boxes = st.lists(
    st.tuples(*[st.integers(0, 3).map(float)] * 3, *[st.integers(1, 3).map(float)] * 3), max_size=4
)


@pytest.mark.parametrize(
    ("said", "truth", "expected"),
    [
        ([A], [A, B], (2 / 3, 2 / 3)),
        ([A, C], [A], (2 / 3, 2 / 3)),
        ([], [A], (0, 0)),
        ([A], [], (0, 0)),
        ([], [], (1, 1)),
        ([A, C, B], [C, B], (0.8, 0.8)),
        ([A], [(0.55, 0.0, 0.0, 1.0, 1.0, 1.0)], (1, 0)),
        ([A, A], [A, A], (1, 1)),
        ([A], [B], (0, 0)),
    ],
)
def test_known_sets(said: list, truth: list, expected: tuple[float, float]) -> None:
    assert f1(said, truth) == pytest.approx(expected)


def test_the_sum_of_overlaps_decides_not_the_number_of_hits() -> None:
    """A with C and C with the further one would be two hits, but C with itself is worth more."""
    further = (0.58, 0.0, 0.0, 1.0, 1.0, 1.0)
    assert f1([A], [C]) == f1([C], [further]) == (1, 1)
    assert f1([A, C], [C, further]) == (1, 0.5)


@given(boxes, boxes)
def test_the_best_of_all_assignments(said: list, truth: list) -> None:
    low, high = f1(said, truth)
    assert 0 <= high <= low <= 1
    assert f1(said[::-1], truth)[0] <= 1
    if not said or not truth:
        return
    few, many = sorted((said, truth), key=len)
    ious = box_iou(torch.tensor(few).double(), torch.tensor(many).double())
    rows = range(len(few))
    ways = [
        [ious[i, j].item() for i, j in zip(rows, way, strict=True)]
        for way in permutations(range(len(many)), len(few))
    ]
    best = max(sum(way) for way in ways)
    optimal = {
        tuple(2 * sum(iou >= k for iou in way) / (len(said) + len(truth)) for k in (0.25, 0.5))
        for way in ways
        if sum(way) > best - 1e-9
    }
    assert any((low, high) == pytest.approx(one) for one in optimal)


@given(boxes)
def test_everything_found_is_all(said: list) -> None:
    assert f1(said, said[::-1]) == (1, 1)


def pair(said: list | None, truth: list, kind: str = "") -> Pair:
    prediction = None if said is None else Prediction("1", boxes=tuple(said))
    return Pair(Reference("1", boxes=tuple(truth), kind=kind), prediction)


def test_the_first_box_counts() -> None:
    pairs = [pair([A, B], [A]), pair([B, A], [A]), pair([], [A]), pair(None, [A])]
    scores = accuracy_scores(pairs)
    assert {name: list(score.per_sample) for name, score in scores.items()} == {
        "Acc@0.25": [1, 0, 0, 0],
        "Acc@0.5": [1, 0, 0, 0],
    }
    assert scores["Acc@0.5"].corpus == 0.25


def test_the_threshold_itself_is_enough() -> None:
    half = (0.0, 0.0, 0.0, 1.0, 1.0, 2.0)
    scores = accuracy_scores([pair([half], [A]), pair([(0.7, 0.0, 0.0, 1.0, 1.0, 1.0)], [A])])
    assert list(scores["Acc@0.5"].per_sample) == [1, 0]
    assert list(scores["Acc@0.25"].per_sample) == [1, 0]


def test_sets_of_samples() -> None:
    pairs = [pair([A], [A, B]), pair([], []), pair(None, []), pair(None, [A])]
    scores = f1_scores(pairs)
    assert list(scores["F1@0.5"].per_sample) == pytest.approx([2 / 3, 1, 0, 0])
    assert scores["F1@0.25"].corpus == pytest.approx(5 / 12)
    assert scores["F1@0.25"].by_kind


def test_scipy_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"needs scipy: pip install 'ross3d\[train\]'"):
        f1([A], [A])
