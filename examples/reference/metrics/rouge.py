"""ROUGE-L: the longest common subsequence of a prediction and its references."""

from __future__ import annotations

from collections.abc import Sequence

BETA = 1.2


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """ROUGE-L of each sample, as the COCO captioning code defines it.

    The best precision and the best recall may come from different references, and words are what
    single spaces separate: two spaces in a row hold an empty word.

    Args:
        predictions: one sentence per sample.
        references: one or more sentences per sample.

    Returns:
        Scores from 0 to 1; the corpus has their mean.
    """
    scores = []
    for prediction, sentences in zip(predictions, references, strict=True):
        words = prediction.split(" ")
        precision = recall = 0.0
        for sentence in sentences:
            reference = sentence.split(" ")
            common = longest_common(words, reference)
            precision = max(precision, common / len(words))
            recall = max(recall, common / len(reference))
        both = precision * recall
        scores.append((1 + BETA**2) * both / (recall + BETA**2 * precision) if both else 0.0)
    return scores


def longest_common(words: Sequence[str], others: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table being the bits of one integer.

    Example:
        >>> longest_common("a red chair by the door".split(), "the red office chair".split())
        2
    """
    where: dict[str, int] = {}
    for i, word in enumerate(words):
        where[word] = where.get(word, 0) | 1 << i
    whole = (1 << len(words)) - 1
    row = whole
    for word in others:
        step = row & where.get(word, 0)
        row = ((row + step) | (row - step)) & whole
    return len(words) - row.bit_count()
