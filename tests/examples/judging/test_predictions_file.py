from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reference.data.benchmarks.sample import Sample
from reference.data.scene import Turn
from reference.judging.predictions_file import PredictionsFile
from reference.metrics.records import Prediction, read_predictions

ABOUT = {"run": "a", "step": 3}
SAMPLES = [
    Sample(str(i), "scanqa", "scannet/a", Turn("qa", f"what is {i}?", "x"), answers=("x", "y"))
    for i in range(3)
]


def fill(folder: Path, count: int = 2) -> PredictionsFile:
    file = PredictionsFile(folder, ABOUT)
    file.add([(x, Prediction(x.id, "a chair\nor two")) for x in SAMPLES[:count]])
    return file


def test_what_is_there_is_not_lacking(tmp_path: Path) -> None:
    first = fill(tmp_path / "deep" / "out")
    again = PredictionsFile(tmp_path / "deep" / "out", ABOUT)
    for file in (first, again):
        assert [file.lacks(x) for x in SAMPLES] == [False, False, True]
        assert [x.text for x in file.of(SAMPLES[:2])] == ["a chair\nor two"] * 2
    assert set(read_predictions(first.path, "scanqa")) == {"0", "1"}


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_line_is_dropped(tmp_path: Path, cut: int) -> None:
    path = fill(tmp_path).path
    path.write_bytes(path.read_bytes()[:-cut])
    file = PredictionsFile(tmp_path, ABOUT)
    assert [file.lacks(x) for x in SAMPLES] == [False, True, True]
    file.add([(SAMPLES[1], Prediction("1", "b"))])
    assert [x.text for x in PredictionsFile(tmp_path, ABOUT).of(SAMPLES[:2])][1] == "b"


def test_a_file_of_nothing_but_a_torn_line_is_empty(tmp_path: Path) -> None:
    path = fill(tmp_path, 1).path
    path.write_bytes(path.read_bytes()[:10])
    assert not PredictionsFile(tmp_path, ABOUT).found
    assert path.read_bytes() == b""


def test_predictions_of_another_model_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(ValueError, match="must hold predictions with step 4; got 3"):
        PredictionsFile(tmp_path, {**ABOUT, "step": 4})
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(ValueError, match="must hold predictions with run 'a'; got None"):
        PredictionsFile(tmp_path, ABOUT)


def test_another_question_of_the_same_name_is_refused(tmp_path: Path) -> None:
    file = fill(tmp_path)
    other = replace(SAMPLES[0], turn=Turn("qa", "who?", "x"))
    with pytest.raises(ValueError, match=r"must ask 'who\?' for 0 of scanqa; got 'what is 0\?'"):
        file.lacks(other)


def test_foreign_lines_are_named(tmp_path: Path) -> None:
    path = fill(tmp_path).path
    path.write_text('{"id": 1, "task": "vqa", "text": "x"}\n')
    with pytest.raises(ValueError, match=r"predictions\.jsonl:1: task must be one of sqa3d"):
        PredictionsFile(tmp_path, ABOUT)
