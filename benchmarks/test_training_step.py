"""What the supervision costs: the paper's Table 7, counted at full size and measured in small.

Δt is the number of steps from one with a task to the next. The released recipe recovers the room
from above in every step, and views in every fourth; "both, every 4th" leaves three steps of four
as text alone.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference.presets import PRESETS

from benchmarks.bars import judge
from benchmarks.counted import count_arithmetic, count_memory
from benchmarks.in_turn import seconds
from benchmarks.parts import count_parts
from benchmarks.replica import TASKS, Replica, pretext_seconds, small

COUNTED = {"text only": "none", "+ cross-view": "cross_view", "+ global-view": "global_view"}
COUNTED["+ both"] = "both"
EVERY = 4


def table_of(cost: dict[str, float]) -> dict[str, float]:
    """Rows of Table 7 from the cost of a step with each set of tasks, text only = 1."""
    text, above = cost["text only"], cost["+ global-view"]
    rows = {name: value / text for name, value in cost.items()}
    both = rows.pop("+ both")
    rows["+ both, every step"] = both
    rows["+ both, released (views every 4th)"] = (both + (EVERY - 1) * above / text) / EVERY
    rows["+ both, every 4th"] = (both + EVERY - 1) / EVERY
    return rows


def test_counted_arithmetic(benchmark: Any) -> None:
    """Full size: matrix products, convolutions and attention of one scene's step."""
    teraflops = {name: count_arithmetic(tasks) for name, tasks in COUNTED.items()}
    everywhere = count_arithmetic("none", all_logits=True)
    benchmark.pedantic(count_arithmetic, args=("none",), rounds=1)
    rows = table_of(teraflops)
    benchmark.extra_info["table"] = {
        "name": "arithmetic at full size, counted",
        "unit": "TFLOP a scene",
        "absolute": {**teraflops, "text only, logits everywhere": everywhere},
        "rows": {**rows, "text only, logits everywhere": everywhere / teraflops["text only"]},
    }
    benchmark.extra_info["parts"] = list(count_parts())
    both, text = teraflops["+ both"], teraflops["text only"]
    beside = {"baseline": text, "ours": both, "measure": "TFLOP"}
    judge(benchmark, "flops", both / text, **beside)


def test_counted_memory(benchmark: Any) -> None:
    """Full size: what the forward pass keeps, and the most that is alive within a step."""
    counted = {
        (name, recompute): count_memory(COUNTED[name], recompute=recompute)
        for name in ("text only", "+ both")
        for recompute in (True, False)
    }
    benchmark.pedantic(count_memory, args=("none",), kwargs={"recompute": True}, rounds=1)
    names = {True: "layers recomputed (paper)", False: "layers kept"}
    benchmark.extra_info["memory_table"] = {
        f"{name}, {names[recompute]}": figures for (name, recompute), figures in counted.items()
    }
    text, both = (counted[name, True]["peak"] for name in ("text only", "+ both"))
    beside = {"baseline": text, "ours": both, "measure": "GB"}
    judge(benchmark, "saved", both / text, **beside)


@pytest.fixture(scope="module")
def replicas() -> dict[str, Replica]:
    """The replica with each set of tasks."""
    torch.set_num_threads(1)
    Replica(TASKS["+ both"], small()).step()
    return {name: Replica(tasks) for name, tasks in TASKS.items()}


def test_replica(benchmark: Any, replicas: dict[str, Replica]) -> None:
    """1/16 width: whole steps, and the tasks' own part beside the step of text alone."""
    text = seconds(replicas["text only"].step)
    both = seconds(replicas["+ both"].step)
    own = {name: pretext_seconds(r) for name, r in replicas.items() if TASKS[name]}
    benchmark.pedantic(replicas["+ both"].pretext, rounds=1)
    rows = table_of({"text only": text, **{name: text + part for name, part in own.items()}})
    benchmark.extra_info["table"] = {
        "name": "time at 1/16 width, one core",
        "unit": "s of CPU",
        "absolute": {"text only": text, "+ both, whole step": both, **own},
        "rows": {**rows, "+ both, whole step in turn with text only": both / text},
    }
    larger = max(both / text, rows["+ both, every step"])
    beside = {"baseline": text, "measure": "s of CPU"}
    judge(benchmark, "replica", larger, ours=larger * text, **beside)
    seldom = (larger + EVERY - 1) / EVERY
    judge(benchmark, "replica-every-4", seldom, ours=seldom * text, **beside)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: not run here")
@pytest.mark.parametrize("preset", ["ross3d-7b-narrow", "ross3d-7b"])
def test_on_a_gpu(benchmark: Any, preset: str) -> None:
    """The same steps by CUDA events, with the allocator's peak, at 1/16 and at full width."""
    took, peak = {}, {}
    for name, tasks in TASKS.items():
        replica = Replica(tasks, PRESETS[preset], "cuda")
        with torch.autocast("cuda", torch.bfloat16):
            for _ in range(2):
                replica.step()
            torch.cuda.reset_peak_memory_stats()
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(5):
                replica.step()
            stop.record()
        torch.cuda.synchronize()
        took[name], peak[name] = start.elapsed_time(stop) / 5, torch.cuda.max_memory_allocated()
        del replica
        torch.cuda.empty_cache()
    benchmark.pedantic(torch.cuda.synchronize, rounds=1)
    name = f"time on {torch.cuda.get_device_name()}, {preset}"
    benchmark.extra_info["table"] = {
        "name": name,
        "unit": "ms",
        "absolute": took,
        "rows": table_of(took),
    }
    benchmark.extra_info["gpu_peak"] = {k: v / 1e9 for k, v in peak.items()}
