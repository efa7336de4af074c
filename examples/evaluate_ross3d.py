"""Judge a trained model on the five benchmarks: the paper's tables, and a page to look at.

python examples/evaluate_ross3d.py RUN --data ROOT              all benchmarks that ROOT has
python examples/evaluate_ross3d.py RUN --data ROOT --benchmarks sqa3d scanqa --limit 200
python examples/evaluate_ross3d.py runs/rooms --data rooms      held-out rooms, the same five tasks

RUN is a folder that train_ross3d.py or export_model.py wrote. A run that was stopped goes on: what
has been answered is not asked again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from reference.data.benchmarks.sample import TASKS
from reference.files import replacing
from reference.judging.asking import ask_scene
from reference.judging.judged import Asked, Judged
from reference.judging.page import write_page
from reference.judging.predictions_file import PredictionsFile
from reference.judging.rooms import JudgedRooms
from reference.judging.scans import JudgedScans
from reference.judging.tables import as_markdown, score_all, to_json
from reference.trained import TrainedRun, load_run
from tqdm import tqdm

ROOMS = {"limit": 100, "longest": 32}
SCANS = {"limit": None, "longest": 512}
"""What is not given: published runs write 512 tokens at most; words of rooms' answers are few."""


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="a run, or an exported model")
    parser.add_argument("--data", default=None, help="rooms, or a scan folder (default: the run's)")
    parser.add_argument("--benchmarks", nargs="+", choices=TASKS, help="default: all there are")
    parser.add_argument(
        "--split",
        choices=["train", "val", "test"],
        help="default: the one that papers report: val, of SQA3D test",
    )
    parser.add_argument("--limit", type=int, help="samples of each task (rooms: 100; else all)")
    parser.add_argument("--batch", type=int, default=8, help="questions of a scene at once")
    parser.add_argument("--longest", type=int, help="tokens of an answer (rooms: 32; else 512)")
    parser.add_argument("--shown", type=int, default=3, help="samples of each task on the page")
    parser.add_argument("-o", "--out", type=Path, help="default: RUN/evaluation/DATA")
    parser.add_argument("--threads", type=int, default=None, help="of torch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    for name in ("limit", "batch", "longest", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1; got {value}")
    return args


def main() -> None:
    """Ask, score, show."""
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        evaluate(args)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


def evaluate(args: argparse.Namespace) -> None:
    """Do what the options ask for."""
    # The tokenizer needs the run's own data, but nothing here its scenes: rooms are always there.
    with warnings.catch_warnings():
        # Some that cannot be learned can be judged; what cannot is counted below.
        warnings.filterwarnings("ignore", message=r"\d+ annotations? left out")
        run = load_run(args.run, data="rooms", device=args.device)
    data = args.data or run.options["data"]
    usual = ROOMS if data == "rooms" else SCANS
    args.limit, args.longest = args.limit or usual["limit"], args.longest or usual["longest"]
    judged = open_judged(run, data, args)
    asked = Asked.of(judged)
    out = args.out or args.run / "evaluation" / Path(data).name
    about = {
        "run": str(args.run.resolve()),
        "step": run.step,
        "data": data if data == "rooms" else str(Path(data).resolve()),
        "splits": dict(judged.splits),
        "views": run.preset.views,
        "longest": args.longest,
    }
    file = PredictionsFile(out, {k: v for k, v in about.items() if k != "splits"})
    predict(run, judged, file, args)
    said = {task: file.of(samples) for task, samples in asked.by_task.items()}
    scores = score_all(judged, asked, said)
    about["samples"] = {task: len(samples) for task, samples in asked.by_task.items()}
    table = as_markdown(scores, f"{args.run} after {run.step} steps", judged.name)
    write(out / "tables.md", table)
    found = json.dumps(to_json(scores, about, judged.skips.as_json()), indent=1)
    write(out / "tables.json", found + "\n")
    page = write_page(out, judged, asked, said, scores, about, shown=args.shown)
    print(table.partition("## Every protocol")[0].rstrip())
    print(f"\n{len(asked)} predictions, tables of every protocol and pictures: {page}")


def open_judged(run: TrainedRun, data: str, args: argparse.Namespace) -> Judged:
    """Open the samples and their scenes."""
    if data == "rooms":
        return JudgedRooms(run.source, tasks=args.benchmarks, limit=args.limit)
    return JudgedScans(
        data,
        views=run.preset.views,
        size=run.preset.image_size,
        tasks=args.benchmarks,
        split=args.split,
        limit=args.limit,
    )


def predict(run: TrainedRun, judged: Judged, file: PredictionsFile, args: Any) -> None:
    """Ask all that has not been asked yet, scene by scene."""
    options = {"batch": args.batch, "longest": args.longest}
    total = sum(len(judged.samples(i)) for i in range(len(judged)))
    with tqdm(total=total, unit="sample") as progress:
        for index in range(len(judged)):
            samples = judged.samples(index)
            left = [sample for sample in samples if file.lacks(sample)]
            progress.update(len(samples) - len(left))
            if left:
                scene = judged.scene(index)
                for predicted in ask_scene(run.model, scene, left, run.collate, **options):
                    file.add(predicted)
                    progress.update(len(predicted))


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
