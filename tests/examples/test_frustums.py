from __future__ import annotations

import torch
from reference.contact_sheet import STOPS
from reference.data.rooms import room_scene
from reference.drawing import UNOBSERVED
from reference.frustums import BORDER, LEAST, bev_image, frustum_corners, frustums_picture

from ross3d import BEV, PosedFrames, project


def a_bev(half: float = 2.0, size: int = 20) -> BEV:
    image = torch.zeros(1, 3, size, size)
    image[:, 1] = 1.0
    observed = torch.zeros(1, size, size, dtype=torch.bool)
    observed[:, :10] = True
    extent = torch.tensor([[-half, -half, half, half]])
    return BEV(image, observed, torch.zeros(1, size, size), extent)


def looking_along_x(*places: tuple[float, float]) -> PosedFrames:
    pose = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
    poses = pose.repeat(1, len(places), 1, 1)
    poses[0, :, :2, 3] = torch.tensor(places)
    k = torch.tensor([[4.0, 0, 3.5], [0, 4.0, 2.5], [0, 0, 1]]).repeat(1, len(places), 1, 1)
    images = torch.rand(1, len(places), 3, 6, 8)
    return PosedFrames(images, torch.ones(1, len(places), 6, 8), k, poses)


def test_unobserved_is_nearly_white() -> None:
    picture = bev_image(a_bev())
    grey = round(255 * UNOBSERVED)
    assert picture.getpixel((3, 3)) == (0, 255, 0)
    assert picture.getpixel((3, 15)) == (grey, grey, grey)


def test_corners_are_those_of_the_picture() -> None:
    frames = room_scene(0, views=3, size=16).frames
    corners = frustum_corners(frames, 0.7).float()
    torch.testing.assert_close(corners[:, 0], frames.poses[0, :, :3, 3])
    pixels, depth = project(corners[None, :, 1:], frames.intrinsics, frames.poses)
    torch.testing.assert_close(depth, torch.full((1, 3, 4), 0.7))
    wanted = torch.tensor([[-0.5, -0.5], [15.5, -0.5], [15.5, 15.5], [-0.5, 15.5]])
    torch.testing.assert_close(pixels, wanted.expand(1, 3, 4, 2), atol=1e-3, rtol=0)


def test_a_camera_is_drawn_where_it_is_and_looks() -> None:
    bare, drawn = bev_image(a_bev()), frustums_picture(looking_along_x((0.0, 1.0)), a_bev())
    scale = LEAST // bare.width
    assert drawn.width == bare.width * scale + 2 * BORDER
    metre = drawn.width - 2 * BORDER
    tip = BORDER + metre // 2, BORDER + metre // 4
    assert drawn.getpixel(tip) == tuple(int(255 * x) for x in STOPS[0])
    ahead = drawn.getpixel((tip[0] + metre // 32, tip[1]))
    behind = drawn.getpixel((tip[0] - metre // 32, tip[1]))
    assert behind == (0, 255, 0) != ahead


def test_the_picture_grows_until_cameras_are_inside() -> None:
    near, far, astray = (
        frustums_picture(looking_along_x((0.0, 0.0), place), a_bev())
        for place in ((1.0, 0.0), (3.0, 0.0), (1e6, 0.0))
    )
    assert near.width < far.width < astray.width <= 3 * LEAST
    last = tuple(int(255 * x) for x in STOPS[-1])
    assert last in {colour for _, colour in far.getcolors(1 << 20)}


def test_frustums_are_drawn_of_some_frames_and_dots_of_all() -> None:
    frames = looking_along_x(*((i / 10, 0.0) for i in range(9)))
    few, all_of_them = (frustums_picture(frames, a_bev(), most=n) for n in (2, 9))
    grounds = [
        sum(n for n, c in x.getcolors(1 << 20) if c == (0, 255, 0)) for x in (few, all_of_them)
    ]
    assert grounds[0] > grounds[1]
