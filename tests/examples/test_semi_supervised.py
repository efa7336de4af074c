from __future__ import annotations

from pathlib import Path

import pytest
import semi_supervised
from reference import arms


def test_the_four_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[arms.Grid, str]] = []

    def pretend(grid: arms.Grid, args: object, name: str) -> str:
        asked.append((grid, name))
        return "the table"

    monkeypatch.setattr(semi_supervised, "run_grid", pretend)
    for given in ((), ("--labelled=0.25", f"--unlabelled={tmp_path}")):
        monkeypatch.setattr("sys.argv", ["semi_supervised.py", *given])
        semi_supervised.main()
    (plain, name), (other, _) = asked
    assert plain == arms.semi_supervised()
    assert name == "semi_supervised"
    assert other == arms.semi_supervised(0.25, str(tmp_path))
    assert capsys.readouterr().out == "the table\n" * 2


@pytest.mark.slow
def test_every_arm_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [f"--out={tmp_path}", "--rooms=4", "--steps=1", "--evaluate=1", "--seeds=1"]
    monkeypatch.setattr("sys.argv", ["semi_supervised.py", *options])
    semi_supervised.main()
    lines = (tmp_path / "semi_supervised.md").read_text().splitlines()
    assert len(lines) == 2 + 4 + 1
    assert lines[4].startswith("| 50% of the text, L_3D there and on the other scenes |")
    assert lines[4].endswith("| 57.7 | 103.2 | 57.9 |")
