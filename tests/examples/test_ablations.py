"""The ablations: which grid the options mean, and the default one from training to picture."""

from __future__ import annotations

from pathlib import Path

import ablations
import pytest
from PIL import Image
from reference.arms import GRIDS

Patch = pytest.MonkeyPatch


def call(monkeypatch: Patch, *given: str) -> None:
    monkeypatch.setattr("sys.argv", ["ablations.py", *given])


@pytest.mark.parametrize("name", [None, *sorted(GRIDS)])
def test_grids_have_names(name: str | None, monkeypatch: Patch) -> None:
    call(monkeypatch, *([] if name is None else [f"--grid={name}"]), "--seeds=2")
    args, grid = ablations.parse()
    assert grid == GRIDS[name or "contexts"]()
    assert args.seeds == 2


def test_options_vary(monkeypatch: Patch) -> None:
    call(monkeypatch, "--vary", "tasks=none,both", "seed=1", "--jobs=2", "--", "--train=lora")
    args, grid = ablations.parse()
    assert [arm.name for arm in grid.arms] == ["none, 1", "both, 1"]
    assert args.options == ["--train=lora"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--vary", "tasks"], "vary must be options such as tasks=none,both; got ['tasks']"),
        (["--vary", "tasks=none", "--grid=tasks"], "not allowed with argument"),
    ],
)
def test_what_is_no_grid_is_refused(
    given: list[str], complaint: str, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, *given)
    with pytest.raises(SystemExit):
        ablations.parse()
    assert complaint in capsys.readouterr().err


@pytest.mark.slow
def test_every_arm_trains_and_is_shown(tmp_path: Path, monkeypatch: Patch) -> None:
    call(monkeypatch, f"--out={tmp_path}", "--steps=1", "--evaluate=1", "--seeds=1")
    ablations.main()
    arms = GRIDS["contexts"]().arms
    assert len((tmp_path / "ablations.md").read_text().splitlines()) == 2 + len(arms)
    with Image.open(tmp_path / "ablations.png") as picture:
        assert picture.width > 192 * (len(arms) + 1)
