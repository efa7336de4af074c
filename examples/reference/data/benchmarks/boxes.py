"""The boxes that annotations of a data folder speak of, and those that a model chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ross3d import box_iou

from ..objects import Box, predicted_scans, read_boxes, read_names, read_true_boxes
from .entry import Entry

MATCHED = 0.5
"""The overlap (IoU) from which a predicted box stands for a true one, as in Scan2Cap's @0.5."""


@dataclass(frozen=True)
class SceneBoxes:
    """The boxes of a data folder's scans, by the scan's name.

    Attributes:
        true: of each object by its id in the ground truth.
        predicted: in the order of the file; of scans that have some.
    """

    true: Mapping[str, Mapping[int, Box]] = field(default_factory=dict)
    predicted: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)

    def target(self, entry: Entry, name: str, scene: str, number: int) -> Box:
        """The true box of an object that an entry means.

        Args:
            entry: to complain about.
            name: of its field that means the object.
            scene: the scan.
            number: id of the object.

        Raises:
            AnnotationError: if the scan or the object has no true box.
        """
        if scene not in self.true:
            raise entry.error(name, f"an object of {scene}, of which true boxes are known", number)
        if number not in self.true[scene]:
            raise entry.error(name, f"an object of {scene} that has a box", number)
        return self.true[scene][number]

    def predicted_for(self, scene: str, box: Box) -> Box | None:
        """The predicted box that covers a true one best; None where the overlap is below 0.5."""
        found = best_match(self.predicted.get(scene, ()), box)
        return None if found is None else self.predicted[scene][found]


def best_match(boxes: tuple[Box, ...], box: Box, least: float = MATCHED) -> int | None:
    """Row of the box that overlaps another most; None where no overlap reaches ``least``.

    Example:
        >>> best_match(((0, 0, 0, 1, 1, 1), (5, 0, 0, 1, 1, 1)), (5, 0, 0, 1, 1, 1))
        1
    """
    if not boxes:
        return None
    overlap = box_iou(torch.tensor(boxes).double(), torch.tensor([box]).double())[:, 0]
    row = int(overlap.argmax())
    return row if overlap[row] >= least else None


def read_scene_boxes(root: Path) -> SceneBoxes:
    """Read the true boxes of a data folder, of every split, and the predicted ones.

    True are those of ``metadata/scannet_{train,val,test}_gt_box.json``; a scan that they lack has
    those of its named objects. Six zeros are no object.

    Raises:
        ValueError: if a file is damaged.
    """
    true: dict[str, dict[int, Box]] = {
        scan: {row: box for row, box in enumerate(boxes) if any(box)}
        for scan, boxes in read_true_boxes(root).items()
    }
    for scan, objects in read_names(root).items():
        if scan is not None:
            true.setdefault(scan, {number: x.box for number, x in objects.items()})
    usual = read_boxes(root)
    return SceneBoxes(true, {scan: usual[scan] for scan in predicted_scans(root)})
