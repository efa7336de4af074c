"""The default training run against the commit before the fast paths: both in turn, in one go."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bars import compare as compare_rates
from benchmarks.bars import judge
from benchmarks.compare_train import ROOT, checked_out, compare, known

BEFORE = "dc882bc"
ONE = ("--threads", "1")  # more than cores are free wait for each other, which is not our speed
STEPS, WARMUP, ROUNDS = 8, 2, 2


def in_one_go(benchmark: Any, options: tuple[str, ...]) -> dict[str, Any]:
    """Scenes per second of both trees."""
    if not known(BEFORE):
        pytest.skip(f"this clone does not hold {BEFORE}")
    amount = {"rounds": ROUNDS, "steps": STEPS, "warmup": WARMUP}
    with checked_out(BEFORE) as base:
        found: dict[str, Any] = benchmark.pedantic(
            compare, ((base, ROOT), (options, options)), amount, iterations=1, rounds=1
        )
    return found


def test_as_it_stands(benchmark: Any) -> None:
    """Each with its own defaults: one thread per core before, one less for the worker now."""
    found = in_one_go(benchmark, ())
    note = f"processor time {found['less_cpu']:.2f} x less"
    compare_rates(
        benchmark, "make train, defaults, scenes per second", BEFORE, found["times"], note
    )


def test_default_run_is_faster(benchmark: Any) -> None:
    """One thread each."""
    found = in_one_go(benchmark, ONE)
    # Positions in one buffer round differently: a pixel on the face of a box may change sides.
    assert found["losses_differ"] < 5e-2
    benchmark.extra_info["train"] = found
    before, after = (found[side]["scenes_per_second"] for side in ("before", "after"))
    spread = " to ".join(f"{times:.2f}" for times in (min(found["spread"]), max(found["spread"])))
    beside = {"baseline": before, "ours": after, "measure": "scenes per second"}
    note = f"{spread} in {ROUNDS} rounds; processor time {found['less_cpu']:.2f} x less"
    judge(benchmark, "train", found["times"], note=note, **beside)
