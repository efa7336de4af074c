"""Two processes train as one does; each of them runs this file as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from recipes import EXAMPLES, SHORT
from reference.run import RunFolder
from reference.training import step_generators
from safetensors.torch import load_file, save_file
from tiny import Tiny, hide, tiny_ross3d
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

STEPS = (("words", "words"), ("words", "pictures"), ("pictures", "pictures"))
"""What each rank reads, step by step: labelled scenes, or unlabelled ones."""


def loss(model: nn.Module, tiny: Tiny, step: int, rank: int) -> Tensor:
    """The loss of one rank's scenes; the ranks' numbers of words and of phrases differ."""
    first = 4 * step + 2 * rank
    batch = tiny.collate([tiny.source.train(first + i) for i in range(2)])
    if STEPS[step][rank] == "pictures":
        batch = batch.without_text()
    *_, noise = step_generators(0, step, 0, rank)
    return sum(model(batch, hide(2, 4, step), generator=noise).values())


def train(rank: int, folder: Path) -> None:
    """Be one of two ranks: write the gradients of each step, and the weights in the end."""
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    patience = timedelta(seconds=300)
    init_process_group("gloo", meeting, patience, rank=rank, world_size=2)
    tiny = tiny_ross3d(seed=rank)  # rank 0's weights are given to the others
    model = DistributedDataParallel(tiny.model)
    optimizer = torch.optim.SGD(tiny.model.parameters(), lr=0.05)
    for step in range(len(STEPS)):
        optimizer.zero_grad()
        loss(model, tiny, step, rank).backward()
        save_file(gradients(tiny.model), folder / f"gradients-{step}-{rank}")
        optimizer.step()
    save_file(tiny.model.state_dict(), folder / f"weights-{rank}")
    destroy_process_group()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two ranks wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, complaint = rank.communicate()
        assert rank.returncode == 0, complaint
    return folder


def test_ranks_with_and_without_labels_stay_equal(trained: Path) -> None:
    first, second = (load_file(trained / f"weights-{rank}") for rank in range(2))
    start = tiny_ross3d().model.state_dict()
    assert first.keys() == second.keys() == start.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["grounding.zero_target"], start["grounding.zero_target"])


def test_gradients_are_those_of_one_process(trained: Path) -> None:
    """One process that reads both ranks' scenes, each with its rank's noise, and averages."""
    tiny = tiny_ross3d()
    optimizer = torch.optim.SGD(tiny.model.parameters(), lr=0.05)
    for step in range(len(STEPS)):
        optimizer.zero_grad()
        (sum(loss(tiny.model, tiny, step, rank) for rank in range(2)) / 2).backward()
        expected = gradients(tiny.model)
        for rank in range(2):
            found = load_file(trained / f"gradients-{step}-{rank}")
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        optimizer.step()
        words = expected["lmm.host.lm_head.weight"], expected["grounding.zero_target"]
        assert all(bool(g.any()) == ("words" in STEPS[step]) for g in words)


def test_the_main_job_trains_on_two_processes(finished: Path, tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options = [*SHORT, "--steps", "2", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *launch, str(EXAMPLES / "train_ross3d.py"), *options],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pictures and figures") == 1
    rows, alone = (RunFolder(path, resume=True).rows() for path in (tmp_path, finished))
    assert rows[0]["text"] == pytest.approx(alone[0]["text"], abs=1e-4)
    assert rows[1]["text"] != pytest.approx(alone[1]["text"], abs=1e-4), "half of the scenes"
    assert (tmp_path / "checkpoint-000002" / "model.safetensors").exists()


if __name__ == "__main__":
    train(int(sys.argv[1]), Path(sys.argv[2]))
