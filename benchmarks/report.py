"""Write benchmarks/RESULTS.md, its pictures, and README's section, from what the benchmarks kept.

python -m benchmarks.report .benchmarks/*.json -o benchmarks/RESULTS.md --readme README.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.bars import BARS, QUALITY, Bar
from benchmarks.growth import growth
from benchmarks.markdown import number, replace_text, table, write_section
from benchmarks.plots import by_input, plot_curves

PACKAGES = ("torch", "transformers", "diffusers", "kornia", "open3d-cpu", "xformers", "numpy")
Kept = dict[str, Any]


def main() -> int:
    """Write the tables; say which bars were missed or not measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of pytest-benchmark")
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/RESULTS.md"))
    parser.add_argument("--readme", type=Path, default=None, help="file with the marked section")
    args = parser.parse_args()
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in args.results]
    runs = [run for document in documents for run in document["benchmarks"]]
    kept = [{"test": run["name"], **run["extra_info"]} for run in runs]
    figures = {key: figure for run in kept for key, figure in run.get("bars", {}).items()}
    pictures = args.out.parent / "results"
    files = plot_curves(list(curves_of(kept)), pictures)
    parts = (head(documents[0], figures), *bar_tables(figures), *step_tables(kept))
    parts += (*curve_tables(kept, files, pictures.name), *other_tables(kept), GPU)
    replace_text(args.out, "\n\n".join(parts) + "\n")
    if args.readme is not None:
        write_section(args.readme, readme_section(documents[0], figures, kept))
    missed = [BARS[key].work for key in figures if not is_met(key, figures)]
    absent = [key for key in BARS if key not in figures]
    print(f"{args.out}: {len(figures)} bars measured; missed: {missed}; not measured: {absent}")
    return 0


GPU = """## On a GPU

Where a CUDA device is present, `pytest benchmarks/test_training_step.py -k gpu` times the same code
with CUDA events. Not run here: no figure on this page is of a GPU."""


def is_met(key: str, figures: Kept) -> bool:
    """Whether the figure of a bar keeps it."""
    return BARS[key].met(figures[key]["figure"])


def head(document: Kept, figures: Kept) -> str:
    """Where, when and with what the figures were taken."""
    met = sum(is_met(key, figures) for key in figures)
    return (
        "# Results\n\nWritten by `make bench`; do not edit. Times are processor time of one "
        "thread, both ways in turn in one run: on another machine only ratios mean anything.\n\n"
        f"{setting(document)}\n\n**{met} of {len(figures)} bars met**, "
        f"{len(BARS) - len(figures)} not measured."
    )


def setting(document: Kept) -> str:
    """Date, commit, machine and versions in one sentence."""
    cpu = document["machine_info"]["cpu"]
    day = datetime.fromisoformat(document["datetime"]).astimezone(UTC).date()
    commit = document["commit_info"].get("id", "?")[:9]
    dirty = ", with changes" if document["commit_info"].get("dirty") else ""
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name)))
    return (
        f"{day}, commit {commit}{dirty}; {cpu.get('brand_raw', '?')}, {cpu.get('count')} cores; "
        f"Python {document['machine_info']['python_version']}, {versions}."
    )


def installed(name: str) -> str | None:
    """Version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def bar_tables(figures: Kept) -> Iterator[str]:
    """One table per part of the library, with every bar, measured or not."""
    for part in dict.fromkeys(bar.part for bar in BARS.values()):
        keys = [key for key, bar in BARS.items() if bar.part == part]
        header = ("work", "baseline", "baseline took", "ours", "figure", "bar", "met")
        rows = [bar_row(BARS[key], figures.get(key)) for key in keys]
        notes = [f"- {BARS[k].work}: {figures[k]['note']}" for k in keys if noted(k, figures)]
        yield "\n\n".join([f"## {part}", table(header, rows), *(["\n".join(notes)] * bool(notes))])


def noted(key: str, figures: Kept) -> bool:
    """Whether a figure comes with a note."""
    return bool(figures.get(key, {}).get("note"))


def bar_row(bar: Bar, figure: Kept | None) -> list[str]:
    """Cells of a bar."""
    limit = f"{'≤' if bar.at_most else '≥'} {bar.bar:g}"
    if figure is None:
        return [bar.work, bar.baseline, "", "", "not measured", limit, ""]
    unit = figure.get("measure", "")
    sides = (f"{number(figure[s])} {unit}" if s in figure else "" for s in ("baseline", "ours"))
    verdict = "yes" if bar.met(figure["figure"]) else "**no**"
    return [
        bar.work,
        bar.baseline,
        *sides,
        f"{number(figure['figure'])} {bar.unit}",
        limit,
        verdict,
    ]


def step_tables(kept: list[Kept]) -> Iterator[str]:
    """The paper's Table 7: relative cost of a step by its tasks."""
    found = [run["table"] for run in kept if "table" in run]
    if found:
        names = dict.fromkeys(name for one in found for name in one["rows"])
        header = ("step", *(one["name"] for one in found), "paper: time")
        rows = [
            [name, *(f"{one['rows'][name]:.3f}x" if name in one["rows"] else "" for one in found)]
            for name in names
        ]
        paper = {"text only": "1.00x", "+ both, released (views every 4th)": "1.12x"}
        text = table(header, [[*row, paper.get(row[0], "")] for row in rows])
        yield "## A training step by its tasks (the paper's Table 7)\n\n" + text
        absolute = [
            [k, number(v), one["unit"]] for one in found for k, v in one["absolute"].items()
        ]
        yield table(("step", "cost", "unit"), absolute)
    for run in kept:
        if "parts" in run:
            rows = [[name, *(number(each) for each in both)] for name, *both in run["parts"]]
            header = ("part, at full size, counted", "forward, TFLOP", "backward, TFLOP")
            yield table(header, rows)
        if "memory_table" in run:
            rows = [
                [k, number(v["saved"]), number(v["peak"])] for k, v in run["memory_table"].items()
            ]
            header = (
                "step at full size, counted",
                "kept by the forward pass, GB",
                "most alive, GB",
            )
            yield table(header, rows)


