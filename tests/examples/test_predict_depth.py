from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from predict_depth import align_depth, known_points, load, place, stand_in
from recipes import run_example
from strategies import make_frames

from ross3d import PosedFrames


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_disparity_is_aligned_by_its_scale_and_shift(unknown: float) -> None:
    depths = make_frames(2, 3, unknown=unknown).depths
    predictor, predicts = stand_in(depths)
    predicted = predictor(depths).view_as(depths)
    aligned = align_depth(predicted, known_points(depths, 8), predicts)
    known = depths > 0
    torch.testing.assert_close(aligned[known], depths[known], rtol=1e-3, atol=1e-3)


def test_depth_is_aligned_by_its_scale_and_metres_are_taken() -> None:
    depths = make_frames(2, 3, unknown=0.0).depths
    points = known_points(depths, 5)
    assert (points > 0).sum((-1, -2)).eq(5).all()
    torch.testing.assert_close(align_depth(depths * 0.2, points, "depth"), depths)
    assert align_depth(depths, torch.zeros_like(points), "metres").equal(depths)


@pytest.mark.parametrize("predicts", ["depth", "disparity"])
def test_a_view_without_known_points_has_no_depth(predicts: str) -> None:
    depths = make_frames(1, 2, unknown=0.0).depths
    points = known_points(depths, 6)
    points[:, 1] = 0
    aligned = align_depth(depths, points, predicts)
    assert (aligned[:, 0] > 0).any()
    assert not aligned[:, 1].any()


def test_a_prediction_that_means_nothing_is_unknown() -> None:
    bad = torch.tensor([-1.0, 0.0, torch.nan, torch.inf, 300.0, 2.0]).view(1, 1, 1, 6)
    assert align_depth(bad, torch.zeros_like(bad), "metres").flatten().tolist() == [0] * 5 + [2]
    flat = align_depth(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0), "disparity")
    torch.testing.assert_close(flat, torch.full((1, 1, 2, 2), 3.0))
    assert known_points(torch.zeros(1, 1, 2, 2), 9).tolist() == torch.zeros(1, 1, 2, 2).tolist()


@pytest.mark.parametrize("unknown", [0.3, 1.1])
def test_tokens_get_a_position_or_a_ray(unknown: float) -> None:
    frames = make_frames(1, 1, (28, 28), unknown=unknown)
    placed = place(torch.zeros(1, 1, 196, 48), frames)
    assert placed.isfinite().all()
    assert (placed != 0).any(-1).all()
    without = PosedFrames(
        frames.images, torch.zeros_like(frames.depths), frames.intrinsics, frames.poses
    )
    same = place(torch.zeros(1, 1, 196, 48), without).equal(placed)
    assert same == (not frames.valid.any())


def test_an_untrained_model_of_transformers_fits_in() -> None:
    images = torch.rand(2, 3, 30, 40)
    predictor, predicts = load("random")
    predicted = predictor(images)
    assert predicts == "disparity"
    assert predicted.shape == (2, 30, 40)
    assert predicted.isfinite().all()


def test_the_stand_in_finds_every_place(tmp_path: Path) -> None:
    out = tmp_path / "made" / "depth.png"
    printed = run_example("predict_depth.py", "furnished_room", "--frames", 2, "-o", out)
    assert "stand-in predicts disparity; 100 points of each view are known" in printed
    assert "a token is 0.0 cm from its true place (median)" in printed
    with Image.open(out) as picture:
        assert picture.width > 3 * 192


def test_poses_alone_give_rays(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "depth.png"
    call_main("predict_depth.py", "furnished_room", "--frames", 1, "--points", 0, "-o", out)
    assert "0% of the tokens have a position, the others a ray" in capsys.readouterr().out
    assert out.is_file()


def test_bad_options_end_in_one_line(call_main: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match=r"SCAN must be a data folder .*; got nowhere"):
        call_main("predict_depth.py", "nowhere")
