from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from reference.data.scene import Turn
from reference.results import compared, ground_first, write_pictures, write_results
from reference.run import RunFolder
from tiny import Tiny, tiny_ross3d

PICTURES = ["views.png", "reconstruction.png", "bev.png", "grounding.png"]


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_ross3d(turns=8)


def test_a_run_shows_figures_pictures_and_a_page(tiny: Tiny, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log({"step": 0, "text": 4.0, "grounding": 2.0, "heldout/text": 3.5})
    run.log({"step": 1, "text": 3.0, "grounding": 1.5})
    config = {"preset": {"dim": 32}}
    figures = write_results(run, tiny.model, tiny.source, tiny.collate, config, scenes=2)
    assert json.loads((tmp_path / "figures.json").read_text()) == pytest.approx(figures)
    page = (tmp_path / "report.html").read_text()
    for name in ["losses.png", *PICTURES]:
        assert name in page
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 64
    assert "grounding of one object" in page
    assert page.count("the mean colour of the visible views") == 2
    assert tiny.model.training


def test_pictures_without_text(tiny: Tiny, tmp_path: Path) -> None:
    bare = tiny_ross3d(turns=0)
    names = write_pictures(RunFolder(tmp_path), tiny.model, bare.source, bare.collate, scenes=2)
    assert names == PICTURES[:3]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(names)


def test_nothing_is_hidden_for_the_vanilla_task(tmp_path: Path) -> None:
    tiny = tiny_ross3d(turns=8, tasks=("vanilla",))
    names = write_pictures(RunFolder(tmp_path), tiny.model, tiny.source, tiny.collate, scenes=2)
    assert names == ["views.png", "grounding.png"]


def test_scenes_without_phrases_cannot_be_grounded(tiny: Tiny) -> None:
    scenes = tiny.scenes(1)
    asked = [t for t in scenes[0].turns if not t.kind.endswith("grounding")]
    assert all(isinstance(turn, Turn) for turn in asked)
    object.__setattr__(scenes[0], "turns", tuple(asked))
    with pytest.raises(ValueError, match="scenes must hold a grounding turn; got none"):
        ground_first(tiny.model, tiny.batch(1), scenes)


def test_figures_stand_beside_their_baselines() -> None:
    table = compared(
        {
            "text/loss": 1.5,
            "qa/accuracy": 0.5,
            "qa/majority": 0.25,
            "cross_view/psnr": 15.0,
            "cross_view/psnr_mean": 11.0,
            "cross_view/psnr_nearest": 12.0,
            "cross_view/psnr_limit": 24.0,
            "global_view/psnr": 13.0,
            "global_view/psnr_mean": 15.5,
            "global_view/psnr_limit": 23.0,
        }
    )
    assert table["text/loss"] == {"model": 1.5}
    assert table["question answering, exact match"] == {
        "model": 0.5,
        "always the most frequent answer": 0.25,
    }
    assert table["hidden views, PSNR in dB"] == {
        "model": 15.0,
        "the mean colour of the visible views": 11.0,
        "the nearest visible view": 12.0,
        "the tokenizer's round trip": 24.0,
    }
    assert table["bird's-eye view, PSNR in dB"] == {
        "model": 13.0,
        "the mean colour of the visible views": 15.5,
        "the tokenizer's round trip": 23.0,
    }
    assert "grounding of one object" not in table
