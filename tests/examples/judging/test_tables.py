"""Tables of made-up predictions: published rows, guesses, notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from reference.data.benchmarks.sample import Sample, Task
from reference.data.benchmarks.skips import Skips
from reference.data.objects import Box
from reference.data.scene import Scene, Turn
from reference.judging.baselines import MAJORITY, NOTHING, PRIOR, RANDOM, baselines, question
from reference.judging.judged import Asked, at_most, distinct
from reference.judging.page import choose_samples
from reference.judging.tables import OURS, as_markdown, score_all, to_json
from reference.metrics import sentences
from reference.metrics.records import Prediction

BOX: Box = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
FAR: Box = (9.0, 0.0, 0.0, 1.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def _no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "meteor", lambda said, true: None)


@dataclass
class Made:
    asked: Sequence[Sample]
    training: Sequence[Sample] = ()
    benchmarks: bool = True
    name: str = "made"
    splits: dict[Task, str] = field(
        default_factory=lambda: {"sqa3d": "test", "scanrefer": "val", "multi3drefer": "val"}
    )
    skips: Skips = field(default_factory=Skips)

    def __len__(self) -> int:
        return 1

    def samples(self, index: int) -> tuple[Sample, ...]:
        return tuple(self.asked)

    def scene(self, index: int) -> Scene:
        raise NotImplementedError

    def boxes(self, index: int) -> tuple[Box, ...]:
        return BOX, FAR


def qa(identity: str, said: str, *answers: str) -> Sample:
    turn = Turn("sqa", said, "x")
    return Sample(identity, "sqa3d", "s", turn, answers, words=said, question_type="what")


def box(identity: str, task: Task = "scanrefer", *boxes: Box) -> Sample:
    return Sample(identity, task, "s", Turn("grounding", "find it", "<ground>"), target_boxes=boxes)


TRAINING = [
    qa("t0", "What is it?", "bed"),
    qa("t1", "What is it?", "bed"),
    qa("t2", "Is it?", "no"),
]
SAMPLES = [
    qa("0", "I sit. What is it? Answer briefly.", "bed"),
    qa("1", "Is it?", "no"),
    box("2", "scanrefer", BOX),
    box("3", "multi3drefer"),
]
SAID: dict[Task, list[Prediction]] = {
    "sqa3d": [Prediction("0", "bed"), Prediction("1", "yes")],
    "scanrefer": [Prediction("2", boxes=(BOX,))],
    "multi3drefer": [Prediction("3", boxes=(FAR,))],
}


def test_rows_stand_beside_the_published_ones() -> None:
    judged = Made(SAMPLES, TRAINING)
    scores = score_all(judged, Asked.of(judged), SAID)
    table = as_markdown(scores, "A run", judged.name)
    assert "### Table 1: answering questions" in table
    assert "| Ross3D, published | 63.0 | 65.7 |" in table
    assert "| Video-3D-LLM, published | 58.6 | – |" in table
    assert "| **this model** | 50.0 | 50.0 |" in table
    assert f"| {MAJORITY} | 50.0 | 50.0 |" in table
    assert f"| {PRIOR} | 100.0 | 100.0 |" in table
    assert "| *protocol* | `scanrefer/top1` | `scanrefer/top1` | `multi3drefer/f1` |" in table
    assert f"| {NOTHING} | – | – | 100.0 | 100.0 |" in table
    assert "Table 2" not in table
    assert "- SQA3D: published rows are of 3519 samples of test, ours of 2 of test" in table
    assert "|  | sqa3d/leo | sqa3d/ross3d |" in table.partition("## Every protocol")[2]
    found = to_json(scores, {"run": "r"}, [])
    assert found["tables"]["Table 3: finding objects"][OURS] == {
        "ScanRefer Acc@0.25": 100.0,
        "ScanRefer Acc@0.5": 100.0,
        "Multi3DRefer F1@0.25": 0.0,
        "Multi3DRefer F1@0.5": 0.0,
    }
    assert found["results"]["sqa3d"][0]["per_sample"]["EM"] == {"0": 1.0, "1": 0.0}


def test_other_data_never_stand_beside_published_rows() -> None:
    judged = Made(SAMPLES, TRAINING, benchmarks=False)
    scores = score_all(judged, Asked.of(judged), SAID)
    table = as_markdown(scores, "A run", judged.name)
    assert "## Not the published benchmarks: made" in table
    assert "cannot be compared with any published figure" in table
    for word in (", published |", "Table 1", "SQA3D EM", "63.0"):
        assert word not in table
    assert not any("published" in name for name in scores.rows)
    assert "From a place EM" in table


def test_guesses_that_know_the_answers_are_named() -> None:
    judged = Made(SAMPLES)
    scores = score_all(judged, Asked.of(judged), SAID)
    assert any(note.startswith("sqa3d: the guesses know the answers") for note in scores.notes)


def test_secret_answers_are_not_scored() -> None:
    judged = Made([qa("0", "What is it?"), SAMPLES[2]])
    scores = score_all(judged, Asked.of(judged), SAID)
    assert list(scores.results) == ["scanrefer"]
    assert any("sqa3d: the answers are secret" in note for note in scores.notes)


def test_a_random_box_is_a_candidate_and_always_the_same() -> None:
    judged = Made([box(str(i), "scanrefer", BOX) for i in range(40)])
    one, two = (baselines(judged, Asked.of(judged))[RANDOM]["scanrefer"] for _ in range(2))
    assert one == two
    assert {x.boxes for x in one} == {(BOX,), (FAR,)}


def test_a_limit_draws_samples_of_each_task() -> None:
    samples = [qa(str(i), "What?", "x") for i in range(20)] + [box("b")]
    few, more = (at_most(samples, n) for n in (3, 6))
    assert [len(few), len(more)] == [4, 7]
    assert {x.id for x in few} < {x.id for x in more}
    assert [x.id for x in more] == sorted((x.id for x in more), key=[y.id for y in samples].index)
    assert at_most(samples, None) == samples


def test_answers_of_one_question_come_together() -> None:
    turn = Turn("qa", "What?", "x")
    rows = [Sample(f"scanqa_a_{i}", "scanqa", "s", turn, (x,)) for i, x in enumerate("xyx")]
    (one,) = distinct(rows)
    assert one.answers == ("x", "y")


def test_samples_that_are_shown_are_of_many_scenes() -> None:
    samples = [Sample(str(i), "scanqa", f"s{i % 3}", Turn("qa", "?", "x")) for i in range(12)]
    assert {x.scene for x in choose_samples(samples, 3)} == {"s0", "s1", "s2"}
    assert len(choose_samples(samples, 20)) == 12


def test_the_question_is_found() -> None:
    assert question(SAMPLES[0]) == "What is it?"
    assert question(qa("0", "Describe it.", "x")) == "Describe it."
