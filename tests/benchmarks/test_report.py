"""The report: bars met and missed, curves, and README's section."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.bars import BARS, compare, judge
from benchmarks.growth import growth
from benchmarks.markdown import BEGIN, END, number, write_section
from benchmarks.report import main


class Fixture:
    """What a benchmark writes to, in place of pytest-benchmark's."""

    def __init__(self) -> None:
        self.extra_info: dict[str, object] = {}


def document(tmp_path: Path, *runs: Fixture) -> Path:
    path = tmp_path / "results.json"
    kept = {
        "machine_info": {"cpu": {"brand_raw": "A CPU", "count": 2}, "python_version": "3.11.7"},
        "commit_info": {"id": "0123456789abcdef", "dirty": False},
        "datetime": "2026-11-28T03:00:00+00:00",
        "benchmarks": [{"name": "test_it", "extra_info": run.extra_info} for run in runs],
    }
    path.write_text(json.dumps(kept))
    return path


def run_report(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    assert main() == 0


def filled() -> Fixture:
    run = Fixture()
    judge(run, "unproject", 4.0, baseline=40.0, ours=10.0, measure="ms of CPU", note="noted")
    with pytest.raises(
        AssertionError, match=r"step, 8 views x 4 draws: 0.6 x its time; the bar is"
    ):
        judge(run, "denoiser", 0.6)
    compare(run, "a packed batch", "one by one", 0.13, "a loss")
    run.extra_info["curve"] = {
        "name": "render",
        "against": "frames",
        "points": [[1, 10.0], [4, 40.0]],
        "unit": "ms of CPU",
    }
    run.extra_info["memory"] = [
        {"name": "render", "against": "frames", "points": [[1, 5.0], [4, 5.0]], "unit": "MB held"}
    ]
    run.extra_info["table"] = {
        "name": "counted",
        "unit": "TFLOP",
        "absolute": {"text only": 100.0},
        "rows": {"text only": 1.0, "+ both, released (views every 4th)": 1.0123},
    }
    run.extra_info["parts"] = [["language model", 109.8, 219.6]]
    run.extra_info["memory_table"] = {"text only": {"saved": 2.0, "peak": 3.5}}
    run.extra_info["backends"] = {
        "sdpa": {"runs": True, "ms": 3.25},
        "xformers": {"runs": False, "why": "CUDA only"},
    }
    run.extra_info["shape"] = "196 cells"
    run.extra_info["rate"] = {"figure": 82.0, "unit": "frames", "shares": {"colour": 0.27}}
    return run


def test_everything_that_was_kept_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "RESULTS.md"
    run_report(monkeypatch, document(tmp_path, filled()), "-o", out)
    text = out.read_text()
    assert "2026-11-28, commit 012345678; A CPU, 2 cores; Python 3.11.7, torch" in text
    assert f"**1 of 2 bars met**, {len(BARS) - 2} not measured" in text
    assert "| 40 ms of CPU | 10 ms of CPU | 4 times as fast | ≥ 3.3 | yes |" in text
    assert "| 0.6 x its time | ≤ 0.55 | **no** |" in text
    assert "- back-project 32 x 480 x 640: noted" in text
    assert "| + both, released (views every 4th) | 1.012x | 1.12x |" in text
    assert "| text only | 2 | 3.5 |" in text
    assert "| language model | 110 | 220 |" in text
    assert "| render | ms of CPU | 1 | 10 | 4 | 40 | 1.00 |" in text
    assert "| render | MB held | 1 | 5 | 4 | 5 | 0.00 |" in text
    assert "| a packed batch | one by one | 0.13 | a loss |" in text
    assert "| 196 cells | xformers |  | CUDA only |" in text
    assert "| it | 82 frames | colour 27% |" in text
    assert text.count("not measured |") == len(BARS) - 2
    assert (tmp_path / "results" / "frames.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "missed: ['step, 8 views x 4 draws']" in printed


def test_readme_gets_a_section_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, out = tmp_path / "README.md", tmp_path / "RESULTS.md"
    readme.write_text(f"before\n\n{BEGIN}\n\nold figures\n\n{END}\n\nafter\n")
    arguments = document(tmp_path, filled()), "-o", out, "--readme", readme
    for _ in range(2):  # writing again changes nothing
        run_report(monkeypatch, *arguments)
        text = readme.read_text()
        assert text.startswith(f"before\n\n{BEGIN}\n\n`make bench` (2026-11-28")
        assert text.endswith(f"\n\n{END}\n\nafter\n")
        assert "old figures" not in text
        assert "1 of 2 bars met" in text
        assert "| 0.6 x its time | ≤ 0.55, **missed** |" in text
        assert "| + both, released (views every 4th) | 1.012x | 1.12x |" in text
    assert not list(tmp_path.glob(".tmp*"))


def test_a_readme_without_marks_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(ValueError, match=r"README.md must hold .* once each"):
        write_section(readme, "new")
    assert readme.read_text() == "nothing"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1.00107, "1.001"),
        (0.123456, "0.123"),
        (12.3456, "12.3"),
        (1234.5, "1234"),
        (1.1e-8, "1.1e-08"),
    ],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def test_growth_is_the_exponent() -> None:
    assert growth([[2, 3.0], [4, 12.0]]) == pytest.approx(2.0)
    assert growth([[2, 3.0], [3, 100.0], [4, 3.0]]) == pytest.approx(0.0)
    assert growth([[2, 0.0], [4, 0.0]]) == 0.0, "what costs nothing does not grow"
