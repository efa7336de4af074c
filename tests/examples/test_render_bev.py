from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import (
    camera,
    read_all,
    write_exported,
    write_posed_images,
    write_sens,
    write_transforms,
    write_tum,
)
from PIL import Image
from recipes import run_example
from reference.data.open_scan import open_scan
from reference.frustums import bev_image

from ross3d import BEVRenderer
from ross3d.geometry.mesh_bev import MeshBEVRenderer


def test_the_shipped_room_from_above(tmp_path: Path) -> None:
    out = tmp_path / "made" / "bev.png"
    options = ("--frames", 4, "--size", 96, "--threads", 1)
    printed = run_example("render_bev.py", "furnished_room", "-o", out, *options)
    assert "(ScanNet posed images): 4 of 32 frames" in printed
    assert "is one of cc0room_00, cc0room_01" in printed
    assert f"{out} is written" in printed
    with Image.open(out) as picture:
        assert picture.size == (96, 96)
        assert len(picture.getcolors(96**2) or []) > 100
    assert [path.name for path in out.parent.iterdir()] == ["bev.png"]


@pytest.mark.parametrize(
    "write", [write_posed_images, write_exported, write_sens, write_transforms, write_tum]
)
def test_every_layout_gives_the_same_picture(
    write: Callable[[Path], Path], tmp_path: Path, call_main: Callable[..., None]
) -> None:
    reference = open_scan(write_posed_images(tmp_path / "reference"))
    wanted = np.asarray(bev_image(BEVRenderer(48)(read_all(reference)))).astype(int)
    path, out = write(tmp_path / "a"), tmp_path / "bev.png"
    given = ("--intrinsics", ",".join(map(str, camera()))) if write is write_tum else ()
    call_main("render_bev.py", path, "-o", out, "--size", 48, *given)
    with Image.open(out) as picture:
        # A point on the border of two pixels may fall into the other one.
        assert (np.abs(np.asarray(picture).astype(int) - wanted).max(-1) > 3).mean() < 0.02


def test_a_surface_fused_from_the_frames(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    folder, out = write_exported(tmp_path / "a"), tmp_path / "bev.png"
    call_main("render_bev.py", folder, "-o", out, "--size", 32, "--mesh")
    assert "5 of 5 frames" in capsys.readouterr().out
    wanted = np.asarray(bev_image(MeshBEVRenderer(32)(read_all(open_scan(folder)))))
    with Image.open(out) as picture:
        assert (np.asarray(picture) == wanted).all()


def test_a_mesh_file_is_aligned_as_its_folder_says(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    scan, folder = write_exported(tmp_path / "a"), tmp_path / "b"
    folder.mkdir()
    lines = [
        "ply\nformat ascii 1.0\nelement vertex 3",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        "element face 1\nproperty list uchar int vertex_indices\nend_header",
        "0 0 0 255 0 0\n4 0 0 255 0 0\n0 4 0 255 0 0\n3 0 1 2\n",
    ]
    (folder / "b.ply").write_text("\n".join(lines))
    (folder / "b.txt").write_text("axisAlignment = 1 0 0 10 0 1 0 20 0 0 1 0 0 0 0 1\n")
    out = tmp_path / "bev.png"
    call_main("render_bev.py", scan, "-o", out, "--size", 32, "--mesh", folder / "b.ply")
    printed = capsys.readouterr().out
    assert f": {folder / 'b.ply'}" in printed
    assert "x 9.9" in printed
    with Image.open(out) as picture:
        assert picture.getpixel((8, 24)) == (255, 0, 0)
    (folder / "b.ply").write_text("")
    with pytest.raises(SystemExit, match=r"got none in .*b\.ply"):
        call_main("render_bev.py", scan, "--mesh", folder / "b.ply")


def test_skipped_frames_are_printed(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_exported(tmp_path / "a")
    (folder / "pose" / "9.txt").unlink()
    call_main("render_bev.py", folder, "-o", tmp_path / "bev.png", "--size", 16)
    assert "skipped 9: no pose\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere",), "SCAN must be a data folder .*; got nowhere"),
        (("a.sens", "--size", "0"), "size must be positive; got 0"),
        (("a.sens", "-o", "bev.xyz"), "unknown file extension: .xyz"),
    ],
)
def test_bad_options_end_in_one_line(
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call_main: Callable[..., None],
) -> None:
    write_sens(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        call_main("render_bev.py", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.sens"]


def test_a_damaged_frame_is_named_and_nothing_is_written(
    tmp_path: Path, call_main: Callable[..., None]
) -> None:
    folder, out = write_exported(tmp_path / "a"), tmp_path / "bev.png"
    (folder / "color" / "9.jpg").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"color/9\.jpg must be a whole picture"):
        call_main("render_bev.py", folder, "-o", out)
    assert not out.exists()
