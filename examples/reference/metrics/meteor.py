"""METEOR 1.5: the Java program itself, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

UNAVAILABLE = "n/a (install ross3d[meteor] and Java)"


def meteor_available() -> bool:
    """Whether pycocoevalcap can be imported and ``java`` is on the path."""
    return find_spec("pycocoevalcap") is not None and shutil.which("java") is not None


def meteor(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]] | None:
    """METEOR 1.5 in English, normalised, by the program that the published numbers come from.

    Args:
        predictions: one sentence per sample.
        references: one or more sentences per sample.

    Returns:
        The score of the corpus, 0 to 1, and those of the samples; None where pycocoevalcap or Java
        is missing: no other METEOR gives comparable numbers.
    """
    if not meteor_available():
        return None
    return run_meteor(tuple(predictions), tuple(map(tuple, references)))


@lru_cache(maxsize=8)
def run_meteor(
    predictions: tuple[str, ...], references: tuple[tuple[str, ...], ...]
) -> tuple[float, list[float]]:
    """Start Java and score; protocols that compare the same words start it once."""
    scorer: Any = import_module("pycocoevalcap.meteor.meteor").Meteor()
    try:
        samples = range(len(predictions))
        corpus, per_sample = scorer.compute_score(
            {i: [one_line(sentence) for sentence in references[i]] for i in samples},
            {i: [one_line(predictions[i])] for i in samples},
        )
    finally:
        for pipe in (scorer.meteor_p.stdout, scorer.meteor_p.stderr):
            pipe.close()
    return float(corpus), [float(score) for score in per_sample]


def one_line(sentence: str) -> str:
    """What the program reads as one field of one line."""
    return " ".join(sentence.replace("|||", " ").splitlines())
