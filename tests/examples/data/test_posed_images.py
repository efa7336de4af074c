from __future__ import annotations

from pathlib import Path

import pytest
from layouts import write_posed_images
from reference.data.posed_images import read_posed_images
from scans import ALIGN, write_infos, write_scan


def test_frames_that_are_left_out_are_named(tmp_path: Path) -> None:
    folder = write_posed_images(tmp_path) / "scannet" / "posed_images" / "a"
    (folder / "00003.txt").write_text("-inf " * 16)
    scan = read_posed_images(tmp_path)
    assert [frame.name for frame in scan.frames] == ["00000", "00001", "00002", "00004"]
    assert scan.skipped == (("00003", "pose is not finite"),)


def test_infos_say_which_frames_there_are(tmp_path: Path) -> None:
    folder = write_scan(tmp_path, frames=4)
    write_infos(tmp_path, "train", "a", axis_align_matrix=ALIGN)
    (folder / "00010.txt").write_text("nan " * 16)
    scan = read_posed_images(tmp_path)
    assert [frame.name for frame in scan.frames] == ["00000", "00020"]
    assert scan.skipped == (("00010", "pose is not finite"), ("00030", "not in infos"))
    assert scan.frames[0].pose[:3, 3].tolist() == [1, 2, 3]
    assert scan.read(1).size == (12, 16)


def test_one_of_many_scans(tmp_path: Path) -> None:
    for scene in "ab":
        write_scan(tmp_path, scene)
    assert read_posed_images(tmp_path, "b").path.name == "b"
    scan = read_posed_images(tmp_path)
    assert scan.path.name == "a"
    assert scan.notes == ("a is one of a, b; see --scene",)


def test_a_scan_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_scan(tmp_path)
    with pytest.raises(ValueError, match=r"posed_images must hold the scan b; got a"):
        read_posed_images(tmp_path, "b")
    empty = tmp_path / "empty"
    (empty / "scannet" / "posed_images").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"posed_images must hold a scan; got none"):
        read_posed_images(empty)
