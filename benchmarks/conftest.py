"""Real frames for the benchmarks, or those that ship with the examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference.data.open_scan import open_scan

from ross3d import PosedFrames

ROOT = Path(__file__).resolve().parents[1]
REAL, SHIPPED = ROOT.parent / "shared/data/red_kitchen", ROOT / "examples/data/furnished_room"


@pytest.fixture(scope="session")
def frames() -> PosedFrames:
    """32 views of 480 x 640; one thread from now on."""
    torch.set_num_threads(1)
    scan = open_scan(REAL if REAL.is_dir() else SHIPPED)
    return scan.read_views(range(len(scan))[:32])
