from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from layouts import write_exported, write_sens, write_transforms
from reference.data.unlabelled import UnlabelledScans, open_scans
from scans import write_scan

OPTIONS = {"views": 3, "size": 16}


def test_scans_of_any_layout_in_one_folder(tmp_path: Path) -> None:
    write_exported(tmp_path / "b")
    write_transforms(tmp_path / "c")
    write_sens(tmp_path / "d")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("not a scan")
    scans = UnlabelledScans(tmp_path, **OPTIONS)
    assert len(scans) == 3
    assert [scans.scene(i).name for i in range(3)] == [f"unlabelled/{x}" for x in "bca"], (
        "named as their files"
    )
    for index in range(3):
        scene = scans.scene(index)
        assert scene.frames.images.shape == (1, 3, 3, 16, 16)
        assert scene.turns == scene.objects == ()
        assert scene.boxes.shape == (0, 6)
        assert scene.frames.depths.any()


def test_scans_of_a_data_folder(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", frames=4)
    write_scan(tmp_path, "b", frames=4)
    scans = UnlabelledScans(tmp_path, **OPTIONS)
    assert [scans.scene(i).name for i in range(3)] == [f"unlabelled/{x}" for x in "aba"]


def test_scenes_are_functions_of_their_index(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", frames=6)
    one, two = (UnlabelledScans(tmp_path, **OPTIONS, cache_frames=n) for n in (128, 1))
    drawn = [one.scene(i).frames for i in range(6)]
    for index in (5, 2):
        frames = two.scene(index).frames
        assert torch.equal(frames.images, drawn[index].images)
        assert torch.equal(frames.poses, drawn[index].poses)
    assert len(two._frames) == 1
    assert len({tuple(frames.poses[0, :, 0, 3].tolist()) for frames in drawn}) > 1
    for frames in drawn:
        places = frames.poses[0, :, 0, 3].tolist()
        assert places == sorted(set(places))
    other = UnlabelledScans(tmp_path, **OPTIONS, seed=1)
    assert any(not torch.equal(other.scene(i).frames.poses, drawn[i].poses) for i in range(6))


def test_a_shipped_scan_is_found_by_name() -> None:
    assert len(open_scans("furnished_room")) == 2


def test_a_scan_with_too_few_frames_is_named(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", frames=2)
    with pytest.raises(ValueError, match=r"a must have 3 usable frames; got 2"):
        UnlabelledScans(tmp_path, **OPTIONS)


def test_a_folder_that_is_no_scan_is_named(tmp_path: Path) -> None:
    write_exported(tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "depth")
    with pytest.raises(ValueError, match=r"SCAN must be .*; got .*a"):
        UnlabelledScans(tmp_path, **OPTIONS)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"FOLDER must hold scans; got {tmp_path}"):
        UnlabelledScans(tmp_path, **OPTIONS)
