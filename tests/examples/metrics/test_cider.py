from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
import scored
from hypothesis import given
from reference.metrics.cider import cider


def test_known_values() -> None:
    assert cider(scored.PREDICTIONS, scored.REFERENCES) == pytest.approx(scored.CIDER, abs=1e-7)


@pytest.mark.parametrize("name", scored.STORED)
def test_stored_values(shared: Path, name: str) -> None:
    known = scored.stored(shared, name)
    scores = cider(known.predictions, known.references)
    assert scores == pytest.approx(known.per_sample["CIDEr"], abs=1e-9)
    assert sum(scores) / len(scores) == pytest.approx(known.summary["CIDEr"], abs=1e-9)


def dense(predictions: list[str], references: list[list[str]]) -> list[float]:
    """The definition, with a vector over all n-grams for each order and sentence."""

    def grams(sentence: str, n: int) -> list[str]:
        words = sentence.split()
        return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]

    totals = np.zeros(len(predictions))
    for n in (1, 2, 3, 4):
        everything = [*predictions, *(r for sample in references for r in sample)]
        names = sorted({g for sentence in everything for g in grams(sentence, n)})
        holding = [sum(any(g in grams(r, n) for r in s) for s in references) for g in names]
        idf = np.log(len(references)) - np.log(np.maximum(1, holding))

        def vector(sentence: str, n: int = n, names: list[str] = names, idf=idf) -> np.ndarray:
            found = grams(sentence, n)
            return idf * [found.count(g) for g in names]

        for i, (said, sample) in enumerate(zip(predictions, references, strict=True)):
            for truth in sample:
                ours, theirs = vector(said), vector(truth)
                norm = np.linalg.norm(ours) * np.linalg.norm(theirs)
                gap = len(grams(said, 2)) - len(grams(truth, 2))
                if norm:
                    likeness = np.minimum(ours, theirs) @ theirs / norm
                    totals[i] += likeness * np.exp(-(gap**2) / 72) * 10 / 4 / len(sample)
    return list(totals)


@given(scored.samples)
def test_the_definition(samples: list[tuple[str, list[str]]]) -> None:
    predictions, references = map(list, zip(*samples, strict=True))
    assert cider(predictions, references) == pytest.approx(dense(predictions, references), abs=1e-9)


@given(scored.samples)
def test_bounds_and_order(samples: list[tuple[str, list[str]]]) -> None:
    scores = cider(*zip(*samples, strict=True))
    assert all(0 <= score <= 10 + 1e-9 for score in scores)
    order = random.Random(0).sample(range(len(samples)), len(samples))
    turned = [(samples[i][0], samples[i][1][::-1]) for i in order]
    assert cider(*zip(*turned, strict=True)) == pytest.approx([scores[i] for i in order])


def test_a_single_sample_weighs_nothing() -> None:
    assert cider(["a chair"], [["a chair"]]) == [0]


def test_time_grows_with_the_number_of_samples() -> None:
    words = [f"w{i}" for i in range(300)]
    draw = random.Random(0)

    def seconds(count: int) -> float:
        said = [" ".join(draw.choices(words, k=5)) for _ in range(count)]
        known = [[" ".join(draw.choices(words, k=5)) for _ in range(2)] for _ in range(count)]
        start = time.perf_counter()
        cider(said, known)
        return time.perf_counter() - start

    assert min(seconds(1600) for _ in range(3)) < 30 * min(seconds(200) for _ in range(3))
