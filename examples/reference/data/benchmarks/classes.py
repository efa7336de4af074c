"""The classes by which ScanRefer tells objects that are alone of their kind from others."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

KEPT = frozenset((*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39))
OTHERS = 39
LABELS = "scannetv2-labels.combined.tsv"
RAW, NYU40 = "raw_category", "nyu40id"


def read_classes(path: Path) -> dict[str, int]:
    """Read ``scannetv2-labels.combined.tsv``: the class of each raw name.

    Returns:
        NYU40 id by name; ids outside of ScanNet's benchmark are 39, as all other furniture.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it lacks a column, or an id is no number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be ScanNet's table of labels; got no such file")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if missing := {RAW, NYU40}.difference(rows.fieldnames or ()):
            raise ValueError(f"{path} must have the columns {RAW} and {NYU40}; got no {missing}")
        classes = {}
        for row in rows:
            number = row[NYU40] or ""
            if not number.isdecimal():
                raise ValueError(f"{path} must give the {NYU40} of {row[RAW]}; got {number!r}")
            classes[row[RAW]] = int(number) if int(number) in KEPT else OTHERS
    return classes


def class_of(name: str, classes: Mapping[str, int]) -> int:
    """The class of a name as ScanRefer writes it, ``"office_chair"``; 39 where it is not known.

    Example:
        >>> class_of("office_chair", {"office chair": 5}), class_of("ufo", {})
        (5, 39)
    """
    return classes.get(" ".join(name.split("_")), OTHERS)
