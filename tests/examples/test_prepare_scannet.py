"""Raw scans, true of generated rooms, become a data folder that the readers open."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from recipes import EXAMPLES, run_example
from reference.data.benchmarks.annotations import read_benchmarks
from reference.data.benchmarks.sample import TASKS
from reference.data.benchmarks.scenes import BenchmarkScenes
from reference.data.images import read_depth, read_matrix
from reference.data.infos import read_infos
from reference.data.prepare.manifest import checksum
from reference.data.prepare.merging import merge_scans
from reference.data.prepare.raw_scan import find_raw_scans
from reference.data.prepare.scene import Options, prepare_scan
from reference.data.scannet import ScanNetScans
from reference.data.sources import open_source
from scannet_fixture import (
    GAP,
    MISSED,
    SPLITS,
    VOXEL,
    RawRoom,
    jpeg,
    raw_rooms,
    write_exported,
    write_masks,
    write_raw_scans,
    write_releases,
)

SHORT = ("--frame-skip", 1, "--bev", 0)
POSED = Path("scannet", "posed_images")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, RawRoom]]:
    """Raw scans, the data folder made of them by two processes, and what is true."""
    folder = tmp_path_factory.mktemp("scannet")
    raw, root = folder / "raw", folder / "root"
    rooms = write_raw_scans(raw)
    write_releases(folder / "releases", rooms)
    options = ("--frame-skip", 1, "--bev", 32, "--jobs", 2)
    printed = run_example(
        "prepare_scannet.py", raw, "-o", root, *options, "--benchmarks", folder / "releases"
    )
    assert "3 scans prepared" in printed
    assert "15 frames, 3 left out: pose is not finite" in printed
    assert "x no object has the ids [1]: their boxes are zeros" in printed
    return raw, root, rooms


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def raw_scan(folder: Path, scene: str = "scene0000_00", **options: Any) -> tuple[Path, RawRoom]:
    room = raw_rooms([scene], **{"views": 3, "lost": ()} | options)[scene]
    write_raw_scans(folder / "raw", {scene: room})
    return folder / "raw", room


def test_boxes_are_those_of_the_rooms(made: tuple[Path, Path, dict[str, RawRoom]]) -> None:
    _, root, rooms = made
    for scene, room in rooms.items():
        listed = load(root / "metadata" / f"scannet_{SPLITS[scene]}_gt_box.json")
        boxes = np.array(listed[f"scannet/{scene}"])
        assert len(boxes) == max(room.ids) + 1
        assert not boxes[GAP].any()
        for number, box in room.boxes.items():
            assert np.abs(boxes[number] - box).max() < 1e-3 < VOXEL
        predicted = load(root / "metadata" / f"scannet_{SPLITS[scene]}_pred_box.json")
        proposals = np.array(predicted[f"scannet/{scene}"])
        wanted = [box for number, box in room.boxes.items() if number != room.ids[MISSED]]
        np.testing.assert_allclose(proposals, wanted, atol=1e-3)


def test_frames_are_as_recorded(made: tuple[Path, Path, dict[str, RawRoom]]) -> None:
    _, root, rooms = made
    for scene, room in rooms.items():
        folder = root / POSED / scene
        names = [path.stem for path in sorted(folder.glob("*.jpg"))]
        assert names == ["00000", "00001", "00003", "00004", "00005"]
        for i, name in zip((0, 1, 3, 4, 5), names, strict=True):
            assert (folder / f"{name}.jpg").read_bytes() == jpeg(room, i)
            pose = read_matrix(folder / f"{name}.txt").numpy()
            np.testing.assert_array_equal(pose.astype("f4"), room.poses[i].astype("f4"))
        k = read_matrix(folder / "depth_intrinsic.txt")[:3, :3]
        torch.testing.assert_close(k.float(), room.frames.intrinsics[0, 0])
        assert read_matrix(folder / "intrinsic.txt")[0, 0] == 2 * k[0, 0]
        info = read_infos(root / "embodiedscan")[f"scannet/{scene}"]
        assert info.split == SPLITS[scene]
        assert [Path(x).stem for x in info.images] == names
        np.testing.assert_allclose(info.axis_align, room.align, atol=1e-5)
        np.testing.assert_allclose(info.depth_cam2img[:3, :3], k)


def test_the_readers_see_the_rooms(made: tuple[Path, Path, dict[str, RawRoom]]) -> None:
    _, root, rooms = made
    scans = ScanNetScans(root, views=5, size=(36, 48))
    assert scans.names == tuple(f"scannet/{scene}" for scene in SPLITS)
    assert scans.splits == tuple(SPLITS.values())
    assert scans.predicted == {"scannet/scene0002_00"}
    for index, room in enumerate(rooms.values()):
        scene, kept = scans[index], [0, 1, 3, 4, 5]
        close = torch.testing.assert_close
        close(scene.frames.poses, room.frames.poses[:, kept], atol=1e-4, rtol=0)
        close(scene.frames.depths, room.frames.depths[:, kept], atol=6e-4, rtol=0)
        if SPLITS[room.scene] == "train":
            names = [item.name for item in room.room.objects]
            assert [item.name for item in scene.objects] == [*names, "floor"]
            assert len(scene.boxes) == len(room.ids)


def test_a_picture_from_above(made: tuple[Path, Path, dict[str, RawRoom]]) -> None:
    _, root, rooms = made
    for scene in rooms:
        with Image.open(root / "scannet" / "scans" / scene / "view_0.png") as picture:
            assert picture.size == (32, 32)
            assert len(picture.getcolors(32**2) or []) > 30


def test_manifests_hold_checksums(made: tuple[Path, Path, dict[str, RawRoom]]) -> None:
    _, root, rooms = made
    for scene in rooms:
        manifest = load(root / POSED / scene / "manifest.json")
        assert len(manifest["outputs"]) == 5 * 3 + 2 + 2
        for name, file in manifest["outputs"].items():
            content = (root / name).read_bytes()
            assert file == {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        assert manifest["skipped"] == {"pose is not finite": 1}
    assert not (root / ".preparing").exists()
    report = load(root / "prepare_report.json")
    assert {x["status"] for x in report["scans"].values()} == {"prepared"}
    assert set(report["annotations"]) == {
        f"tasks/{task}_{split}.json" for task in TASKS for split in ("train", "val")
    }
    assert report["annotations_left_out"] == []


def test_annotations_go_with_the_scans(made: tuple[Path, Path, dict[str, RawRoom]]) -> None:
    _, root, rooms = made
    train = BenchmarkScenes(root, read_benchmarks(root, "train"), together="scene", views=5, size=8)
    assert len(train) == 2
    for index in range(2):
        scene = train[index]
        room = rooms[scene.name.partition("/")[2]]
        for sample in train.samples(index):
            meant = [scene.objects[row] for row in sample.turn.objects]
            truth = [room.room.objects[room.ids.index(number)] for number in sample.object_ids]
            assert [x.name for x in meant] == [x.name for x in truth if sample.turn.objects]
            if sample.task == "scan2cap":
                assert np.abs(np.array(sample.turn.point) - truth[0].box[:3]).max() < 1e-3
    samples = read_benchmarks(root, "val")
    judged = BenchmarkScenes(root, samples, judged=True, views=5, size=8)
    assert len(judged) == len(samples)
    missed = rooms["scene0002_00"].ids[MISSED]
    for item in judged.items:
        (sample,) = item.samples
        if sample.task == "scan2cap":
            assert sample.matched == (sample.object_ids != (missed,))
        if sample.task == "scanrefer":
            assert len(sample.turn.objects) == int(sample.object_ids != (missed,))
    captions = [x for x in samples if x.task == "scan2cap"]
    assert {x.matched for x in captions} == {True, False}


def test_training_draws_from_the_annotations(
    made: tuple[Path, Path, dict[str, RawRoom]], recwarn: pytest.WarningsRecorder
) -> None:
    _, root, _ = made
    source = open_source(str(root), views=3, size=16, turns=4, hidden=1)
    # The object without a proposal cannot be learned from predicted boxes.
    assert all("box_input" in str(w.message) or "overlaps" in str(w.message) for w in recwarn)
    assert len(recwarn) == 1
    asked = {sample.turn.question for sample in read_benchmarks(root, "train")}
    scene = source.train(1)
    assert scene.name == "scannet/scene0001_00"
    assert {turn.question for turn in scene.turns} <= asked
    judged = {sample.turn.question for sample in read_benchmarks(root, "val")}
    assert {turn.question for turn in source.held_out(0).turns} <= judged


def test_what_is_whole_is_not_done_again(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    raw, _ = raw_scan(tmp_path)
    root = tmp_path / "root"
    call = ("prepare_scannet.py", raw, "-o", root, *SHORT)
    call_main(*call)
    before = contents(root)
    call_main(*call)
    assert "1 scans kept" in capsys.readouterr().out
    after = contents(root)
    assert {k for k in before if before[k] != after[k]} == {"prepare_report.json"}
    picture = root / POSED / "scene0000_00" / "00001.jpg"
    content = picture.read_bytes()
    picture.write_bytes(content[:-1] + b"x")
    call_main(*call)
    assert "1 scans kept" in capsys.readouterr().out
    call_main(*call, "--verify")
    assert (
        "again scene0000_00: scannet/posed_images/scene0000_00/00001.jpg has another checksum"
        in (capsys.readouterr().out)
    )
    assert picture.read_bytes() == content
    picture.unlink()
    call_main(*call)
    assert "00001.jpg is missing or cut off" in capsys.readouterr().out
    call_main("prepare_scannet.py", raw, "-o", root, "--frame-skip", 2, "--bev", 0)
    assert "again scene0000_00: other options" in capsys.readouterr().out
    assert [p.stem for p in sorted(picture.parent.glob("*.jpg"))] == ["00000", "00002"]
    text = raw / "scans" / "scene0000_00" / "scene0000_00.txt"
    text.write_text("sceneType = Room\n")
    call_main("prepare_scannet.py", raw, "-o", root, "--frame-skip", 2, "--bev", 0)
    assert "again scene0000_00: other inputs" in capsys.readouterr().out
    info = read_infos(root / "embodiedscan")["scannet/scene0000_00"]
    assert torch.equal(info.axis_align, torch.eye(4, dtype=torch.float64))


def test_a_scan_changes_its_split(tmp_path: Path) -> None:
    raw, _ = raw_scan(tmp_path)
    (scan,), root = find_raw_scans(raw), tmp_path / "root"
    options = Options(frame_skip=1, bev=0)
    assert prepare_scan(scan, root, "train", options).status == "prepared"
    merge_scans(root)
    assert (root / "objects" / "scene0000_00.json").is_file()
    assert prepare_scan(scan, root, "val", options).status == "kept"
    assert merge_scans(root) == ["scannet/scene0000_00"]
    assert ScanNetScans(root).splits == ("val",)
    assert load(root / "metadata" / "scannet_train_gt_box.json") == {}
    assert not list((root / "objects").iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {examples!r})
import prepare_scannet
from reference.data.prepare import scene

replace, calls = os.replace, []

def die_at_the_second(source, to):
    if Path(source).parent.name == "posed_images":
        calls.append(to)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, to)

scene.os.replace = die_at_the_second
sys.argv = ["prepare_scannet.py", *{options!r}]
prepare_scannet.main()
"""


