from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.data.infos import load_plain_pickle, read_infos

EYE = np.eye(4).tolist()


def entry(name: str = "scannet/a", **other: object) -> dict[str, object]:
    images = [{"img_path": f"scannet/posed_images/a/{i:05d}.jpg"} for i in range(3)]
    fields = {"axis_align_matrix": EYE, "depth_cam2img": EYE, "images": images}
    return {"sample_idx": name, **fields, **other}


def write(folder: Path, *entries: object, split: str = "train") -> Path:
    path = folder / f"embodiedscan_infos_{split}.pkl"
    path.write_bytes(pickle.dumps({"metainfo": {}, "data_list": list(entries)}))
    return path


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("furnished_room", {"scannet/cc0room_00": 32, "scannet/cc0room_01": 16}),
        ("living_room", {"scannet/living_room_00": 32}),
        ("red_kitchen", {"scannet/redkitchen_00": 32}),
    ],
)
def test_reads_real_infos(shared: Path, root: str, expected: dict[str, int]) -> None:
    paths = sorted((shared / root / "embodiedscan").glob("*.pkl"))
    assert len(paths) == 3
    for path in paths:
        assert "data_list" in load_plain_pickle(path)
    infos = read_infos(shared / root / "embodiedscan")
    assert {name: len(info.images) for name, info in infos.items()} == expected
    for info in infos.values():
        assert info.axis_align is not None
        rotation = info.axis_align[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
        assert info.depth_cam2img is not None
        assert info.depth_cam2img.shape == (4, 4)
        assert (shared / root / info.images[-1]).is_file()


def test_splits_are_merged_and_other_data_sets_left_out(tmp_path: Path) -> None:
    write(tmp_path, entry("scannet/a"), entry("3rscan/b"), entry("scannet/c"))
    write(tmp_path, entry("scannet/d"), entry("scannet/a"), split="test")
    infos = read_infos(tmp_path)
    splits = {name: info.split for name, info in infos.items()}
    assert splits == {"scannet/a": "train", "scannet/c": "train", "scannet/d": "test"}


def test_missing_folder_is_empty(tmp_path: Path) -> None:
    assert read_infos(tmp_path / "nowhere") == {}


def test_matrices_are_optional_and_may_be_arrays(tmp_path: Path) -> None:
    matrix = np.arange(16, dtype=np.float32).reshape(4, 4)
    write(tmp_path, entry(axis_align_matrix=matrix, depth_cam2img=None))
    info = read_infos(tmp_path)["scannet/a"]
    assert info.depth_cam2img is None
    torch.testing.assert_close(info.axis_align, torch.from_numpy(matrix).double())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_reads_numpy_of_every_protocol_and_version(
    tmp_path: Path, protocol: int, core: bytes
) -> None:
    content = {
        "array": np.arange(6.0).reshape(2, 3),
        "integers": np.arange(3, dtype=np.int16),
        "words": np.array(["door", None], dtype=object),
        "scalar": np.float32(1.5),
        "dtype": np.dtype("uint8"),
        "plain": [1, "two", 3.0, None, True, (4,), {5}, b"six", OrderedDict(seven=8)],
    }
    data = pickle.dumps(content, protocol=protocol)
    if protocol < 4:
        data = data.replace(b"cnumpy.core.", b"c" + core + b".")
        data = data.replace(b"cnumpy._core.", b"c" + core + b".")
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    got = load_plain_pickle(path)
    assert got["plain"] == content["plain"]
    assert got["dtype"] == content["dtype"]
    assert got["scalar"] == 1.5
    for key in ("array", "integers", "words"):
        np.testing.assert_array_equal(got[key], content[key])
        assert got[key].dtype == content[key].dtype


class Evil:
    """Runs a command when an ordinary unpickler meets it."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.call = call, arguments

    def __reduce__(self) -> object:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_malicious_pickle_does_not_run(tmp_path: Path, protocol: int) -> None:
    touched = tmp_path / "touched"
    evil = pickle.dumps(Evil(os.system, f"touch {touched}"), protocol=protocol)
    pickle.loads(evil)
    assert touched.is_file()
    touched.unlink()
    path = tmp_path / "embodiedscan_infos_val.pkl"
    path.write_bytes(evil)
    with pytest.raises(
        ValueError, match=r"infos_val\.pkl must be a pickle of plain data; .*forbidden global posix"
    ):
        read_infos(tmp_path)
    assert not touched.exists()


@pytest.mark.parametrize("call", [eval, exec, getattr, __import__, open, np.load, np.fromfile])
def test_nothing_else_is_known(tmp_path: Path, call: object) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(Evil(call, "x")))
    with pytest.raises(ValueError, match="forbidden global"):
        load_plain_pickle(path)


def test_only_the_encoding_of_bytes_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(ValueError, match="forbidden encoding rot13"):
        load_plain_pickle(path)


@pytest.mark.parametrize("kept", [0, 1, 10, 60, -1])
def test_truncated_pickle_names_the_file(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path, entry())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"infos_train\.pkl must be a pickle of plain data"):
        read_infos(tmp_path)


@pytest.mark.parametrize("content", [[], {"metainfo": 1}, {"data_list": {}}])
def test_infos_need_a_data_list(tmp_path: Path, content: object) -> None:
    path = tmp_path / "embodiedscan_infos_train.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"infos_train\.pkl must hold a dict with a list"):
        read_infos(tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("scannet/a", "name each scan by 'sample_idx'; got str"),
        ({"images": []}, r"name each scan by 'sample_idx'; got a dict of \['images'\]"),
        (entry(images=None), "give each 'img_path' of scannet/a; got TypeError"),
        (entry(images=[{"path": "a"}]), "give each 'img_path' of scannet/a; got KeyError"),
        (entry(images=[{"img_path": "../../a.jpg"}]), r"inside the data folder; got \.\./"),
        (entry(images=[{"img_path": "/etc/passwd"}]), "inside the data folder; got /etc/passwd"),
        (entry(axis_align_matrix=[[1.0]]), "axis_align_matrix of scannet/a as 4 x 4 .*; got"),
        (entry(depth_cam2img=np.full((4, 4), np.nan)), "depth_cam2img of scannet/a as 4 x 4"),
        (entry(depth_cam2img="none"), "depth_cam2img of scannet/a as numbers; got"),
    ],
)
def test_damaged_entries_are_named(tmp_path: Path, bad: object, message: str) -> None:
    write(tmp_path, bad)
    with pytest.raises(ValueError, match=r"infos_train\.pkl must .*" + message):
        read_infos(tmp_path)


def test_infos_may_be_json(tmp_path: Path) -> None:
    write(tmp_path, entry("scannet/a"), entry("scannet/b"))
    content = {"data_list": [entry("scannet/a", images=[{"img_path": "b.jpg"}])]}
    (tmp_path / "embodiedscan_infos_train.json").write_text(json.dumps(content))
    infos = read_infos(tmp_path)
    assert infos["scannet/a"].images == ("b.jpg",)
    assert len(infos["scannet/b"].images) == 3
    (tmp_path / "embodiedscan_infos_val.json").write_text("{}")
    with pytest.raises(ValueError, match=r"infos_val\.json must hold a dict with a list"):
        read_infos(tmp_path)
