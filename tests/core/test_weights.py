from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file, save_model
from torch import nn

from ross3d.core.weights import load_tensors, load_weights, replacing, save_tensors, shared_names


class Tied(nn.Module):
    """Tied by its constructor: embed and head. By whoever made it: other."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, width)
        self.head = nn.Linear(width, 6, bias=False)
        self.head.weight = self.embed.weight
        self.other = nn.Linear(width, 6)
        self.register_buffer("window", torch.arange(12.0).view(3, 4)[:, 1:3])
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("also_empty", torch.zeros(0))


def tied() -> Tied:
    module = Tied()
    module.other.weight = module.embed.weight
    return module


def on_meta(width: int = 4) -> Tied:
    with torch.device("meta"):
        return Tied(width)


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[k].dtype == theirs[k].dtype and torch.equal(ours[k], theirs[k]) for k in ours
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "a.safetensors", tied().state_dict())
    return tmp_path / "a.safetensors"


def test_shared_tensors_are_written_once_and_shared_again(file: Path) -> None:
    held = load_file(file)
    assert sum(name in held for name in ("embed.weight", "head.weight", "other.weight")) == 1
    assert load_tensors(file).keys() == held.keys()
    module = on_meta()
    load_weights(file, module, assign=True)
    assert module.head.weight is module.embed.weight
    assert module.other.weight is module.embed.weight
    assert len(list(module.parameters())) == 2
    assert not any(value.is_meta for value in module.state_dict().values())


def test_the_metadata_is_that_of_safetensors(tmp_path: Path) -> None:
    module = tied()
    module.window = module.window.clone()  # save_model refuses parts of a larger storage
    save_model(module, str(tmp_path / "theirs.safetensors"))
    save_tensors(tmp_path / "ours.safetensors", module.state_dict())
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        ours = file.metadata()
    with safe_open(tmp_path / "theirs.safetensors", "pt") as file:
        theirs = file.metadata()
    assert ours.pop("format") == "pt"
    assert len(ours) == len(theirs) == 2
    loaded = on_meta()
    load_weights(tmp_path / "theirs.safetensors", loaded, assign=True)
    assert same(loaded, module)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_assignment_keeps_the_files_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    module = Tied().to(dtype)
    save_tensors(tmp_path / "a.safetensors", module.state_dict())
    loaded = on_meta()
    loaded.other.bias.requires_grad_(False)
    load_weights(tmp_path / "a.safetensors", loaded, assign=True)
    assert same(module, loaded)
    assert loaded.other.weight.requires_grad
    assert not loaded.other.bias.requires_grad


def test_copying_keeps_the_modules_dtype_and_tensors(file: Path) -> None:
    module = Tied().double()
    weight = module.other.weight
    load_weights(file, module)
    assert module.other.weight is weight
    assert weight.dtype == torch.float64
    assert torch.equal(weight.float(), load_tensors(file)["embed.weight"])


def test_parts_of_a_state(tmp_path: Path) -> None:
    module, names = tied(), ["other.bias", "count"]
    state = module.state_dict()
    save_tensors(tmp_path / "a.safetensors", {name: state[name] for name in names})
    other = Tied()
    before = other.embed.weight.clone()
    load_weights(tmp_path / "a.safetensors", other, names=names)
    assert torch.equal(other.other.bias, module.other.bias)
    assert torch.equal(other.embed.weight, before)
    with pytest.raises(ValueError, match=r"missing embed\.weight"):
        load_weights(tmp_path / "a.safetensors", other, names=[*names, "embed.weight"])


def test_everything_that_does_not_fit_is_named_and_nothing_is_filled(tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in Tied().state_dict().items()}
    state["head.weight"] += 1
    state["count"] = state["count"].float()
    state["extra"] = torch.zeros(1)
    state["window"] = torch.zeros(1, 2)
    del state["other.bias"]
    save_file(state, tmp_path / "a.safetensors")
    module = Tied()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match="must fit; got a checkpoint of another config") as caught:
        load_weights(tmp_path / "a.safetensors", module)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "a.safetensors"))
    for part in (
        "unexpected extra",
        "missing other.bias",
        "window is of shape (1, 2), not (3, 2)",
        "count is of torch.float32, not torch.int64",
        "embed.weight and head.weight differ, but are one tensor",
    ):
        assert part in message
    assert message.count("\n") == 5
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_named(file: Path, kept: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=r"a\.safetensors must be a whole safetensors file"):
        load_tensors(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.safetensors must be a safetensors file"):
        load_weights(tmp_path / "b.safetensors", Tied())


def test_tensors_without_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have numbers to be saved; got window on meta"):
        save_tensors(tmp_path / "a.safetensors", on_meta().state_dict())
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("first")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass  # nothing was written
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("third")
    assert path.read_text() == "first"
    assert [child.name for child in tmp_path.iterdir()] == ["a.txt"]


def test_names_of_shared_memory_stand_together() -> None:
    weight = torch.zeros(4, 2)
    tensors = {"a": weight, "b": weight.detach(), "c": weight[:2], "d": weight.T}
    assert shared_names(tensors) == [["a", "b"], ["c"], ["d"]]
    meta = {"a": torch.zeros(2, device="meta"), "b": torch.zeros(2, device="meta")}
    assert shared_names({**meta, "c": meta["a"]}) == [["a", "c"], ["b"]]
