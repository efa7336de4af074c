from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from reference.run import RunFolder, generator_for, load_checkpoint
from safetensors.torch import load_file
from torch import Tensor, nn

CONFIG = {"width": 4, "tasks": ("cross_view", "global_view")}


class Tied(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 6, bias=False)
        self.head.weight = self.embed.weight
        self.unused = nn.Parameter(torch.zeros(2))
        self.register_buffer("window", torch.arange(12.0).view(3, 4)[:, 1:3])
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("also_empty", torch.zeros(0))

    def forward(self, index: Tensor) -> Tensor:
        return self.head(self.norm(self.embed(index)))


def fresh(seed: int, width: int = 4) -> tuple[Tied, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = Tied(width)
    decayed = [*model.embed.parameters(), model.unused]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": model.norm.parameters()}]
    return model, torch.optim.AdamW(groups, lr=1e-2, amsgrad=True)


def train(model: Tied, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        index = torch.randint(6, (16,), generator=generator_for(7, step, "data"))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(index), index).backward()
        optimizer.step()


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_resumed_training_is_bit_for_bit_uninterrupted_training(tmp_path: Path) -> None:
    whole, optimizer = fresh(0)
    train(whole, optimizer, range(6))
    first, first_optimizer = fresh(0)
    train(first, first_optimizer, range(3))
    run = RunFolder(tmp_path / "run")
    path = run.save_checkpoint(3, first, first_optimizer, {"best": 0.1}, config=CONFIG)
    second, second_optimizer = fresh(1)
    state = load_checkpoint(path, second, second_optimizer, config=CONFIG)
    assert (state["step"], state["extra"]) == (3, {"best": 0.1})
    assert same(first, second)
    assert second.head.weight is second.embed.weight
    train(second, second_optimizer, range(3, 6))
    assert same(whole, second)
    assert not same(first, second)
    for ours, theirs in zip(optimizer.param_groups, second_optimizer.param_groups, strict=True):
        assert {k: v for k, v in ours.items() if k != "params"} == {
            k: v for k, v in theirs.items() if k != "params"
        }
    for ours, theirs in zip(whole.parameters(), second.parameters(), strict=True):
        ours, theirs = optimizer.state[ours], second_optimizer.state[theirs]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[field], theirs[field]) for field in ours)


def test_a_checkpoint_holds_tied_weights_once_and_names_of_the_optimizer(tmp_path: Path) -> None:
    model, optimizer = fresh(0)
    train(model, optimizer, range(1))
    path = RunFolder(tmp_path).save_checkpoint(12, model, optimizer)
    assert path.name == "checkpoint-000012"
    saved = load_file(path / "model.safetensors")
    assert ("head.weight" in saved) != ("embed.weight" in saved)
    assert torch.equal(saved["window"], model.window)
    assert "embed.weight/exp_avg_sq" in load_file(path / "optimizer.safetensors")
    assert json.loads((path / "state.json").read_text())["version"]


def test_a_model_alone_can_be_saved_and_loaded(tmp_path: Path) -> None:
    model, other = fresh(0)[0], fresh(1)[0]
    path = RunFolder(tmp_path).save_checkpoint(0, model)
    assert load_checkpoint(path, other)["step"] == 0
    assert same(model, other)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run, (model, optimizer) = RunFolder(tmp_path, keep=2), fresh(0)
    assert run.latest_checkpoint() is None
    for step in (999_998, 999_999, 1_000_000):
        run.save_checkpoint(step, model, optimizer)
    names = [path.name for path in run.checkpoints()]
    assert names == ["checkpoint-999999", "checkpoint-1000000"]
    assert run.latest_checkpoint() == tmp_path / "checkpoint-1000000"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_checkpoint(1, fresh(0)[0])
    path = run.save_checkpoint(1, fresh(1)[0])
    model = fresh(2)[0]
    load_checkpoint(path, model)
    assert same(model, fresh(1)[0])
    assert [child.name for child in tmp_path.iterdir()] == ["checkpoint-000001"]


