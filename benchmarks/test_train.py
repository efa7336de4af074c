"""The default training run against the commit before the fast paths: both in turn, in one go."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bars import judge
from benchmarks.compare_train import ROOT, checked_out, compare, known

BEFORE = "dc882bc"
ONE = ("--threads", "1")  # more than cores are free wait for each other, which is not our speed
STEPS, WARMUP, ROUNDS = 8, 2, 2


def test_default_run_is_faster(benchmark: Any) -> None:
    if not known(BEFORE):
        pytest.skip(f"this clone does not hold {BEFORE}")
    amount = {"rounds": ROUNDS, "steps": STEPS, "warmup": WARMUP}
    with checked_out(BEFORE) as base:
        found = benchmark.pedantic(
            compare, ((base, ROOT), (ONE, ONE)), amount, iterations=1, rounds=1
        )
    assert found["losses_differ"] < 1e-3
    benchmark.extra_info["train"] = found
    before, after = (found[side]["scenes_per_second"] for side in ("before", "after"))
    spread = " to ".join(f"{times:.2f}" for times in (min(found["spread"]), max(found["spread"])))
    beside = {"baseline": before, "ours": after, "measure": "scenes per second"}
    note = f"{spread} in {ROUNDS} rounds; processor time {found['less_cpu']:.2f} x less"
    judge(benchmark, "train", found["times"], note=note, **beside)