def test_a_killed_run_leaves_no_half_scan(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    rooms = raw_rooms(views=3, lost=())
    raw, root = tmp_path / "raw", tmp_path / "root"
    write_raw_scans(raw, rooms)
    options = [str(x) for x in (raw, "-o", root, "--frame-skip", 1, "--bev", 16)]
    script = KILLED.format(examples=str(EXAMPLES), options=options)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert os.listdir(root / POSED) == ["scene0000_00"]
    assert len(ScanNetScans(root, views=3, size=8)[0].frames.images[0]) == 3
    assert (root / ".preparing" / "scene0001_00").is_dir()
    call_main("prepare_scannet.py", *options)
    assert "1 scans kept, 2 scans prepared" in capsys.readouterr().out
    assert not (root / ".preparing").exists()
    whole = tmp_path / "whole"
    for scan in find_raw_scans(raw):
        prepare_scan(scan, whole, SPLITS[scan.scene], Options(1, 16))
    merge_scans(whole)
    first, second = contents(root), contents(whole)
    del first["prepare_report.json"]
    assert first == second


@pytest.mark.parametrize(
    ("ending", "damage", "message"),
    [
        (".sens", lambda b: b[:-300], "must hold 3 whole frames; got 2"),
        (".sens", lambda b: b"\3" + b[1:], r"must be a \.sens file of version 4; got 3"),
        ("_vh_clean_2.ply", lambda b: b[:600], "must hold .* vertices; got"),
        ("_vh_clean_2.0.010000.segs.json", lambda b: b"{", "must be a json file"),
        ("_vh_clean_2.0.010000.segs.json", lambda b: b'{"segIndices": [1]}', "a segment of each"),
        ("_vh_clean_2.0.010000.segs.json", lambda b: b'{"segIndices": "a"}', "'segIndices'; got"),
        (".aggregation.json", lambda b: b"{}", "must hold a list 'segGroups'; got NoneType"),
        (".aggregation.json", lambda b: b'{"segGroups": [{}]}', "each group an 'objectId'"),
        (
            ".aggregation.json",
            lambda b: b'{"segGroups": [{"objectId": -1, "label": "a", "segments": []}]}',
            "must give objectId, label and segments; got -1",
        ),
        (
            ".aggregation.json",
            lambda b: b.replace(b'"objectId": 2', b'"objectId": 0'),
            "each objectId once; got 0 again",
        ),
        (".txt", lambda b: b"axisAlignment = 1 2", "must give axisAlignment as 16 numbers"),
        (".txt", lambda b: b"axisAlignment = " + b"nan " * 16, "axisAlignment as finite numbers"),
    ],
)
def test_a_corrupt_scan_is_reported(
    tmp_path: Path, ending: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    raw, _ = raw_scan(tmp_path)
    (scan,) = find_raw_scans(raw)
    path = scan.folder / f"{scan.scene}{ending}"
    path.write_bytes(damage(path.read_bytes()))
    outcome = prepare_scan(scan, tmp_path / "root", None, Options(1, 0))
    assert outcome.status == "failed"
    with pytest.raises(ValueError, match=message):
        raise ValueError(outcome.reason)
    assert str(path) in outcome.reason
    assert not contents(tmp_path / "root")


def test_the_others_are_prepared(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    rooms = raw_rooms(views=3, lost=())
    raw, root = tmp_path / "raw", tmp_path / "root"
    write_raw_scans(raw, rooms)
    np.savez(raw / "mask" / "scene0001_00.mask.npz", a=np.zeros(3))
    write_releases(tmp_path / "releases", rooms)
    given = ("--benchmarks", tmp_path / "releases")
    call_main("prepare_scannet.py", raw, "-o", root, *SHORT, *given)
    printed = capsys.readouterr().out
    assert "1 scans failed, 2 scans prepared" in printed
    assert "failed scene0001_00: " in printed
    assert "scene0001_00.mask.npz must be a sparse matrix of SciPy" in printed
    assert "annotations left out of " in printed
    assert "object_id must be an object of scannet/scene0001_00, of which true boxes" in printed
    report = load(root / "prepare_report.json")
    assert report["scans"]["scene0001_00"]["status"] == "failed"
    assert report["annotations_left_out"]
    assert ScanNetScans(root).names == ("scannet/scene0000_00", "scannet/scene0002_00")


def test_damaged_frames_are_left_out(tmp_path: Path) -> None:
    raw, room = raw_scan(tmp_path, views=4)
    (scan,) = find_raw_scans(raw)
    content = scan.sens.read_bytes()
    content = content.replace(jpeg(room, 0)[:2], b"xx", 1)
    content = content.replace(jpeg(room, 2) + b"\x78\x9c", jpeg(room, 2) + b"xx", 1)
    scan.sens.write_bytes(content)
    outcome = prepare_scan(scan, tmp_path / "root", None, Options(1, 0))
    assert (outcome.status, outcome.frames) == ("prepared", 2)
    assert outcome.skipped == {"colour is damaged": 1, "depth is damaged": 1}


def test_depth_in_other_steps(tmp_path: Path) -> None:
    raw, room = raw_scan(tmp_path, views=1)
    (scan,) = find_raw_scans(raw)
    content = scan.sens.read_bytes()
    sizes = [struct.pack("<fQ", steps, 1) for steps in (1000.0, 500.0)]
    scan.sens.write_bytes(content.replace(*sizes))
    assert prepare_scan(scan, tmp_path / "root", None, Options(1, 0)).status == "prepared"
    depth = read_depth(tmp_path / "root" / POSED / room.scene / "00000.png")
    torch.testing.assert_close(depth, 2 * room.frames.depths[0, 0], atol=2e-3, rtol=0)


def test_masks_of_another_mesh_are_named(tmp_path: Path) -> None:
    raw, room = raw_scan(tmp_path, views=1)
    other = raw_rooms(["scene0001_00"], views=1)["scene0001_00"]
    write_masks(raw / "mask" / f"{room.scene}.mask.npz", other)
    (scan,) = find_raw_scans(raw)
    outcome = prepare_scan(scan, tmp_path / "root", None, Options(1, 0))
    assert outcome.status == "failed"
    assert "mask.npz must have a column for each of" in outcome.reason


def test_exported_frames(tmp_path: Path) -> None:
    room = raw_rooms(["scene0000_00"])["scene0000_00"]
    raw = tmp_path / "raw"
    write_raw_scans(raw, {room.scene: room})
    (scan,) = find_raw_scans(raw)
    assert prepare_scan(scan, tmp_path / "a", None, Options(1, 0)).frames == 5
    scan.sens.unlink()
    write_exported(scan.folder, room)
    (scan.folder / "depth" / "4.png").unlink()
    picture = Image.open(scan.folder / "color" / "3.jpg")
    picture.save(scan.folder / "color" / "3.png")
    (scan.folder / "color" / "3.jpg").unlink()
    outcome = prepare_scan(scan, tmp_path / "b", None, Options(1, 0))
    assert outcome.skipped == {"pose is not finite": 1, "depth or pose is missing": 1}
    assert outcome.frames == 4
    first, second = (
        ScanNetScans(tmp_path / x, views=4, size=16).scene(0, frames=torch.tensor([0, 1, 2, n]))
        for x, n in (("a", 4), ("b", 3))
    )
    torch.testing.assert_close(first.frames.poses, second.frames.poses)
    torch.testing.assert_close(first.frames.depths, second.frames.depths)
    torch.testing.assert_close(first.frames.images, second.frames.images, atol=0.1, rtol=0)
    for name in ("depth/0.png", "color/1.jpg"):
        (scan.folder / name).write_bytes(b"no picture")
    outcome = prepare_scan(scan, tmp_path / "c", None, Options(1, 0))
    assert outcome.frames == 2


def test_a_scan_without_annotations(tmp_path: Path) -> None:
    raw, _ = raw_scan(tmp_path)
    (scan,) = find_raw_scans(raw)
    scan.aggregation.unlink()
    scan.mask.unlink()
    (scan,) = find_raw_scans(raw)
    root = tmp_path / "root"
    outcome = prepare_scan(scan, root, "test", Options(1, 0))
    assert outcome.notes == (
        "no aggregation or segments: no true boxes",
        "no mask file: no proposals",
    )
    scan.vertices.unlink()
    outcome = prepare_scan(scan, root, "test", Options(1, 0))
    assert (outcome.reason, outcome.notes) == ("other inputs", ("no mesh: no boxes",))
    merge_scans(root)
    assert ScanNetScans(root, views=2, size=8)[0].boxes.shape == (0, 6)


def test_files_of_others_stay(tmp_path: Path) -> None:
    raw, _ = raw_scan(tmp_path)
    root = tmp_path / "root"
    theirs = root / POSED / "scene0000_00"
    theirs.mkdir(parents=True)
    (theirs / "00000.jpg").write_bytes(b"mine")
    (scan,) = find_raw_scans(raw)
    outcome = prepare_scan(scan, root, None, Options(1, 0))
    assert outcome.status == "failed"
    assert "scene0000_00 must be absent, or prepared by this recipe" in outcome.reason
    assert (theirs / "00000.jpg").read_bytes() == b"mine"
    shutil.rmtree(theirs)
    (root / "metadata").mkdir()
    (root / "metadata" / "scannet_train_gt_box.json").write_text(
        '{"scannet/b": [[1, 1, 1, 1, 1, 1]]}'
    )
    prepare_scan(scan, root, None, Options(1, 0))
    merge_scans(root)
    boxes = load(root / "metadata" / "scannet_train_gt_box.json")
    assert set(boxes) == {"scannet/b", "scannet/scene0000_00"}


def test_the_raw_scans_may_lie_in_the_data_folder(tmp_path: Path) -> None:
    raw, room = raw_scan(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    shutil.move(raw, root / "scannet")
    before = contents(root / "scannet" / "scans")
    (scan,) = find_raw_scans(root / "scannet")
    outcome = prepare_scan(scan, root, None, Options(1, 16))
    assert outcome.status == "prepared"
    after = contents(root / "scannet" / "scans")
    assert after.keys() - before.keys() == {"scene0000_00/view_0.png"}
    assert before.items() <= after.items()
    assert [x.scene for x in find_raw_scans(root / "scannet")] == [room.scene]
    assert prepare_scan(scan, root, None, Options(1, 16)).status == "kept"
    assert checksum(scan.text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--frame-skip", 0), "--frame-skip must be at least 1; got 0"),
        (("--scenes", "x*"), "--scenes must be a pattern of scans of .*; got x"),
        (("--benchmarks", "nowhere"), "--benchmarks must be a folder of released annotations"),
    ],
)
def test_options(
    tmp_path: Path,
    call_main: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    message: str,
) -> None:
    raw, _ = raw_scan(tmp_path, views=1)
    with pytest.raises(SystemExit) as stopped:
        call_main("prepare_scannet.py", raw, "-o", tmp_path / "root", *SHORT, *options)
    with pytest.raises(ValueError, match=message):
        raise ValueError(f"{stopped.value} {capsys.readouterr().err}")


def test_folders_without_scans(tmp_path: Path, call_main: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match=r"RAW must be a folder with scans/SCENE/SCENE\.sens"):
        call_main("prepare_scannet.py", tmp_path, "-o", tmp_path / "root")
    raw, _ = raw_scan(tmp_path, views=1)
    (raw / "scans" / "scene0000_00" / "scene0000_00.sens").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"no scan of .*raw could be prepared"):
        call_main("prepare_scannet.py", raw, "-o", tmp_path / "root", *SHORT)
    for split in ("train", "val"):
        (raw / f"scannetv2_{split}.txt").write_text("scene0000_00")
    with pytest.raises(SystemExit, match="must list scans of one split; got scene0000_00 again"):
        call_main("prepare_scannet.py", raw, "-o", tmp_path / "root", *SHORT)
