from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image
from reference import plots
from reference.plots import losses_picture, read_curves, smooth


def rows(steps: int = 60) -> list[dict[str, float]]:
    logged = [
        {"step": step, "lr": 1.0, "text": 5 * math.exp(-step / 10) + 0.01, "cross_view": 1.0}
        for step in range(steps)
    ]
    return [*logged, {"step": 59, "heldout/cross_view": 1.1, "heldout/psnr": 14.0}]


def test_curves_are_sorted_and_finite() -> None:
    logged = [
        {"step": 2, "a": 1, "note": "text", "flag": True},
        {"step": 1, "a": 3.0, "b": float("nan"), "heldout/a": 0.0},
        {"step": 3, "a": 0.0, "lr": 1.0},
        {"a": 9.0},
    ]
    assert read_curves(logged) == {"a": [(1, 3), (2, 1)], "heldout/a": [(1, 0)]}


def test_smoothing_keeps_a_constant_and_lags_a_step() -> None:
    assert smooth([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smooth([1.0, 5.0]) == [1.0, 5.0]
    stepped = smooth([0.0] * 50 + [1.0] * 50)
    assert 0 < stepped[50] < stepped[60] < 1
    assert smooth([]) == []


@pytest.mark.parametrize("logged", [rows(), rows(1), rows()[-1:], [], [{"step": 0, "a": 0.0}]])
def test_a_picture_is_written(tmp_path: Path, logged: list[dict[str, float]]) -> None:
    losses_picture(logged, tmp_path / "losses.png")
    with Image.open(tmp_path / "losses.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 200
        assert image.convert("L").getextrema()[0] < 128
    assert [path.name for path in tmp_path.iterdir()] == ["losses.png"]


def test_each_name_has_one_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, tuple[int, int]] = {}
    draw = plots.draw_curve

    def recorded(panel: object, name: str, train: plots.Curve, held_out: plots.Curve) -> None:
        drawn[name] = len(train), len(held_out)
        draw(panel, name, train, held_out)

    monkeypatch.setattr(plots, "draw_curve", recorded)
    losses_picture(rows(), tmp_path / "losses.svg")
    assert drawn == {"text": (60, 0), "cross_view": (60, 1), "psnr": (0, 1)}
    text = (tmp_path / "losses.svg").read_text()
    assert text.lstrip().startswith("<?xml")
