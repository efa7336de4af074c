"""What is right about the samples of a benchmark, read from the files that people have.

* as released: SQA3D (questions and annotations side by side), ScanQA;
* llava style: samples with ``conversations`` and ``metadata``;
* plain: ``id``, and ``answers`` or ``captions`` or ``box`` or ``boxes``, with ``question_type`` or
  ``eval_type`` and ``box_input`` where they are known; a list, or one object a line (``.jsonl``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .records import (
    BENCHMARKS,
    Reference,
    box_of,
    boxes_of,
    by_id,
    check_benchmark,
    json_lines,
    plain_id,
)

if TYPE_CHECKING:
    from ..data.benchmarks.sample import Sample

QUESTIONS, ANNOTATIONS = "balanced_questions", "balanced_sqa_annotations"
TYPES = ("what", "is", "how", "can", "which")
Row = tuple[str, Mapping[str, Any]]


def read_references(path: Path | str, benchmark: str) -> dict[str, Reference]:
    """Read what predictions of a benchmark are compared with.

    Args:
        path: annotations in one of the layouts above.
        benchmark: one of ``BENCHMARKS``.

    Returns:
        References by id, in the order of the file.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if it holds something else, an id twice, or nothing to compare with; the message
            names the file and the sample.
    """
    check_benchmark(benchmark)
    path = Path(path)
    found: dict[str, Reference] = {}
    given: set[str] = set()
    for where, row in rows_of(path, benchmark):
        reference = reference_of(row, benchmark, where)
        identity = str(row.get("id", reference.id))
        if identity in given:
            raise ValueError(f"{where}: id must occur once; got {identity!r} again")
        given.add(identity)
        known = found.setdefault(reference.id, reference)
        if known is not reference and "answers" not in (row.get("metadata") or {}):
            # A question of ScanQA with a sample for each of its answers.
            found[reference.id] = replace(known, answers=known.answers + reference.answers)
    if not found:
        raise ValueError(f"{path} must hold samples of {benchmark}; got none")
    return found


def rows_of(path: Path, benchmark: str) -> Iterator[Row]:
    """The samples of a file, with the words that name them in messages."""
    if path.suffix == ".jsonl":
        yield from json_lines(path)
        return
    content = read_content(path)
    if benchmark == "sqa3d" and isinstance(content, dict):
        yield from sqa3d_rows(path, content)
        return
    if not isinstance(content, list):
        raise ValueError(f"{path} must be a list of samples; got {type(content).__name__}")
    for number, row in enumerate(content):
        where = f"{path}, sample {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{where} must be a JSON object; got {type(row).__name__}")
        yield where, row


def sqa3d_rows(path: Path, content: Mapping[str, Any]) -> Iterator[Row]:
    """SQA3D as released: two files, one of which is given and the other stands beside it."""
    ours, theirs = (QUESTIONS, ANNOTATIONS) if QUESTIONS in path.name else (ANNOTATIONS, QUESTIONS)
    if ours not in path.name:
        raise ValueError(f"{path} must have {QUESTIONS} or {ANNOTATIONS} in its name")
    other = read_content(path.with_name(path.name.replace(ours, theirs)))
    both = {**content, **(other if isinstance(other, dict) else {})}
    try:
        questions = {row["question_id"]: row["question"] for row in both["questions"]}
        for number, row in enumerate(both["annotations"]):
            answers = [answer["answer"] for answer in row["answers"]]
            kind = question_type(questions[row["question_id"]])
            plain = {"id": row["question_id"], "answers": answers, "question_type": kind}
            yield f"{path}, annotation {number}", plain
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} must be SQA3D as released; got no {error}") from error


def question_type(question: str) -> str:
    """The type under which SQA3D counts a question."""
    return next((kind for kind in TYPES if question.lower().startswith(kind)), "others")


def reference_of(row: Mapping[str, Any], benchmark: str, where: str) -> Reference:
    """Check one sample, llava style or plain.

    Raises:
        ValueError: if what predictions are compared with is missing or of another kind.
    """
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise ValueError(f"{where}: metadata must be an object; got {metadata!r}")
    dataset = str(metadata.get("dataset", row.get("task", benchmark))).lower()
    if dataset != benchmark:
        raise ValueError(f"{where} must be of {benchmark}; got {dataset}")
    both = {**metadata, **row}
    kinds = (str(both.get(field) or "") for field in ("eval_type", "question_type"))
    kind = next((k for k in kinds if k), "") if benchmark != "scanqa" else ""
    if benchmark == "scanrefer" and kind not in ("unique", "multiple"):
        kind = ""
    box_input = both.get("box_input")
    reference = Reference(
        plain_id(benchmark, both.get("id", both.get("question_id")), where),
        kind=kind,
        boxes=true_boxes(both, benchmark, where),
        box_input=None if box_input is None else box_of(box_input, where),
    )
    if BENCHMARKS[benchmark] == "boxes":
        return reference
    return replace(reference, answers=texts_of(both, where))


def texts_of(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Every answer or caption that counts as right."""
    value = next((row[f] for f in ("answers", "captions", "annotations") if row.get(f)), None)
    if value is None:
        turns = row.get("conversations") or ()
        said = [turn.get("value") for turn in turns if isinstance(turn, Mapping)]
        value = said[1:2]
    if not isinstance(value, list) or not value or not all(isinstance(x, str) for x in value):
        raise ValueError(f"{where} must have answers, a list of text; got {value!r}")
    return tuple(value)


def true_boxes(row: Mapping[str, Any], benchmark: str, where: str) -> tuple[Any, ...]:
    """The boxes of the objects that are meant."""
    if benchmark in ("sqa3d", "scanqa"):
        return ()
    value = next((row[f] for f in ("gt_box", "boxes", "box") if row.get(f) is not None), None)
    if value is None and benchmark == "scan2cap":
        return ()
    if isinstance(value, list | tuple) and value and not isinstance(value[0], list | tuple):
        value = [value]
    boxes = boxes_of(value, where)
    if benchmark != "multi3drefer" and len(boxes) != 1:
        raise ValueError(f"{where} must have 1 true box; got {len(boxes)}")
    return boxes


def references_of(samples: Iterable[Sample]) -> dict[str, Reference]:
    """What the readers of the recipes already hold, by id."""
    return by_id(
        (
            Reference(
                plain_id(sample.task, sample.id, sample.source),
                sample.answers,
                sample.target_boxes,
                sample.eval_type or sample.question_type,
                sample.box_input,
            )
            for sample in samples
        ),
        "samples",
    )


def read_content(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: if it is none; the message names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON; got {error}") from error
