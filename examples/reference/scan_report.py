"""What there is to say about a scan, in lines of text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ross3d import BEV, PosedFrames

from .coverage import LEAST_OF_ALL, frames_for
from .data.posed_scan import PosedScan, Skipped
from .plots import Curve

NAMED = 5


def scan_report(
    scan: PosedScan,
    frames: PosedFrames,
    bev: BEV,
    curve: Curve,
    damaged: Sequence[Skipped] = (),
) -> list[str]:
    """Describe a scan.

    Args:
        scan: as it was opened.
        frames: b = 1, those that were read.
        bev: of those frames.
        curve: their coverage.
        damaged: frames that could not be read.
    """
    h, w = frames.size
    total = len(scan) + len(scan.skipped)
    lines = [
        ("scan", f"{scan.path} ({scan.layout})"),
        ("frames", f"{total}; usable {len(scan)}, read {frames.views} of {h} x {w} pixels"),
        *_skipped([*scan.skipped, *damaged]),
        *_depth(frames),
        *_place(frames),
        ("up axis", f"{scan.up} of the files, turned to +z"),
        *_coverage(bev, curve),
        *(("note", note) for note in scan.notes),
    ]
    return [f"{name:<10}{text}" for name, text in lines]


def _skipped(skipped: Sequence[Skipped]) -> list[tuple[str, str]]:
    """One line per reason, with the first frames that it holds for."""
    if not skipped:
        return [("skipped", "0")]
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped:
        by_reason.setdefault(reason, []).append(name)
    return [
        ("skipped", f"{len(x)}, {reason}: {', '.join(x[:NAMED])}{', ...' * (len(x) > NAMED)}")
        for reason, x in by_reason.items()
    ]


def _depth(frames: PosedFrames) -> list[tuple[str, str]]:
    """How much of the depth is known, and how far it reaches."""
    shares = frames.valid[0].flatten(1).float().mean(1)
    known = frames.depths[frames.valid].float()
    if not len(known):
        return [("depth", "unknown everywhere")]
    # Quantiles of millions of pixels are those of every hundredth.
    near, middle, far = known[:: 1 + len(known) // 10**6].quantile(torch.tensor([0.01, 0.5, 0.99]))
    worst = f"{shares.min():.1%} to {shares.max():.1%} per frame"
    return [
        ("depth", f"{shares.mean():.1%} of the pixels are known ({worst})"),
        ("", f"{near:.2f} m to {far:.2f} m, median {middle:.2f} m"),
    ]


def _place(frames: PosedFrames) -> list[tuple[str, str]]:
    """Where the surfaces and the cameras are, along the axes of the turned world."""
    lines = []
    if frames.valid.any():
        points = frames.world_coords()[frames.valid]
        points = points[:: 1 + len(points) // 10**6]
        low, high = points.quantile(torch.tensor([0.005, 0.995]), dim=0).tolist()
        lines.append(("extent", f"{_ranges(low, high)} (99 % of the points)"))
    centres = frames.poses[0, :, :3, 3]
    path = (centres[1:] - centres[:-1]).norm(dim=-1).sum()
    ranges = _ranges(centres.amin(0).tolist(), centres.amax(0).tolist())
    lines.append(("cameras", f"{ranges}; path of {path:.1f} m"))
    return lines


def _ranges(low: list[float], high: list[float]) -> str:
    axes = zip("xyz", low, high, strict=True)
    return ", ".join(f"{axis} {a:.2f} to {b:.2f}" for axis, a, b in axes) + " m"


def _coverage(bev: BEV, curve: Curve) -> list[tuple[str, str]]:
    """How much is seen from above, and how few frames would do."""
    side = float(bev.extent[0, 2] - bev.extent[0, 0])
    share = bev.observed[0].float().mean().item()
    doubled = [f"{n:g}: {value:.0%}" for n, value in curve if int(n).bit_count() == 1]
    return [
        (
            "coverage",
            f"{share * side**2:.1f} m2 seen from above, {share:.0%} of a square of {side:.2f} m",
        ),
        ("", f"share of it by number of frames: {', '.join(doubled)}"),
        ("", f"{frames_for(curve)} frames see {LEAST_OF_ALL:.0%} of what all of them see"),
    ]
