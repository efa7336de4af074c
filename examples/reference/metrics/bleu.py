"""BLEU of a corpus: how many n-grams of the predictions their references hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ORDERS = 4
SMALL, TINY = 1e-9, 1e-15


def ngrams(words: Sequence[str], longest: int = ORDERS) -> Counter[tuple[str, ...]]:
    """How often each run of 1 to ``longest`` words occurs."""
    return Counter(
        tuple(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)
    )


def bleu(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[float], list[list[float]]]:
    """BLEU-1 to BLEU-4 with the closest reference length, as the COCO captioning code defines it.

    Args:
        predictions: one sentence per sample; words are separated by white space.
        references: one or more sentences per sample.

    Returns:
        The four scores of the corpus, 0 to 1, and four lists of scores per sample.
    """
    correct, guessed, lengths, nearest = [0] * ORDERS, [0] * ORDERS, 0, 0
    per_sample: list[list[float]] = [[] for _ in range(ORDERS)]
    for prediction, sentences in zip(predictions, references, strict=True):
        hits, guesses, length, closest = matches(prediction, sentences)
        correct = [a + b for a, b in zip(correct, hits, strict=True)]
        guessed = [a + b for a, b in zip(guessed, guesses, strict=True)]
        lengths, nearest = lengths + length, nearest + closest
        for scores, score in zip(per_sample, scored(hits, guesses, length, closest), strict=True):
            scores.append(score)
    return scored(correct, guessed, lengths, nearest), per_sample


def matches(prediction: str, sentences: Sequence[str]) -> tuple[list[int], list[int], int, int]:
    """Hits and guesses of each order, the prediction's length and the closest reference's."""
    words, known = prediction.split(), [sentence.split() for sentence in sentences]
    allowed: Counter[tuple[str, ...]] = Counter()
    for reference in known:
        allowed |= ngrams(reference)
    hits = [0] * ORDERS
    for ngram, count in ngrams(words).items():
        hits[len(ngram) - 1] += min(count, allowed[ngram])
    guesses = [max(0, len(words) - n) for n in range(ORDERS)]
    closest = min((abs(len(reference) - len(words)), len(reference)) for reference in known)[1]
    return hits, guesses, len(words), closest


def scored(hits: list[int], guesses: list[int], length: int, closest: int) -> list[float]:
    """The geometric means of the precisions, less where the prediction is too short."""
    ratio = (length + TINY) / (closest + SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, scores = 1.0, []
    for n, (hit, guess) in enumerate(zip(hits, guesses, strict=True), start=1):
        product *= (hit + TINY) / (guess + SMALL)
        scores.append(product ** (1 / n) * penalty)
    return scores
