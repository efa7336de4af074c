"""What this library promises of speed and memory: every bar, in one table.

A benchmark hands its figure to :func:`judge`, which keeps it for ``report.py`` and fails where the
bar is missed; a missed bar is shown in the tables all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A promise.

    Attributes:
        part: of the library; a heading of the tables.
        work: what is measured.
        baseline: what it is compared with.
        unit: of the figure.
        bar: what must be reached.
        at_most: True = the figure must not be above the bar; False = not below it.
    """

    part: str
    work: str
    baseline: str
    unit: str
    bar: float
    at_most: bool = False

    def met(self, figure: float) -> bool:
        """Whether a figure keeps the promise."""
        return figure <= self.bar if self.at_most else figure >= self.bar


FASTER, TIME, SAVED = "times as fast", "x its time", "x its saved bytes"

DENOISER = "Denoiser, at paper size"
COST = "What the supervision costs"
GEOMETRY = "Geometry"
QUALITY = "Bird's-eye view of a real kitchen"
TOKENS = "Tokens and losses"
OBJECTS = "Grounding"
TEACHER = "Teacher"

PLAIN_DENOISER = "context repeated per draw, modulation per draw"
HOMOGENEOUS = "a homogeneous coordinate per pixel"
STORED = "the stored picture of 334 frames"

BARS = {
    "denoiser": Bar(DENOISER, "step, 8 views x 4 draws", PLAIN_DENOISER, TIME, 0.55, True),
    "denoiser-saved": Bar(DENOISER, "activations", PLAIN_DENOISER, SAVED, 0.5, True),
    "denoiser-equal": Bar(
        DENOISER, "loss and gradients", "the slow version", "largest difference", 1e-5, True
    ),
    "view-loss": Bar(
        DENOISER, "view loss, hidden states to gradient", "row-by-row slices", TIME, 0.2, True
    ),
    "flops": Bar(COST, "both tasks, arithmetic, counted", "text only", "x", 1.02, True),
    "saved": Bar(COST, "both tasks, most activations alive, counted", "text only", "x", 1.01, True),
    "replica": Bar(COST, "both tasks every step, 1/16 width", "text only", TIME, 1.10, True),
    "replica-every-4": Bar(COST, "both tasks, Δt = 4, 1/16 width", "text only", TIME, 1.04, True),
    "train": Bar(COST, "make train, scenes per second", "before (dc882bc)", FASTER, 1.0),
    "logits": Bar(COST, "text loss, an eighth of the length", "logits everywhere", FASTER, 5.0),
    "logits-saved": Bar(COST, "its activations", "logits everywhere", SAVED, 0.05, True),
    "unproject": Bar(GEOMETRY, "back-project 32 x 480 x 640", HOMOGENEOUS, FASTER, 3.3),
    "unproject-buffer": Bar(GEOMETRY, "... into a buffer", HOMOGENEOUS, FASTER, 12.0),
    "patch-coords": Bar(GEOMETRY, "mean point per token", "unproject, then pool", FASTER, 20.0),
    "bev-sort": Bar(GEOMETRY, "z-buffer, 32 frames, 432 px", "sort the cloud", FASTER, 12.0),
    "bev-all": Bar(GEOMETRY, "... filled and averaged", "sort the cloud", FASTER, 6.0),
    "bev-fusion": Bar(GEOMETRY, "z-buffer", "Open3D: fuse, cast rays", FASTER, 6.0),
    "bev-filling": Bar(GEOMETRY, "filling and averaging", "z-buffer alone", TIME, 2.0, True),
    "coverage": Bar(GEOMETRY, "frames of most coverage", "Python sets", FASTER, 10.0),
    "overlap": Bar(GEOMETRY, "overlap of views", "pair by pair", FASTER, 2.0),
    "overlap-stride": Bar(GEOMETRY, "... every 4th pixel", "pair by pair", FASTER, 12.0),
    "voxels-points": Bar(GEOMETRY, "voxel pooling, d = 64", "a dictionary", FASTER, 25.0),
    "voxels-points-wide": Bar(GEOMETRY, "voxel pooling, d = 3584", "a dictionary", FASTER, 4.0),
    "voxels-unique": Bar(GEOMETRY, "voxel pooling, d = 64", "torch.unique of rows", FASTER, 2.5),
    "voxels-unique-wide": Bar(GEOMETRY, "... d = 3584", "torch.unique of rows", FASTER, 2.5),
    "quality-plain": Bar(QUALITY, "z-buffer: covers", STORED, "%", 93.0),
    "quality-covers": Bar(QUALITY, "points: covers", STORED, "%", 95.0),
    "quality-colour": Bar(QUALITY, "points: colour", STORED, "dB", 19.0),
    "quality-height": Bar(QUALITY, "points: height, median error", STORED, "cm", 1.0, True),
    "quality-mesh-covers": Bar(QUALITY, "fused mesh: covers", STORED, "%", 81.0),
    "quality-mesh-colour": Bar(QUALITY, "fused mesh: colour", STORED, "dB", 20.5),
    "masking": Bar(TOKENS, "hide views, 32 x 196 x 3584", "multiply by the mask", FASTER, 2.2),
    "masking-saved": Bar(TOKENS, "... its activations", "multiply by the mask", "bytes", 0, True),
    "position-code": Bar(TOKENS, "add the position code", "sines per token", FASTER, 3.0),
    "assembly": Bar(TOKENS, "mask + code + newlines", "step by step", FASTER, 3.0),
    "assembly-saved": Bar(TOKENS, "... its activations", "step by step", "bytes", 0, True),
    "gather": Bar(TOKENS, "gather visual tokens", "a loop over rows", FASTER, 10.0),
    "noise": Bar(TOKENS, "add noise + loss", "the formula in torch", FASTER, 1.0),
    "objects": Bar(OBJECTS, "60 boxes, 32 x 378 x 378 points", "box by box", FASTER, 12.0),
    "objects-memory": Bar(OBJECTS, "... memory", "one cloud", "x the cloud", 1.0, True),
    "teacher-cache": Bar(TEACHER, "latents from the cache", "encoding", FASTER, 5.0),
    "teacher-encoder": Bar(TEACHER, "weights, encoder only", "whole VAE", "x its bytes", 0.5, True),
    "attention": Bar(TOKENS, "read 4704 keys, 1568 queries", "softmax in torch", FASTER, 2.0),
}
"""Key -> bar; a benchmark's figures are kept under the key."""


def judge(benchmark: Any, key: str, figure: float, **beside: float | str) -> None:
    """Keep a figure for the tables, and fail where the bar is missed.

    Args:
        benchmark: the fixture of pytest-benchmark, already run.
        key: of :data:`BARS`.
        figure: in the bar's unit.
        beside: what else the tables show: ``baseline`` and ``ours``, in one unit that goes with
            ``measure``; ``note``.
    """
    bar = BARS[key]
    benchmark.extra_info.setdefault("bars", {})[key] = {"figure": figure, **beside}
    assert bar.met(figure), f"{bar.work}: {figure:.4g} {bar.unit}; the bar is {bar.bar:g}"


def compare(benchmark: Any, work: str, baseline: str, ratio: float, note: str = "") -> None:
    """Keep a comparison without a bar, whichever way it goes.

    Args:
        benchmark: the fixture of pytest-benchmark.
        work: what was measured.
        baseline: what it was compared with.
        ratio: how many times as fast as the baseline; below 1 is a loss.
        note: what to know about it.
    """
    row = {"work": work, "baseline": baseline, "ratio": ratio, "note": note}
    benchmark.extra_info.setdefault("compared", []).append(row)
