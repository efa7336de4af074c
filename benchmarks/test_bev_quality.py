"""A real kitchen from above, against a stored picture and height map of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference.data.open_scan import open_scan
from reference.data.recording import axis_alignment
from torch import Tensor

from benchmarks.bars import judge
from ross3d import BEV, BEVRenderer, MeshBEVRenderer, read_mesh

ROOT = Path(__file__).resolve().parents[1].parent / "shared/data/red_kitchen"
SCAN = ROOT / "scannet/scans/redkitchen_00"
SIZE, ROWS = 640, slice(80, 560)  # the stored picture of 480 x 640 is the middle of a square
PLAIN = {"splat": 0, "tolerance": 0.0, "fill": 0}
BARS = {"z-buffer": (0.93, 15.5), "points": (0.95, 19), "fused": (0.81, 20.5), "file": (0.81, 20.5)}
KEYS = {
    "z-buffer": {"quality-plain": ("coverage", 100)},
    "points": {
        "quality-covers": ("coverage", 100),
        "quality-colour": ("psnr_db", 1),
        "quality-height": ("median_height_error_m", 100),
    },
    "fused": {
        "quality-mesh-covers": ("coverage", 100),
        "quality-mesh-colour": ("psnr_db", 1),
    },
}


def render(way: str, extent: tuple[float, float, float, float]) -> BEV:
    """See it from 1.85 m down: as points, as their fused mesh, or as the stored mesh."""
    bounds: dict[str, Any] = {"extent": extent, "max_height": 1.85}
    if way == "file":
        mesh = read_mesh(SCAN / "redkitchen_00_vh_clean_2.ply")
        aligned = mesh.moved(axis_alignment(SCAN / "redkitchen_00.txt"))
        return MeshBEVRenderer(SIZE, **bounds)(aligned)
    scan = open_scan(ROOT)
    frames = scan.read_views(range(len(scan)))
    if way == "fused":
        return MeshBEVRenderer(SIZE, **bounds)(frames)
    return BEVRenderer(SIZE, **bounds, **(PLAIN if way == "z-buffer" else {}))(frames)


def psnr(difference: Tensor) -> float:
    """Decibels."""
    return float(-10 * difference.square().mean().log10())


@pytest.mark.skipif(not ROOT.is_dir(), reason="needs ../shared/data/red_kitchen")
@pytest.mark.parametrize("way", BARS)
def test_kitchen(benchmark: Any, way: str) -> None:
    torch.set_num_threads(1)
    with np.load(ROOT / "bev_height_480x640_f16.npz") as stored:
        height, half = torch.from_numpy(stored["height"]).float(), float(stored["half_m"])
    picture = torch.from_numpy(np.array(Image.open(SCAN / "view_0.jpg"))).movedim(-1, 0) / 255
    wide = half * 640 / 480
    bev = benchmark.pedantic(render, args=(way, (-wide, -wide, wide, wide)), rounds=1)
    observed, known = bev.observed[0, ROWS], height.isfinite()
    both = observed & known
    figures = {
        "coverage": float(both.sum() / known.sum()),
        "psnr_db": psnr((bev.image[0, :, ROWS] - picture)[:, both]),
        "median_height_error_m": float((bev.height[0, ROWS] - height)[both].abs().median()),
    }
    benchmark.extra_info.update(figures)
    for key, (name, unit) in KEYS.get(way, {}).items():
        judge(benchmark, key, figures[name] * unit)
    coverage, decibels = BARS[way]
    assert figures["coverage"] >= coverage
    assert figures["psnr_db"] >= decibels
    assert figures["median_height_error_m"] <= (0.02 if way == "z-buffer" else 0.01)
