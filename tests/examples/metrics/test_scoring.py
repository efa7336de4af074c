from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import scored
from hypothesis import given
from hypothesis import strategies as st
from reference.metrics import sentences
from reference.metrics.records import Prediction, Reference
from reference.metrics.scoring import score

A, B = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (5.0, 0.0, 0.0, 1.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def _no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "meteor", lambda said, true: None)


def test_what_beginnings_of_questions_reach(sqa3d: dict[str, Reference], shared: Path) -> None:
    path = shared / "metric_reference" / "sqa3d_test_prefix_prior.json"
    if not path.is_file():
        pytest.skip(f"no stored answers at {path}")
    known = json.loads(path.read_text(encoding="utf-8"))
    said = [Prediction(str(row["question_id"]), row["pred"]) for row in known["rows"]]
    for result in score("sqa3d", said, sqa3d):
        assert result.samples == 3519
        assert round(100 * (result.figures["EM"] or 0), 2) == 27.96
        for kind in ("what", "is", "how", "can", "which", "others"):
            assert result.figures[f"EM/{kind}"] == pytest.approx(known["summary"][kind])
        ours = result.per_sample["EM"]
        assert {str(r["question_id"]): r["correct"] for r in known["rows"]} == ours


@pytest.mark.parametrize("name", scored.STORED[1:])
def test_scanqa_as_pycocoevalcap_scores_it(shared: Path, name: str) -> None:
    known = scored.stored(shared, name)
    ids = [str(n) for n in range(len(known.predictions))]
    said = [Prediction(*both) for both in zip(ids, known.predictions, strict=True)]
    true = [Reference(i, tuple(r)) for i, r in zip(ids, known.references, strict=True)]
    [result] = score("scanqa", said, true, "raw")
    for metric, value in known.summary.items():
        if metric in result.figures:
            assert result.figures[metric] == pytest.approx(value, abs=1e-6), metric
    assert len(result.figures) == 8


@given(st.lists(st.tuples(scored.sentences, st.lists(scored.sentences, min_size=1)), min_size=1))
def test_order_never_matters(samples: list[tuple[str, list[str]]]) -> None:
    said = [Prediction(str(n), text) for n, (text, _) in enumerate(samples)]
    true = [Reference(str(n), tuple(known)) for n, (_, known) in enumerate(samples)]
    turned = random.Random(0).sample(said, len(said)), random.Random(1).sample(true, len(true))
    for task in ("sqa3d", "scanqa"):
        for one, other in zip(score(task, said, true), score(task, *turned), strict=True):
            for name, figure in one.figures.items():
                if figure is not None:
                    assert 0 <= figure <= (10 if name == "CIDEr" else 1) + 1e-6
                    assert other.figures[name] == pytest.approx(figure)
                    assert other.per_sample[name] == pytest.approx(one.per_sample[name])


def test_kinds_are_told_apart_in_the_papers_order() -> None:
    true = [
        Reference("1", boxes=(A,), kind="multiple"),
        Reference("2", boxes=(A,), kind="unique"),
        Reference("3", boxes=(A,), kind="unique"),
        Reference("4", boxes=(A,)),
        Reference("5", boxes=(A,), kind="mine"),
    ]
    said = [Prediction(str(n), boxes=(B if n in (1, 2) else A,)) for n in range(1, 6)]
    [result] = score("scanrefer", {one.id: one for one in said}, {one.id: one for one in true})
    assert result.protocol == "scanrefer/top1"
    assert list(result.figures) == [
        f"Acc@{k}{kind}" for k in (0.25, 0.5) for kind in ("", "/unique", "/multiple", "/mine")
    ]
    assert list(result.figures.values())[:4] == pytest.approx([0.6, 0.5, 0, 1])


def test_sets_by_type() -> None:
    true = [Reference("1", kind="zt_w_d"), Reference("2", boxes=(A, B), kind="mt")]
    said = [Prediction("1", boxes=()), Prediction("2", boxes=(A,))]
    [result] = score("multi3drefer", said, true)
    assert result.figures["F1@0.5/zt_w_d"] == 1
    assert result.figures["F1@0.5/mt"] == pytest.approx(2 / 3)
    assert result.figures["F1@0.5"] == pytest.approx(5 / 6)
    assert result.warnings == ()


def test_missing_and_foreign_predictions_are_counted() -> None:
    true = [Reference("1", ("chair",)), Reference("2", ("",)), Reference("3", ("table",))]
    said = [Prediction("1", "chair"), Prediction("8", "x"), Prediction("9", "x")]
    for result in score("sqa3d", said, true):
        assert result.figures["EM"] == result.figures["EM-R"] == pytest.approx(1 / 3)
        assert result.per_sample["EM-R"] == {"1": 1, "2": 0, "3": 0}
        assert result.warnings == (
            "2 of 3 samples have no prediction and count as wrong, 2 first",
            "2 predictions are of no sample and left out, 8 first",
        )


def test_answers_that_say_nothing_are_told() -> None:
    true = [Reference(str(n), ("table",)) for n in range(20)]
    leo, ours = score("sqa3d", [Prediction(str(n), "") for n in range(20)], true)
    assert (leo.figures["EM-R"], ours.figures["EM-R"]) == (1, 0)
    assert leo.warnings == (
        "20 of 20 texts are empty or one character: they are scored as they stand; EM-R takes any "
        "that a true answer holds, an empty one always",
        "20 of 20 texts are the same: ''",
    )
    assert ours.warnings[0] == "20 of 20 texts are empty or one character: they count as wrong"
    half = [Prediction(str(n), "yes" if n < 10 else f"no {n}") for n in range(20)]
    assert [one.warnings for one in score("sqa3d", half, true)] == [(), ()]


def test_what_cannot_be_scored_is_named() -> None:
    one = [Reference("1", ("x",))]
    with pytest.raises(ValueError, match=r"ids of predictions must be those .* '1'; got '2' first"):
        score("sqa3d", [Prediction("2", "x")], one)
    with pytest.raises(ValueError, match="ids of predictions must be unique; got '1' twice"):
        score("sqa3d", [Prediction("1", "x")] * 2, one)
    with pytest.raises(ValueError, match="ids of references must be unique; got '1' twice"):
        score("sqa3d", [Prediction("1", "x")], one * 2)
    with pytest.raises(ValueError, match="references of sqa3d must have answers; got 1 without, 1"):
        score("sqa3d", [Prediction("1", "x")], [Reference("1")])
    with pytest.raises(ValueError, match="protocol of sqa3d must be one of"):
        score("sqa3d", [Prediction("1", "x")], one, "raw")
