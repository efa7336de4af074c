"""How fast the default training run is, here and at another revision: both in turn, in one go.

python benchmarks/compare_train.py --base dc882bc                 that commit, then this tree
python benchmarks/compare_train.py --base . --options="--tasks none"    this tree, other options
python benchmarks/compare_train.py --base dc882bc --profile       where a step's time goes, in both

Each run is what a user starts, ``python examples/train_ross3d.py``, in a process of its own. It is
watched from outside: by its log, and by the processor time of its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "examples/train_ross3d.py"
POLL = 0.01
AFTER = 2  # steps after the last that is timed, in which processes do not end yet
PATIENCE = 600  # seconds


@dataclass(frozen=True)
class Speed:
    """What one run took.

    Attributes:
        scenes_per_second: wall time.
        wall: seconds of a step.
        main: processor seconds of a step, of the training process.
        workers: processor seconds of a step, of the data workers.
        losses: of every step.
    """

    scenes_per_second: float
    wall: float
    main: float
    workers: float
    losses: list[dict[str, float]]


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The tree of a revision, for a while; ``"."`` = this tree, as it is.

    Raises:
        ValueError: if the clone does not have the revision.
    """
    if revision == ".":
        yield ROOT
        return
    if not known(revision):
        raise ValueError(f"base must be a revision of this clone; got {revision}")
    with TemporaryDirectory(prefix="compare-train-") as folder:
        tree = Path(folder, "tree")
        _git("worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def known(revision: str) -> bool:
    """Whether the clone has a revision; a shallow one may not."""
    asked = ["git", "cat-file", "-e", f"{revision}^{{commit}}"]
    try:
        return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:  # no git
        return False


def measure(tree: Path, steps: int, warmup: int, options: Sequence[str] = ()) -> Speed:
    """Train, and time the steps after the first ones.

    Args:
        tree: whose script runs, with its own packages.
        steps: how many are timed.
        warmup: steps before them.
        options: of the script.

    Raises:
        RuntimeError: if the run ends before its time; the message holds what it printed.
    """
    with TemporaryDirectory(prefix="compare-train-") as folder:
        run, printed = Path(folder, "run"), Path(folder, "printed")
        given = ("--steps", warmup + steps + AFTER, "--evaluate", 0, "--out", run, *options)
        with printed.open("w") as file:
            command = [sys.executable, str(tree / SCRIPT), *map(str, given)]
            process = psutil.Popen(command, cwd=tree, env=_env(tree), stdout=file, stderr=file)
        try:
            before = _reached(process, run, warmup)
            after = _reached(process, run, warmup + steps)
            process.wait(PATIENCE)
        except (psutil.Error, RuntimeError) as error:
            raise RuntimeError(f"{' '.join(command)} failed:\n{printed.read_text()}") from error
        finally:
            for left in _family(process):
                left.kill()
        preset = json.loads((run / "config.json").read_text())["preset"]
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    wall, main, workers = ((b - a) / steps for a, b in zip(before, after, strict=True))
    return Speed(preset["batch"] * preset["accumulate"] / wall, wall, main, workers, rows)


def _reached(process: psutil.Popen, run: Path, step: int) -> tuple[float, float, float]:
    """When a run has logged so many steps: wall time, processor time of main and of workers."""
    log, end = run / "metrics.jsonl", time.monotonic() + PATIENCE
    while not log.exists() or log.read_bytes().count(b"\n") < step:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"no step {step}")
        time.sleep(POLL)
    main, *workers = (sum(one.cpu_times()[:2]) for one in _family(process))
    return time.perf_counter(), main, sum(workers)


def _family(process: psutil.Popen) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)] if process.is_running() else []


