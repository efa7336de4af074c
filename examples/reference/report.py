"""One page that shows a run: figures, pictures, answers and the config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import starmap
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .files import replacing
from .state import flatten

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --ok: #2a9d4e; --bad: #c8553d; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem; }
tr { border-bottom: 1px solid var(--line); }
tr:nth-child(even) { background: var(--soft); }
figure { margin: 1.5rem 0; } img { max-width: 100%; background: white; border-radius: 4px; }
figcaption { opacity: .8; }
.right { color: var(--ok); } .wrong { color: var(--bad); }
code { font-size: .9em; overflow-wrap: anywhere; }
"""


def write_report(
    folder: Path | str,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    pictures: Sequence[tuple[str, str]],
    samples: Sequence[tuple[str, str, str]] = (),
    *,
    title: str | None = None,
) -> Path:
    """Write ``report.html`` into a run's folder; it needs no network, only the pictures beside it.

    Args:
        folder: the run's folder.
        config: options, nested or flat.
        metrics: name -> a number, or several by name: the model's own first, then what simple
            guesses reach, for example ``{"accuracy": {"model": 0.61, "majority answer": 0.34}}``.
        pictures: file name in the folder, and caption.
        samples: question, right answer, the model's answer.
        title: heading of the page; by default the folder's name.

    Returns:
        The page.

    Raises:
        FileNotFoundError: if a picture is not in the folder.
    """
    path = Path(folder) / "report.html"
    missing = [name for name, _ in pictures if not (path.parent / name).is_file()]
    if missing:
        raise FileNotFoundError(f"pictures must be files in {folder}; not found: {missing}")
    heading = escape(title or path.parent.resolve().name)
    answers = [
        (escape(question), escape(answer), _judged(answer, predicted))
        for question, answer, predicted in samples
    ]
    options = [(f"<code>{escape(k)}</code>", _value(v)) for k, v in flatten(config).items()]
    body = [
        f"<h1>{heading}</h1>",
        _section("Figures", ("", "model", "to compare with"), starmap(_metric, metrics.items())),
        *map(_figure, pictures),
        _section("Answers", ("question", "right answer", "the model's answer"), answers),
        _section("Config", ("option", "value"), options),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _metric(name: str, value: Any) -> tuple[str, str, str]:
    named = dict(value) if isinstance(value, Mapping) else {"model": value}
    own, *others = named.items() or [("model", "")]
    compared = "<br>".join(f"{escape(other)}: {_value(figure)}" for other, figure in others)
    return escape(name), _value(own[1]), compared


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(str(value))


def _judged(answer: str, predicted: str) -> str:
    right = answer.strip().lower() == predicted.strip().lower()
    mark, name = ("✓", "right") if right else ("✗", "wrong")
    return f'<span class="{name}">{mark}</span> {escape(predicted)}'


def _figure(picture: tuple[str, str]) -> str:
    name, caption = picture
    return (
        f'<figure><img src="{escape(quote(name))}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _section(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; nothing where there are no rows."""
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return ""
    head = "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in heads) + "</tr>"
    table = "\n".join([f'<div class="wide"><table>{head}', *lines, "</table></div>"])
    return f"<h2>{escape(title)}</h2>\n{table}"
