"""The page to look at: questions with views, answers, and boxes in views and from above."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ross3d import BEVRenderer, uniform_frames

from ..data.benchmarks.sample import GROUNDING, Sample, Task
from ..data.objects import Box
from ..data.scene import Scene
from ..drawing import SIDE, captioned, tile
from ..files import replacing
from ..grounding_picture import (
    CHOSEN,
    TRUE,
    bev_with_boxes,
    view_with_boxes,
    visibility,
    with_legend,
)
from ..metrics.answers import exact_match
from ..metrics.cleaning import clean_answer
from ..metrics.grounding import f1, overlaps
from ..metrics.records import Prediction
from ..metrics.tokens import ptb_tokens
from ..report import write_report
from .baselines import question
from .judged import Asked, Judged, draw, identity
from .published import TABLES, title_of
from .tables import OURS, Scores

WIDE, VIEWS = 34, 2
"""Characters of a line beside the pictures, and views of a sample."""
COLUMNS = {columns.task: columns for table in TABLES for columns in table.columns}


def write_page(
    folder: Path,
    judged: Judged,
    asked: Asked,
    said: Mapping[Task, Sequence[Prediction]],
    scores: Scores,
    about: Mapping[str, Any],
    *,
    shown: int = 3,
) -> Path:
    """Write ``report.html`` and a picture per task.

    The samples that are shown are drawn at random, whatever the model made of them.

    Args:
        folder: where to write.
        judged: the data.
        asked: the samples.
        said: the model's predictions of each task.
        scores: for the page's table.
        about: what the page says of model and data.
        shown: samples of each task.

    Returns:
        The page.
    """
    pictures = []
    for task, samples in asked.by_task.items():
        predicted = {prediction.id: prediction for prediction in said[task]}
        chosen = choose_samples(samples, shown)
        if not chosen:
            continue
        name = f"{task}.png"
        picture = task_picture(judged, [(x, predicted[identity(x)]) for x in chosen])
        with replacing(folder / name) as temporary:
            picture.save(temporary, format="PNG")
        heading = title_of(COLUMNS[task], scores.comparable)
        pictures.append((name, f"{heading}: {len(chosen)} of {len(samples)}, drawn at random"))
    answers = [
        (question(sample), " / ".join(sample.answers[:2]), prediction.text or "")
        for task, samples in asked.by_task.items()
        if task not in GROUNDING
        for sample, prediction in list(zip(samples, said[task], strict=True))[:12]
    ]
    title = "The benchmarks" if scores.comparable else f"{judged.name} (not the benchmarks)"
    return write_report(folder, about, _metrics(scores), pictures, answers, title=title)


def choose_samples(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Some samples in random order, always the same, each of another scene while there are some."""
    chosen: list[Sample] = []
    left = sorted(samples, key=draw)
    while left and len(chosen) < count:
        scenes = {sample.scene for sample in chosen}
        best = next((x for x in left if x.scene not in scenes), left[0])
        chosen.append(best)
        left.remove(best)
    return chosen


def task_picture(judged: Judged, rows: Sequence[tuple[Sample, Prediction]]) -> Image.Image:
    """Samples below one another: words, views with boxes, and the view from above."""
    where = {x.scene: i for i in range(len(judged)) for x in judged.samples(i)[:1]}
    cells: list[list[Image.Image | None]] = []
    labels = []
    for sample, prediction in rows:
        scene = judged.scene(where[sample.scene])
        cells.append(sample_pictures(scene, *boxes_of(sample, prediction)))
        labels.append(words(sample, prediction))
    picture = tile(cells, labels=labels)
    return (
        with_legend(picture) if any(map(any, map(boxes_of, *zip(*rows, strict=True)))) else picture
    )


def boxes_of(sample: Sample, prediction: Prediction) -> tuple[Sequence[Box], Sequence[Box]]:
    """True boxes, and those that the model chose, or was asked to describe in their place."""
    chosen = prediction.boxes or ()
    if sample.task == "scan2cap":
        chosen = tuple(box for box in chosen if box not in sample.target_boxes)
    return sample.target_boxes, chosen


def sample_pictures(
    scene: Scene, true: Sequence[Box], chosen: Sequence[Box]
) -> list[Image.Image | None]:
    """Views that show the boxes best, or views at even distances, and the view from above."""
    boxes = torch.tensor([*true, *chosen], dtype=torch.float32).reshape(-1, 6)
    drawn = [(i, TRUE, False) for i in range(len(true))]
    drawn += [(i, CHOSEN, True) for i in range(len(true), len(boxes))]
    best = uniform_frames(scene.frames.views, VIEWS)
    if drawn:
        seen = visibility(scene.frames, boxes[: len(true)] if true else boxes)
        best = seen.sum(-1).argsort(descending=True, stable=True)[:VIEWS].tolist()
    views: list[Image.Image | None] = [
        captioned(view_with_boxes(scene.frames, m, boxes, drawn), f"view {m}") for m in best
    ]
    above = bev_with_boxes(BEVRenderer(2 * SIDE)(scene.frames), boxes, drawn)
    return [*views, *[None] * (VIEWS - len(views)), captioned(above, "from above")]


def words(sample: Sample, prediction: Prediction) -> str:
    """What was asked, what is right, what was said, and whether it is right."""
    asked = sample.words or sample.turn.question
    lines = [*textwrap.wrap(sample.scene, WIDE), "", *textwrap.wrap(asked, WIDE)]
    if sample.task not in GROUNDING:
        lines.append("")
        lines += textwrap.wrap(f"true: {' / '.join(sample.answers[:2])}", WIDE)
        lines += textwrap.wrap(f"said: {prediction.text or '(nothing)'}", WIDE)
    return "\n".join([*lines, "", *textwrap.wrap(verdict(sample, prediction), WIDE)])


def verdict(sample: Sample, prediction: Prediction) -> str:
    """Whether a prediction is right, in a few words."""
    true, chosen = sample.target_boxes, prediction.boxes or ()
    if sample.task == "multi3drefer":
        counts = f"{len(true)} true, {len(chosen)} chosen"
        return f"{counts}: F1@0.5 is {f1(chosen, true)[1]:.2f}"
    if sample.task == "scanrefer":
        iou = overlaps(chosen[:1], true)[0][0] if chosen and true else 0.0
        return f"{'found' if iou >= 0.5 else 'missed'}: IoU is {iou:.2f}"
    if not sample.matched:
        return "no box shows the object: not asked"
    if sample.task == "scan2cap":
        same = ptb_tokens(prediction.text or "") in [ptb_tokens(text) for text in sample.answers]
        return "word for word" if same else "not word for word"
    said = clean_answer(prediction.text or "")
    right = exact_match(said, [clean_answer(answer) for answer in sample.answers])
    return "right" if right else "wrong"


def _metrics(scores: Scores) -> dict[str, dict[str, Any]]:
    """Figures of the tables: the model's first, then what they are to be compared with."""
    found: dict[str, dict[str, Any]] = {}
    for columns in COLUMNS.values():
        title = title_of(columns, scores.comparable)
        for metric in columns.metrics if columns.task in scores.results else ():
            row = {
                name: figures[columns.task][metric]
                for name, figures in scores.rows.items()
                if metric in figures.get(columns.task, {})
            }
            values = {name: "n/a" if x is None else round(x, 1) for name, x in row.items()}
            ours = {"model": values.pop(OURS)}
            found[f"{title} {metric} ({columns.protocol})"] = ours | values
    return found
