"""Every input representation, with and without pretext tasks, from training to pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from reference.inputs import INPUTS
from reference.presets import PRESETS
from reference.run import RunFolder
from tiny import PRESET

SHORT = ("--steps", 3, "--save-every", 2, "--evaluate", 1, "--threads", 1, "--workers", 0)
Call = Callable[..., None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default preset, as small as can be."""
    monkeypatch.setitem(PRESETS, "tiny", PRESET)


@pytest.mark.parametrize("name", INPUTS)
def test_trains_and_rebuilds_with_pretext_tasks(
    name: str, tmp_path: Path, call_main: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    call_main("train_ross3d.py", *SHORT, "--input", name, "--out", out)
    rows = RunFolder(out, resume=True).rows()
    assert len(rows) == 3
    for row in rows:
        losses = {row[loss] for loss in ("text", "grounding", "cross_view", "global_view")}
        assert all(value == value and value > 0 for value in losses)
    assert json.loads((out / "config.json").read_text())["options"]["input"] == name
    capsys.readouterr()
    call_main("reconstruct.py", out, "--scenes", 1, "--steps", 1, "--device", "cpu")
    printed = capsys.readouterr().out
    assert "after 3 steps" in printed
    assert (out / "reconstruction" / "bev.png").exists()


@pytest.mark.parametrize("name", INPUTS)
def test_trains_without_pretext_tasks(name: str, tmp_path: Path, call_main: Call) -> None:
    out = tmp_path / "run"
    call_main("train_ross3d.py", *SHORT, "--input", name, "--tasks", "none", "--out", out)
    assert set(RunFolder(out, resume=True).rows()[0]) == {"step", "text", "grounding"}
    figures = json.loads((out / "figures.json").read_text())
    assert "text/loss" in figures
    assert not any("view" in figure for figure in figures)
    with pytest.raises(SystemExit, match=r"RUN must have pretext tasks; got .* --tasks none"):
        call_main("reconstruct.py", out, "--device", "cpu")


def test_one_task_alone(tmp_path: Path, call_main: Call) -> None:
    out = tmp_path / "run"
    call_main("train_ross3d.py", *SHORT, "--tasks", "global_view", "--out", out)
    row = RunFolder(out, resume=True).rows()[0]
    assert set(row) == {"step", "text", "grounding", "global_view"}


def test_a_resumed_run_keeps_its_input(
    tmp_path: Path, call_main: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    call_main("train_ross3d.py", *SHORT, "--input", "voxels", "--tasks", "none", "--out", out)
    with pytest.raises(SystemExit):
        call_main("train_ross3d.py", "--out", out, "--resume", "--input", "points")
    assert "--input must be voxels, as saved in" in capsys.readouterr().err


def test_runs_of_before_these_options_are_rebuilt(tmp_path: Path, call_main: Call) -> None:
    out = tmp_path / "run"
    call_main("train_ross3d.py", *SHORT, "--out", out)
    config = json.loads((out / "config.json").read_text())
    for option in ("input", "tasks"):
        del config["options"][option]
    for number in ("voxel_size", "voxel_share"):
        del config["preset"][number]
    (out / "config.json").write_text(json.dumps(config))
    call_main("reconstruct.py", out, "--scenes", 1, "--steps", 1, "--device", "cpu")
    assert (out / "reconstruction" / "reconstruction.png").exists()
