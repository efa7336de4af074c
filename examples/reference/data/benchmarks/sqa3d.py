"""SQA3D as released: questions asked by someone who says where they stand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..scene import Turn
from .entry import Entry, collect, entries, read_list
from .prompts import prompt
from .sample import Sample
from .skips import Skips

BEGINNINGS = ("what", "is", "how", "can", "which")


def read_sqa3d(
    questions: Path, annotations: Path, *, train: bool, skips: Skips | None = None
) -> tuple[Sample, ...]:
    """Read the two files of a split.

    Args:
        questions: ``v1_balanced_questions_SPLIT_scannetv2.json``.
        annotations: ``v1_balanced_sqa_annotations_SPLIT_scannetv2.json``: the answers.
        train: whether a question is asked from its alternative situations too, each a sample whose
            id is the question's with ``#1``, ``#2`` behind it.
        skips: counts the questions that cannot be used; None raises at the first.

    Raises:
        AnnotationError: if a question cannot be used and ``skips`` is None.
        FileNotFoundError: if a file is missing.
        ValueError: if it holds something else.
    """
    answers = {
        entry.id: entry
        for entry in entries(annotations, read_list(annotations, "annotations"), "question_id")
    }
    rows = entries(questions, read_list(questions, "questions"), "question_id")
    return collect(rows, partial(_samples, answers, train), skips, variants=train)


def question_type(question: str) -> str:
    """How a question begins.

    Example:
        >>> question_type("What's behind me?"), question_type("Am I standing?")
        ('what', 'others')
    """
    lower = question.lower()
    return next((word for word in BEGINNINGS if lower.startswith(word)), "others")


def _samples(answers: dict[str, Entry], train: bool, entry: Entry) -> list[Sample]:
    found = answers.get(entry.id)
    if found is None or found.problem is not None:
        raise entry.error("question_id", "that of an annotation too", entry.id)
    scene = entry.scene("scene_id")
    if found.scene("scene_id") != scene:
        raise found.error("scene_id", f"that of the question, {scene}", found.content["scene_id"])
    answer = _answer(found)
    question = entry.text("question")
    situations = [entry.text("situation")]
    if train and entry.content.get("alternative_situation"):
        situations += entry.texts("alternative_situation")
    return [
        Sample(
            id=entry.id,
            task="sqa3d",
            scene=scene,
            turn=Turn("sqa", prompt("sqa3d", f"{situation} {question}"), answer),
            answers=(answer,),
            words=f"{situation} {question}",
            question_type=question_type(question),
            source=entry.source,
        )
        for situation in dict.fromkeys(situations)
    ]


def _answer(entry: Entry) -> str:
    """The first answer of an annotation; the released files have one each."""
    listed = entry.content.get("answers")
    if not isinstance(listed, list) or not listed:
        raise entry.error("answers", "a list of answers", listed)
    first = Entry(entry.source, entry.id, listed[0], prefix="answers.")
    if first.problem is not None:
        raise first.problem
    return first.text("answer")
