"""What became of the scans: in words, and as a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ...files import replacing
from ..benchmarks.skips import Skips
from .scene import Outcome

REPORT = "prepare_report.json"


def report_lines(
    outcomes: Sequence[Outcome], samples: Mapping[str, int], skips: Skips
) -> list[str]:
    """Say what was prepared, what was skipped, and why.

    Args:
        outcomes: of every scan.
        samples: number of annotations written, by file.
        skips: annotations that were left out.
    """
    status = Counter(x.status for x in outcomes)
    lines = [", ".join(f"{n} scans {name}" for name, n in sorted(status.items()))]
    lines += [f"failed {x.scene}: {x.reason}" for x in outcomes if x.status == "failed"]
    lines += [f"again {x.scene}: {x.reason}" for x in outcomes if x.status != "failed" and x.reason]
    frames: Counter[str] = Counter()
    for outcome in outcomes:
        frames.update(outcome.skipped or {})
    whole = sum(x.frames for x in outcomes)
    lines.append(f"{whole} frames" + "".join(f", {n} left out: {w}" for w, n in frames.items()))
    notes = Counter(note for x in outcomes for note in x.notes)
    for note, count in notes.items():
        first = next(x.scene for x in outcomes if note in x.notes)
        lines.append(f"{count} x {note} ({first})")
    lines += [f"{count} annotations in {name}" for name, count in samples.items()]
    return lines + (str(skips).splitlines() if skips else [])


def write_report(
    root: Path, outcomes: Sequence[Outcome], samples: Mapping[str, int], skips: Skips
) -> Path:
    """Write ``prepare_report.json``, and say where."""
    content = {
        "scans": {x.scene: {k: v for k, v in asdict(x).items() if k != "scene"} for x in outcomes},
        "annotations": dict(samples),
        "annotations_left_out": skips.as_json(),
    }
    path = root / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path
