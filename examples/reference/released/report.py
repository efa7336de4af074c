"""What a conversion did, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from .keys import OWN, VAE, Layout, Shape


@dataclass(frozen=True)
class Report:
    """A line per part, and what else there is to know.

    Attributes:
        kind: whose checkpoint it is.
        rows: part, number of tensors, of parameters, and what became of them.
        notes: on the vocabulary and on what starts at random.
    """

    kind: str
    rows: list[tuple[str, int, int, str]]
    notes: list[str]

    def table(self) -> str:
        """The report as text."""
        lines = [f"{self.kind}", f"{'part':<16}{'tensors':>8}{'parameters':>16}  what"]
        lines += [f"{name:<16}{n:>8}{size:>16,}  {what}" for name, n, size, what in self.rows]
        return "\n".join([*lines, *self.notes])


def report(layout: Layout, shapes: Mapping[str, Shape], numbers: Mapping[str, Any]) -> Report:
    """Report on the parts of a checkpoint.

    Args:
        layout: its parts.
        shapes: key -> shape.
        numbers: the config of the converted model.
    """
    rows = [_row(part, names, shapes, "converted") for part, names in layout.parts.items()]
    vae = [name for name in shapes if name.startswith(VAE)]
    if vae:
        rows.append(_row("autoencoder", vae, shapes, "converted, in vae/"))
    rows += [(part, 0, 0, "initialised fresh") for part in OWN if part not in layout.parts]
    notes = []
    if lacking := numbers.get("fresh_tensors"):
        notes.append(f"initialised fresh in the denoiser: {', '.join(lacking)}")
    if "host" in numbers:
        host, special = numbers["host"], numbers["special_tokens"]
        notes += [
            f"vocabulary: {numbers['embed']} and {numbers['lm_head']} rows in the released "
            f"embeddings, {host['text']['vocab_size']} in ours",
            ", ".join(f"{token} {number}" for token, number in special.items())
            + f"; placeholders {host['image_token_id']} and {host['video_token_id']}",
        ]
    return Report(layout.kind, rows, notes)


def _row(
    part: str, names: list[str], shapes: Mapping[str, Shape], what: str
) -> tuple[str, int, int, str]:
    return part, len(names), sum(prod(shapes[name]) for name in names), what
