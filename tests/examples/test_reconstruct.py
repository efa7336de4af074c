from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from recipes import run_example

PICTURES = ["bev.png", "grounding.png", "reconstruction.png", "views.png"]
QUICK = ("--scenes", 1, "--steps", 2)


def figures(printed: str) -> dict[str, list[str]]:
    rows = [line.split() for line in printed.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in ("cross_view", "global_view")}


def test_pictures_and_figures_of_a_run(finished: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in finished.iterdir())
    printed = run_example("reconstruct.py", finished, "--out", tmp_path / "pictures", *QUICK)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == PICTURES
    assert "after 5 steps, 1 held-out scenes of generated rooms" in printed
    model, mean, nearest, limit = map(float, figures(printed)["cross_view"])
    assert 0 < model < limit
    assert 0 < mean < limit
    assert 0 < nearest < limit
    assert figures(printed)["global_view"][2] == "-"
    assert sorted(path.name for path in finished.iterdir()) == before


def test_another_scan_and_sampler(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    options = ("--data", "furnished_room", "--method", "ddpm", *QUICK)
    printed = run_example("reconstruct.py", run, *options)
    assert "of furnished_room" in printed
    assert sorted(path.name for path in (run / "reconstruction").iterdir()) == PICTURES


def test_a_run_without_checkpoints_is_named(
    finished: Path, tmp_path: Path, call_main: Callable[..., None]
) -> None:
    shutil.copy(finished / "config.json", tmp_path)
    with pytest.raises(SystemExit, match=r"RUN must hold a checkpoint; got .*run_without"):
        call_main("reconstruct.py", tmp_path, *QUICK)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, call_main: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match=r"folder that train_ross3d\.py wrote; got .*is_no_run"):
        call_main("reconstruct.py", tmp_path, *QUICK)
