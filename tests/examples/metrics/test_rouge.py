from __future__ import annotations

from pathlib import Path

import pytest
import scored
from hypothesis import given
from hypothesis import strategies as st
from reference.metrics.rouge import longest_common, rouge_l

words = st.lists(st.sampled_from("abcd"), max_size=12)


def test_known_values() -> None:
    assert rouge_l(scored.PREDICTIONS, scored.REFERENCES) == pytest.approx(scored.ROUGE, abs=1e-8)


@pytest.mark.parametrize("name", scored.STORED)
def test_stored_values(shared: Path, name: str) -> None:
    known = scored.stored(shared, name)
    scores = rouge_l(known.predictions, known.references)
    assert scores == pytest.approx(known.per_sample["ROUGE-L"], abs=1e-9)
    assert sum(scores) / len(scores) == pytest.approx(known.summary["ROUGE-L"], abs=1e-9)


@given(words, words)
def test_longest_common_is_that_of_the_table(ours: list[str], theirs: list[str]) -> None:
    table = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i, a in enumerate(ours):
        for j, b in enumerate(theirs):
            best = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else best
    assert longest_common(ours, theirs) == longest_common(theirs, ours) == table[-1][-1]


@given(scored.samples)
def test_bounds_and_order_of_references(samples: list[tuple[str, list[str]]]) -> None:
    scores = rouge_l(*zip(*samples, strict=True))
    assert all(0 <= score <= 1 + 1e-9 for score in scores)
    turned = [(said, references[::-1]) for said, references in samples]
    assert rouge_l(*zip(*turned, strict=True)) == scores


def test_double_spaces_hold_a_word() -> None:
    assert rouge_l(["sos  eos"], [["sos a . b . eos"]]) < rouge_l(
        ["sos  eos"], [["sos a .  b eos"]]
    )
