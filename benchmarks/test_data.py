"""Frames per second of the readers, the time that a batch takes, and rooms per second.

Processor time on one thread, with files in the page cache: what a loader's worker can do, not what
a disk can. ``extra_info["rate"]`` holds the figure, and what its time goes to.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from reference.batch import stack_scenes
from reference.chat import build_tokenizer
from reference.collate import SceneCollator
from reference.data.images import read_colour, read_depth
from reference.data.open_scan import open_scan
from reference.data.posed_scan import PosedScan
from reference.data.render import place_cameras, render_room
from reference.data.rooms import generate_room, room_scene
from reference.data.sources import RoomSource
from reference.data.text import object_turns

from benchmarks.conftest import REAL, SHIPPED
from benchmarks.in_turn import seconds
from benchmarks.scan_files import LAYOUTS, list_frames

FRAMES, VIEWS, SIZE, TURNS = 16, 8, 96, 8
ROUNDS = 3


@pytest.fixture(scope="module")
def folder() -> Path:
    """A folder of posed images of 480 x 640, or of those that ship with the examples."""
    torch.set_num_threads(1)
    root = REAL if REAL.is_dir() else SHIPPED
    return next(iter(sorted((root / "scannet" / "posed_images").iterdir())))


def keep_rate(
    benchmark: Any, work: Callable[[], object], count: int, unit: str, **parts: Callable[[], object]
) -> None:
    """Keep how many a second of processor time makes, and the share of each part of the work."""
    work()
    whole = median(seconds(work) for _ in range(ROUNDS))
    shares = {
        name.replace("_", " "): median(seconds(part) for _ in range(ROUNDS)) / whole
        for name, part in parts.items()
    }
    benchmark.extra_info["rate"] = {"figure": count / whole, "unit": unit, "shares": shares}
    benchmark.pedantic(work, rounds=1)


@pytest.mark.parametrize("layout", ["posed images", *LAYOUTS])
def test_reading(benchmark: Any, folder: Path, tmp_path: Path, layout: str) -> None:
    """Frames per second, opening the scan once."""
    frames = list_frames(folder, FRAMES)
    intrinsics = np.loadtxt(folder / "depth_intrinsic.txt")
    path = LAYOUTS[layout](frames, intrinsics, tmp_path) if layout in LAYOUTS else folder
    scan = open_scan(path, up="+z") if layout == "TUM RGB-D" else open_scan(path)
    expected = open_scan(folder).read_views(range(FRAMES))
    found = scan.read_views(range(FRAMES))
    assert found.images.equal(expected.images)
    near = expected.depths < 2**16 / 5000 - 0.1  # as far as TUM's steps go
    torch.testing.assert_close(found.depths[near], expected.depths[near], rtol=0, atol=1e-5)
    colours, depths = ([frame[i] for frame in frames] for i in (0, 1))
    parts = {
        "decoding_colour": lambda: [read_colour(x, expected.size) for x in colours],
        "decoding_depth": lambda: [read_depth(x) for x in depths],
    }
    keep_rate(
        benchmark,
        lambda: [scan.read(i) for i in range(FRAMES)],
        FRAMES,
        "frames/s",
        **parts if layout == "posed images" else {},
    )


def test_opening(benchmark: Any, folder: Path) -> None:
    """Scans per second: poses and sizes, but no picture."""
    keep_rate(benchmark, lambda: open_scan(folder), 1, "scans/s")


def read_one_by_one(scan: PosedScan, count: int) -> float:
    """MB of resident memory that reading adds, at most."""
    gc.collect()
    process = psutil.Process()
    before = most = process.memory_info().rss
    for index in range(count):
        scan.read(index % len(scan))
        most = max(most, process.memory_info().rss)
    return (most - before) / 1e6


def test_scaling_with_frames(benchmark: Any, folder: Path) -> None:
    """Time is linear in the frames, and memory flat where they are read one after the other."""
    scan, counts = open_scan(folder), (8, 16, 32, 64)
    read_one_by_one(scan, 4)
    times = [1000 * seconds(lambda n=n: read_one_by_one(scan, n)) for n in counts]
    memory = [read_one_by_one(scan, n) for n in counts]
    benchmark.extra_info["curve"] = {
        "name": "reading frames",
        "against": "frames",
        "points": list(map(list, zip(counts, times, strict=True))),
        "unit": "ms of CPU",
    }
    benchmark.extra_info["memory"] = {
        "name": "reading frames one by one",
        "against": "frames",
        "points": list(map(list, zip(counts, memory, strict=True))),
        "unit": "MB",
    }
    benchmark.pedantic(lambda: scan.read(0), rounds=1)
    assert times[-1] / times[0] < 2 * counts[-1] / counts[0]
    frame = 4 * 4 * scan.read(0).depths.numel() / 1e6
    assert memory[-1] < memory[0] + 4 * frame  # not that of 56 more frames


def test_rooms(benchmark: Any) -> None:
    """Rooms per second: furnishing, rendering eight views of 96 x 96, asking eight questions."""
    torch.set_num_threads(1)
    seeds = range(8)
    rooms = [generate_room(seed) for seed in seeds]
    keep_rate(
        benchmark,
        lambda: [room_scene(seed, views=VIEWS, size=SIZE, turns=TURNS) for seed in seeds],
        len(seeds),
        "rooms/s",
        furnishing=lambda: [generate_room(seed) for seed in seeds],
        placing_cameras=lambda: [place_cameras(room, VIEWS, Random(0)) for room in rooms],
        rendering=lambda: [render_room(room, views=VIEWS, size=SIZE) for room in rooms],
        asking=lambda: [object_turns(r.objects, seed=0, count=TURNS) for r in rooms],
    )


def test_batch(benchmark: Any) -> None:
    """Batches of four rooms per second, from scenes that are there."""
    torch.set_num_threads(1)
    source = RoomSource(views=VIEWS, size=SIZE, turns=TURNS, hidden=2)
    scenes = [source.train(index) for index in range(4)]
    tokenizer = build_tokenizer(source.words())
    collate = SceneCollator(tokenizer, [tokenizer.convert_tokens_to_ids("<image>")] * VIEWS * 36)
    keep_rate(
        benchmark,
        lambda: collate(scenes),
        1,
        "batches/s",
        stacking_frames=lambda: stack_scenes(scenes),
    )


def test_scaling_with_views(benchmark: Any) -> None:
    """Time of a room is linear in its views."""
    torch.set_num_threads(1)
    counts = (4, 8, 16, 32)
    rooms = [generate_room(seed) for seed in range(4)]

    def render(views: int) -> list[object]:
        return [render_room(room, views=views, size=SIZE) for room in rooms]

    render(counts[-1])
    times = [1000 * seconds(lambda n=n: render(n)) / len(rooms) for n in counts]
    benchmark.extra_info["curve"] = {
        "name": "rendering a room",
        "against": "views",
        "points": list(map(list, zip(counts, times, strict=True))),
        "unit": "ms of CPU",
    }
    benchmark.pedantic(lambda: render(counts[0]), rounds=1)
    assert times[-1] / times[0] < 2 * counts[-1] / counts[0]
