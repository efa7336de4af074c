from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.metrics.answers import answer_scores, degenerate, exact_match, relaxed_match
from reference.metrics.cleaning import clean_answer
from reference.metrics.records import Prediction, Reference
from reference.metrics.score import Pair

answer = st.text(alphabet="ab 2.", max_size=5)


def pairs_of(said: str | None, *answers: str) -> list[Pair]:
    prediction = None if said is None else Prediction("1", said)
    return [Pair(Reference("1", answers), prediction)]


def figures(pairs: list[Pair], *, guard: bool = False) -> tuple[float | None, float | None]:
    scores = answer_scores(pairs, clean=clean_answer, relaxed=True, guard=guard)
    return scores["EM"].corpus, scores["EM-R"].corpus


@pytest.mark.parametrize(
    ("said", "answers", "expected"),
    [
        ("The chair.", ["chair"], (1, 1)),
        ("2", ["two"], (1, 1)),
        ("brown chair", ["chair"], (0, 1)),
        ("chair", ["brown chair"], (0, 1)),
        ("arm chair", ["armchair"], (0, 1)),
        ("table", ["chair"], (0, 0)),
        ("table", ["chair", "table"], (1, 1)),
        ("", ["chair"], (0, 1)),
        ("e", ["table"], (0, 1)),
        (None, ["chair"], (0, 0)),
    ],
)
def test_known_answers(said: str | None, answers: list[str], expected: tuple[int, int]) -> None:
    assert figures(pairs_of(said, *answers)) == expected


@pytest.mark.parametrize("said", ["", " ", "e", "e .", "?!"])
def test_saying_nothing_is_wrong_where_it_is_guarded(said: str) -> None:
    assert degenerate(said)
    assert figures(pairs_of(said, "table", said), guard=True) == (0, 0)


@pytest.mark.parametrize("said", ["2", "no", "tv", "4 0"])
def test_short_answers_say_something(said: str) -> None:
    assert not degenerate(said)


@given(answer, st.lists(answer, min_size=1, max_size=3))
def test_exact_is_relaxed_and_guarded_is_less(said: str, answers: list[str]) -> None:
    exact, relaxed = figures(pairs_of(said, *answers))
    guarded = figures(pairs_of(said, *answers), guard=True)
    assert exact <= relaxed
    assert guarded[0] <= exact
    assert guarded[1] <= relaxed
    assert figures(pairs_of(said, *answers[::-1])) == (exact, relaxed)


@given(answer, answer)
def test_relaxed_is_symmetric(one: str, other: str) -> None:
    assert relaxed_match(one, [other]) == relaxed_match(other, [one])
    assert exact_match(one, [other]) == (one == other)


def test_the_same_answer_to_everything(sqa3d: dict[str, Reference]) -> None:
    def always(said: str, *, guard: bool = False) -> tuple[float, ...]:
        pairs = [Pair(one, Prediction(one.id, said)) for one in sqa3d.values()]
        return tuple(round(100 * (figure or 0), 2) for figure in figures(pairs, guard=guard))

    assert always("yes") == (10.94, 11.0)
    assert always("") == (0, 100)
    assert always("e") == (0, 54.48)
    assert always("o") == (0, 43.0)
    assert always("yes", guard=True) == (10.94, 11.0)
    assert always("", guard=True) == always("e", guard=True) == (0, 0)
    assert len(Counter(clean_answer(one.answers[0]) for one in sqa3d.values())) == 403


def test_scores_per_sample() -> None:
    pairs = pairs_of("chair", "chair") + pairs_of(None, "chair")
    scores = answer_scores(pairs, clean=str, relaxed=False)
    assert list(scores) == ["EM"]
    assert list(scores["EM"].per_sample) == [1, 0]
    assert scores["EM"].by_kind
