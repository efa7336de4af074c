from __future__ import annotations

import pytest
import scored
from reference.metrics import sentences as module
from reference.metrics.records import Prediction, Reference
from reference.metrics.score import Pair
from reference.metrics.sentences import (
    as_said,
    boxes_match,
    cleaned_ptb,
    ptb,
    sentence_scores,
    sos_eos,
    without_full_stop,
)

TRUE = [
    "this is a brown chair. it is near the table.",
    "the chair is brown. it is in the corner, by the window.",
]
A, NEAR, FAR = ((x, 0.0, 0.0, 1.0, 1.0, 1.0) for x in (0.0, 0.3, 0.4))


@pytest.fixture(autouse=True)
def _no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "meteor", lambda said, true: None)


def pairs_of(predictions: list[str | None], references: list[list[str]]) -> list[Pair]:
    return [
        Pair(Reference(str(n), tuple(true)), None if said is None else Prediction(str(n), said))
        for n, (said, true) in enumerate(zip(predictions, references, strict=True))
    ]


def test_ways_to_write() -> None:
    assert as_said("A b.") == "A b."
    assert without_full_stop("A b..") == "A b"
    assert ptb("The T.V. isn't on.") == "the t.v. is n't on"
    assert cleaned_ptb("The TVs: 2") == "tvs two"
    assert sos_eos("A b. C, d") == "sos a b .  c ,  d eos"
    assert sos_eos("") == "sos  eos"


def test_an_empty_caption_between_sos_and_eos() -> None:
    scores = sentence_scores(pairs_of(["", "x"], [TRUE, ["y"]]), said=sos_eos, true=sos_eos)
    assert scores["ROUGE-L"].per_sample[0] == pytest.approx(0.2811, abs=5e-5)
    assert scores["CIDEr"].per_sample[0] == pytest.approx(0, abs=1e-12)


def test_all_metrics() -> None:
    pairs = pairs_of([*scored.PREDICTIONS], scored.REFERENCES)
    scores = sentence_scores(pairs, said=as_said, true=as_said)
    names = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
    assert list(scores) == names
    assert [scores[f"BLEU-{n}"].corpus for n in (1, 2, 3, 4)] == pytest.approx(scored.BLEU)
    assert scores["CIDEr"].per_sample == pytest.approx(scored.CIDER, abs=1e-7)
    assert scores["ROUGE-L"].corpus == pytest.approx(sum(scored.ROUGE) / 5, abs=1e-8)
    assert scores["METEOR"].corpus is None


def test_what_is_missing_scores_nothing_even_where_an_empty_caption_would() -> None:
    pairs = pairs_of([None, "x"], [TRUE, ["y"]])
    scores = sentence_scores(pairs, said=sos_eos, true=sos_eos)
    for name, score in scores.items():
        if name != "METEOR":
            assert score.per_sample[0] == 0, name


@pytest.mark.parametrize("said", ["", "e", "."])
def test_saying_nothing_scores_nothing_where_it_is_guarded(said: str) -> None:
    pairs = pairs_of([said, "x y"], [["e .", "a"], ["x y"]])
    scores = sentence_scores(pairs, said=as_said, true=as_said, guard=True)
    for name in ("BLEU-1", "ROUGE-L", "CIDEr"):
        assert scores[name].per_sample[0] == 0
    assert sentence_scores(pairs_of(["2", "xy"], [["2"], ["xy"]]), said=ptb, true=ptb, guard=True)[
        "CIDEr"
    ].per_sample == pytest.approx([2.5, 2.5])


def test_meteor_is_taken_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "meteor", lambda said, true: (0.3, [0.2, 0.4]))
    scores = sentence_scores(pairs_of([None, "x"], [["a"], ["x"]]), said=as_said, true=as_said)
    assert (scores["METEOR"].corpus, scores["METEOR"].per_sample) == (0.3, [0.0, 0.4])


def test_boxes_of_captions() -> None:
    truth = Reference("1", ("x",), (A,), box_input=NEAR)
    pairs = [
        Pair(truth, Prediction("1", "x")),
        Pair(truth, Prediction("1", "x", (FAR,))),
        Pair(Reference("2", ("x",), (A,)), Prediction("2", "x")),
        Pair(Reference("2", ("x",), (A,)), Prediction("2", "x", (A,))),
        Pair(truth, None),
    ]
    assert boxes_match(pairs) == [True, False, False, True, True]
    with pytest.raises(ValueError, match=r"must have the box of the object .*; got 1 without"):
        boxes_match([*pairs, Pair(Reference("3", ("x",)), None)])
