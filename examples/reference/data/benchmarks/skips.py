"""What is wrong with an annotation, and how many were left out because of it."""

from __future__ import annotations

from collections import Counter


class AnnotationError(ValueError):
    """An annotation that cannot be used.

    Attributes:
        source: the file.
        id: of the annotation.
        field: that is wrong.
        problem: what the field must be, and what it is.
    """

    def __init__(self, source: str, identity: str, field: str, expected: str, got: object) -> None:
        self.source, self.id, self.field, self.expected = source, identity, field, expected
        self.problem = f"{field} must be {expected}; got {_short(got)}"
        super().__init__(f"{source}, annotation {identity}: {self.problem}")


class Skips:
    """Annotations that are left out, counted by file and reason.

    Attributes:
        counts: by (file, field, what it must be).
        examples: the first annotation left out for each reason.

    Example:
        >>> skips = Skips()
        >>> skips.add(AnnotationError("a.json", "7", "answers", "a list of words", []))
        >>> print(skips)
        1 annotation left out of a.json: answers must be a list of words; got [] (7)
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.examples: dict[tuple[str, str, str], AnnotationError] = {}

    def add(self, error: AnnotationError) -> None:
        """Count one."""
        key = (error.source, error.field, error.expected)
        self.counts[key] += 1
        self.examples.setdefault(key, error)

    def __len__(self) -> int:
        """Number of annotations that are left out."""
        return self.counts.total()

    def __str__(self) -> str:
        """A line for each file and reason, with the first annotation concerned."""
        lines = []
        for key, count in self.counts.items():
            first = self.examples[key]
            noun = "annotation" if count == 1 else "annotations"
            example = first.id if count == 1 else f"{first.id} first"
            lines.append(f"{count} {noun} left out of {key[0]}: {first.problem} ({example})")
        return "\n".join(lines)

    def as_json(self) -> list[dict[str, object]]:
        """The same for a report file."""
        return [
            {"file": key[0], "field": key[1], "count": n, "problem": first.problem, "id": first.id}
            for key, n in self.counts.items()
            for first in (self.examples[key],)
        ]


def _short(value: object) -> str:
    text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
