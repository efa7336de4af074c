"""Predictions as JSON lines, appended as they come: a run that was killed goes on behind them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..data.benchmarks.sample import Sample
from ..files import read_json, replacing
from ..metrics.records import BENCHMARKS, Prediction, json_lines, prediction_of
from .judged import identity

Key = tuple[str, str]


class PredictionsFile:
    """``predictions.jsonl`` in a folder, and beside it what the predictions are of.

    Lines are those that score_predictions.py reads; what was asked and what is right stand in them
    too. A last line that a kill has torn is dropped.

    Args:
        folder: made if it does not exist.
        about: model and data; a folder that holds predictions of others is refused.

    Raises:
        ValueError: if the folder holds predictions of another model or other data, or a line is no
            prediction.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.path = folder / "predictions.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        told = folder / "evaluation.json"
        about = json.loads(json.dumps(dict(about)))
        if self.path.exists():
            self._check(read_json(told) if told.exists() else {}, about, folder)
            self._drop_torn_line()
        with replacing(told) as temporary:
            temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        self.found: dict[Key, Prediction] = {}
        self._questions: dict[Key, str] = {}
        for where, row in json_lines(self.path) if self.path.exists() else ():
            task = str(row.get("task"))
            if task not in BENCHMARKS:
                raise ValueError(f"{where}: task must be one of {', '.join(BENCHMARKS)}")
            prediction = prediction_of(row, task, where)
            self.found[task, prediction.id] = prediction
            self._questions[task, prediction.id] = str(row.get("question", ""))

    def lacks(self, sample: Sample) -> bool:
        """Whether a sample is still to be asked.

        Raises:
            ValueError: if the file answers another question under its id.
        """
        key = sample.task, identity(sample)
        if key not in self.found:
            return True
        if self._questions[key] != sample.turn.question:
            expected = f"{sample.turn.question!r} for {key[1]} of {key[0]}"
            raise ValueError(f"{self.path} must ask {expected}; got {self._questions[key]!r}")
        return False

    def add(self, predicted: Iterable[tuple[Sample, Prediction]]) -> None:
        """Append predictions, in whole lines."""
        lines = []
        for sample, prediction in predicted:
            row = json.loads(prediction.line(sample.task))
            row |= {"scene": sample.scene, "question": sample.turn.question}
            row |= {"answers": sample.answers} if sample.answers else {}
            row |= {"true_boxes": sample.target_boxes} if sample.target_boxes else {}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
            key = sample.task, prediction.id
            self.found[key], self._questions[key] = prediction, sample.turn.question
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))

    def of(self, samples: Iterable[Sample]) -> list[Prediction]:
        """The predictions of some samples."""
        return [self.found[sample.task, identity(sample)] for sample in samples]

    def _check(self, was: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> None:
        for name in sorted({*was, *about}):
            if was.get(name) != about.get(name):
                expected = f"predictions with {name} {about.get(name)!r}"
                raise ValueError(f"{folder} must hold {expected}; got {was.get(name)!r}")

    def _drop_torn_line(self) -> None:
        whole = self.path.read_bytes().rpartition(b"\n")
        os.truncate(self.path, len(whole[0]) + len(whole[1]))
