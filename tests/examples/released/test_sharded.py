"""Checkpoints in one file or many."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fabricated
import pytest
import torch
from reference.released.sharded import ShardWriter, TensorFiles, load_tensor_file

STATE = {f"t{n}": torch.arange(4.0) + n for n in range(5)}


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("index", [True, False])
def test_every_layout_is_read(suffix: str, shards: int, index: bool, tmp_path: Path) -> None:
    fabricated.write(tmp_path, STATE, shards=shards, suffix=suffix, tokens=None, index=index)
    files = TensorFiles(tmp_path)
    assert files.problems == []
    assert files.shapes() == dict.fromkeys(STATE, (4,))
    read = dict(files.tensors())
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


def test_old_files_that_cannot_be_mapped_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert load_tensor_file(tmp_path / "old.bin").keys() == STATE.keys()


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"weight": Harmful(tmp_path / "harm")}, path)
    with pytest.raises(ValueError, match="must hold tensors and nothing else; got") as error:
        TensorFiles(tmp_path)
    assert str(path) in str(error.value)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("value", [[torch.zeros(1)], {"a": 1}, {1: torch.zeros(1)}])
def test_other_things_than_tensors_are_refused(value: object, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin must hold a dict of tensors; got"):
        TensorFiles(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02torn", b"PK\x03\x04 torn", b"\xff" * 64])
def test_damaged_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} must"):
        TensorFiles(tmp_path)


def test_torn_files_are_named(tmp_path: Path) -> None:
    for suffix in ("safetensors", "bin"):
        fabricated.write(tmp_path / suffix, STATE, suffix=suffix, tokens=None)
        (file,) = (tmp_path / suffix).iterdir()
        file.write_bytes(file.read_bytes()[:-9])
        with pytest.raises(ValueError, match=file.name):
            TensorFiles(tmp_path / suffix)


def test_index_and_shards_must_agree(tmp_path: Path) -> None:
    fabricated.write(tmp_path, STATE, shards=2, tokens=None)
    path = tmp_path / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    weight_map = content["weight_map"]
    del weight_map["t0"]
    weight_map["t9"] = weight_map["t1"]
    path.write_text(json.dumps(content))
    first, second = TensorFiles(tmp_path).problems
    assert first == "unexpected t0 in model-00001-of-00002.safetensors: not in the index"
    assert second == "missing t9 in model-00002-of-00002.safetensors: only in the index"
    path.unlink()
    fabricated.save_file({"t1": torch.zeros(1)}, tmp_path / "model-00003-of-00003.safetensors")
    (problem,) = TensorFiles(tmp_path).problems
    assert problem.startswith("t1 is twice there, in model-00002-of")


@pytest.mark.parametrize("weight_map", [None, {"a": "../b.safetensors"}, {"a": 1}])
def test_an_index_may_name_files_beside_it_only(weight_map: object, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match="must map tensors to files beside it; got"):
        TensorFiles(tmp_path)


def test_lost_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold model\.safetensors or pytorch_model"):
        TensorFiles(tmp_path)
    fabricated.write(tmp_path, STATE, shards=2, tokens=None)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"that are there; got \['model-00002-of-00002"):
        TensorFiles(tmp_path)


def test_no_more_than_a_shard_is_held(tmp_path: Path) -> None:
    writer, held = ShardWriter(tmp_path, shard_bytes=40), []
    for name, value in STATE.items():  # 16 bytes each
        writer.add(name, value)
        held.append(sum(x.nbytes for x in writer.pending.values()))
    writer.close()
    assert max(held) == 32
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [*(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)), files[-1]]
    assert files[-1] == "model.safetensors.index.json"
    content = json.loads((tmp_path / files[-1]).read_text())
    assert content["metadata"]["total_size"] == 80
    assert TensorFiles(tmp_path).problems == []


def test_shared_and_strided_tensors_are_written_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    writer = ShardWriter(tmp_path)
    for name, value in (("a", base), ("b", base), ("c", base.T), ("d", base[1])):
        writer.add(name, value)
    writer.close()
    read = load_tensor_file(tmp_path / "model.safetensors")
    assert torch.equal(read["a"], read["b"])
    assert torch.equal(read["c"], base.T)
    assert read["d"].tolist() == [4, 5, 6, 7]
