from __future__ import annotations

from pathlib import Path

import pytest
import torch
from add_a_pretext_task import NormalsTask
from PIL import Image
from recipes import run_example
from tiny import hide

from ross3d import PosedFrames, PretextTask


def facing(pose: torch.Tensor, *, m: int = 2) -> PosedFrames:
    """Views of a wall 2 m in front of the camera, straight ahead."""
    intrinsics = torch.tensor([[80.0, 0, 47.5], [0, 80.0, 47.5], [0, 0, 1]]).repeat(1, m, 1, 1)
    images, depths = torch.rand(1, m, 3, 96, 96), torch.full((1, m, 96, 96), 2.0)
    return PosedFrames(images, depths, intrinsics, pose.repeat(1, m, 1, 1))


@pytest.mark.parametrize(
    ("axes", "normal"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], (0, 0, -1)),
        ([[1, 0, 0], [0, -1, 0], [0, 0, -1]], (0, 0, 1)),  # looks down on a floor
        ([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], (-1, 0, 0)),  # looks along x at a wall
    ],
)
def test_normals_point_at_the_camera_in_the_world_frame(
    axes: list[list[float]], normal: tuple[int, ...]
) -> None:
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor(axes)
    task: PretextTask = NormalsTask()
    targets = task(facing(pose), hide(1, 2, 1))
    assert targets.images.shape == (1, 1, 3, 96, 96)
    colour = (torch.tensor(normal) + 1) / 2
    middle = targets.images[0, 0, :, 2:-2, 2:-2].flatten(1).mean(1)
    torch.testing.assert_close(middle, colour, rtol=0, atol=1e-3)
    assert (targets.weight == 1).all()
    assert not targets.known.any()


def test_normals_beside_unknown_depth_do_not_count() -> None:
    frames = facing(torch.eye(4))
    depths = frames.depths.clone()
    depths[0, 0, 40, 50] = 0
    frames = PosedFrames(frames.images, depths, frames.intrinsics, frames.poses)
    weight = NormalsTask()(frames, hide(1, 2, 0)).weight[0, 0]
    assert weight.sum() == 96 * 96 - 9
    assert not weight[39:42, 49:52].any()
    assert NormalsTask()(frames, hide(1, 2)).images.shape == (1, 0, 3, 96, 96)


def test_the_loss_falls_and_a_picture_is_written(tmp_path: Path) -> None:
    printed = run_example("add_a_pretext_task.py", "--steps", 20, "--out", tmp_path)
    losses = [float(line.split()[-1]) for line in printed.splitlines() if line.startswith("step")]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    with Image.open(tmp_path / "normals.png") as picture:
        assert min(picture.size) > 96
