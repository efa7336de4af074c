from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reference.data.scannet import ScanNetScans
from scans import text, write_infos, write_scan


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def small_depth(path: Path) -> None:
    Image.fromarray(np.ones((6, 8), dtype=np.uint16)).save(path)


def sheared(path: Path) -> None:
    path.write_text(text(np.diag([1.0, 2.0, 1.0, 1.0])))


@pytest.mark.parametrize(
    ("name", "damage", "error", "message"),
    [
        ("00010.jpg", truncate, ValueError, r"a/00010\.jpg must be a whole picture"),
        ("00010.png", truncate, ValueError, r"a/00010\.png must be a whole picture"),
        ("00000.png", Path.touch, None, ""),
        ("00000.png", lambda p: p.write_bytes(b""), ValueError, r"00000\.png must be a readable"),
        (
            "00010.png",
            small_depth,
            ValueError,
            r"00010\.png must be of size \(12, 16\).*\(6, 8\)",
        ),
        ("00010.txt", lambda p: p.write_text(""), ValueError, r"a/00010\.txt .* 16 numbers; got 0"),
        ("00010.txt", lambda p: p.write_text("1 2"), ValueError, r"00010\.txt .* numbers; got 2"),
        ("00010.txt", sheared, ValueError, r"frame .*a/00010: poses must be rigid"),
        ("00010.jpg", Path.unlink, FileNotFoundError, r"a/00010\.jpg"),
        ("00010.png", Path.unlink, FileNotFoundError, r"a/00010\.png"),
        ("00010.txt", Path.unlink, FileNotFoundError, r"a/00010\.txt"),
        ("depth_intrinsic.txt", Path.unlink, FileNotFoundError, r"a/depth_intrinsic\.txt"),
        ("depth_intrinsic.txt", truncate, ValueError, r"a/depth_intrinsic\.txt must hold 16 num"),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, name: str, damage: object, error: type[Exception] | None, message: str
) -> None:
    folder = write_scan(tmp_path)
    write_infos(tmp_path, "train", "a")
    damage(folder / name)
    scans = ScanNetScans(tmp_path, views=3, size=8)
    if error is None:
        assert scans[0].frames.views == 3
        return
    with pytest.raises(error, match=message):
        scans[0]


def test_folders_without_frames_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "scannet" / "posed_images"
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="posed_images must hold a scan; got none"):
        ScanNetScans(tmp_path)
    (folder / "a").mkdir()
    with pytest.raises(ValueError, match=r"posed_images/a must hold frames NNNNN\.jpg; got none"):
        ScanNetScans(tmp_path)[0]


def test_scan_without_any_pose_is_named(tmp_path: Path) -> None:
    folder = write_scan(tmp_path, frames=1)
    (folder / "00000.txt").write_text(" ".join(["-inf"] * 16))
    with pytest.raises(ValueError, match="a must hold a frame with a finite pose; got none of 1"):
        ScanNetScans(tmp_path)[0]


@pytest.mark.parametrize("numbers", ["1 2 3", "x " * 16])
def test_damaged_alignment_is_named(tmp_path: Path, numbers: str) -> None:
    write_scan(tmp_path)
    folder = tmp_path / "scannet" / "scans" / "a"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text(f"axisAlignment = {numbers}")
    with pytest.raises(ValueError, match=r"a\.txt must give axisAlignment as 16 numbers"):
        ScanNetScans(tmp_path)[0]
