"""Grids of runs, without training any."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from reference import grid
from reference.arms import PICTURES, Arm, Grid

ARMS = (
    Arm("all, with places", ("--context=all",)),
    Arm("alone", ("--tasks=none",), (1.0, 2.0, 3.0)),
)
Options = Callable[..., argparse.Namespace]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    def parse(*given: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        grid.add_grid_options(parser, str(tmp_path / "grid"))
        return parser.parse_args(given)

    return parse


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is run, while a pretended training writes figures: the seed, and chance."""
    called: list[list[str]] = []

    def pretend(command: list[str], stdout: IO[str], **_: object) -> SimpleNamespace:
        called.append(command)
        given = dict(x.removeprefix("--").partition("=")[::2] for x in command[2:])
        if given.get("context") == "broken":
            stdout.write("usage\nno such context\n")
            stdout.flush()
            return SimpleNamespace(returncode=3)
        folder = Path(given["out"])
        folder.mkdir()
        figures = {"qa/accuracy": float(given["seed"]), "qa/prior": 0.25}
        (folder / "figures.json").write_text(json.dumps(figures))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(grid.subprocess, "run", pretend)
    monkeypatch.setattr(grid, "picture", lambda *_: None)
    return called


def test_the_table_has_mean_and_spread() -> None:
    runs = [dict.fromkeys(PICTURES, value) for value in (1.0, 2.0, 3.0)]
    shown = Grid("context", (Arm("all, with places", ()), Arm("alone", ())), PICTURES)
    lines = grid.table(shown, {"all, with places": runs, "alone": runs[:1]}).splitlines()
    assert lines[0] == f"| context | {' | '.join(PICTURES)} |"
    assert lines[1].count("---") == 5
    assert lines[2].startswith("| all, with places | 2.000 ± 1.000 |")
    assert lines[3].startswith("| alone | 1.000 ± 0.000 |")
    assert len(lines) == 4


def test_guesses_and_the_paper_stand_beside() -> None:
    figures = ("qa/accuracy", "text/loss", "cross_view/psnr")
    runs = {
        "all, with places": [{"qa/accuracy": 0.5, "qa/prior": 0.25, "text/loss": 2.0}],
        "alone": [{"qa/accuracy": 0.75, "qa/prior": 0.25}],
    }
    lines = grid.table(Grid("arm", ARMS, figures), runs).splitlines()
    paper = "paper: SQA3D EM | paper: ScanQA CIDEr | paper: ScanRefer Acc@0.25"
    assert lines == [
        f"| arm | qa/accuracy | text/loss | {paper} |",
        "| --- | --- | --- | --- | --- | --- |",
        "| all, with places | 0.500 ± 0.000 | 2.000 ± 0.000 | - | - | - |",
        "| alone | 0.750 ± 0.000 | - | 1.0 | 2.0 | 3.0 |",
        "| (a blind guess) | 0.250 ± 0.000 | - | - | - | - |",
    ]


def test_runs_are_trained_once(options: Options, commands: list[list[str]]) -> None:
    args = options("--steps=3", "--seeds=2", "--jobs=2", "--", "--train=lora")
    for _ in range(2):
        text = grid.run_grid(Grid("arm", ARMS, rooms=8), args, "found")
    assert len(commands) == 4
    given = {"--seed=1", "--steps=3", "--context=all", "--rooms=8", "--train=lora", "--resume"}
    assert any(given <= set(command) for command in commands)
    assert "| alone | 0.500 ± 0.707 | 1.0 | 2.0 | 3.0 |" in text
    out = Path(args.out)
    assert (out / "found.md").read_text() == f"{text}\n"
    found = json.loads((out / "found.json").read_text())["arms"]["alone"]
    assert [run["qa/accuracy"] for run in found["figures"]] == [0.0, 1.0]
    assert found["options"] == ["--tasks=none"]


def test_other_seeds_are_added_and_other_options_refused(
    options: Options, commands: list[list[str]]
) -> None:
    shown = Grid("arm", ARMS)
    grid.train_grid(shown, options("--seeds=1"))
    grid.train_grid(shown, options("--seeds=2"))
    assert len(commands) == 4
    with pytest.raises(ValueError, match=r"all_with_places_0 must be a run of .*--steps=9 .*; got"):
        grid.train_grid(shown, options("--seeds=3", "--steps=9"))
    assert len(commands) == 4


def test_a_run_that_fails_is_named(options: Options, commands: list[list[str]]) -> None:
    shown = Grid("arm", (Arm("broken", ("--context=broken",)), *ARMS))
    with pytest.raises(RuntimeError, match=r"broken_0 must train; got .* 3 \(no such context\): "):
        grid.train_grid(shown, options("--seeds=4"))
    assert len(commands) < 12, "what has not begun is left"


def test_rooms_are_counted_where_they_are_generated(options: Options) -> None:
    shown = Grid("arm", ARMS, rooms=8)
    assert "--rooms=8" in grid.shared_options(shown, options())
    assert "--rooms=5" in grid.shared_options(shown, options("--rooms=5"))
    scans = grid.shared_options(shown, options("--data=furnished_room"))
    assert not any(x.startswith("--rooms") for x in scans)


def test_folders_have_plain_names(tmp_path: Path) -> None:
    arm = Arm("50% of the text, L_3D there and on /data/scans", ())
    path = grid.run_folder(arm, 2, tmp_path)
    assert path == tmp_path / "50_of_the_text_L_3D_there_and_on_data_scans_2"
