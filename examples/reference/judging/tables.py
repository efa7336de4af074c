"""The papers' tables for a model: published rows above, the model's own, and guesses below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.benchmarks.sample import GROUNDING, Sample, Task
from ..metrics.annotations import references_of
from ..metrics.records import Prediction
from ..metrics.score import Result
from ..metrics.scoring import score
from ..metrics.table import as_json, markdown
from .baselines import baselines
from .judged import Asked, Judged
from .published import NOTES, PUBLISHED, TABLES, Columns, Table, title_of, title_of_table

OURS = "this model"
Figures = Mapping[str, float | None]
"""Metric -> figure times 100; None where it cannot be computed here."""


@dataclass(frozen=True)
class Scores:
    """All that is known of how well a model did.

    Attributes:
        results: per task, one result per protocol.
        rows: of the tables: name -> task -> figures under the protocol of the table.
        notes: what a reader must know.
        comparable: whether the published rows are among the rows.
    """

    results: Mapping[Task, Sequence[Result]]
    rows: Mapping[str, Mapping[Task, Figures]]
    notes: Sequence[str]
    comparable: bool


def score_all(judged: Judged, asked: Asked, said: Mapping[Task, Sequence[Prediction]]) -> Scores:
    """Score a model under every protocol, and guesses under those of the tables.

    Args:
        judged: the data.
        asked: the samples.
        said: the model's predictions of each task.

    Returns:
        The scores; tasks whose answers are secret are left out, and named in the notes.
    """
    columns = {one.task: one for table in TABLES for one in table.columns}
    open_tasks = {task: x for task, x in asked.by_task.items() if not secret(task, x)}
    truth = {task: references_of(samples) for task, samples in open_tasks.items()}
    results = {task: score(task, said[task], truth[task]) for task in open_tasks}
    rows: dict[str, dict[Task, Figures]] = {}
    if judged.benchmarks:
        for name, row in PUBLISHED.items():
            rows[name] = {task: row[task] for task in open_tasks}
    rows[OURS] = {task: headline(columns[task], results[task]) for task in open_tasks}
    for name, guesses in baselines(judged, Asked(open_tasks)).items():
        rows[name] = {
            task: headline(columns[task], score(task, guess, truth[task], columns[task].protocol))
            for task, guess in guesses.items()
        }
    notes = [_note(columns[task], judged, len(samples)) for task, samples in open_tasks.items()]
    hidden = [task for task in asked.by_task if task not in open_tasks]
    notes += [f"{task}: the answers are secret; predictions.jsonl holds ours" for task in hidden]
    notes += [
        f"{task}: the guesses know the answers, which are those that they would be learned from"
        for task in open_tasks
        if judged.splits[task] == "train" or not any(x.task == task for x in judged.training)
        if task not in GROUNDING
    ]
    notes += NOTES if judged.benchmarks else ()
    notes += str(judged.skips).splitlines()
    return Scores(results, rows, [note for note in notes if note], judged.benchmarks)


def secret(task: Task, samples: Sequence[Sample]) -> bool:
    """Whether nothing is known to compare answers with, as of a test split."""
    return task not in GROUNDING and not any(sample.answers for sample in samples)


def headline(columns: Columns, results: Sequence[Result]) -> Figures:
    """The figures of a table, times 100."""
    own = next(one for one in results if one.protocol == columns.protocol)
    figures = {name: own.figures[name] for name in columns.metrics}
    return {name: None if x is None else 100 * x for name, x in figures.items()}


def _note(columns: Columns, judged: Judged, samples: int) -> str:
    """What stands in the way of comparing with the published rows; empty where nothing does."""
    split = judged.splits[columns.task]
    if not judged.benchmarks or (split, samples) == (columns.split, columns.samples):
        return ""
    published = f"{columns.samples} samples of {columns.split}"
    return f"{columns.title}: published rows are of {published}, ours of {samples} of {split}"


def heading(scores: Scores, name: str) -> str:
    """What the tables are of, and what they may be compared with."""
    if scores.comparable:
        return "## The benchmarks"
    return (
        f"## Not the published benchmarks: {name}\n\nThese figures are of other scenes and "
        "questions than the papers' and cannot be compared with any published figure; compare "
        "them with the guesses below them."
    )


def as_markdown(scores: Scores, title: str, name: str) -> str:
    """All tables, then every protocol side by side."""
    parts = [f"# {title}", heading(scores, name)]
    for table in TABLES:
        if lines := _table(table, scores):
            parts += [f"### {title_of_table(table, scores.comparable)}", "\n".join(lines)]
    if scores.notes:
        parts.append("\n".join(f"- {note}" for note in scores.notes))
    parts.append("## Every protocol")
    for task, results in scores.results.items():
        parts += [f"### {task}", markdown(results).rstrip()]
    return "\n\n".join(parts) + "\n"


def _table(table: Table, scores: Scores) -> list[str]:
    """The lines of one table; none where none of its tasks is there."""
    shown = [(x, m) for x in table.columns if x.task in scores.results for m in x.metrics]
    if not shown:
        return []
    head = ["", *(f"{title_of(x, scores.comparable)} {metric}" for x, metric in shown)]
    lines = [head, ["---", *["---:"] * len(shown)]]
    lines.append(["*protocol*", *(f"`{columns.protocol}`" for columns, _ in shown)])
    for name, row in scores.rows.items():
        cells = [cell(row.get(columns.task), metric) for columns, metric in shown]
        if any(x.task in row for x, _ in shown):
            lines.append([f"**{name}**" if name == OURS else name, *cells])
    return [f"| {' | '.join(line)} |" for line in lines]


def cell(figures: Figures | None, metric: str) -> str:
    """A figure of a table."""
    if figures is None or metric not in figures:
        return "–"
    figure = figures[metric]
    return "n/a" if figure is None else f"{figure:.1f}"


def to_json(scores: Scores, about: Mapping[str, Any], skips: Sequence[object]) -> dict[str, Any]:
    """The same for programs: ``tables`` in the order of the columns, ``results`` by protocol."""
    comparable = scores.comparable
    tables = {
        title_of_table(table, comparable): {
            name: {
                f"{title_of(x, comparable)} {m}": figures[x.task][m]
                for x in table.columns
                if x.task in figures
                for m in x.metrics
                if m in figures[x.task]
            }
            for name, figures in scores.rows.items()
        }
        for table in TABLES
    }
    protocols = {x.task: x.protocol for table in TABLES for x in table.columns}
    return {
        **about,
        "comparable_with_published": scores.comparable,
        "protocols": protocols,
        "tables": {
            title: {name: row for name, row in rows.items() if row}
            for title, rows in tables.items()
            if any(rows.values())
        },
        "notes": list(scores.notes),
        "skipped": list(skips),
        "results": {task: as_json(results) for task, results in scores.results.items()},
    }
