from __future__ import annotations

import pytest
from reference.metrics import sentences
from reference.metrics.protocols import PROTOCOLS, protocols_of
from reference.metrics.records import BENCHMARKS, Prediction, Reference
from reference.metrics.scoring import score

A, B = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (5.0, 0.0, 0.0, 1.0, 1.0, 1.0)
CAPTIONS = ["this is a brown chair. it is near the table.", "a chair by the window, in the corner."]


@pytest.fixture(autouse=True)
def _no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "meteor", lambda said, true: None)


def test_names_are_stable() -> None:
    assert list(PROTOCOLS) == [
        "sqa3d/leo",
        "sqa3d/ross3d",
        "scanqa/raw",
        "scanqa/ptb",
        "scanqa/clean+ptb",
        "scanqa/ross3d",
        "scan2cap/video3dllm@0.5",
        "scan2cap/generated@0.5",
        "scan2cap/ross3d@0.5",
        "scanrefer/top1",
        "multi3drefer/f1",
    ]
    assert {protocol.benchmark for protocol in PROTOCOLS.values()} == set(BENCHMARKS)
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.what[0] not in " ."
        assert protocol.what[-1] not in " ."
    with pytest.raises(TypeError):
        PROTOCOLS["sqa3d/mine"] = PROTOCOLS["sqa3d/leo"]  # type: ignore[index]


def test_protocols_are_chosen_by_name() -> None:
    assert len(protocols_of("scanqa")) == 4
    for name in ("raw", "scanqa/raw"):
        assert [protocol.name for protocol in protocols_of("scanqa", name)] == ["scanqa/raw"]
    with pytest.raises(ValueError, match=r"protocol of scanqa must be one of all, scan.*'b'"):
        protocols_of("scanqa", "b")
    with pytest.raises(ValueError, match=r"protocol of vqa must be one of all, sqa3d.*'all'"):
        protocols_of("vqa")


def test_protocols_of_scanqa_differ_where_they_should() -> None:
    answers = {
        "1": ("The TV.", ["tv"]),
        "2": ("2", ["two"]),
        "3": ("it isn't.", ["it is n't"]),
        "4": ("brown", ["brown"]),
        "5": ("", ["b", "table"]),
    }
    results = score(
        "scanqa",
        [Prediction(key, said) for key, (said, _) in answers.items()],
        [Reference(key, tuple(true)) for key, (_, true) in answers.items()],
    )
    raw, ptb, clean, ours = (one.per_sample for one in results)
    assert list(raw["EM"].values()) == list(ptb["EM"].values()) == [0, 0, 0, 1, 0]
    assert list(clean["EM"].values()) == list(ours["EM"].values()) == [1, 1, 0, 1, 0]
    assert list(clean["EM-R"].values()) == [1, 1, 1, 1, 1]
    assert list(ours["EM-R"].values()) == [1, 1, 1, 1, 0]
    assert raw["ROUGE-L"]["1"] == 0
    assert 0 < ptb["ROUGE-L"]["1"] < 1
    assert clean["ROUGE-L"]["1"] == pytest.approx(1)
    assert raw["ROUGE-L"]["3"] < ptb["ROUGE-L"]["3"] == pytest.approx(1)
    assert ptb["CIDEr"]["2"] == 0 < clean["CIDEr"]["2"]


def test_both_rules_for_captions_whose_box_misses() -> None:
    references = [Reference(str(n), (text,), (A,), box_input=A) for n, text in enumerate(CAPTIONS)]
    said = [Prediction("0", CAPTIONS[0]), Prediction("1", CAPTIONS[1], (B,))]
    empty, generated, ours = score("scan2cap", said, references)
    assert generated.per_sample["ROUGE-L"] == pytest.approx({"0": 1, "1": 1})
    assert empty.per_sample["ROUGE-L"]["0"] == pytest.approx(1)
    assert 0 < empty.per_sample["ROUGE-L"]["1"] < 0.5
    assert empty.per_sample["CIDEr"]["1"] == pytest.approx(0)
    assert ours.per_sample["ROUGE-L"] == pytest.approx({"0": 1, "1": 0})
    assert ours.per_sample["BLEU-1"]["1"] == 0
    for result in (empty, generated, ours):
        assert result.warnings == ("1 of 2 captions are about no box that overlaps by 0.5",)


def test_generated_captions_need_no_box() -> None:
    references = [Reference(str(n), (text,)) for n, text in enumerate(CAPTIONS)]
    said = [Prediction(str(n), text) for n, text in enumerate(CAPTIONS)]
    [result] = score("scan2cap", said, references, "generated@0.5")
    assert result.figures["ROUGE-L"] == pytest.approx(1)
    assert result.warnings == ()
    with pytest.raises(ValueError, match=r"must have the box of the object .*; got 2 without"):
        score("scan2cap", said, references)
