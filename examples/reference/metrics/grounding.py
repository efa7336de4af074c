"""Boxes against boxes: Acc of single objects, F1 of sets."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ross3d import box_iou, require

from ..data.objects import Box
from .score import Pair, Score, mean

THRESHOLDS = (0.25, 0.5)


def accuracy_scores(pairs: Sequence[Pair]) -> dict[str, Score]:
    """Acc@0.25 and Acc@0.5: the first box predicted covers the object that is meant.

    Intersection over union of axis-aligned boxes, equal to the threshold or above; no box is wrong.
    """
    ious = [
        overlaps(pair.prediction.boxes[:1], pair.truth.boxes)[0][0]
        if pair.prediction is not None and pair.prediction.boxes
        else 0.0
        for pair in pairs
    ]
    return {f"Acc@{k}": mean((iou >= k for iou in ious), by_kind=True) for k in THRESHOLDS}


def f1_scores(pairs: Sequence[Pair]) -> dict[str, Score]:
    """F1@0.25 and F1@0.5 of sets of boxes; where nothing was predicted both are 0."""
    scores = [
        (0.0,) * len(THRESHOLDS)
        if pair.prediction is None
        else f1(pair.prediction.boxes or (), pair.truth.boxes)
        for pair in pairs
    ]
    columns = zip(*scores, strict=True)
    return {f"F1@{k}": mean(own, by_kind=True) for k, own in zip(THRESHOLDS, columns, strict=True)}


def f1(boxes: Sequence[Box], truth: Sequence[Box]) -> tuple[float, ...]:
    """F1 of one set of boxes at each threshold.

    Boxes are assigned one to one so that their overlaps sum to the most (Hungarian matching); pairs
    that overlap by the threshold or more are hits.

    Args:
        boxes: predicted, metres.
        truth: what is meant; none and none predicted is 1.

    Returns:
        2 hits / (predicted + true) for 0.25 and for 0.5.
    """
    if not boxes or not truth:
        return (float(not boxes and not truth),) * len(THRESHOLDS)
    ious = torch.tensor(overlaps(boxes, truth))
    optimize = require("scipy.optimize", "train")
    rows, columns = optimize.linear_sum_assignment(ious.numpy(), maximize=True)
    matched = ious[rows, columns]
    total = len(boxes) + len(truth)
    return tuple(2 * int((matched >= k).sum()) / total for k in THRESHOLDS)


def overlaps(boxes: Sequence[Box], others: Sequence[Box]) -> list[list[float]]:
    """Intersection over union of each box with each other."""
    ours, theirs = (torch.tensor(side, dtype=torch.float64) for side in (boxes, others))
    return box_iou(ours, theirs).tolist()
