from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference.data.objects import (
    match_objects,
    predicted_scans,
    read_boxes,
    read_names,
    read_true_boxes,
)
from reference.data.scannet import ScanNetScans
from reference.data.scene import SceneObject
from scans import BOXES, named, write_boxes, write_json, write_scan


@pytest.mark.parametrize("key", ["name", "label"])
@pytest.mark.parametrize("file", ["objects.json", "objects_handmade.json"])
@pytest.mark.parametrize("where", [{}, {"scene": "scannet/a"}])
def test_names_are_matched(tmp_path: Path, key: str, file: str, where: dict[str, str]) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path)
    objects = [
        {"object_id": 7, key: "lamp", "box": BOXES[1], "colour": "red"},
        {"object_id": 0, key: "door", "box": [x + 1e-5 for x in BOXES[0]]},
    ]
    write_json(tmp_path / file, {"objects": objects, **where})
    scene = ScanNetScans(tmp_path, views=1, size=8)[0]
    assert [x.phrase for x in scene.objects] == ["door", "red lamp"]
    torch.testing.assert_close(scene.boxes, torch.tensor(BOXES))


def test_equal_boxes_are_told_apart_by_object_id(tmp_path: Path) -> None:
    write_scan(tmp_path)
    same = [BOXES[0], BOXES[0]]
    write_boxes(tmp_path, same)
    write_json(tmp_path / "objects.json", {"objects": named(same)})
    scene = ScanNetScans(tmp_path, views=1, size=8)[0]
    assert [x.name for x in scene.objects] == ["x", "y"]


def test_objects_serve_as_boxes(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_json(tmp_path / "objects.json", {"objects": named()})
    scene = ScanNetScans(tmp_path, views=1, size=8)[0]
    assert scene.objects[1] == SceneObject("y", tuple(BOXES[1]))
    torch.testing.assert_close(scene.boxes, torch.tensor(BOXES))


def test_names_of_another_scan_do_not_count(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path, BOXES[:1], "scannet_val_pred_box")
    write_json(tmp_path / "objects.json", {"scene": "scannet/b", "objects": named()})
    scene = ScanNetScans(tmp_path, views=1, size=8)[0]
    assert scene.boxes.shape == (1, 6)
    assert scene.objects == scene.turns == ()


def test_predicted_boxes_stay_unnamed(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path, [[x + 0.1 for x in box] for box in BOXES], "scannet_val_pred_box")
    write_json(tmp_path / "objects.json", {"objects": named()})
    assert ScanNetScans(tmp_path, views=1, size=8)[0].objects == ()


def test_names_for_some_boxes_are_refused(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path)
    write_json(tmp_path / "objects.json", {"objects": named()[:1]})
    message = r"objects of scannet/a must name every box or none; got no name for \[1\]"
    with pytest.raises(ValueError, match=message):
        ScanNetScans(tmp_path, views=1, size=8)[0]


def test_instances_are_rows_of_the_boxes(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path)
    objects = [{**named()[0], "object_id": 9}, {**named()[1], "object_id": 4}]
    write_json(tmp_path / "objects.json", {"objects": objects})
    ids = np.full((12, 16), 255, dtype=np.uint8)
    ids[:6], ids[6:, 8:], ids[6:, :4] = 9, 4, 5
    folder = tmp_path / "instance" / "a"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(ids).save(folder / f"{i * 10:05d}.png")
    instances = ScanNetScans(tmp_path, views=3, size=(24, 32))[0].instances
    expected = np.full((24, 32), -1)
    expected[:12], expected[12:, 16:] = 0, 1
    np.testing.assert_array_equal(instances, np.broadcast_to(expected, (3, 24, 32)))
    (folder / "00010.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"instance/a/00010\.png"):
        ScanNetScans(tmp_path, views=3)[0]


@pytest.mark.parametrize("row", [[1, 2, 3], [1] * 7, "box", [1, 2, 3, 1, 1, float("nan")]])
@pytest.mark.parametrize("name", ["scannet_train_gt_box", "scannet_val_pred_box"])
def test_damaged_box_is_named(tmp_path: Path, row: object, name: str) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path, [BOXES[0], row], name)
    with pytest.raises(ValueError, match=rf"{name}\.json must give boxes of scannet/a as 6 finite"):
        ScanNetScans(tmp_path)


def test_damaged_object_files_are_named(tmp_path: Path) -> None:
    write_scan(tmp_path)
    write_boxes(tmp_path, None)
    with pytest.raises(ValueError, match=r"gt_box\.json must list boxes for scannet/a; got None"):
        ScanNetScans(tmp_path)
    write_boxes(tmp_path)
    path = tmp_path / "objects.json"
    for content, message in [
        ("{", "must be a json file"),
        ("{}", "must hold a list 'objects'; got None"),
        ('{"objects": ["x"]}', "must give each object an object_id and a name; got 'x'"),
        ('{"objects": [{"name": "x"}]}', "must give each object an object_id and a name"),
        ('{"objects": [{"object_id": 0, "name": "x"}]}', "must give boxes of x as 6 finite"),
    ]:
        path.write_text(content)
        with pytest.raises(ValueError, match=rf"objects\.json {message}"):
            ScanNetScans(tmp_path)


def test_six_zeros_are_no_object() -> None:
    box = (0.0, 0.0, 2.0, 1.0, 1.0, 1.0)
    named = {0: SceneObject("door", box), 2: SceneObject("bed", (5.0, *box[1:]))}
    rows = (box, (0.0,) * 6, (5.0, *box[1:]))
    for names in (named, {}):
        matched = match_objects("a", rows, names)
        assert matched.boxes.shape == (2, 6)
        assert dict(matched.rows) == {0: 0, 2: 1}
        assert [item.name for item in matched.objects] == (["door", "bed"] if names else [])


def test_true_and_predicted_boxes(tmp_path: Path) -> None:
    box = [0.0, 0.0, 2.0, 1.0, 1.0, 1.0]
    for name in ("train_gt", "val_gt", "val_pred"):
        write_json(tmp_path / "metadata" / f"scannet_{name}_box.json", {f"scannet/{name}": [box]})
    assert set(read_boxes(tmp_path)) == {"scannet/train_gt", "scannet/val_pred"}
    assert set(read_true_boxes(tmp_path)) == {"scannet/train_gt", "scannet/val_gt"}
    assert predicted_scans(tmp_path) == {"scannet/val_pred"}


def test_names_of_many_scans(tmp_path: Path) -> None:
    for scene in "ab":
        content = {"scene": f"scannet/{scene}", "objects": named(names=[f"{scene}1", f"{scene}2"])}
        write_json(tmp_path / "objects" / f"{scene}.json", content)
    names = read_names(tmp_path)
    assert {k: [x.name for x in v.values()] for k, v in names.items()} == {
        "scannet/a": ["a1", "a2"],
        "scannet/b": ["b1", "b2"],
    }
