from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import (
    HEIGHT,
    WIDTH,
    assert_is_the_room,
    read_all,
    room,
    transforms_content,
    write_transforms,
)
from reference.data.transforms import read_transforms


def change(path: Path, **fields: Any) -> None:
    """Change top-level fields; None takes one away."""
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def change_frame(path: Path, index: int, **fields: Any) -> None:
    frames = json.loads(path.read_text())["frames"]
    frames[index] |= fields
    change(path, frames=frames)


def test_frames_with_intrinsics_of_their_own(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a", transforms_content(own_intrinsics=True))
    assert_is_the_room(read_all(read_transforms(path)))


def test_frames_are_sorted_by_name(tmp_path: Path) -> None:
    scan = read_transforms(write_transforms(tmp_path / "a"))
    assert [frame.name for frame in scan.frames] == [f"images/{i}.jpg" for i in range(5)]


def test_frames_without_depth_or_pose_are_skipped(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    change_frame(path, 0, depth_file_path=None)
    change_frame(path, 1, transform_matrix=[[math.nan] * 4] * 4)
    scan = read_transforms(path)
    assert len(scan) == 3
    assert scan.skipped == (
        ("images/4.jpg", "no depth_file_path"),
        ("images/3.jpg", "pose is not finite"),
    )


def test_the_size_is_that_of_the_picture(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    change(path, w=None, h=None)
    assert_is_the_room(read_all(read_transforms(path)))


def test_an_angle_of_view_is_enough(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    lost = dict.fromkeys(("fl_x", "fl_y", "cx", "cy"))
    change(path, camera_angle_x=2 * math.atan(WIDTH / 40), **lost)
    intrinsics = read_transforms(path).read(0).intrinsics[0, 0]
    wanted = [[20, 0, (WIDTH - 1) / 2], [0, 20, (HEIGHT - 1) / 2], [0, 0, 1]]
    torch.testing.assert_close(intrinsics, torch.tensor(wanted).float())


@pytest.mark.parametrize("key", ["depth_unit_scale_factor", "integer_depth_scale"])
def test_the_unit_of_depth(key: str, tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    scan = read_transforms(path)
    assert scan.notes == ("depth is taken as millimetres; see --depth-unit",)
    usual = scan.read(0).depths
    change(path, **{key: 0.002})
    said = read_transforms(path)
    assert said.notes == ()
    torch.testing.assert_close(said.read(0).depths, 2 * usual)
    torch.testing.assert_close(read_transforms(path, 0.003).read(0).depths, 3 * usual)


def test_depth_as_numpy_arrays(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    usual = read_transforms(path).read(0).depths
    np.save(tmp_path / "a" / "depth" / "0.npy", room().depths[0][..., None].astype(np.float64))
    change_frame(path, 4, depth_file_path="depth/0.npy")
    torch.testing.assert_close(read_transforms(path).read(0).depths, usual)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"depth/0\.npy must be an array of \(h, w\); got \(3,\)"),
        (np.array([{}]), r"depth/0\.npy must be an array of numbers; got .*pickle"),
        (np.array([["a"]]), r"depth/0\.npy must be an array of numbers"),
    ],
)
def test_other_arrays_are_named(array: np.ndarray, message: str, tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    np.save(tmp_path / "a" / "depth" / "0.npy", array)
    change_frame(path, 4, depth_file_path="depth/0.npy")
    with pytest.raises(ValueError, match=message):
        read_transforms(path).read(0)


def test_pictures_without_a_suffix_are_png(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    change_frame(path, 4, file_path="images/0")
    (tmp_path / "a" / "images" / "0.jpg").rename(tmp_path / "a" / "images" / "0.png")
    assert_is_the_room(read_all(read_transforms(path)))


def test_distortion_is_noted(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    change_frame(path, 2, k1=0.1)
    assert "lens distortion is ignored" in read_transforms(path).notes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": None}, r"must hold a list 'frames'; got NoneType"),
        ({"frames": [{}]}, r"must give 'file_path' of frame 0 as text; got \{\}"),
        ({"frames": []}, r"must hold a usable frame; got none of 0"),
        ({"fl_x": "wide"}, r"must give fl_x as a number; got 'wide'"),
        ({"fl_x": None}, r"must give camera_angle_x as a number; got None"),
        ({"cx": math.nan}, r"must give cx as a number; got nan"),
        ({"fl_y": -1}, r"must give positive focal lengths and sizes; got .*, -1\.0"),
        ({"camera_model": "OPENCV_FISHEYE"}, r"must give camera_model .* got 'OPENCV_FISHEYE'"),
        ({"integer_depth_scale": True}, r"must give integer_depth_scale as a number; got True"),
    ],
)
def test_damaged_fields_are_named(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    change(path, **fields)
    with pytest.raises(ValueError, match=rf"transforms\.json {message}"):
        read_transforms(path)


@pytest.mark.parametrize("matrix", [None, [1, 2], [["a"] * 4] * 4, [[1, 2], [3]]])
def test_damaged_matrices_are_named(matrix: object, tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    change_frame(path, 1, transform_matrix=matrix)
    message = r"transforms\.json must give transform_matrix of images/3\.jpg as 4 x 4 numbers"
    with pytest.raises(ValueError, match=message):
        read_transforms(path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "a")
    scan = read_transforms(path)
    (tmp_path / "a" / "images" / "0.jpg").unlink()
    (tmp_path / "a" / "depth" / "1.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"images/0\.jpg"):
        scan.read(0)
    with pytest.raises(ValueError, match=r"depth/1\.png must be a whole picture"):
        scan.read(1)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"transforms\.json must be a json file"):
        read_transforms(path)
