"""Train the default run with other contexts, with and without target coordinates, and compare.

Writes a table over seeds, and a picture of the same hidden views as each variant rebuilds them.

python examples/ablations.py
python examples/ablations.py --seeds 1 --steps 100 --jobs 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL.Image import Image
from reference.drawing import SIDE, fit, tile, to_image
from reference.files import replacing
from reference.rebuilding import hide_last, rebuild
from reference.trained import load_run

ARMS = {
    f"{context}, {places}": [f"--context={context}", *options]
    for context in ("visible", "all", "own")
    for places, options in (("with places", []), ("without", ["--no-target-coords"]))
}
ARMS["all, with places of targets only"] = ["--context=all", "--no-context-coords"]
FIGURES = ("cross_view/loss", "cross_view/psnr", "global_view/loss", "global_view/psnr")


def run_folder(arm: str, seed: int, out: str) -> Path:
    """Where one arm with one seed is trained."""
    return Path(out, f"{arm.replace(',', '').replace(' ', '_')}_{seed}")


def train(arm: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Train one arm with one seed, unless that has been done, and read its figures."""
    folder = run_folder(arm, seed, args.out)
    if not (folder / "figures.json").exists():
        script = Path(__file__).with_name("train_ross3d.py")
        options = [f"--seed={seed}", f"--out={folder}", f"--data={args.data}", "--threads=1"]
        options.append(f"--evaluate={args.evaluate}")
        if args.steps:
            options.append(f"--steps={args.steps}")
        resume = ["--resume"] if (folder / "config.json").exists() else []
        with (Path(args.out) / f"{folder.name}.log").open("w", encoding="utf-8") as log:
            command = [sys.executable, str(script), *options, *ARMS[arm], *resume]
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return json.loads((folder / "figures.json").read_text(encoding="utf-8"))


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Write mean and standard deviation over seeds as a Markdown table."""
    lines = ["| context | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 1) + "|"]
    for arm, runs in results.items():
        cells = []
        for figure in FIGURES:
            values = [run[figure] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(out: str, *, scenes: int = 4) -> Image:
    """Show the first hidden view of some held-out scenes as each arm of seed 0 rebuilds it."""
    columns = []
    for arm in ARMS:
        run = load_run(run_folder(arm, 0, out))
        batch = run.collate([run.source.held_out(i) for i in range(scenes)])
        masked = hide_last(batch, run.source.hidden)
        rebuilt = rebuild(run.model, batch, masked, steps=run.preset.sample_steps)["cross_view"]
        columns.append(rebuilt.images[:, 0])
    columns.append(rebuilt.targets.images[:, 0])
    rows = [[fit(to_image(column[row]), SIDE) for column in columns] for row in range(scenes)]
    return tile(rows, columns=[*(arm.replace(", ", ",\n") for arm in ARMS), "truth"])


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="rooms")
    parser.add_argument("--out", default="runs/ablations")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--evaluate", type=int, default=48, help="held-out scenes judged")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    return parser.parse_args()


def main() -> None:
    """Run the grid, write table and picture; finished runs are not repeated."""
    args = parse()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    todo = [(arm, seed) for seed in range(args.seeds) for arm in ARMS]
    with ThreadPoolExecutor(args.jobs) as pool:
        figures = list(pool.map(lambda run: train(*run, args), todo))
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for (arm, _), run in zip(todo, figures, strict=True):
        results[arm].append(run)
    with replacing(Path(args.out, "ablations.md")) as temporary:
        temporary.write_text(table(results) + "\n", encoding="utf-8")
    with replacing(Path(args.out, "ablations.png")) as temporary:
        picture(args.out).save(temporary, format="PNG")
    print(table(results))


if __name__ == "__main__":
    main()
