"""Tables and marked sections of Markdown files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

BEGIN, END = "<!-- benchmarks: written by benchmarks/report.py -->", "<!-- /benchmarks -->"


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; columns of numbers are for the reader to align."""
    names = list(header)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float) -> str:
    """Three significant digits, three decimals near 1, no exponent where it can be helped."""
    if 0.9 < value < 1.1 and value != 1:
        return f"{value:.3f}"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return digits if "e" not in digits else f"{value:.0f}"
    return f"{value:.1e}"


def write_section(path: Path, section: str) -> None:
    """Put a section between its marks.

    Raises:
        ValueError: if the file has no such marks.
    """
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{path} must hold {BEGIN!r} and {END!r} once each")
    before, _, rest = text.partition(BEGIN)
    replace_text(path, f"{before}{BEGIN}\n\n{section}\n\n{END}{rest.partition(END)[2]}")


def replace_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
