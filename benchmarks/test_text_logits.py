"""Text logits where labels are, against logits everywhere, at an eighth of the full length.

Four views of the paper's model make 840 of its 6720 visual positions; the vocabulary is Qwen2's.
Widths are a sixteenth: logits take as much memory as at full width, but a larger share of the time.
``python -m benchmarks.test_text_logits`` prints the ratios of a whole step.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import reference.host_lmm
import torch
from reference.build import build_model
from reference.chat import build_tokenizer
from reference.collate import SceneCollator
from reference.data.sources import RoomSource
from reference.parameters import parameter_groups
from reference.presets import PRESETS
from reference.text import text_loss
from torch import Tensor, nn

from benchmarks.bars import compare, judge
from benchmarks.baselines_text_logits import IGNORE, all_logits_loss
from benchmarks.in_turn import in_turn, seconds
from benchmarks.live import saved_bytes

VISUAL, TEXT, VOCABULARY, DIM = 840, 27, 152064, 224
LOSSES = {"supervised": text_loss, "all": all_logits_loss}
ROUNDS = 2


def loss_inputs() -> tuple[Tensor, Tensor, nn.Linear]:
    """Hidden states of a sequence whose text is supervised, and an output embedding."""
    torch.manual_seed(0)
    hidden = torch.randn(1, VISUAL + TEXT, DIM, requires_grad=True)
    labels = torch.full((1, VISUAL + TEXT), IGNORE)
    labels[:, VISUAL:] = torch.randint(VOCABULARY, (1, TEXT))
    return hidden, labels, nn.Linear(DIM, VOCABULARY, bias=False)


def test_the_loss(benchmark: Any) -> None:
    """Forward and backward of the loss alone, from the last hidden states on."""
    torch.set_num_threads(1)
    hidden, labels, head = loss_inputs()
    gradients = {}
    for name, loss in LOSSES.items():
        gradients[name] = torch.autograd.grad(loss(hidden, labels, head), (hidden, head.weight))
    torch.testing.assert_close(gradients["supervised"], gradients["all"], rtol=1e-4, atol=1e-6)
    there = hidden, head.weight
    kept = {
        name: saved_bytes(lambda: f(hidden, labels, head), held=there)  # noqa: B023
        for name, f in LOSSES.items()
    }

    def run(name: str) -> None:
        LOSSES[name](hidden, labels, head).backward()

    in_turn(benchmark, lambda: run("supervised"), lambda: run("all"), bar="logits")
    share = kept["supervised"] / kept["all"]
    beside = {"baseline": kept["all"] / 1e6, "ours": kept["supervised"] / 1e6, "measure": "MB"}
    judge(benchmark, "logits-saved", share, **beside)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_saved_grows_with_what_is_supervised(name: str) -> None:
    hidden, labels, head = loss_inputs()
    few = labels.clone()
    few[:, -TEXT // 2 :] = IGNORE
    kept = [saved_bytes(lambda: LOSSES[name](hidden, x, head)) for x in (few, labels)]  # noqa: B023
    assert (kept[0] < kept[1]) == (name == "supervised")


def test_a_whole_step(benchmark: Any) -> None:
    """Forward, all losses, backward and optimiser; each way in fresh processes, in turn."""
    figures = both_ways(ROUNDS)
    supervised, everything, ratios = (figures[name] for name in ("supervised", "all", "ratio"))
    benchmark.extra_info |= {"ratio": ratios["seconds"], "figures": figures, "threads": 1}
    benchmark.pedantic(fresh_process, args=("supervised",), rounds=1)
    assert everything["loss"] == pytest.approx(supervised["loss"], rel=1e-4)
    logits = supervised["positions"] * VOCABULARY * 4
    assert everything["saved"] - supervised["saved"] >= 0.9 * logits
    assert everything["peak"] - supervised["peak"] >= 0.5 * logits
    compare(benchmark, "a whole step, 1/8 length", "logits everywhere", ratios["seconds"])
    peak = f"{ratios['above_rest']:.2f} x the memory above rest"
    benchmark.extra_info["compared"][0]["note"] = f"with them everywhere: {peak}"
    assert ratios["above_rest"] >= 1.2
    assert ratios["seconds"] >= 1.2


def both_ways(rounds: int) -> dict[str, dict[str, float]]:
    """Medians of each way's figures, and how many times as much logits everywhere take."""
    took: dict[str, list[dict[str, float]]] = {name: [] for name in LOSSES}
    for _ in range(rounds):
        for name, runs in took.items():
            runs.append(fresh_process(name))
    figures = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in took.items()
    }
    everything, supervised = figures["all"], figures["supervised"]
    figures["ratio"] = {key: everything[key] / value for key, value in supervised.items()}
    return figures


def fresh_process(name: str) -> dict[str, float]:
    """Take a step in a process of its own, whose high-water mark is that of the step."""
    done = subprocess.run(
        [sys.executable, __file__, name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def two_steps(name: str) -> dict[str, float]:
    """Take steps of the paper's narrow model: seconds, peak memory and saved bytes of the second.

    In the first one the optimiser makes its moments, which the others find there.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reference.host_lmm.text_loss = LOSSES[name]
    preset = replace(PRESETS["ross3d-7b-narrow"], views=4, turns=2)
    source = RoomSource(views=preset.views, size=preset.image_size, turns=preset.turns, hidden=1)
    tokenizer = build_tokenizer(source.words())
    model = build_model(preset, tokenizer)
    batch = SceneCollator(tokenizer, model.scene_ids(preset.views))([source.train(0)])
    optimizer = torch.optim.AdamW(parameter_groups(model, preset), weight_decay=0.0)
    masked = torch.tensor([[False, False, False, True]])
    figures: dict[str, Tensor] = {}

    def losses() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        figures.update(model(batch, masked, generator=generator))
        return sum(figures.values())

    def step() -> None:
        losses().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    resting = psutil.Process().memory_info().rss
    taken, peak = seconds(step), peak_bytes()
    text = batch.text
    return {
        "seconds": taken,
        "peak": peak,
        "above_rest": peak - resting,
        "saved": saved_bytes(losses),
        "loss": float(figures["text"].detach()),
        "positions": text.input_ids.shape[1],
        "supervised": int((text.labels != IGNORE).sum()),
    }


def peak_bytes() -> int:
    """The most resident memory that this program has had."""
    status = Path("/proc/self/status")
    if status.is_file():  # a process's own mark in rusage begins with that of its parent
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    asked = two_steps(sys.argv[1]) if sys.argv[1:] else both_ways(1)
    sys.stdout.write(json.dumps(asked) + "\n")
