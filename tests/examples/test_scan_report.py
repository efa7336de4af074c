from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from layouts import read_all, write_exported
from reference.coverage import coverage_curve, seen_cells
from reference.data.open_scan import open_scan
from reference.data.posed_scan import PosedScan, Skipped
from reference.scan_report import scan_report

from ross3d import BEVRenderer, PosedFrames


@pytest.fixture
def scan(tmp_path: Path) -> PosedScan:
    return open_scan(write_exported(tmp_path / "a"))


def report(scan: PosedScan, frames: PosedFrames, *damaged: Skipped) -> str:
    bev = BEVRenderer(32)(frames)
    curve = coverage_curve(seen_cells(frames, bev))
    return "\n".join(scan_report(scan, frames, bev, curve, damaged))


def test_everything_is_said(scan: PosedScan) -> None:
    said = report(scan, read_all(scan))
    assert f"scan      {scan.path} (ScanNet export)" in said
    assert "frames    5; usable 5, read 5 of 24 x 32 pixels" in said
    assert "skipped   0" in said
    assert "up axis   +z of the files" in said
    assert "99.9% of the pixels are known (99.9% to 99.9% per frame)" in said
    assert "of what all of them see" in said
    assert "5: 100%" not in said
    assert "1: " in said
    assert "note      the layout says that +z is up" in said


def test_lengths_are_those_of_the_scan(scan: PosedScan) -> None:
    frames = read_all(scan)
    said = report(scan, frames)
    points = frames.world_coords()[frames.valid]
    found = re.search(r"^extent    x (\S+) to (\S+), y", said, re.MULTILINE)
    assert found is not None
    wanted = points[:, 0].quantile(points.new_tensor([0.005, 0.995]))
    assert [float(x) for x in found.groups()] == pytest.approx(wanted.tolist(), abs=0.01)


def test_skipped_frames_are_grouped_by_reason(scan: PosedScan) -> None:
    lost = tuple(Skipped(str(i), "no pose") for i in range(7))
    skipped = replace(scan, skipped=(*lost, Skipped("x", "no depth")))
    said = report(skipped, read_all(scan), Skipped("9", "color/9.jpg must be a whole picture"))
    assert "frames    13; usable 5" in said
    assert "skipped   7, no pose: 0, 1, 2, 3, 4, ...\n" in said
    assert "skipped   1, no depth: x\n" in said
    assert "skipped   1, color/9.jpg must be a whole picture: 9\n" in said


def test_a_scan_without_depth_is_described(scan: PosedScan) -> None:
    frames = read_all(scan)
    blind = PosedFrames(frames.images, 0 * frames.depths, frames.intrinsics, frames.poses)
    said = report(scan, blind)
    assert "unknown everywhere" in said
    assert "extent" not in said
    assert "0.0 m2" in said
