from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.data.scannet import ScanNetScans, find_scans
from scans import ALIGN, named, pose, text, write_boxes, write_infos, write_json, write_scan


def test_shipped_room_is_found_by_name_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = find_scans("furnished_room")
    assert root.parts[-3:] == ("examples", "data", "furnished_room")
    assert (root / "PROVENANCE.md").is_file()
    assert sum(path.stat().st_size for path in root.rglob("*")) < 6e6


def test_folder_is_found_by_path(tmp_path: Path) -> None:
    write_scan(tmp_path)
    assert find_scans(str(tmp_path)) == tmp_path


def test_other_folder_is_refused(tmp_path: Path) -> None:
    message = f"DATA must be a folder with scannet/posed_images; got {tmp_path}"
    with pytest.raises(ValueError, match=re.escape(message)):
        find_scans(tmp_path)
    with pytest.raises(ValueError, match="got no_such_room"):
        ScanNetScans("no_such_room")


def test_frames_without_infos(tmp_path: Path) -> None:
    write_scan(tmp_path)
    scans = ScanNetScans(tmp_path, views=3, size=12)
    assert len(scans) == 1
    assert scans.frames_per_scene == (3,)
    scene = scans[0]
    frames = scene.frames
    assert scene.name == "scannet/a"
    assert frames.images.shape == (1, 3, 3, 12, 12)
    torch.testing.assert_close(frames.poses[0, :, 0, 3], torch.tensor([0.0, 1.0, 2.0]))
    grey = frames.images[0].mean((1, 2, 3)) * 255
    torch.testing.assert_close(grey, torch.tensor([40.0, 80.0, 120.0]), atol=1.0, rtol=0)
    assert frames.depths[0, :, 5, 5].tolist() == [1.0, 2.0, 3.0]
    assert frames.depths[0, :, 0, 0].tolist() == [0.0, 0.0, 0.0]  # column 2, after the crop
    assert frames.intrinsics[0, 0].tolist() == [[10, 0, 5.5], [0, 10, 5.5], [0, 0, 1]]
    assert scene.boxes.shape == (0, 6)
    assert scene.objects == scene.turns == ()
    assert scene.instances is None


