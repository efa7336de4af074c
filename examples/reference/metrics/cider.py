"""CIDEr-D: n-grams weighed by how rare they are among the references of all samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .bleu import ORDERS, ngrams

Ngram = tuple[str, ...]
SIGMA = 6.0


@dataclass(frozen=True)
class Weighed:
    """A sentence: per order n, weights of its n-grams and their norm; how many pairs of words."""

    weights: list[dict[Ngram, float]]
    norms: list[float]
    pairs: int


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr of each sample, as the COCO captioning code defines it.

    Counts are clipped and lengths compared (sigma 6), n is 1 to 4; an n-gram's weight falls with
    the number of *samples given here* whose references hold it. The score of a sample thus depends
    on the others, and a single sample has 0.

    Args:
        predictions: one sentence per sample; words are separated by white space.
        references: one or more sentences per sample.

    Returns:
        Scores from 0 to 10; the corpus has their mean.
    """
    counted = [[ngrams(sentence.split()) for sentence in sentences] for sentences in references]
    holding: Counter[Ngram] = Counter()
    for sample in counted:
        holding.update(set().union(*sample))
    rarity = {ngram: math.log(len(counted) / n) for ngram, n in holding.items()}
    unseen = math.log(max(1, len(counted)))
    scores = []
    for prediction, sample in zip(predictions, counted, strict=True):
        guess = weighed(ngrams(prediction.split()), rarity, unseen)
        likeness = sum(alike(guess, weighed(truth, rarity, unseen)) for truth in sample)
        scores.append(10 * likeness / len(sample))
    return scores


def weighed(counts: Counter[Ngram], rarity: dict[Ngram, float], unseen: float) -> Weighed:
    """Weigh the n-grams of a sentence."""
    weights: list[dict[Ngram, float]] = [{} for _ in range(ORDERS)]
    for ngram, count in counts.items():
        weights[len(ngram) - 1][ngram] = count * rarity.get(ngram, unseen)
    norms = [math.sqrt(sum(w * w for w in order.values())) for order in weights]
    return Weighed(weights, norms, sum(n for ngram, n in counts.items() if len(ngram) == 2))


def alike(guess: Weighed, truth: Weighed) -> float:
    """The clipped cosine of two sentences, mean over n, less where their lengths differ."""
    total = 0.0
    for n in range(ORDERS):
        ours, theirs = guess.weights[n], truth.weights[n]
        shared = sum(min(w, theirs[g]) * theirs[g] for g, w in ours.items() if g in theirs)
        if guess.norms[n] and truth.norms[n]:
            total += shared / (guess.norms[n] * truth.norms[n])
    return total / ORDERS * math.exp(-((guess.pairs - truth.pairs) ** 2) / (2 * SIGMA**2))
