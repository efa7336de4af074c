"""Protocols by name: which text is compared, how, and what counts as nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from .answers import answer_scores
from .cleaning import clean_answer
from .grounding import accuracy_scores, f1_scores
from .score import Pair, Score
from .sentences import (
    as_said,
    boxes_match,
    cleaned_ptb,
    ptb,
    sentence_scores,
    sos_eos,
    without_full_stop,
)

Measure = Callable[[Sequence[Pair]], dict[str, Score]]


@dataclass(frozen=True)
class Protocol:
    """One way to score a benchmark.

    Attributes:
        name: benchmark / protocol, as results and tables carry it.
        what: what it does, and whose numbers it gives.
        measure: pairs -> metrics.
        guarded: whether empty and one-character answers count as wrong.
    """

    name: str
    what: str
    measure: Measure
    guarded: bool = False

    @property
    def benchmark(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]


def answers_and_sentences(answers: Measure, sentences: Measure) -> Measure:
    """Both kinds of metrics of free answers."""
    return lambda pairs: answers(pairs) | sentences(pairs)


def captions(pairs: Sequence[Pair], *, unmatched: str | None) -> dict[str, Score]:
    """Captions in Scan2Cap's way, those whose box misses its object replaced."""
    empty = [
        pair
        if matched or pair.prediction is None
        else replace(pair, prediction=replace(pair.prediction, text=unmatched))
        for pair, matched in zip(pairs, boxes_match(pairs), strict=True)
    ]
    if unmatched is None:
        return sentence_scores(empty, said=ptb, true=ptb, guard=True)
    return sentence_scores(empty, said=sos_eos, true=sos_eos)


EXACT = partial(answer_scores, clean=as_said, relaxed=False)
CLEAN = partial(answer_scores, clean=clean_answer, relaxed=True)
GUARDED = partial(CLEAN, guard=True)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                "sqa3d/leo",
                "EM and EM-R of cleaned answers, as LEO and its followers (Ross3D among them) "
                "count; EM-R takes an answer that is part of the true one or holds it, "
                "an empty one too",
                CLEAN,
            ),
            Protocol(
                "sqa3d/ross3d",
                "as sqa3d/leo, but empty and one-character answers are wrong",
                GUARDED,
                guarded=True,
            ),
            Protocol(
                "scanqa/raw",
                "EM literally; words separated by white space, case and punctuation kept but for "
                "full stops at a prediction's end: Video-3D-LLM, Ross3D, 3DRS",
                answers_and_sentences(
                    EXACT, partial(sentence_scores, said=without_full_stop, true=as_said)
                ),
            ),
            Protocol(
                "scanqa/ptb",
                "EM literally; Penn Treebank tokens: ScanQA, 3D-LLM",
                answers_and_sentences(EXACT, partial(sentence_scores, said=ptb, true=ptb)),
            ),
            Protocol(
                "scanqa/clean+ptb",
                "EM and EM-R of cleaned answers; Penn Treebank tokens of them: LLaVA-3D, GPT4Scene",
                answers_and_sentences(
                    CLEAN, partial(sentence_scores, said=cleaned_ptb, true=cleaned_ptb)
                ),
            ),
            Protocol(
                "scanqa/ross3d",
                "as scanqa/clean+ptb, but empty and one-character answers score 0",
                answers_and_sentences(
                    GUARDED,
                    partial(sentence_scores, said=cleaned_ptb, true=cleaned_ptb, guard=True),
                ),
                guarded=True,
            ),
            Protocol(
                "scan2cap/video3dllm@0.5",
                "between sos and eos; a caption whose box overlaps its object by less than 0.5 is "
                "empty, and sos and eos still match: Scan2Cap, Video-3D-LLM",
                partial(captions, unmatched=""),
            ),
            Protocol(
                "scan2cap/generated@0.5",
                "as scan2cap/video3dllm@0.5, but every caption counts, whatever its box: the "
                "released Ross3D script",
                partial(sentence_scores, said=sos_eos, true=sos_eos),
            ),
            Protocol(
                "scan2cap/ross3d@0.5",
                "Penn Treebank tokens alone; a caption whose box overlaps its object by less than "
                "0.5 scores 0, and so do empty and one-character captions",
                partial(captions, unmatched=None),
                guarded=True,
            ),
            Protocol(
                "scanrefer/top1",
                "the first box against the true one, axis-aligned; all, unique and multiple",
                accuracy_scores,
            ),
            Protocol(
                "multi3drefer/f1",
                "sets of boxes matched one to one by the Hungarian method; all and by type",
                f1_scores,
            ),
        )
    }
)
"""Name -> protocol; the names are stable."""


def protocols_of(benchmark: str, name: str = "all") -> list[Protocol]:
    """The protocols of a benchmark: all, or the one of that name (with or without the benchmark).

    Raises:
        ValueError: if there is none.
    """
    known = [protocol for protocol in PROTOCOLS.values() if protocol.benchmark == benchmark]
    chosen = [p for p in known if name in ("all", p.name, p.name.partition("/")[2])]
    if not chosen:
        names = ", ".join(["all", *(protocol.name for protocol in known or PROTOCOLS.values())])
        raise ValueError(f"protocol of {benchmark} must be one of {names}; got {name!r}")
    return chosen
