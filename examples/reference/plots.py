"""Curves of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = list[tuple[float, float]]

HELD_OUT = "heldout/"
NO_LOSS = frozenset({"step", "seconds", "lr"})


def losses_picture(rows: Iterable[Mapping[str, Any]], path: Path | str) -> None:
    """Draw each loss against the step: raw, smoothed, and on held-out scenes.

    Args:
        rows: of ``metrics.jsonl``: ``step``, losses under their names, and held-out ones under
            ``heldout/<name>`` where they were measured.
        path: the picture to write.
    """
    from matplotlib.figure import Figure

    curves = read_curves(rows)
    names = list(dict.fromkeys(name.removeprefix(HELD_OUT) for name in curves))
    across = 2 if len(names) in (2, 4) else min(3, max(1, len(names)))
    down = max(1, -(-len(names) // across))
    figure = Figure(figsize=(4.2 * across, 2.9 * down), dpi=110, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for panel, name in zip(panels, names, strict=False):
        draw_curve(panel, name, curves.get(name, []), curves.get(HELD_OUT + name, []))
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    if not names:
        panels[0].text(0.5, 0.5, "no losses yet", ha="center", va="center")
    target = Path(path)
    with replacing(target) as temporary:
        figure.savefig(temporary, format=target.suffix.removeprefix(".") or "png")


def read_curves(rows: Iterable[Mapping[str, Any]]) -> dict[str, Curve]:
    """Collect (step, value) per name, in order of step.

    What is no finite number is left out, and a loss of exactly 0: it took no part in that step.
    """
    curves: dict[str, Curve] = {}
    for row in rows:
        for name, value in row.items():
            if name in NO_LOSS or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if "step" in row and math.isfinite(value) and (value or name.startswith(HELD_OUT)):
                curves.setdefault(name, []).append((float(row["step"]), float(value)))
    return {name: sorted(curve) for name, curve in curves.items()}


def smooth(values: list[float]) -> list[float]:
    """Running mean that forgets over a twentieth of the values; it starts at the first one."""
    keep = 1 - min(1.0, 20 / max(1, len(values)))
    total = weight = 0.0
    smoothed = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        smoothed.append(total / weight)
    return smoothed


def draw_curve(panel: Axes, name: str, train: Curve, held_out: Curve) -> None:
    """Draw one panel."""
    levels: list[float] = []
    if train:
        steps, values = zip(*train, strict=True)
        levels += smooth(list(values))
        panel.plot(steps, values, color="tab:blue", alpha=0.25, linewidth=0.8)
        panel.plot(steps, levels, color="tab:blue", linewidth=1.8, label="training")
    if held_out:
        steps, values = zip(*held_out, strict=True)
        levels += values
        panel.plot(steps, values, "o--", color="tab:orange", markersize=4, label="held-out")
    if min(levels) > 0 and max(levels) > 10 * min(levels):
        panel.set_yscale("log")
    panel.set_title(name.replace("_", " ").replace("/", ": "), fontsize=11)
    panel.set_xlabel("step", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.25)
    panel.legend(fontsize=8, frameon=False)
