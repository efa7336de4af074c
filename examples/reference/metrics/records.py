"""What is scored and against what: predictions and references, one JSON object a line.

A prediction has ``id`` and ``text`` (sqa3d, scanqa, scan2cap) or ``boxes``, a list of
(x, y, z, dx, dy, dz) in metres (scanrefer: the first one counts; multi3drefer: all of them, none if
the list is empty; scan2cap may have one: the box that the caption is about). ``task`` names the
benchmark where a file holds several. Other fields are not read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from ..data.objects import Box

BENCHMARKS: Mapping[str, str] = MappingProxyType(
    {
        "sqa3d": "text",
        "scanqa": "text",
        "scan2cap": "text",
        "scanrefer": "boxes",
        "multi3drefer": "boxes",
    }
)
"""Benchmark -> the field of a prediction that is scored."""


@dataclass(frozen=True)
class Prediction:
    """What a model said about one sample.

    Attributes:
        id: of the sample.
        text: answer or caption; None for grounding.
        boxes: (x, y, z, dx, dy, dz) in metres, chosen or described; None for questions.
    """

    id: str
    text: str | None = None
    boxes: tuple[Box, ...] | None = None

    def line(self, benchmark: str) -> str:
        """Its line of a file."""
        row: dict[str, Any] = {"id": self.id, "task": benchmark}
        row |= {} if self.text is None else {"text": self.text}
        row |= {} if self.boxes is None else {"boxes": self.boxes}
        return json.dumps(row, ensure_ascii=False)


@dataclass(frozen=True)
class Reference:
    """What is right about one sample.

    Attributes:
        id: of the sample.
        answers: every answer or caption that counts as right, as written.
        boxes: true boxes in metres: one (scanrefer, scan2cap), or any number (multi3drefer).
        kind: its split in the tables, for example ``"what"``, ``"unique"``, ``"zt_w_d"``.
        box_input: the box that a caption was asked for; None = no proposal covers the object.
    """

    id: str
    answers: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    kind: str = ""
    box_input: Box | None = None


class Named(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Unique among its kind."""


T = TypeVar("T", bound=Named)


def read_predictions(path: Path | str, benchmark: str) -> dict[str, Prediction]:
    """Read the predictions of one benchmark from a file of JSON lines.

    Args:
        path: one object a line; blank lines are allowed.
        benchmark: one of :data:`BENCHMARKS`; lines with another ``task`` are left out.

    Returns:
        Predictions by id, in the order of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is no prediction, an id occurs twice, or no line is left; the message
            names file and line.
    """
    check_benchmark(benchmark)
    found: dict[str, Prediction] = {}
    for where, row in json_lines(Path(path)):
        task = row.get("task", benchmark)
        if task not in BENCHMARKS:
            raise ValueError(f"{where}: task must be one of {', '.join(BENCHMARKS)}; got {task!r}")
        if task == benchmark:
            prediction = prediction_of(row, benchmark, where)
            if prediction.id in found:
                raise ValueError(f"{where}: id must occur once; got {prediction.id!r} again")
            found[prediction.id] = prediction
    if not found:
        raise ValueError(f"{path} must hold predictions of {benchmark}; got none")
    return found


def prediction_of(row: Mapping[str, Any], benchmark: str, where: str) -> Prediction:
    """Check one prediction.

    Raises:
        ValueError: if a field is missing or of another kind.
    """
    field = BENCHMARKS[benchmark]
    if field not in row:
        raise ValueError(f"{where}: a prediction of {benchmark} must have {field}; got {list(row)}")
    text = row["text"] if field == "text" else None
    if field == "text" and not isinstance(text, str):
        raise ValueError(f"{where}: text must be a string; got {text!r}")
    boxes = row.get("boxes")
    return Prediction(
        plain_id(benchmark, row.get("id"), where),
        text,
        None if boxes is None else boxes_of(boxes, where),
    )


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(FILE:LINE, object) of each line.

    Raises:
        ValueError: if the file is no text, or a line no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8; got {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} must be a JSON object; got {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where} must be a JSON object; got {type(row).__name__}")
        yield where, row


def plain_id(benchmark: str, identity: object, where: str) -> str:
    """An id as text; of ScanQA that of the question, where it also numbers the answer.

    Raises:
        ValueError: if it is neither text nor a whole number.

    Example:
        >>> plain_id("scanqa", "scanqa_val-scene0011-0_0", "a.jsonl:1")
        'val-scene0011-0'
    """
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise ValueError(f"{where}: id must be text or a whole number; got {identity!r}")
    numbered = re.fullmatch(r"scanqa_(.+)_\d+", str(identity)) if benchmark == "scanqa" else None
    return numbered[1] if numbered else str(identity)


def boxes_of(value: object, where: str) -> tuple[Box, ...]:
    """Check a list of boxes.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: boxes must be a list of boxes; got {value!r}")
    return tuple(box_of(box, where) for box in value)


def box_of(value: object, where: str) -> Box:
    """Check a box.

    Raises:
        ValueError: if it is none.
    """
    numbers = value if isinstance(value, list | tuple) else ()
    finite = all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in numbers
    )
    if len(numbers) != 6 or not finite or min(numbers[3:]) < 0:
        expected = "6 finite numbers x, y, z, dx, dy, dz, sizes not negative"
        raise ValueError(f"{where}: a box must be {expected}; got {value!r}")
    x, y, z, dx, dy, dz = map(float, numbers)
    return x, y, z, dx, dy, dz


def by_id(records: Iterable[T], name: str) -> dict[str, T]:
    """Records by their id.

    Raises:
        ValueError: if an id occurs twice.
    """
    found: dict[str, T] = {}
    for record in records:
        if record.id in found:
            raise ValueError(f"ids of {name} must be unique; got {record.id!r} twice")
        found[record.id] = record
    return found


def check_benchmark(benchmark: str) -> None:
    """Raise a ValueError unless the benchmark is known."""
    if benchmark not in BENCHMARKS:
        raise ValueError(f"benchmark must be one of {', '.join(BENCHMARKS)}; got {benchmark!r}")
