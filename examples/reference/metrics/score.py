"""A figure of a corpus with the scores of its samples, and what a protocol makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .records import Prediction, Reference


@dataclass(frozen=True)
class Pair:
    """A sample's truth, and what was predicted; None where nothing was."""

    truth: Reference
    prediction: Prediction | None

    @property
    def text(self) -> str | None:
        """What was said; None where nothing was."""
        return None if self.prediction is None else self.prediction.text


@dataclass(frozen=True)
class Score:
    """One metric.

    Attributes:
        corpus: the figure, 0 to 1 (CIDEr: 0 to 10); None where it cannot be computed here.
        per_sample: score of each sample; empty where the figure is None.
        by_kind: whether the table also shows its mean over each kind of sample.
    """

    corpus: float | None
    per_sample: Sequence[float]
    by_kind: bool = False


def mean(values: Iterable[float], *, by_kind: bool = False) -> Score:
    """The metric that is the mean of its samples' scores."""
    scores = [float(value) for value in values]
    return Score(sum(scores) / len(scores), scores, by_kind)


@dataclass(frozen=True)
class Result:
    """Predictions of a benchmark, scored under one protocol.

    Attributes:
        protocol: its name in ``PROTOCOLS``.
        samples: how many are scored.
        figures: name -> figure, 0 to 1 (CIDEr: 0 to 10; tables show them times 100); None where it
            cannot be computed here. ``"EM/what"`` is EM over the samples of kind what.
        per_sample: name -> score by id.
        warnings: what a reader of the figures must know.
    """

    protocol: str
    samples: int
    figures: Mapping[str, float | None]
    per_sample: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...] = ()
