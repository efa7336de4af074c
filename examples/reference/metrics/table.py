"""Results side by side, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .meteor import UNAVAILABLE
from .protocols import PROTOCOLS
from .score import Result


def markdown(results: Sequence[Result]) -> str:
    """A table of all figures times 100, a column per protocol, and what must be known of them."""
    names = list(dict.fromkeys(name for one in results for name in one.figures))
    rows = [["", *(one.protocol for one in results)], ["---", *("---:" for _ in results)]]
    rows += [[name, *(cell(one, name) for one in results)] for name in names]
    rows.append(["samples", *(str(one.samples) for one in results)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- `{one.protocol}`: {PROTOCOLS[one.protocol].what}." for one in results)]
    spoken = [(one.protocol, warning) for one in results for warning in one.warnings]
    by_warning: dict[str, list[str]] = {}
    for protocol, warning in spoken:
        by_warning.setdefault(warning, []).append(protocol)
    for warning, protocols in by_warning.items():
        where = "" if len(protocols) == len(results) else f" ({', '.join(protocols)})"
        lines += ["", f"**Warning**{where}: {warning}."]
    return "\n".join(lines) + "\n"


def cell(result: Result, name: str) -> str:
    """A figure of the table."""
    if name not in result.figures:
        return "–"
    figure = result.figures[name]
    return UNAVAILABLE if figure is None else f"{100 * figure:.2f}"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The same for programs: ``figures`` times 100, ``per_sample`` as they are."""
    return [
        {
            "protocol": one.protocol,
            "what": PROTOCOLS[one.protocol].what,
            "samples": one.samples,
            "figures": {
                name: None if figure is None else 100 * figure
                for name, figure in one.figures.items()
            },
            "warnings": list(one.warnings),
            "per_sample": {name: dict(own) for name, own in one.per_sample.items()},
        }
        for one in results
    ]
