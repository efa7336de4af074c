from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts import (
    Y_DOWN,
    assert_is_the_room,
    camera,
    read_all,
    write_exported,
    write_posed_images,
    write_sens,
    write_transforms,
    write_tum,
)
from reference.data.open_scan import open_scan

WRITERS = {
    "ScanNet posed images": write_posed_images,
    "ScanNet export": write_exported,
    "ScanNet .sens": write_sens,
    "transforms.json": write_transforms,
    "TUM RGB-D": write_tum,
}


def options(layout: str) -> dict[str, object]:
    return {"intrinsics": camera()} if layout == "TUM RGB-D" else {}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_frames(layout: str, tmp_path: Path) -> None:
    scan = open_scan(WRITERS[layout](tmp_path / "a"), **options(layout))
    assert scan.layout == layout
    assert scan.up == "+z"
    assert scan.skipped == ()
    assert_is_the_room(read_all(scan))


@pytest.mark.parametrize("layout", WRITERS)
def test_pictures_are_the_same_to_the_bit(layout: str, tmp_path: Path) -> None:
    reference = read_all(open_scan(write_posed_images(tmp_path / "reference")))
    frames = read_all(open_scan(WRITERS[layout](tmp_path / "a"), **options(layout)))
    assert torch.equal(frames.images, reference.images)


@pytest.mark.parametrize("folder", ["a", "a/scannet/posed_images/a"])
def test_a_data_folder_or_one_of_its_scans(folder: str, tmp_path: Path) -> None:
    write_posed_images(tmp_path / "a")
    assert len(open_scan(tmp_path / folder)) == 5


@pytest.mark.parametrize("write", [write_sens, write_transforms])
def test_a_file_or_its_folder(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    assert open_scan(path).layout == open_scan(path.parent).layout


def test_a_shipped_scan_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scan = open_scan("furnished_room", scene="cc0room_01")
    assert (len(scan), scan.path.name) == (16, "cc0room_01")
    assert scan.frames[1].name == "00010"


def test_opening_reads_no_picture(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "a")
    for path in (*(folder / "color").iterdir(), *(folder / "depth").iterdir()):
        path.write_bytes(b"")
    assert len(open_scan(folder)) == 5


def test_a_world_of_another_up_is_turned(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a", Y_DOWN)
    for up in (None, "-y"):
        scan = open_scan(folder, intrinsics=camera(), up=up)
        assert scan.up == "-y"
        assert "-y" in scan.notes[-1]
        assert_is_the_room(read_all(scan))


@pytest.mark.parametrize("name", ["nothing", ""])
def test_what_is_no_scan_is_named(name: str, tmp_path: Path) -> None:
    message = rf"SCAN must be a data folder .* TUM RGB-D folder; got {re.escape(str(tmp_path))}"
    with pytest.raises(ValueError, match=message):
        open_scan(tmp_path / name)


def test_options_of_other_layouts_are_refused(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    with pytest.raises(ValueError, match=r"a\.sens must be opened with no such opt.*; got depth"):
        open_scan(path, depth_unit=0.1)
    folder = write_tum(tmp_path / "tum")
    with pytest.raises(ValueError, match=r"must be opened with intrinsics, depth_unit; got scene"):
        open_scan(folder, scene="a")
