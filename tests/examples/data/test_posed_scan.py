from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import read_all, write_exported
from PIL import Image
from reference.data.open_scan import open_scan
from reference.data.posed_scan import Frame, PosedScan, Skipped, gather, natural

SHEARED = torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0])).double()


def frame(name: str, pose: torch.Tensor | None = None, size: int = 4) -> Frame:
    pixels = torch.zeros(3, size, size), torch.ones(size, size), torch.eye(3)
    return Frame(name, torch.eye(4).double() if pose is None else pose, lambda: pixels)


def scan(*frames: Frame) -> PosedScan:
    return gather(Path("somewhere"), "made up", frames)


def test_frames_without_a_finite_pose_are_skipped() -> None:
    lost = frame("b", torch.full((4, 4), float("-inf")).double())
    found = gather(Path("s"), "made up", [frame("a"), lost], [Skipped("c", "no depth")], up="+y")
    assert [x.name for x in found.frames] == ["a"]
    assert found.skipped == (Skipped("c", "no depth"), Skipped("b", "pose is not finite"))
    assert (len(found), found.up) == (1, "+y")


def test_a_scan_without_a_usable_frame_is_named() -> None:
    with pytest.raises(ValueError, match=r"s must hold a usable frame; got none of 1: no depth"):
        gather(Path("s"), "made up", [], [Skipped("c", "no depth")])
    with pytest.raises(ValueError, match=r"got none of 0: it lists none"):
        gather(Path("s"), "made up", [])


def test_views_are_joined_in_the_order_asked_for() -> None:
    poses = [torch.eye(4).double().index_fill(1, torch.tensor(3), i / 10) for i in range(3)]
    for pose in poses:
        pose[3, 3] = 1
        pose[3, :3] = 0
    frames = scan(*(frame(str(i), pose) for i, pose in enumerate(poses))).read_views([2, 0])
    assert frames.images.shape == (1, 2, 3, 4, 4)
    torch.testing.assert_close(frames.poses[0, :, 0, 3], torch.tensor([0.2, 0.0]))


def test_a_pose_that_is_not_rigid_is_named() -> None:
    with pytest.raises(ValueError, match=r"frame b of somewhere: poses must be rigid"):
        scan(frame("b", SHEARED)).read(0)


def test_frames_of_other_sizes_are_named() -> None:
    odd = scan(frame("a"), frame("b", size=5), frame("c"))
    message = r"frame b of somewhere must be of size \(4, 4\); got \(5, 5\)"
    with pytest.raises(ValueError, match=message):
        odd.read_views(range(3))
    frames, names, damaged = odd.read_whole_views(range(3))
    assert (frames.views, names) == (2, ["a", "c"])
    assert damaged[0].reason.startswith("frame b of somewhere")


def test_what_is_damaged_is_left_out_and_named(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "a")
    (folder / "color" / "9.jpg").write_bytes(b"no picture")
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(folder / "depth" / "11.png")
    found = open_scan(folder)
    with pytest.raises(ValueError, match=r"color/9\.jpg must be a whole picture"):
        read_all(found)
    frames, names, damaged = found.read_whole_views(range(5))
    assert names == ["8", "10", "12"]
    assert frames.views == 3
    assert [x.name for x in damaged] == ["9", "11"]
    assert "depth/11.png must be a 16-bit PNG" in damaged[1].reason


def test_a_scan_of_damaged_frames_is_named() -> None:
    broken = replace(scan(frame("a")), frames=(frame("a", SHEARED),))
    with pytest.raises(ValueError, match=r"somewhere must hold a whole frame; got 1: frame a"):
        broken.read_whole_views([0])


def test_natural_order_counts() -> None:
    names = ["frame_10.jpg", "frame_9.jpg", "a.jpg", "10", "9", "frame_09x.jpg"]
    assert sorted(names, key=natural) == [
        "9", "10", "a.jpg", "frame_9.jpg", "frame_09x.jpg", "frame_10.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/data/kitchen", "/data/kitchen.sens", "/kitchen/transforms.json"]
)
def test_scans_are_called_as_their_files(path: str) -> None:
    assert gather(Path(path), "made up", [frame("a")]).name == "kitchen"
