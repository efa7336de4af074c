"""ScanQA v1.0 as released: questions with one or more free answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..scene import Turn
from .entry import Entry, collect, entries, read_list
from .prompts import prompt
from .sample import Sample
from .skips import Skips


def read_scanqa(path: Path, *, train: bool, skips: Skips | None = None) -> tuple[Sample, ...]:
    """Read ``ScanQA_v1.0_SPLIT.json``.

    Args:
        path: the file.
        train: whether every answer of a question makes a sample of its own; its id is the
            question's with ``/1``, ``/2`` behind it. Otherwise the first answer is the turn's.
        skips: counts the questions that cannot be used; None raises at the first.

    Returns:
        The samples. The test files have no answers, and neither have their samples.

    Raises:
        AnnotationError: if a question cannot be used and ``skips`` is None.
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.
    """
    rows = entries(path, read_list(path), "question_id")
    return collect(rows, partial(_samples, train), skips)


def _samples(train: bool, entry: Entry) -> list[Sample]:
    secret = "answers" not in entry.content and not train
    answers = ("",) if secret else entry.texts("answers")
    question = entry.text("question")
    return [
        Sample(
            id=f"{entry.id}/{number}" if number else entry.id,
            task="scanqa",
            scene=entry.scene("scene_id"),
            turn=Turn("qa", prompt("scanqa", question), answer),
            answers=() if secret else answers,
            words=question,
            object_ids=entry.numbers("object_ids") if entry.has("object_ids") else (),
            source=entry.source,
        )
        for number, answer in enumerate(dict.fromkeys(answers) if train else answers[:1])
    ]
