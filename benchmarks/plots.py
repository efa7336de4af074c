"""Scaling curves as pictures."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.growth import growth

Curve = dict[str, Any]


def plot_curves(curves: list[Curve], folder: Path) -> dict[str, str]:
    """Draw one picture per input that costs are plotted against; both axes are logarithmic.

    Args:
        curves: each with ``name``, ``against``, ``unit`` and ``points`` [[size, cost], ...].
        folder: where the PNG files go.

    Returns:
        Input -> file name.
    """
    mpl.use("agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for against, group in by_input(curves).items():
        is_time = [("CPU" in curve["unit"], curve) for curve in group]
        sides = [side for side in (True, False) if any(time is side for time, _ in is_time)]
        figure, axes = plt.subplots(1, len(sides), figsize=(5 * len(sides), 3.6), squeeze=False)
        for axis, side in zip(axes[0], sides, strict=True):
            for time, curve in is_time:
                if time is side:
                    sizes, costs = zip(*curve["points"], strict=True)
                    axis.plot(sizes, costs, marker="o", markersize=3, label=label_of(curve))
            axis.set(xscale="log", yscale="log", xlabel=against)
            axis.set_ylabel("ms of CPU" if side else "MB")
            axis.set_title("time" if side else "memory", fontsize=10)
            axis.grid(alpha=0.3, which="both")
            axis.legend(fontsize=7)
        figure.tight_layout()
        files[against] = f"{against.replace(' ', '_')}.png"
        figure.savefig(folder / files[against], dpi=110)
        plt.close(figure)
    return files


def by_input(curves: list[Curve]) -> dict[str, list[Curve]]:
    """Curves by what they are plotted against, in the order of first appearance."""
    groups: dict[str, list[Curve]] = defaultdict(list)
    for curve in curves:
        groups[curve["against"]].append(curve)
    return groups


def label_of(curve: Curve) -> str:
    """Name and exponent; memory says which: saved for the backward pass, or held at once."""
    kind = curve["unit"].removeprefix("MB").strip() if curve["unit"].startswith("MB") else ""
    exponent = f"^{growth(curve['points']):.2f}"
    return " ".join(part for part in (curve["name"], kind, exponent) if part)
