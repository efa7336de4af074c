"""The ablation's table and picture."""

from __future__ import annotations

import json
from pathlib import Path

import ablations
import pytest
from PIL import Image


def test_the_table_has_mean_and_spread() -> None:
    runs = [dict.fromkeys(ablations.FIGURES, value) for value in (1.0, 2.0, 3.0)]
    lines = ablations.table({"all, with places": runs, "alone": runs[:1]}).splitlines()
    assert lines[0].count("|") == lines[2].count("|") == len(ablations.FIGURES) + 2
    assert lines[2].startswith("| all, with places | 2.000 ± 1.000 |")
    assert lines[3].startswith("| alone | 1.000 ± 0.000 |")


def test_finished_runs_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, calls = next(iter(ablations.ARMS)), []

    def pretend(command: list[str], **_: object) -> None:
        calls.append(command)
        folder = Path(next(x for x in command if x.startswith("--out=")).removeprefix("--out="))
        folder.mkdir()
        (folder / "figures.json").write_text(json.dumps({"cross_view/psnr": 18.0}))

    monkeypatch.setattr(ablations.subprocess, "run", pretend)
    monkeypatch.setattr("sys.argv", ["ablations.py", f"--out={tmp_path}", "--steps=3"])
    args = ablations.parse()
    for _ in range(2):
        assert ablations.train(arm, 1, args) == {"cross_view/psnr": 18.0}
    assert len(calls) == 1
    assert {"--seed=1", "--steps=3", "--context=visible"} <= set(calls[0])


@pytest.mark.slow
def test_every_arm_trains_and_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--steps=1", "--evaluate=1", "--seeds=1"]
    monkeypatch.setattr("sys.argv", ["ablations.py", f"--out={tmp_path}", *options])
    ablations.main()
    table = (tmp_path / "ablations.md").read_text()
    assert len(table.splitlines()) == 2 + len(ablations.ARMS)
    with Image.open(tmp_path / "ablations.png") as picture:
        assert picture.width > 192 * (len(ablations.ARMS) + 1)