def compare(
    trees: Sequence[Path],
    options: Sequence[Sequence[str]],
    *,
    rounds: int,
    steps: int,
    warmup: int,
) -> dict[str, Any]:
    """Run both trees in turn.

    Args:
        trees: before, after.
        options: of the script, for each tree.
        rounds: how often.
        steps: how many are timed in each run.
        warmup: steps before them.

    Returns:
        ``before`` and ``after``: medians over rounds; ``times``, how many times as many scenes per
        second, of the medians, and ``spread``, in each round; ``less_cpu``, the same of processor
        time; ``losses_differ``, the largest relative difference of a loss at any step.
    """
    pairs = [
        [measure(tree, steps, warmup, given) for tree, given in zip(trees, options, strict=True)]
        for _ in range(rounds)
    ]
    names = ("scenes_per_second", "wall", "main", "workers")
    before, after = (
        {name: median(getattr(speed, name) for speed in side) for name in names}
        for side in zip(*pairs, strict=True)
    )
    used = [[one.main + one.workers for one in pair] for pair in pairs]
    return {
        "before": before,
        "after": after,
        "times": after["scenes_per_second"] / before["scenes_per_second"],
        "spread": [new.scenes_per_second / old.scenes_per_second for old, new in pairs],
        "less_cpu": median(old for old, _ in used) / median(new for _, new in used),
        "less_cpu_spread": [old / new for old, new in used],
        "losses_differ": max(_difference(old.losses, new.losses) for old, new in pairs),
        "rounds": [[asdict(one) | {"losses": None} for one in pair] for pair in pairs],
    }


def _difference(one: list[dict[str, float]], two: list[dict[str, float]]) -> float:
    """Largest relative difference of the losses that both runs have."""
    pairs = [
        (old[name], new[name])
        for old, new in zip(one, two, strict=True)
        for name in old.keys() & new.keys() - {"step"}
    ]
    return max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs)


def _env(tree: Path) -> dict[str, str]:
    path = os.pathsep.join([str(tree), str(tree / "examples")])
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def _git(*command: str) -> None:
    subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True)


def table(found: dict[str, Any]) -> str:
    """A row per side, and the ratio."""
    lines = [f"{'':<8}{'scenes/s':>10}{'s/step':>10}{'CPU s':>10}{'workers CPU s':>15}"]
    for side in ("before", "after"):
        row = found[side]
        values = row["scenes_per_second"], row["wall"], row["main"], row["workers"]
        lines.append("{:<8}{:>10.2f}{:>10.3f}{:>10.3f}{:>15.3f}".format(side, *values))
    for name, what in (("times", "scenes per second"), ("less_cpu", "processor time")):
        spread = found["spread" if name == "times" else "less_cpu_spread"]
        rounds = f"({min(spread):.2f} to {max(spread):.2f} in {len(spread)} rounds)"
        lines.append(f"{what}: {found[name]:.2f} times as good {rounds}")
    lines.append(f"largest relative difference of a loss: {found['losses_differ']:.1e}")
    return "\n".join(lines)


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--base", default="dc882bc", help="revision to compare this tree with; . = itself")
    add("--rounds", type=int, default=4, help="how often both run")
    add("--steps", type=int, default=20, help="steps that are timed in each run")
    add("--warmup", type=int, default=4, help="steps before them")
    add("--base-options", default="", help="of the script, at the base")
    add("--options", default="", help="of the script, in this tree")
    add("--json", type=Path, default=None, help="file to write")
    add("--profile", action="store_true", help="say where a step's processor time goes instead")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which cleans up, as errors do
    options = [shlex.split(args.base_options), shlex.split(args.options)]
    with checked_out(args.base) as base:
        if args.profile:
            for tree, given in zip((base, ROOT), options, strict=True):
                command = [sys.executable, str(ROOT / "benchmarks/profile_train.py")]
                command += ["--steps", str(args.steps), str(tree / SCRIPT), *given]
                subprocess.run(command, cwd=tree, env=_env(tree), check=True)
            return
        amount = {"rounds": args.rounds, "steps": args.steps, "warmup": args.warmup}
        found = compare((base, ROOT), options, **amount)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
