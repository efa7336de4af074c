from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference.data.posed_scan import Frame, PosedScan, gather
from reference.data.rooms import room_scene
from reference.data.up_axis import TURNS, camera_up, turn_up

from ross3d import PosedFrames


def scan(poses: torch.Tensor, up: str | None = None) -> PosedScan:
    def load() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.zeros(3, 2, 2), torch.zeros(2, 2), torch.eye(3)

    frames = [Frame(str(i), pose, load) for i, pose in enumerate(poses)]
    return gather(Path("s"), "made up", frames, up=up)


def room_poses() -> torch.Tensor:
    frames: PosedFrames = room_scene(1, views=6, size=8).frames
    return frames.poses[0].double()


def tipped(axis: str) -> torch.Tensor:
    """The room's cameras in a world whose upward axis is another."""
    turn = torch.eye(4).double()
    turn[:3, :3] = torch.tensor(TURNS[axis]).double().T
    return turn @ room_poses()


@pytest.mark.parametrize("axis", TURNS)
def test_turns_are_rotations_of_the_axis_to_z(axis: str) -> None:
    turn = torch.tensor(TURNS[axis]).double()
    torch.testing.assert_close(turn @ turn.T, torch.eye(3).double())
    assert torch.linalg.det(turn) == 1
    direction = torch.zeros(3).double()
    direction["xyz".index(axis[1])] = 1 if axis[0] == "+" else -1
    assert (turn @ direction).tolist() == [0, 0, 1]


@pytest.mark.parametrize("axis", TURNS)
def test_cameras_tell_what_is_up(axis: str) -> None:
    guess, clarity = camera_up(tipped(axis))
    assert guess == axis
    assert 0.5 < clarity <= 1
    turned = turn_up(scan(tipped(axis)))
    assert turned.up == axis
    torch.testing.assert_close(torch.stack([x.pose for x in turned.frames]), room_poses())
    assert turned.notes[0].startswith(f"{axis} is taken as up")


def test_the_layout_is_believed_and_contradicted() -> None:
    turned = turn_up(scan(tipped("-y"), up="+z"))
    assert turned.up == "+z"
    assert turned.notes[0].endswith("if the picture looks wrong, try --up=-y")
    agreeing = turn_up(scan(room_poses(), up="+z"))
    assert "wrong" not in agreeing.notes[0]


def test_what_is_given_wins() -> None:
    turned = turn_up(scan(tipped("+x"), up="+z"), "+x")
    torch.testing.assert_close(torch.stack([x.pose for x in turned.frames]), room_poses())
    assert turned.notes[0].startswith("up was given as +x")


def test_cameras_that_do_not_tell() -> None:
    upside_down = room_poses() @ torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0])).double()
    turned = turn_up(scan(torch.cat([room_poses(), upside_down])))
    assert turned.up == "+z"
    assert "too little to tell" in turned.notes[0]


def test_another_axis_is_refused() -> None:
    with pytest.raises(ValueError, match=r"up must be one of \+x, .*; got w"):
        turn_up(scan(room_poses()), "w")
