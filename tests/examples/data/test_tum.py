from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layouts import assert_is_the_room, camera, read_all, write_tum
from PIL import Image
from reference.data.tum import associate, read_tum

times = st.lists(st.integers(0, 60).map(lambda n: n / 1000), max_size=5)


@given(times, times.map(sorted))
def test_pairs_are_close_and_nothing_is_taken_twice(
    first: list[float], second: list[float]
) -> None:
    partners = associate(first, second, within=0.02)
    taken = [j for j in partners if j is not None]
    assert len(partners) == len(first)
    assert len(set(taken)) == len(taken)
    gaps = {
        (i, j): abs(a - b)
        for (i, a), (j, b) in itertools.product(enumerate(first), enumerate(second))
        if abs(a - b) <= 0.02 - 1e-9
    }
    assert all(
        abs(first[i] - second[j]) <= 0.02 + 1e-9 for i, j in enumerate(partners) if j is not None
    )
    # A pair that was not made has a better one in its way.
    made = {i: abs(first[i] - second[j]) for i, j in enumerate(partners) if j is not None}
    for (i, j), gap in gaps.items():
        rival = next((made[k] for k, p in enumerate(partners) if p == j), 1.0)
        assert min(made.get(i, 1.0), rival) <= gap + 1e-9


def test_what_has_no_partner_is_skipped(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a")
    for name, kept in (("depth", 4), ("groundtruth", 8)):
        lines = (folder / f"{name}.txt").read_text().splitlines()
        (folder / f"{name}.txt").write_text("\n".join(lines[: kept + 1]))
    scan = read_tum(folder, camera())
    assert [frame.name for frame in scan.frames] == ["rgb/0.jpg", "rgb/1.jpg", "rgb/2.jpg"]
    assert scan.skipped == (
        ("rgb/3.jpg", "no pose within 20 ms"),
        ("rgb/4.jpg", "no depth map within 20 ms"),
    )


def test_a_quaternion_of_zero_is_no_pose(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a")
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    lines[2] = lines[2].split()[0] + " 0 0 0 0 0 0 0"
    (folder / "groundtruth.txt").write_text("\n".join(lines))
    assert read_tum(folder, camera()).skipped == (("rgb/0.jpg", "pose is not finite"),)


def test_depth_of_another_unit(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a")
    usual, double = (read_tum(folder, camera(), unit).read(0).depths for unit in (None, 1 / 2500))
    torch.testing.assert_close(double, 2 * usual)


@pytest.mark.parametrize(
    ("name", "camera_name", "fx"),
    [
        ("rgbd_dataset_freiburg1_room", "freiburg1", 517.3),
        ("rgbd_dataset_freiburg3_x", "freiburg3", 535.4),
        ("mine", "a Kinect", 525.0),
    ],
)
def test_the_folder_names_the_camera(
    name: str, camera_name: str, fx: float, tmp_path: Path
) -> None:
    folder = write_tum(tmp_path / name)
    with pytest.raises(ValueError, match=r"must be of \(480, 640\) pixels, or get --intrinsics"):
        read_tum(folder)
    Image.fromarray(np.full((480, 640), 5000, np.uint16)).save(folder / "depth" / "0.png")
    scan = read_tum(folder)
    assert scan.notes[0].startswith(f"intrinsics are those of {camera_name} ({fx:g}, ")
    frame = scan.read(0)
    assert frame.intrinsics[0, 0, 0, 0] == pytest.approx(fx)
    assert frame.depths.unique().tolist() == [1.0]


def test_lines_in_any_order(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a")
    for name in ("rgb", "depth", "groundtruth"):
        lines = (folder / f"{name}.txt").read_text().splitlines()
        (folder / f"{name}.txt").write_text("\n".join(["", *lines[::-1], "   "]))
    assert_is_the_room(read_all(read_tum(folder, camera())))


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("rgb", "1.0", r"rgb\.txt, line 2, must be a time and 1 word\(s\); got '1\.0'"),
        ("depth", "x depth/0.png", r"depth\.txt, line 2, must be a time"),
        ("groundtruth", "1 2 3", r"groundtruth\.txt, line 2, must be a time and 7 word"),
        ("groundtruth", "1 a 0 0 0 0 0 1", r"groundtruth\.txt must hold numbers; got .*'a'"),
        ("rgb", "\udcff\udcfe", r"rgb\.txt, line 2"),
    ],
)
def test_damaged_lines_are_named(name: str, line: str, message: str, tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a")
    content = f"# first\n{line}\n".encode("utf-8", "surrogateescape")
    (folder / f"{name}.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_tum(folder, camera())


@pytest.mark.parametrize("name", ["groundtruth.txt", "depth.txt"])
def test_a_missing_list_is_named(name: str, tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read_tum(folder, camera())


def test_empty_lists_are_named(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "a")
    for name in ("rgb", "depth", "groundtruth"):
        (folder / f"{name}.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"a must hold a usable frame; got none of 0"):
        read_tum(folder)