def test_an_error_while_writing_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = RunFolder(tmp_path), fresh(0)[0]
    run.save_checkpoint(1, model)
    run.write_text("notes.txt", "first")
    monkeypatch.setattr("reference.run.save_tensors", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.save_checkpoint(2, model)
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.write_text("notes.txt", "second")
    assert (tmp_path / "notes.txt").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000001", "notes.txt"]


KILLED = """
import os, signal, sys, torch
import reference.run as run
folder = run.RunFolder(sys.argv[1])
folder.log({"step": 1})
folder.save_checkpoint(1, torch.nn.Linear(2, 2))
run.save_tensors = lambda path, tensors: (
    path.write_bytes(b"half"), os.kill(os.getpid(), signal.SIGKILL))
folder.save_checkpoint(2, torch.nn.Linear(2, 2))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / ".tmp-checkpoint-000002").is_dir()
    with pytest.raises(FileExistsError):
        RunFolder(tmp_path)
    run = RunFolder(tmp_path, resume=True)
    assert run.latest_checkpoint() == tmp_path / "checkpoint-000001"
    assert not (tmp_path / ".tmp-checkpoint-000002").exists()
    assert load_checkpoint(run.checkpoints()[-1], nn.Linear(2, 2))["step"] == 1
    assert run.rows() == [{"step": 1}]


def test_a_checkpoint_of_another_config_is_refused_with_every_difference(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).save_checkpoint(1, *fresh(0), config=CONFIG)
    wide, _ = fresh(1, width=5)
    del wide.unused
    wide.extra = nn.Linear(1, 1)
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    with pytest.raises(ValueError, match="a checkpoint of another config") as caught:
        load_checkpoint(path, wide)
    message = str(caught.value)
    assert str(path / "model.safetensors") in message
    for part in (
        "unexpected unused",
        "missing extra.weight",
        "missing extra.bias",
        "embed.weight is of shape (6, 4), not (6, 5)",
        "norm.bias is of shape (4,), not (5,)",
    ):
        assert part in message
    assert all(torch.equal(before[name], value) for name, value in wide.state_dict().items())


def test_a_config_must_be_equal_to_the_saved_one(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).save_checkpoint(1, fresh(0)[0], config=CONFIG)
    with pytest.raises(ValueError, match=r"state\.json.*\n  width: 4 was saved, 8 is wanted"):
        load_checkpoint(path, fresh(0)[0], config={**CONFIG, "width": 8})


def test_free_options_may_differ_from_the_saved_ones(tmp_path: Path) -> None:
    config = {"options": {"seed": 0, "threads": 1}, "preset": CONFIG}
    path = RunFolder(tmp_path).save_checkpoint(1, fresh(0)[0], config=config)
    other = {**config, "options": {"seed": 0, "threads": 8}}
    assert load_checkpoint(path, fresh(0)[0], config=other, free=["threads"])["step"] == 1
    for free, options in ((["seed"], {"seed": 0, "threads": 8}), (["threads"], {"seed": 7})):
        with pytest.raises(ValueError, match="was saved"):
            load_checkpoint(path, fresh(0)[0], config={**config, "options": options}, free=free)


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    model, optimizer = fresh(0)
    train(model, optimizer, range(1))
    path = RunFolder(tmp_path).save_checkpoint(1, model, optimizer)
    with pytest.raises(ValueError, match=r"optimizer\.safetensors.*\n  parameter groups"):
        load_checkpoint(path, model, torch.optim.AdamW(model.parameters()))
    partial = torch.optim.AdamW(model.norm.parameters())
    with pytest.raises(ValueError, match=r"embed\.weight/exp_avg of shape \(6, 4\) fits no"):
        load_checkpoint(path, model, partial)
    with pytest.raises(ValueError, match="optimizer must hold parameters of the model; got 1 oth"):
        load_checkpoint(path, model, torch.optim.AdamW([nn.Parameter(torch.zeros(1))]))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, kept: float) -> None:
    path = RunFolder(tmp_path).save_checkpoint(1, *fresh(0))
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=name):
        load_checkpoint(path, *fresh(0))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).save_checkpoint(1, fresh(0)[0])
    with pytest.raises(FileNotFoundError, match=r"optimizer\.safetensors"):
        load_checkpoint(path, *fresh(0))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere", fresh(0)[0])


def test_rows_are_logged_read_and_truncated(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "b")
    assert run.rows() == []
    run.log({"note": "begin"})
    for step in range(4):
        run.log({"step": step, "loss": torch.tensor(0.5)})
    run.truncate(2)
    run.log({"step": 2, "loss": 0.25})
    expected = [{"note": "begin"}, {"step": 0, "loss": 0.5}, {"step": 1, "loss": 0.5}]
    assert run.rows() == [*expected, {"step": 2, "loss": 0.25}]


def test_a_torn_last_row_is_ignored_and_mended(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log({"step": 0})
    with run.metrics.open("a") as file:
        file.write('{"step": 1, "lo')
    assert run.rows() == [{"step": 0}]
    resumed = RunFolder(tmp_path, resume=True)
    resumed.log({"step": 1})
    assert resumed.rows() == [{"step": 0}, {"step": 1}]


@pytest.mark.parametrize("line", ["{torn", "[1, 2]"])
def test_a_damaged_row_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 0}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 must be"):
        RunFolder(tmp_path, resume=True).rows()


def test_files_are_written_whole(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_json("config.json", {"lr": torch.tensor(0.5), "tasks": ("a", "b")})
    run.write_text("notes.txt", "é")
    run.save_image("views.png", Image.new("RGB", (3, 2), "red"))
    assert json.loads((tmp_path / "config.json").read_text()) == {"lr": 0.5, "tasks": ["a", "b"]}
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "é"
    with Image.open(tmp_path / "views.png") as image:
        assert (image.format, image.size) == ("PNG", (3, 2))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "report.html"])
def test_a_folder_of_another_run_is_refused(tmp_path: Path, name: str) -> None:
    RunFolder(tmp_path)
    (tmp_path / "tee.log").touch()
    RunFolder(tmp_path).write_text(name, "{}\n")
    with pytest.raises(FileExistsError, match=f"{tmp_path} must hold no run.*{name}"):
        RunFolder(tmp_path)
    assert RunFolder(tmp_path, resume=True).path == tmp_path


def test_a_file_in_the_way_and_keeping_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        RunFolder(tmp_path / "file")
    with pytest.raises(ValueError, match="keep must be at least 1; got 0"):
        RunFolder(tmp_path, keep=0)


def test_draws_are_a_function_of_their_keys() -> None:
    def draw(seed: int, *keys: int | str) -> list[float]:
        return torch.rand(4, generator=generator_for(seed, *keys)).tolist()

    assert draw(1, 5, "mask") == draw(1, 5, "mask")
    others = [
        draw(1, 5),
        draw(1, 5, "noise"),
        draw(1, 6, "mask"),
        draw(2, 5, "mask"),
        draw(15, "m"),
    ]
    assert all(other != draw(1, 5, "mask") for other in others)
    assert draw(1, 23) != draw(12, 3)
    assert draw(1, 2) != draw(1, "2")
