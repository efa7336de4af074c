from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ross3d.core.card import ModelCard
from ross3d.core.pretrained import Pretrained, pretrained_folder


class Block(Pretrained):
    def __init__(self, width: int = 4, *, bias: bool = True, inner: nn.Module | None = None):
        super().__init__()
        self.config = {"width": width, "bias": bias, "inner": inner}
        self.linear = nn.Linear(width, width, bias=bias)
        self.inner = inner


class WithTable(Block):
    """It keeps what no file holds: a buffer that is not persistent."""

    def __init__(self, width: int = 4):
        super().__init__(width)
        self.config = {"width": width}
        self.register_buffer("table", torch.arange(float(width)), persistent=False)


class Forgetful(Block):
    def __init__(self, width: int, depth: int):
        super().__init__(width)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Block(4).save_pretrained(tmp_path / "block")
    return tmp_path / "block"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_files_are_those_of_the_hub(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert json.loads((saved / "config.json").read_text()) == {
        "format": 1,
        "class": "Block",
        "config": {"width": 4, "bias": True, "inner": None},
    }
    assert set(load_file(saved / "model.safetensors")) == {"linear.weight", "linear.bias"}


def test_a_block_comes_back_bit_for_bit_in_its_dtype(tmp_path: Path) -> None:
    block = Block(4).bfloat16()
    block.save_pretrained(str(tmp_path))
    state = torch.get_rng_state()
    loaded = Block.from_pretrained(str(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.training
    for name, value in block.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.bfloat16
        assert torch.equal(loaded.state_dict()[name], value)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_what_no_file_holds_is_computed(tmp_path: Path) -> None:
    block = WithTable(3)
    block.save_pretrained(tmp_path)
    loaded = WithTable.from_pretrained(tmp_path)
    assert torch.equal(loaded.table, torch.arange(3.0))
    assert torch.equal(loaded.linear.weight, block.linear.weight)


def test_parts_of_ones_own_are_given_again(tmp_path: Path) -> None:
    Block(4, inner=nn.Linear(2, 2)).save_pretrained(tmp_path)
    inner = nn.Linear(2, 2)
    loaded = Block.from_pretrained(tmp_path, inner=inner)
    assert loaded.inner is inner
    assert torch.equal(inner.weight, load_file(tmp_path / "model.safetensors")["inner.weight"])
    with pytest.raises(ValueError, match=r"inner \(Linear\) must be given to load .*config\.json"):
        Block.from_pretrained(tmp_path)


def test_a_save_replaces_an_earlier_one_and_leaves_other_files(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    (saved / "README.md").write_text("my card")
    block = Block(2, bias=False)
    block.save_pretrained(saved)
    assert torch.equal(Block.from_pretrained(saved).linear.weight, block.linear.weight)
    assert (saved / "notes.txt").read_text() == "mine"
    assert (saved / "README.md").read_text() == "my card"
    block.save_pretrained(saved, card=ModelCard("Another"))
    assert "# Another" in (saved / "README.md").read_text()


@pytest.mark.parametrize("moment", ["weights", "config", "renaming"])
def test_a_save_that_fails_leaves_the_earlier_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    if moment == "weights":
        monkeypatch.setattr("ross3d.core.pretrained.save_tensors", lambda *_: 1 / 0)
    elif moment == "config":
        monkeypatch.setattr("ross3d.core.pretrained.json.dumps", lambda *_, **__: 1 / 0)
    else:
        monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Block(8).save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_weights_take_their_name_before_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, replace = [], os.replace

    def spy(source: Path, target: Path) -> None:
        order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    Block().save_pretrained(tmp_path)
    assert order[-3:] == ["model.safetensors", "config.json", "README.md"]


def test_a_config_that_is_not_the_constructors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="config must hold the arguments of Forgetful; got missing a required"
    ):
        Forgetful(2, 3).save_pretrained(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_meta_weights_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        block = Block()
    with pytest.raises(ValueError, match=r"tensors must have numbers.*linear\.weight on meta"):
        block.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update({"class": "os.system"}), "class of .* must be 'Block'; got 'os"),
        (lambda c: c.update(format=9), "format of .* must be 1; got 9"),
        (lambda c: c["config"].update(depth=3), "arguments of Block; got an unexpected"),
        (lambda c: c["config"].pop("bias"), None),
        (lambda c: c["config"].update(width="x"), "arguments of Block; got"),
        (
            lambda c: c["config"].update(inner={"class": "subprocess.run", "config": {}}),
            r"inner in .* must be one of BEVRenderer, .*; got 'subprocess.run'",
        ),
        (lambda c: c.pop("config"), "config of .* must be an object; got None"),
    ],
)
def test_a_foreign_config_is_named(
    saved: Path, change: Callable[[dict[str, Any]], object], message: str | None
) -> None:
    edit(saved / "config.json", change)
    if message is None:  # an argument that has a default may be younger than the file
        assert Block.from_pretrained(saved).linear.bias is not None
        return
    with pytest.raises(ValueError, match=message) as caught:
        Block.from_pretrained(saved)
    assert str(saved / "config.json") in str(caught.value)


def test_weights_of_another_config_are_listed(saved: Path) -> None:
    file = saved / "model.safetensors"
    save_file({"linear.weight": torch.zeros(2, 2), "extra": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="must fit") as caught:
        Block.from_pretrained(saved)
    assert str(caught.value).splitlines() == [
        f"{file} must fit; got a checkpoint of another config:",
        "  unexpected extra",
        "  linear.weight is of shape (2, 2), not (4, 4)",
        "  missing linear.bias",
    ]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_and_missing_files_are_named(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=str(saved / name)):
        Block.from_pretrained(saved)
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=str(saved / name)):
        Block.from_pretrained(saved)


@pytest.mark.parametrize("folder", ["/nowhere", "./a/b", "a", "a/b/c", "../b/c", Path("a/b"), "a/"])
def test_what_is_no_folder_and_no_id_is_named(folder: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder must be a folder or the id of a repos"):
        pretrained_folder(folder)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A Hub of one folder, and what was asked of it."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(repo_id: str, **options: Any) -> str:
        calls.append(("download", {"repo_id": repo_id, **options}))
        if not (tmp_path / repo_id).is_dir():
            raise OSError("404")
        return str(tmp_path / repo_id)

    def create_repo(repo_id: str, **options: Any) -> None:
        calls.append(("create", {"repo_id": repo_id, **options}))

    def upload_folder(*, repo_id: str, folder_path: str, commit_message: str) -> str:
        calls.append(("upload", {"repo_id": repo_id, "message": commit_message}))
        shutil.copytree(folder_path, tmp_path / repo_id)
        return f"https://hub/{repo_id}/commit/1"

    fake = SimpleNamespace(
        calls=calls,
        snapshot_download=snapshot_download,
        create_repo=create_repo,
        upload_folder=upload_folder,
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_a_block_goes_to_the_hub_and_comes_back(hub: SimpleNamespace) -> None:
    block = Block(2)
    where = block.push_to_hub("me/block", private=True, card=ModelCard("Mine"))
    assert where == "https://hub/me/block/commit/1"
    loaded = Block.from_pretrained("me/block", revision="v1")
    assert torch.equal(loaded.linear.weight, block.linear.weight)
    assert hub.calls == [
        ("create", {"repo_id": "me/block", "private": True, "exist_ok": True}),
        ("upload", {"repo_id": "me/block", "message": "Save with ross3d"}),
        (
            "download",
            {
                "repo_id": "me/block",
                "revision": "v1",
                "allow_patterns": ("config.json", "model.safetensors"),
            },
        ),
    ]
    assert "# Mine" in (pretrained_folder("me/block") / "README.md").read_text()


def test_what_the_hub_does_not_have_is_named(hub: SimpleNamespace) -> None:
    with pytest.raises(FileNotFoundError, match=r"id of a repository; got me/none \(404\)"):
        Block.from_pretrained("me/none")


def test_the_mixin_of_the_hub_reads_our_weights(saved: Path) -> None:
    """The same files under the same names: any tool of the Hub loads the tensors."""
    from huggingface_hub import PyTorchModelHubMixin

    class Theirs(nn.Module, PyTorchModelHubMixin):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

    theirs, ours = Theirs.from_pretrained(str(saved)), Block.from_pretrained(saved)
    assert torch.equal(theirs.linear.weight, ours.linear.weight)


PROGRAM = """
import sys
from ross3d import ViewMasker
ViewMasker(4).save_pretrained(sys.argv[1])
ViewMasker.from_pretrained(sys.argv[1])
heavy = {"huggingface_hub", "transformers", "diffusers", "open3d", "xformers"}
print(sorted(heavy & set(sys.modules)))
"""


def test_folders_need_no_hub(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
