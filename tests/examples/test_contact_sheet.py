from __future__ import annotations

import pytest
import torch
from reference.contact_sheet import STOPS, contact_sheet, ramp
from reference.drawing import SIDE

from ross3d import PosedFrames


def frames(views: int, depth: float = 1.0) -> PosedFrames:
    images = torch.zeros(1, views, 3, 8, 8)
    images[:, :, 0] = 1.0
    depths = torch.full((1, views, 8, 8), depth)
    depths[..., 4:] = 0
    poses = torch.eye(4).expand(1, views, 4, 4)
    return PosedFrames(images, depths, poses[..., :3, :3], poses)


def test_ramp_goes_through_its_stops() -> None:
    colours = ramp(torch.linspace(0, 1, len(STOPS)))
    torch.testing.assert_close(colours, torch.tensor(STOPS))
    torch.testing.assert_close(ramp(torch.tensor([-1.0, 2.0])), torch.tensor([STOPS[0], STOPS[-1]]))
    middle = ramp(torch.tensor(0.125))
    torch.testing.assert_close(middle, torch.tensor([STOPS[0], STOPS[1]]).mean(0))


def test_colour_depth_and_what_is_unknown_are_shown() -> None:
    sheet = contact_sheet(frames(1), ["a"])
    colours = {colour: count for count, colour in sheet.getcolors(1 << 20)}
    far = tuple(round(255 * x) for x in STOPS[-1])
    assert colours[255, 0, 0] >= SIDE**2
    assert colours[far] == pytest.approx(SIDE**2 / 2)
    assert colours[0, 0, 0] >= SIDE**2 / 2


def test_at_most_so_many_frames_are_shown() -> None:
    names = [str(i) for i in range(9)]
    few, many = (contact_sheet(frames(9), names, most=n, across=2) for n in (2, 5))
    assert many.width == few.width
    assert 2.5 < many.height / few.height < 3.2


@pytest.mark.parametrize("depth", [0.0, 1e-3])
def test_unknown_depth_is_no_obstacle(depth: float) -> None:
    contact_sheet(frames(2, depth), ["a", "b" * 100])