def test_resizing_keeps_the_world_where_it_is(tmp_path: Path) -> None:
    write_scan(tmp_path)
    for size in (24, (24, 32), (6, 16)):
        frames = ScanNetScans(tmp_path, views=3, size=size)[0].frames
        height, width = (size, size) if isinstance(size, int) else size
        assert frames.size == (height, width)
        centre = frames.world_coords()[0, :, height // 2 - 1 : height // 2 + 1].mean((1, 2))
        torch.testing.assert_close(
            centre, torch.tensor([[0.0, 0, 1], [1, 0, 2], [2, 0, 3]]), atol=1e-5, rtol=0
        )


def test_colour_follows_the_depth(tmp_path: Path) -> None:
    write_scan(tmp_path, colour=(24, 32))
    assert ScanNetScans(tmp_path, views=2, size=8)[0].frames.images.shape == (1, 2, 3, 8, 8)


def test_alignment_from_text_and_infos(tmp_path: Path) -> None:
    write_scan(tmp_path)
    expected = torch.tensor(ALIGN) @ torch.from_numpy(pose(2.0)).float()
    folder = tmp_path / "scannet" / "scans" / "a"
    folder.mkdir(parents=True)
    line = "axisAlignment = " + " ".join(text(ALIGN).split())
    (folder / "a.txt").write_text(f"colorHeight = 3\n{line} \nsceneType = Kitchen\n")
    scene = ScanNetScans(tmp_path, views=3, size=8)[0]
    torch.testing.assert_close(scene.frames.poses[0, 2], expected)
    shutil.rmtree(folder)
    write_infos(tmp_path, "val", "a", axis_align_matrix=ALIGN)
    scene = ScanNetScans(tmp_path, views=3, size=8)[0]
    torch.testing.assert_close(scene.frames.poses[0, 2], expected)


def test_infos_choose_the_frames_and_stand_in_for_intrinsics(tmp_path: Path) -> None:
    folder = write_scan(tmp_path, frames=5)
    shutil.move(folder / "depth_intrinsic.txt", tmp_path)
    intrinsics = np.loadtxt(tmp_path / "depth_intrinsic.txt")
    write_infos(tmp_path, "train", "a", depth_cam2img=intrinsics)
    scans = ScanNetScans(tmp_path, views=3, size=12)
    assert scans.frames_per_scene == (3,)
    assert scans[0].frames.intrinsics[0, 0, 0].tolist() == [10.0, 0.0, 5.5]


def test_splits(tmp_path: Path) -> None:
    for scene in "abc":
        write_scan(tmp_path, scene)
    write_infos(tmp_path, "train", "b")
    write_infos(tmp_path, "val", "a")
    names = {split: ScanNetScans(tmp_path, split=split).names for split in ("train", "val", None)}
    assert ScanNetScans(tmp_path).splits == ("train", "val", None)
    assert names["train"] == ("scannet/b",)
    assert names["val"] == ("scannet/a",)
    assert names[None] == ("scannet/b", "scannet/a", "scannet/c")
    with pytest.raises(ValueError, match="must hold a scan of the split 'test'; got none"):
        ScanNetScans(tmp_path, split="test")


def test_scans_that_are_only_listed_are_left_out(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_infos(tmp_path, "train", "a", "z")
    with pytest.warns(UserWarning, match="lacks 1 of 2 listed scans"):
        scans = ScanNetScans(tmp_path)
    assert (scans.names, scans.absent) == (("scannet/a",), 1)


def test_uniform_frames_are_spread_and_sorted(tmp_path: Path) -> None:
    write_scan(tmp_path, frames=6)
    xs = ScanNetScans(tmp_path, views=3, size=8)[0].frames.poses[0, :, 0, 3]
    assert xs[0] == 0
    assert xs.diff().min() >= 2


def test_draws_are_seeded_sorted_and_without_repeats(tmp_path: Path) -> None:
    write_scan(tmp_path, frames=6)
    scans = ScanNetScans(tmp_path, views=3, size=8)
    drawn = [scans.scene(0, draw).frames.poses[0, :, 0, 3].tolist() for draw in range(20)]
    assert drawn == [scans.scene(0, draw).frames.poses[0, :, 0, 3].tolist() for draw in range(20)]
    assert all(x == sorted(set(x)) and len(x) == 3 for x in drawn)
    assert {x for xs in drawn for x in xs} == set(range(6))
    assert len({tuple(x) for x in drawn}) > 5


def test_too_few_frames(tmp_path: Path) -> None:
    write_scan(tmp_path)
    message = "views must be at most the 3 frames of scannet/a; got 4"
    for draw in (None, 0):
        with pytest.raises(ValueError, match=message):
            ScanNetScans(tmp_path, views=4).scene(0, draw)
        scene = ScanNetScans(tmp_path, views=4, size=8, allow_fewer=True).scene(0, draw)
        assert scene.frames.poses[0, :, 0, 3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", ["-inf", "nan"])
def test_frames_without_a_pose_are_skipped_and_counted_once(tmp_path: Path, value: str) -> None:
    folder = write_scan(tmp_path, frames=4)
    (folder / "00010.txt").write_text(" ".join([value] * 16))
    scans = ScanNetScans(tmp_path, views=3, size=8)
    with pytest.warns(UserWarning, match="scannet/a: 1 frames without a finite pose"):
        scene = scans[0]
    assert scene.frames.poses[0, :, 0, 3].tolist() == [0, 2, 3]
    assert scans.skipped == {"scannet/a": 1}
    scans.scene(0, draw=1)  # a second warning would be an error


def test_decoded_frames_stay_in_memory(tmp_path: Path) -> None:
    folder = write_scan(tmp_path)
    scans = ScanNetScans(tmp_path, views=3, size=8)
    first = scans[0]
    shutil.rmtree(folder)
    again = scans[0]
    torch.testing.assert_close(again.frames.images, first.frames.images)
    again.frames.images.zero_()
    assert scans[0].frames.images.max() > 0


def test_memory_is_bounded(tmp_path: Path) -> None:
    folder = write_scan(tmp_path)
    for kept in (0, 2):
        scans = ScanNetScans(tmp_path, views=3, size=8, cache_frames=kept)
        assert scans[0].frames.views == 3
        assert len(scans._frames) == kept
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r"00000\.jpg"):
        scans[0]


def test_frames_may_be_given(tmp_path: Path) -> None:
    write_scan(tmp_path, frames=4)
    scans = ScanNetScans(tmp_path, views=2, size=8)
    given = scans.scene(0, frames=torch.tensor([3, 0, 1]))
    assert given.frames.poses[0, :, 0, 3].tolist() == [3, 0, 1]
    for bad in ([0, 4], [-1], []):
        with pytest.raises(ValueError, match=r"frames must be some of the 4 of scannet/a; got \["):
            scans.scene(0, frames=torch.tensor(bad, dtype=torch.long))


def test_turns_follow_the_names(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path)
    assert ScanNetScans(tmp_path, views=1, size=8)[0].turns == ()
    write_json(tmp_path / "objects.json", {"objects": named(names=["door", "lamp"])})
    scans = ScanNetScans(tmp_path, views=1, size=8, turns=3)
    assert [x.name for x in scans.objects(0)] == ["door", "lamp"]
    assert len(scans[0].turns) == 3
    assert scans.scene(0, draw=4).turns == scans.scene(0, draw=4).turns
    assert len({scans.scene(0, draw).turns for draw in range(9)}) > 1
    assert ScanNetScans(tmp_path, views=1, size=8, turns=0)[0].turns == ()


@pytest.mark.parametrize("options", [{"views": 0}, {"size": 0}, {"size": (8, -1)}])
def test_options_must_be_positive(tmp_path: Path, options: dict[str, int]) -> None:
    write_scan(tmp_path)
    with pytest.raises(ValueError, match="views and size must be positive; got"):
        ScanNetScans(tmp_path, **options)


def test_split_must_be_known(tmp_path: Path) -> None:
    write_scan(tmp_path)
    with pytest.raises(ValueError, match=r"split must be one of .*; got 'trian'"):
        ScanNetScans(tmp_path, split="trian")


def test_shipped_room() -> None:
    scans = ScanNetScans("furnished_room", views=16, size=96)
    assert scans.names == ("scannet/cc0room_00", "scannet/cc0room_01")
    assert scans.frames_per_scene == (32, 16)
    assert ScanNetScans("furnished_room", split="val").names == ("scannet/cc0room_01",)
    for scene in (scans[0], scans[1]):
        assert len(scene.objects) == len(scene.boxes) == 28
        assert {"bed", "teddy bear", "milk carton"} <= {x.name for x in scene.objects}
        assert scene.instances is not None
        shown = (scene.instances >= 0) & scene.frames.valid[0]
        assert shown.float().mean() > 0.3
        points = scene.frames.world_coords()[0][shown]
        boxes = scene.boxes[scene.instances[shown]]
        inside = ((points - boxes[:, :3]).abs() <= boxes[:, 3:] / 2 + 0.01).all(-1)
        assert inside.float().mean() > 0.99
        outside = scene.frames.world_coords()[0][(scene.instances < 0) & scene.frames.valid[0]]
        assert outside[:, 2].min() > -0.02


@pytest.mark.parametrize(
    ("root", "height", "objects"), [("living_room", 0.03, 7), ("red_kitchen", 0.15, 11)]
)
def test_real_scans(shared: Path, root: str, height: float, objects: int) -> None:
    scans = ScanNetScans(shared / root, views=8, size=96)
    assert scans.frames_per_scene == (32,)
    scene = scans[0]
    assert len(scene.objects) == objects
    points = scene.frames.world_coords()[scene.frames.valid]
    assert points[:, 2].quantile(0.01) > -height  # the floor, after alignment
    for box in scene.boxes:
        inside = ((points - box[:3]).abs() <= box[3:] / 2 + 0.02).all(-1)
        assert inside.any()
