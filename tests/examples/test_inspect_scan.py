from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import write_exported, write_sens
from PIL import Image
from recipes import EXAMPLES, run_example

PICTURES = ["bev.png", "cameras.png", "contact_sheet.png", "coverage.png"]


def test_the_shipped_room_is_described(tmp_path: Path) -> None:
    options = ("--frames", 3, "--size", 96, "--threads", 1)
    printed = run_example("inspect_scan.py", "furnished_room", *options, cwd=tmp_path)
    assert "frames    32; usable 32, read 3 of 480 x 640 pixels" in printed
    for word in ("skipped", "depth", "extent", "cameras", "up axis", "coverage", "note"):
        assert f"\n{word}  " in printed or f"\n{word} " in printed
    out = tmp_path / "runs" / "inspect" / "cc0room_00"
    assert sorted(path.name for path in out.iterdir()) == PICTURES
    for name in PICTURES:
        with Image.open(out / name) as picture:
            picture.load()


def test_damaged_frames_are_named_and_the_others_shown(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_exported(tmp_path / "a")
    (folder / "color" / "9.jpg").write_bytes(b"")
    (folder / "depth" / "10.png").unlink()
    call_main("inspect_scan.py", folder, "--out", tmp_path / "out", "--size", 32)
    said = capsys.readouterr().out
    assert "usable 4, read 3 of 24 x 32" in said
    assert "skipped   1, no depth: 10\n" in said
    assert "color/9.jpg must be a whole picture" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == PICTURES


def test_a_file_that_is_cut_off_ends_in_one_line(
    tmp_path: Path, call_main: Callable[..., None]
) -> None:
    path = write_sens(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SystemExit, match=r"a\.sens must hold 5 whole frames; got 4"):
        call_main("inspect_scan.py", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_viewer_is_named_before_anything_is_read(
    tmp_path: Path, call_main: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(SystemExit, match=r"needs rerun: pip install 'ross3d\[rerun\]'"):
        call_main("inspect_scan.py", "nowhere", "--rerun", tmp_path / "scan.rrd")


def test_the_viewer_gets_its_file(
    tmp_path: Path,
    call_main: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: list[object] = []
    monkeypatch.setitem(sys.modules, "rerun", object())
    monkeypatch.setattr("reference.rerun_export.export_rerun", lambda *x: given.extend(x))
    monkeypatch.delitem(sys.modules, "inspect_scan", raising=False)
    out, rrd = tmp_path / "out", tmp_path / "scan.rrd"
    call_main("inspect_scan.py", write_sens(tmp_path), "--out", out, "--rerun", rrd, "--size", 16)
    monkeypatch.delitem(sys.modules, "inspect_scan")
    assert given[0] == rrd
    assert given[2] == ["0", "1", "2", "3", "4"]
    assert f"{rrd} is for the Rerun viewer" in capsys.readouterr().out


@pytest.mark.parametrize("script", ["inspect_scan", "render_bev"])
def test_nothing_heavy_is_imported(script: str) -> None:
    program = f"import sys; import {script}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=True)
    heavy = {"transformers", "diffusers", "accelerate", "open3d", "rerun", "matplotlib"}
    assert heavy & set(done.stdout.split()) == set()
