"""Scan2Cap: ScanRefer's descriptions the other way round, from an object to the words."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ..scene import Turn
from .boxes import SceneBoxes
from .entry import Entry, collect
from .prompts import prompt
from .sample import Sample
from .scanrefer import description, scanrefer_entries
from .skips import Skips


def read_scan2cap(
    path: Path, *, boxes: SceneBoxes, train: bool, skips: Skips | None = None
) -> tuple[Sample, ...]:
    """Read captions from ``ScanRefer_filtered_SPLIT.json``.

    For training every description is a sample, of the true box. Otherwise an object (of one name)
    is one sample with all its descriptions, and its box is the predicted one that overlaps the true
    one most, at least 0.5; where there is none the box is None (``matched`` is False), the caption
    counts as empty and the object stays in the average.

    Args:
        path: the file.
        boxes: true and predicted boxes of the scans.
        train: see above.
        skips: counts the descriptions that cannot be used; None raises at the first.

    Returns:
        The samples, named SCENE/OBJECT/ANNOTATION, or SCENE/OBJECT/NAME.

    Raises:
        AnnotationError: if a description cannot be used and ``skips`` is None.
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.
    """
    samples = collect(scanrefer_entries(path), partial(_sample, boxes), skips)
    return samples if train else _by_object(samples, boxes)


def _sample(boxes: SceneBoxes, entry: Entry) -> tuple[Sample]:
    scene, number, words = entry.scene("scene_id"), entry.number("object_id"), description(entry)
    box = boxes.target(entry, "object_id", scene, number)
    return (
        Sample(
            id=entry.id,
            task="scan2cap",
            scene=scene,
            turn=Turn("caption", prompt("scan2cap"), words, point=box[:3]),
            answers=(words,),
            object_ids=(number,),
            object_name=entry.text("object_name"),
            box_input=box,
            target_boxes=(box,),
            source=entry.source,
        ),
    )


def _by_object(samples: tuple[Sample, ...], boxes: SceneBoxes) -> tuple[Sample, ...]:
    """One sample for each object and name, of the predicted box."""
    found: dict[str, Sample] = {}
    for sample in samples:
        key = "/".join([*sample.id.split("/")[:2], sample.object_name])
        if key in found:
            found[key] = replace(found[key], answers=found[key].answers + sample.answers)
            continue
        box = boxes.predicted_for(sample.scene, sample.target_boxes[0])
        turn = replace(sample.turn, point=None if box is None else box[:3])
        found[key] = replace(sample, id=key, turn=turn, box_input=box)
    return tuple(found.values())
