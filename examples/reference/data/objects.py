"""Boxes and names of a data folder's objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .images import NO_INSTANCE, read_json
from .scene import SceneObject

Box = tuple[float, float, float, float, float, float]

BOX_FILES = ("scannet_train_gt_box.json", "scannet_val_pred_box.json", "scannet_test_pred_box.json")
TRUE_BOX_FILES = tuple(f"scannet_{split}_gt_box.json" for split in ("train", "val", "test"))
NAME_FILES = ("objects.json", "objects_handmade.json")
SAME_BOX = 1e-3


@dataclass(frozen=True)
class SceneObjects:
    """The candidate objects of one scan.

    Attributes:
        boxes: (o, 6) axis-aligned (x, y, z, dx, dy, dz), metres, world frame.
        objects: the objects of ``boxes``, in the same order; empty where names are not known.
        rows: row of ``boxes`` by object id, the number that pictures of instances show.
    """

    boxes: Tensor
    objects: tuple[SceneObject, ...] = ()
    rows: Mapping[int, int] = field(default_factory=dict)

    def rows_of(self, ids: Tensor) -> Tensor:
        """Row of ``boxes``, -1 = none of them, from object ids 0 to 254; 255 = no object."""
        table = torch.full((NO_INSTANCE + 1,), -1)
        for number, row in self.rows.items():
            if 0 <= number < NO_INSTANCE:
                table[number] = row
        return table[ids]


def read_boxes(root: Path) -> dict[str, tuple[Box, ...]]:
    """Read the boxes of a data folder: measured ones of training scans, predicted ones of others.

    Args:
        root: the data folder; ``metadata/scannet_{train_gt,val_pred,test_pred}_box.json`` are
            merged, those that are present.

    Returns:
        Boxes (x, y, z, dx, dy, dz), centre and full size in metres, by scan (``"scannet/SCENE"``).
        Six zeros stand for an object id that no object has.

    Raises:
        ValueError: if a file is not json, or a box is not 6 finite numbers.
    """
    return _read_boxes(root, BOX_FILES)


def read_true_boxes(root: Path) -> dict[str, tuple[Box, ...]]:
    """Read the measured boxes of scans of every split: row i is object i.

    Raises:
        ValueError: if a file is not json, or a box is not 6 finite numbers.
    """
    return _read_boxes(root, TRUE_BOX_FILES)


def predicted_scans(root: Path) -> frozenset[str]:
    """The scans whose boxes, as ``read_boxes`` reads them, are predicted ones.

    Raises:
        ValueError: if a file is not json, or a box is not 6 finite numbers.
    """
    return frozenset(_read_boxes(root, BOX_FILES[1:]))


def _read_boxes(root: Path, files: tuple[str, ...]) -> dict[str, tuple[Box, ...]]:
    boxes: dict[str, tuple[Box, ...]] = {}
    for path in (root / "metadata" / name for name in files):
        if path.is_file():
            for scan, rows in read_json(path).items():
                if not isinstance(rows, list):
                    raise ValueError(f"{path} must list boxes for {scan}; got {rows!r}")
                boxes[scan] = tuple(_box(path, scan, row) for row in rows)
    return boxes


def read_names(root: Path) -> dict[str | None, dict[int, SceneObject]]:
    """Read the named objects of a data folder.

    Args:
        root: the data folder; ``objects.json`` or ``objects_handmade.json``, whichever is present,
            and all of ``objects/SCENE.json``.

    Returns:
        Objects by object id, by the scan that the file names; None if it is true of every scan.

    Raises:
        ValueError: if a file is not json, its scene no name, or an object lacks an id, a name or a
            box.
    """
    names: dict[str | None, dict[int, SceneObject]] = {}
    several = sorted((root / "objects").glob("*.json"))
    for path in (*(root / name for name in NAME_FILES), *several):
        if path.is_file():
            content = read_json(path)
            entries = content.get("objects")
            if not isinstance(entries, list):
                raise ValueError(f"{path} must hold a list 'objects'; got {entries!r}")
            scene = content.get("scene")
            if not isinstance(scene, str | None):
                raise ValueError(f"{path} must name its scene in words; got {scene!r}")
            objects = names.setdefault(scene, {})
            for entry in entries:
                number, named = _object(path, entry)
                objects[number] = named
    return names


def match_objects(
    scan: str, boxes: tuple[Box, ...] | None, named: Mapping[int, SceneObject]
) -> SceneObjects:
    """Give the boxes of a scan their names: by object id where boxes agree, else by box alone.

    Args:
        scan: the scan's name, for messages.
        boxes: the candidate boxes; None takes those of the named objects.
        named: the named objects by object id.

    Returns:
        The candidates, those of boxes that are not six zeros; without names where no named object
        has one of the boxes, as is usual of predicted boxes.

    Raises:
        ValueError: if names are known for some of the boxes only.
    """
    if boxes is None:
        rows = {number: row for row, number in enumerate(named)}
        return SceneObjects(_stack([x.box for x in named.values()]), tuple(named.values()), rows)
    kept = [(row, box) for row, box in enumerate(boxes) if any(box)]
    found = [_number(row, box, named) for row, box in kept]
    numbers = [number for number in found if number is not None]
    if not numbers:
        rows = {number: row for row, (number, _) in enumerate(kept)}
        return SceneObjects(_stack([box for _, box in kept]), rows=rows)
    if len(numbers) < len(kept):
        unnamed = [row for (row, _), number in zip(kept, found, strict=True) if number is None]
        got = f"no name for {unnamed}"
        raise ValueError(f"objects of {scan} must name every box or none; got {got}")
    objects = tuple(named[number] for number in numbers)
    stacked = _stack([box for _, box in kept])
    return SceneObjects(stacked, objects, {n: row for row, n in enumerate(numbers)})


def _number(row: int, box: Box, named: Mapping[int, SceneObject]) -> int | None:
    """Object id of the named object that has this box."""
    for number in (row, *named):
        other = named[number].box if number in named else ()
        if other and max(abs(a - b) for a, b in zip(box, other, strict=True)) < SAME_BOX:
            return number
    return None


def _stack(boxes: tuple[Box, ...] | list[Box]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 6)


def _object(path: Path, entry: Any) -> tuple[int, SceneObject]:
    name = entry.get("name", entry.get("label")) if isinstance(entry, dict) else None
    if not isinstance(name, str) or not isinstance(entry.get("object_id"), int):
        raise ValueError(f"{path} must give each object an object_id and a name; got {entry!r}")
    box = _box(path, name, entry.get("box"))
    return entry["object_id"], SceneObject(name, box, colour=str(entry.get("colour", "")))


def _box(path: Path, owner: str, row: Any) -> Box:
    numeric = isinstance(row, list) and all(isinstance(x, int | float) for x in row)
    if not numeric or len(row) != 6 or not all(map(math.isfinite, row)) or min(row[3:]) < 0:
        raise ValueError(f"{path} must give boxes of {owner} as 6 finite numbers; got {row!r}")
    x, y, z, dx, dy, dz = map(float, row)
    return x, y, z, dx, dy, dz
