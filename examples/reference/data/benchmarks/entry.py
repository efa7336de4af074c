"""One entry of an annotation file: typed fields, and complaints that name file, id and field."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..objects import Box
from .sample import Sample
from .skips import AnnotationError, Skips

SCANNET = "scannet/"


class Entry:
    """A JSON object with typed fields.

    Args:
        source: the file.
        identity: the entry's name in messages.
        content: the object.
        prefix: the path of the object inside its entry.

    Attributes:
        problem: why the entry cannot be used at all; None = its fields can be read.
    """

    def __init__(self, source: str, identity: str, content: Any, prefix: str = "") -> None:
        self.source, self.id, self.prefix = source, identity, prefix
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}
        self.problem: AnnotationError | None = None
        if not isinstance(content, dict):
            self.problem = self.error("", "a JSON object", content)

    def error(self, field: str, expected: str, got: object) -> AnnotationError:
        """What to raise about a field."""
        name = f"{self.prefix}{field}".rstrip(".") or "it"
        return AnnotationError(self.source, self.id, name, expected, got)

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self.content.get(field) is not None

    def part(self, field: str) -> Entry:
        """A field that is an object itself; empty where it is absent."""
        content = self.content.get(field, {})
        part = Entry(self.source, self.id, content, prefix=f"{self.prefix}{field}.")
        if part.problem is not None:
            raise part.problem
        return part

    def text(self, field: str) -> str:
        """Words, without spaces around them."""
        value = self.content.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, "words", value)
        return value.strip()

    def optional_text(self, field: str) -> str:
        """Words, or an empty string where the field is absent or null."""
        value = self.content.get(field)
        if value is not None and not isinstance(value, str):
            raise self.error(field, "words", value)
        return (value or "").strip()

    def texts(self, field: str) -> tuple[str, ...]:
        """One or more strings of words."""
        value = self.content.get(field)
        words = isinstance(value, list) and all(isinstance(x, str) and x.strip() for x in value)
        if not words or not value:
            raise self.error(field, "a list of words", value)
        return tuple(x.strip() for x in value)

    def number(self, field: str) -> int:
        """A whole number that is not negative, or its digits."""
        return self._whole(field, self.content.get(field))

    def numbers(self, field: str) -> tuple[int, ...]:
        """A list of whole numbers, all different; it may be empty."""
        value = self.content.get(field)
        if not isinstance(value, list):
            raise self.error(field, "a list of whole numbers", value)
        numbers = tuple(self._whole(field, x) for x in value)
        if len(set(numbers)) < len(numbers):
            raise self.error(field, "numbers that are all different", value)
        return numbers

    def box(self, field: str) -> Box:
        """A box (x, y, z, dx, dy, dz) of some size."""
        return self._box(field, self.content.get(field))

    def boxes(self, field: str) -> tuple[Box, ...]:
        """A list of boxes; it may be empty."""
        value = self.content.get(field)
        if not isinstance(value, list):
            raise self.error(field, "a list of boxes", value)
        return tuple(self._box(field, x) for x in value)

    def scene(self, field: str) -> str:
        """The name of a scan: ``"scannet/SCENE"``, or SCENE alone."""
        name = self.text(field).removeprefix(SCANNET)
        if "/" in name:
            raise self.error(field, f"{SCANNET}SCENE", self.content[field])
        return SCANNET + name

    def _whole(self, field: str, value: object) -> int:
        digits = isinstance(value, str) and value.isdecimal()
        if not digits and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise self.error(field, "a whole number", value)
        return int(value)  # type: ignore[call-overload]

    def _box(self, field: str, value: object) -> Box:
        wanted = "6 finite numbers, a box of some size"
        if not isinstance(value, list) or len(value) != 6:
            raise self.error(field, wanted, value)
        numeric = all(isinstance(x, int | float) and math.isfinite(x) for x in value)
        if not numeric or min(value[3:]) < 0 or not any(value[3:]):
            raise self.error(field, wanted, value)
        x, y, z, dx, dy, dz = map(float, value)
        return x, y, z, dx, dy, dz


def read_list(path: Path, field: str | None = None) -> list[Any]:
    """Read a JSON file that holds a list, or an object with the list in a field.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else; the message names the file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} must be a JSON file; got no such file") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON file; got {error}") from error
    if field is not None and isinstance(content, dict):
        content = content.get(field)
    if not isinstance(content, list):
        where = "" if field is None else f" in {field!r}"
        raise ValueError(f"{path} must hold a list{where}; got {type(content).__name__}")
    return content


def entries(path: Path, rows: Iterable[Any], key: str | None = "id") -> Iterator[Entry]:
    """The entries of a file, each named by a field, or by its number where it has none.

    Args:
        path: the file.
        rows: what it lists.
        key: the field; None = the number in the file, from 0.
    """
    for number, row in enumerate(rows):
        value = number
        if key is not None:
            value = row.get(key) if isinstance(row, dict) else None
        named = isinstance(value, int | str) and not isinstance(value, bool) and value != ""
        entry = Entry(str(path), str(value) if named else f"number {number}", row)
        if entry.problem is None and not named:
            entry.problem = entry.error(str(key), "a number or words", value)
        yield entry


def collect(
    rows: Iterable[Entry],
    make: Callable[[Entry], Sequence[Sample]],
    skips: Skips | None,
    *,
    variants: bool = False,
) -> tuple[Sample, ...]:
    """Make samples of entries.

    Args:
        rows: the entries.
        make: from an entry to its samples.
        skips: counts the entries that cannot be used; None raises at the first.
        variants: several entries may share an id if their questions differ; ``#1``, ``#2``, ... is
            added to the later ones.

    Raises:
        AnnotationError: if an entry cannot be used and ``skips`` is None.
    """
    samples: dict[str, Sample] = {}
    asked: dict[str, list[str]] = {}
    for entry in rows:
        try:
            if entry.problem is not None:
                raise entry.problem
            for sample in make(entry):
                before = asked.setdefault(sample.id, [])
                if before and (not variants or sample.turn.question in before):
                    raise entry.error("id", "unique", f"{sample.id} twice")
                before.append(sample.turn.question)
                name = f"{sample.id}#{len(before) - 1}" if len(before) > 1 else sample.id
                samples[name] = replace(sample, id=name)
        except AnnotationError as error:
            if skips is None:
                raise
            skips.add(error)
    return tuple(samples.values())
