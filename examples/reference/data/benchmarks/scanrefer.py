"""ScanRefer as released: a description of one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from ..scene import Turn
from .boxes import SceneBoxes
from .classes import class_of
from .entry import Entry, collect, entries, read_list
from .prompts import prompt
from .sample import Sample
from .skips import AnnotationError, Skips

EvalTypes = Mapping[tuple[str, int], str]


def read_scanrefer(
    path: Path,
    *,
    boxes: SceneBoxes | None = None,
    classes: Mapping[str, int] | None = None,
    skips: Skips | None = None,
) -> tuple[Sample, ...]:
    """Read ``ScanRefer_filtered_SPLIT.json``; the file is not changed.

    Args:
        path: the file.
        boxes: true boxes of the scans; None leaves the samples without their target's box.
        classes: from :func:`read_classes`; None leaves ``eval_type`` empty.
        skips: counts the descriptions that cannot be used; None raises at the first.

    Returns:
        The samples, named SCENE/OBJECT/ANNOTATION.

    Raises:
        AnnotationError: if a description cannot be used and ``skips`` is None.
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.
    """
    rows = list(scanrefer_entries(path))
    kinds = {} if classes is None else eval_types(rows, classes)
    return collect(rows, partial(_sample, boxes, kinds), skips)


def scanrefer_entries(path: Path) -> Iterable[Entry]:
    """The descriptions of a file, named SCENE/OBJECT/ANNOTATION.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.
    """
    for entry in entries(path, read_list(path), None):
        parts = [entry.content.get(field) for field in ("scene_id", "object_id", "ann_id")]
        if all(isinstance(x, str | int) for x in parts):
            entry.id = "/".join(map(str, parts))
        elif entry.problem is None:
            entry.problem = entry.error("scene_id, object_id, ann_id", "there", parts)
        yield entry


def eval_types(rows: Iterable[Entry], classes: Mapping[str, int]) -> EvalTypes:
    """Tell objects that are alone of their class among a scan's described objects from others.

    Args:
        rows: the descriptions of a split; those without a scan, object and name are passed over.
        classes: by raw name.

    Returns:
        ``"unique"`` or ``"multiple"`` by scan and object.
    """
    found: dict[tuple[str, int], int] = {}
    for entry in rows:
        try:
            key = entry.scene("scene_id"), entry.number("object_id")
            found.setdefault(key, class_of(entry.text("object_name"), classes))
        except AnnotationError:
            continue
    alike = Counter((scene, kind) for (scene, _), kind in found.items())
    return {
        (scene, number): "unique" if alike[scene, kind] == 1 else "multiple"
        for (scene, number), kind in found.items()
    }


def _sample(boxes: SceneBoxes | None, kinds: EvalTypes, entry: Entry) -> tuple[Sample]:
    scene, number, words = entry.scene("scene_id"), entry.number("object_id"), description(entry)
    target = () if boxes is None else (boxes.target(entry, "object_id", scene, number),)
    return (
        Sample(
            id=entry.id,
            task="scanrefer",
            scene=scene,
            turn=Turn("grounding", prompt("scanrefer", words), "<ground>", objects=(number,)),
            words=words,
            eval_type=kinds.get((scene, number), ""),
            object_ids=(number,),
            object_name=entry.text("object_name"),
            target_boxes=target,
            source=entry.source,
        ),
    )


def description(entry: Entry) -> str:
    """The words of a description, single spaces between them."""
    return " ".join(entry.text("description").split())
