"""Every arm of a grid, trained with several seeds and compared in a table and a picture."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from .arms import PAPER_FIGURES, Arm, Grid
from .drawing import SIDE, fit, tile, to_image
from .files import read_json, replacing
from .rebuilding import hide_last, rebuild
from .trained import load_run

if TYPE_CHECKING:
    from PIL.Image import Image

TRAIN = Path(__file__).resolve().parents[1] / "train_ross3d.py"
Figures = dict[str, float]
GUESSES = {"qa/accuracy": "qa/prior", "grounding/accuracy": "grounding/chance"}
"""What a figure has to beat: a guess that looks at nothing."""


def add_grid_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the options that all grids share."""
    parser.add_argument("--data", default="rooms")
    parser.add_argument("--rooms", type=int, default=None, help="generated training rooms")
    parser.add_argument("--out", default=out)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--evaluate", type=int, default=48, help="held-out scenes judged")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("options", nargs="*", help="after --: train_ross3d.py's, for all runs")


def shared_options(grid: Grid, args: argparse.Namespace) -> list[str]:
    """The options of ``train_ross3d.py`` that all arms are trained with."""
    options = [f"--data={args.data}", "--threads=1", f"--evaluate={args.evaluate}"]
    rooms = args.rooms or (grid.rooms if args.data == "rooms" else None)
    options += [f"--rooms={rooms}"] if rooms else []
    options += [f"--steps={args.steps}"] if args.steps else []
    return [*options, *args.options]


def run_folder(arm: Arm, seed: int, out: Path | str) -> Path:
    """Where one arm with one seed is trained."""
    return Path(out, f"{re.sub(r'[^a-zA-Z0-9.=-]+', '_', arm.name).strip('_')}_{seed}")


def check_run(folder: Path, options: Sequence[str]) -> None:
    """Note what a run is to be, or hold it against what it has been.

    Raises:
        ValueError: if the folder has been begun with other options.
    """
    note = folder.with_name(f"{folder.name}.json")
    if note.exists() and (had := read_json(note)["options"]) != list(options):
        raise ValueError(f"{folder} must be a run of {' '.join(options)}; got {' '.join(had)}")
    with replacing(note) as temporary:
        temporary.write_text(json.dumps({"options": options}), encoding="utf-8")


def train_run(folder: Path, options: Sequence[str]) -> Figures:
    """Train one arm with one seed, unless that has been done, and read its figures.

    A run that was stopped goes on.

    Raises:
        RuntimeError: if training fails; the message names the log.
    """
    if not (folder / "figures.json").exists():
        command = [sys.executable, str(TRAIN), *options, f"--out={folder}", "--resume"]
        log = folder.with_name(f"{folder.name}.log")
        with log.open("a", encoding="utf-8") as file:
            code = subprocess.run(command, check=False, stdout=file, stderr=file).returncode
        if code:
            *_, last = ["nothing said", *log.read_text(encoding="utf-8").splitlines()]
            raise RuntimeError(f"{folder} must train; got exit code {code} ({last}): see {log}")
    return read_json(folder / "figures.json")


def train_grid(grid: Grid, args: argparse.Namespace) -> dict[str, list[Figures]]:
    """Train every arm with every seed: arm -> figures of each seed.

    Raises:
        RuntimeError: if a run fails; those that go on at that time come to their end before.
        ValueError: if a run has been begun with other options; nothing is trained then.
    """
    shared, runs = shared_options(grid, args), []
    Path(args.out).mkdir(parents=True, exist_ok=True)
    todo = [(arm, seed) for seed in range(args.seeds) for arm in grid.arms]
    for arm, seed in todo:
        runs.append((run_folder(arm, seed, args.out), [f"--seed={seed}", *shared, *arm.options]))
        check_run(*runs[-1])
    pool = ThreadPoolExecutor(args.jobs)
    try:
        trained = [pool.submit(train_run, *run) for run in runs]
        for done in tqdm(as_completed(trained), total=len(runs), unit="run"):
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)
    results: dict[str, list[Figures]] = {arm.name: [] for arm in grid.arms}
    for (arm, _), run in zip(todo, trained, strict=True):
        results[arm.name].append(run.result())
    return results


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}" if values else "-"


def table(grid: Grid, results: Mapping[str, Sequence[Figures]]) -> str:
    """Write a Markdown table: mean and deviation over seeds, and the paper's row beside.

    The last row is what guesses reach that look at nothing, where the columns have such.
    """
    shown = [name for name in grid.figures if any(name in r for x in results.values() for r in x)]
    compared = any(arm.paper for arm in grid.arms)
    paper = [f"paper: {name}" for name in PAPER_FIGURES] if compared else []
    rows = [[grid.about, *shown, *paper], ["---"] * (1 + len(shown) + len(paper))]
    for arm in grid.arms:
        runs = results[arm.name]
        cells = [spread([run[name] for run in runs if name in run]) for name in shown]
        published = [str(x) for x in arm.paper] if arm.paper else ["-"] * len(paper)
        rows.append([arm.name, *cells, *published])
    everyone = [run for runs in results.values() for run in runs]
    blind = [[r[g] for r in everyone if g in r] for g in (GUESSES.get(n, "") for n in shown)]
    if any(blind):
        rows.append(["(a blind guess)", *map(spread, blind), *["-"] * len(paper)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def picture(grid: Grid, out: Path | str, *, scenes: int = 4) -> Image | None:
    """Show the first hidden view of some held-out scenes as each arm of seed 0 rebuilds it.

    Returns:
        The picture; None where no arm rebuilds hidden views.
    """
    columns, names = [], []
    for arm in grid.arms:
        run = load_run(run_folder(arm, 0, out))
        if "cross_view" not in run.model.reconstruction.tasks:
            continue
        batch = run.collate([run.source.held_out(i) for i in range(scenes)])
        masked = hide_last(batch, run.source.hidden)
        rebuilt = rebuild(run.model, batch, masked, steps=run.preset.sample_steps)["cross_view"]
        columns.append(rebuilt.images[:, 0])
        names.append(arm.name.replace(", ", ",\n"))
    if not columns:
        return None
    columns.append(rebuilt.targets.images[:, 0])
    rows = [[fit(to_image(column[row]), SIDE) for column in columns] for row in range(scenes)]
    return tile(rows, columns=[*names, "truth"])


def run_grid(grid: Grid, args: argparse.Namespace, name: str) -> str:
    """Train a grid; write ``NAME.md``, ``NAME.json`` with every seed's figures, ``NAME.png``.

    Returns:
        The table.
    """
    results = train_grid(grid, args)
    arms = {
        arm.name: {"options": arm.options, "paper": arm.paper, "figures": results[arm.name]}
        for arm in grid.arms
    }
    content = {"options": shared_options(grid, args), "arms": arms}
    text = table(grid, results)
    with replacing(Path(args.out, f"{name}.md")) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    with replacing(Path(args.out, f"{name}.json")) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if (image := picture(grid, args.out)) is not None:
        with replacing(Path(args.out, f"{name}.png")) as temporary:
            image.save(temporary, format="PNG")
    return text
