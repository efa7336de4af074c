"""Boxes of a scan's objects: from segments of its mesh, and from predicted masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..images import read_json
from ..objects import Box
from ..ply import read_ply_vertices
from ..sparse_masks import read_masks
from .raw_scan import RawScan

PROPOSALS = 50
NO_BOX: Box = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The row of an object id that no object has, or an object without vertices."""


@dataclass(frozen=True)
class ScanBoxes:
    """The boxes of one scan in the aligned world.

    Attributes:
        true: row i is object i; six zeros where there is no such object. None = not annotated.
        names: of the objects, by id.
        proposals: of predicted masks that are not empty, in their order; None = there are none.
        notes: what was not as usual.
    """

    true: tuple[Box, ...] | None
    names: Mapping[int, str]
    proposals: tuple[Box, ...] | None
    notes: tuple[str, ...]


def read_scan_boxes(scan: RawScan, align: Tensor) -> ScanBoxes:
    """Find the boxes of a scan.

    Args:
        scan: the scan.
        align: (4, 4) from the scan's frame to the world's.

    Raises:
        ValueError: if a file is damaged, or the files do not fit one another.
    """
    notes: list[str] = []
    if scan.vertices is None:
        return ScanBoxes(None, {}, None, ("no mesh: no boxes",))
    points = read_ply_vertices(scan.vertices)
    matrix = align.double().numpy()
    points = points @ matrix[:3, :3].T + matrix[:3, 3]
    true, names = None, dict[int, str]()
    if scan.aggregation is None or scan.segments is None:
        notes.append("no aggregation or segments: no true boxes")
    else:
        true, names = _true_boxes(scan.aggregation, scan.segments, points, notes)
    proposals = None
    if scan.mask is None:
        notes.append("no mask file: no proposals")
    else:
        proposals = _proposals(scan.mask, points, notes)
    return ScanBoxes(true, names, proposals, tuple(notes))


def bounding_box(points: np.ndarray) -> Box:
    """The box of some points, (n, 3), n > 0, rounded to a hundredth of a millimetre."""
    low, high = points.min(0), points.max(0)
    numbers = [*((low + high) / 2), *(high - low)]
    x, y, z, dx, dy, dz = (round(float(number), 5) for number in numbers)
    return x, y, z, dx, dy, dz


def _true_boxes(
    aggregation: Path, segments: Path, points: np.ndarray, notes: list[str]
) -> tuple[tuple[Box, ...], dict[int, str]]:
    """Boxes by object id, and names."""
    of_vertex = _segments(segments, len(points))
    boxes: dict[int, Box] = {}
    names: dict[int, str] = {}
    for number, label, own in _groups(aggregation):
        if number in names:
            raise ValueError(f"{aggregation} must give each objectId once; got {number} again")
        names[number] = label
        mine = points[np.isin(of_vertex, own)]
        if len(mine):
            boxes[number] = bounding_box(mine)
    count = max(names, default=-1) + 1
    if gaps := [number for number in range(count) if number not in names]:
        notes.append(f"no object has the ids {gaps}: their boxes are zeros")
    if empty := sorted(names.keys() - boxes.keys()):
        notes.append(f"objects {empty} have no vertices: their boxes are zeros")
    return tuple(boxes.get(number, NO_BOX) for number in range(count)), names


def _segments(path: Path, count: int) -> np.ndarray:
    """The segment of each vertex."""
    listed = read_json(path).get("segIndices")
    if not isinstance(listed, list) or not all(type(x) is int for x in listed):
        raise ValueError(f"{path} must hold a list of whole numbers 'segIndices'; got another")
    if len(listed) != count:
        raise ValueError(
            f"{path} must hold a segment of each of {count} vertices; got {len(listed)}"
        )
    return np.array(listed, dtype=np.int64)


def _groups(path: Path) -> list[tuple[int, str, list[int]]]:
    """Object id, label and segments of each group."""
    groups = read_json(path).get("segGroups")
    if not isinstance(groups, list):
        raise ValueError(f"{path} must hold a list 'segGroups'; got {type(groups).__name__}")
    return [_group(path, group) for group in groups]


def _group(path: Path, group: Any) -> tuple[int, str, list[int]]:
    try:
        number, label, own = group["objectId"], group["label"], group["segments"]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path} must give each group an {error}; got none") from error
    whole = isinstance(own, list) and all(type(x) is int for x in own)
    if (
        type(number) is not int
        or not 0 <= number < 10_000
        or not isinstance(label, str)
        or not whole
    ):
        got = f"{number!r}, {label!r}"
        raise ValueError(f"{path} must give objectId, label and segments; got {got}")
    return number, label, own


def _proposals(path: Path, points: np.ndarray, notes: list[str]) -> tuple[Box, ...]:
    masks, width = read_masks(path, most=PROPOSALS)
    if width != len(points):
        raise ValueError(
            f"{path} must have a column for each of {len(points)} vertices; got {width}"
        )
    if empty := sum(not len(mask) for mask in masks):
        notes.append(f"{empty} of {len(masks)} masks are empty and left out")
    return tuple(bounding_box(points[mask]) for mask in masks if len(mask))
