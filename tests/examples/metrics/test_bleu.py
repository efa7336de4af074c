from __future__ import annotations

import random
from pathlib import Path

import pytest
import scored
from hypothesis import given
from reference.metrics.bleu import bleu, ngrams


def test_known_values() -> None:
    corpus, per_sample = bleu(scored.PREDICTIONS, scored.REFERENCES)
    assert corpus == pytest.approx(scored.BLEU, abs=1e-12)
    assert per_sample[1] == pytest.approx(scored.BLEU_2, abs=1e-12)


@pytest.mark.parametrize("name", scored.STORED)
def test_stored_values(shared: Path, name: str) -> None:
    known = scored.stored(shared, name)
    corpus, per_sample = bleu(known.predictions, known.references)
    wanted = [known.summary[f"BLEU-{n}"] for n in (1, 2, 3, 4)]
    assert corpus == pytest.approx(wanted, abs=1e-9)
    assert per_sample[3] == pytest.approx(known.per_sample["BLEU-4"], abs=1e-9)


@given(scored.samples)
def test_bounds_and_order(samples: list[tuple[str, list[str]]]) -> None:
    corpus, per_sample = bleu(*zip(*samples, strict=True))
    for scores in (corpus, *per_sample):
        assert all(0 <= score <= 1 + 1e-6 for score in scores)
    shuffled = random.Random(0).sample(samples, len(samples))
    turned = [(said, references[::-1]) for said, references in shuffled]
    assert bleu(*zip(*turned, strict=True))[0] == pytest.approx(corpus)


def test_ngrams_are_counted() -> None:
    counts = ngrams(["a", "b", "a", "b"], 2)
    assert counts == {("a",): 2, ("b",): 2, ("a", "b"): 2, ("b", "a"): 1}
