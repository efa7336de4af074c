"""Predictions against references, under one protocol or all of them side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from .answers import degenerate
from .protocols import Protocol, protocols_of
from .records import BENCHMARKS, Prediction, Reference, T, by_id
from .score import Pair, Result, Score
from .sentences import boxes_match

KINDS = (
    *("what", "is", "how", "can", "which", "others"),
    *("unique", "multiple"),
    *("zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt"),
)
"""The order of columns in the papers' tables."""
FEW = 20


def score(
    benchmark: str,
    predictions: Iterable[Prediction] | Mapping[str, Prediction],
    references: Iterable[Reference] | Mapping[str, Reference],
    protocol: str = "all",
) -> list[Result]:
    """Score predictions of a benchmark.

    A sample without a prediction counts as wrong under every protocol, and a prediction without a
    sample is left out; warnings count both.

    Args:
        benchmark: one of ``BENCHMARKS``.
        predictions: one per sample, in any order.
        references: of all samples.
        protocol: a name of ``PROTOCOLS``, or all of the benchmark's.

    Returns:
        A result per protocol.

    Raises:
        ValueError: if an id occurs twice, no id is common to both, or the protocol is unknown.
    """
    chosen = protocols_of(benchmark, protocol)
    said, truth = records(predictions, "predictions"), records(references, "references")
    if not said.keys() & truth.keys():
        ours, theirs = next(iter(said), "none"), next(iter(truth), "none")
        raise ValueError(
            f"ids of predictions must be those of {benchmark}'s samples, such as {theirs!r}; "
            f"got {ours!r} first"
        )
    if BENCHMARKS[benchmark] == "text":
        unanswered = [one.id for one in truth.values() if not one.answers]
        if unanswered:
            found = f"{len(unanswered)} without, {unanswered[0]} first"
            raise ValueError(f"references of {benchmark} must have answers; got {found}")
    pairs = [Pair(reference, said.get(identity)) for identity, reference in truth.items()]
    extra = [identity for identity in said if identity not in truth]
    return [result(one, pairs, extra) for one in chosen]


def records(given: Iterable[T] | Mapping[str, T], name: str) -> dict[str, T]:
    """Records by id."""
    return by_id(given.values() if isinstance(given, Mapping) else given, name)


def result(protocol: Protocol, pairs: Sequence[Pair], extra: Sequence[str]) -> Result:
    """Score pairs under one protocol."""
    scores = protocol.measure(pairs)
    ids = [pair.truth.id for pair in pairs]
    figures: dict[str, float | None] = {}
    for name, own in scores.items():
        figures[name] = own.corpus
        figures |= figures_by_kind(name, own, pairs)
    return Result(
        protocol.name,
        len(pairs),
        figures,
        {
            name: dict(zip(ids, own.per_sample, strict=True))
            for name, own in scores.items()
            if own.corpus is not None
        },
        tuple(warnings(protocol, pairs, extra, relaxed="EM-R" in scores)),
    )


def figures_by_kind(name: str, own: Score, pairs: Sequence[Pair]) -> dict[str, float]:
    """The mean over each kind of sample, where kinds are told apart."""
    if not own.by_kind:
        return {}
    grouped: dict[str, list[float]] = {}
    for pair, value in zip(pairs, own.per_sample, strict=True):
        grouped.setdefault(pair.truth.kind, []).append(value)
    known = [kind for kind in KINDS if kind in grouped]
    other = sorted(kind for kind in grouped if kind and kind not in KINDS)
    return {f"{name}/{kind}": sum(grouped[kind]) / len(grouped[kind]) for kind in known + other}


def warnings(
    protocol: Protocol, pairs: Sequence[Pair], extra: Sequence[str], *, relaxed: bool
) -> list[str]:
    """What a reader of the figures must know."""
    found = []
    if missing := [pair.truth.id for pair in pairs if pair.prediction is None]:
        count = f"{len(missing)} of {len(pairs)} samples have no prediction"
        found.append(f"{count} and count as wrong, {missing[0]} first")
    if extra:
        found.append(f"{len(extra)} predictions are of no sample and left out, {extra[0]} first")
    if BENCHMARKS[protocol.benchmark] == "text":
        found += text_warnings(pairs, guarded=protocol.guarded, relaxed=relaxed)
    if protocol.benchmark == "scan2cap" and all(pair.truth.boxes for pair in pairs):
        missed = boxes_match(pairs).count(False)
        found += [f"{missed} of {len(pairs)} captions are about no box that overlaps by 0.5"] * (
            missed > 0
        )
    return found


def text_warnings(pairs: Sequence[Pair], *, guarded: bool, relaxed: bool) -> list[str]:
    """Answers that say nothing, and answers that are all alike."""
    said = [pair.text for pair in pairs if pair.text is not None]
    found = []
    if empty := sum(map(degenerate, said)):
        rule = "count as wrong" if guarded else "are scored as they stand"
        if relaxed and not guarded:
            rule += "; EM-R takes any that a true answer holds, an empty one always"
        found.append(f"{empty} of {len(said)} texts are empty or one character: they {rule}")
    if len(said) >= FEW:
        text, times = Counter(said).most_common(1)[0]
        if 2 * times > len(said):
            found.append(f"{times} of {len(said)} texts are the same: {text[:40]!r}")
    return found