def curves_of(kept: list[Kept]) -> Iterator[Kept]:
    """All curves that were kept."""
    for run in kept:
        for key in ("curve", "memory"):
            found = run.get(key, [])
            yield from found if isinstance(found, list) else [found]


def curve_tables(kept: list[Kept], files: dict[str, str], folder: str) -> Iterator[str]:
    """Pictures, and how fast each cost grows."""
    yield (
        "## How costs grow\n\nThe exponent of a power law through the ends of each curve: 1 is "
        "linear, less means that a part does not grow. Results of some 32 MB and more get fresh "
        "memory from the system every time: on a CPU that is a step in time (back-projection "
        "beyond 16 views, position codes beyond 49 tokens), linear before and after it."
    )
    for against, curves in by_input(list(curves_of(kept))).items():
        rows = [
            [c["name"], c["unit"], *map(number, (*c["points"][0], *c["points"][-1])), exponent(c)]
            for c in curves
        ]
        header = ("what", "unit", "from", "cost", "to", "cost", "exponent")
        picture = f"![{against}]({folder}/{files[against]})"
        yield f"### Against {against}\n\n{picture}\n\n{table(header, rows)}"


def exponent(curve: Kept) -> str:
    """How fast a curve grows."""
    return f"{growth(curve['points']):.2f}"


def other_tables(kept: list[Kept]) -> Iterator[str]:
    """Comparisons without a bar, losses among them; what runs where; rates."""
    compared = [row for run in kept for row in run.get("compared", [])]
    header = ("work", "against", "times as fast", "")
    rows = [[r["work"], r["baseline"], number(r["ratio"]), r["note"]] for r in compared]
    if rows:
        yield "## Without a bar, losses among them\n\n" + table(header, rows)
    backends = [
        [run["shape"], name, number(found["ms"]) if found["runs"] else "", found.get("why", "")]
        for run in kept
        for name, found in run.get("backends", {}).items()
    ]
    if backends:
        header = ("attention of", "backend", "ms of CPU, forward", "why not")
        yield "## Attention backends on this machine\n\n" + table(header, backends)
    rates = [(run["test"].removeprefix("test_"), run["rate"]) for run in kept if "rate" in run]
    rows = [
        [name, f"{number(r['figure'])} {r['unit']}", shares_of(r["shares"])] for name, r in rates
    ]
    if rows:
        header = ("benchmarks/test_data.py", "a second of CPU", "of which")
        yield "## Data\n\n" + table(header, rows)


def shares_of(shares: dict[str, float]) -> str:
    """Parts of a whole, in per cent."""
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


def readme_section(document: Kept, figures: Kept, kept: list[Kept]) -> str:
    """What README shows: Table 7, and each bar's figure in a line."""
    rows = []
    for key, bar in BARS.items():
        if key in figures and bar.part != QUALITY:  # which README shows beside the renderer
            limit = bar_row(bar, None)[5] + ("" if is_met(key, figures) else ", **missed**")
            measured = f"{number(figures[key]['figure'])} {bar.unit}"
            rows.append([bar.work, bar.baseline, measured, limit])
    met = sum(is_met(key, figures) for key in figures)
    steps = next(iter(step_tables(kept)), "").partition("\n\n")[2]
    return "\n\n".join(
        [
            f"`make bench` ({setting(document)[:-1]}; one thread; CUDA not run here): {met} of "
            f"{len(figures)} bars met. All tables, curves and losses: "
            "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
            "What a step costs with the pretext tasks, text only = 1:",
            steps,
            table(("work", "against", "measured", "bar"), rows),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
