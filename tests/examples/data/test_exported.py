from __future__ import annotations

from pathlib import Path

import pytest
import torch
from layouts import room, write_exported
from reference.data.exported import read_exported


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    scan = read_exported(write_exported(tmp_path / "a"))
    assert [frame.name for frame in scan.frames] == ["8", "9", "10", "11", "12"]


def test_missing_files_skip_their_frame(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "a")
    (folder / "depth" / "9.png").unlink()
    (folder / "pose" / "10.txt").unlink()
    (folder / "pose" / "11.txt").write_text("-inf " * 16)
    (folder / "color" / "notes.txt").write_text("no frame")
    scan = read_exported(folder)
    assert [frame.name for frame in scan.frames] == ["8", "12"]
    assert scan.skipped == (("9", "no depth"), ("10", "no pose"), ("11", "pose is not finite"))


def test_the_world_is_aligned(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "scene")
    (folder / "scene.txt").write_text("axisAlignment = 1 0 0 0  0 1 0 2  0 0 1 0  0 0 0 1\n")
    moved = torch.stack([frame.pose for frame in read_exported(folder).frames])
    torch.testing.assert_close(moved[:, 1, 3], torch.tensor(room().poses[:, 1, 3] + 2))


def test_bad_files_are_named(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "a")
    (folder / "pose" / "9.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"pose/9\.txt must hold 16 numbers; got 3"):
        read_exported(folder)
    (folder / "intrinsic" / "intrinsic_depth.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"intrinsic/intrinsic_depth\.txt"):
        read_exported(folder)


def test_a_folder_without_frames_is_named(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "a")
    for path in (folder / "color").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"a must hold a usable frame; got none of 0"):
        read_exported(folder)
