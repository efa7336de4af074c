"""Model cards: what somebody who finds a folder of weights has to know about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class ModelCard:
    """What the README.md of saved weights says; what nobody stated is said to be so.

    Attributes:
        title: what the weights are.
        teacher: the tokenizer whose latents were the targets, and where it came from.
        data: what was trained on.
        protocol: how it was trained, and how any figures were measured.
        licences: of what the weights are made from: part -> licence.
        license: of these weights themselves, as an identifier of the Hub; None = not stated.
        base_model: Hub id of the host that the weights belong to.
        usage: Python that loads them.
        tags: of the Hub, beside "ross3d".

    Example:
        >>> print(ModelCard("A denoiser", teacher="FLUX VAE").text().splitlines()[8])
        # A denoiser
    """

    UNSTATED: ClassVar[str] = "not stated"

    title: str
    teacher: str = UNSTATED
    data: str = UNSTATED
    protocol: str = UNSTATED
    licences: Mapping[str, str] = field(default_factory=dict)
    license: str | None = None
    base_model: str | None = None
    usage: str = ""
    tags: Sequence[str] = ("3d", "vision-language")

    def text(self) -> str:
        """Write the card as Markdown with the Hub's front matter."""
        front = {"library_name": "ross3d", "tags": ["ross3d", *self.tags]}
        front |= {"license": self.license} if self.license else {}
        front |= {"base_model": self.base_model} if self.base_model else {}
        lines = ["---", *(line for item in front.items() for line in _yaml(*item)), "---", ""]
        lines += [f"# {self.title}", "", "Written by [ross3d](https://arxiv.org/abs/2504.01901)."]
        for name in ("teacher", "data", "protocol"):
            lines += ["", f"**{name.capitalize()}**: {getattr(self, name)}"]
        lines += ["", "**Licences**", "", f"- these weights: {self.license or self.UNSTATED}"]
        lines += [f"- {part}: {licence}" for part, licence in self.licences.items()]
        if self.usage:
            lines += ["", "```python", self.usage, "```"]
        return "\n".join([*lines, ""])


def _yaml(key: str, value: str | Sequence[str]) -> list[str]:
    """A line or a list of the front matter; JSON text is YAML text, whatever it holds."""
    if isinstance(value, str):
        return [f"{key}: {json.dumps(value)}"]
    return [f"{key}:", *(f"- {json.dumps(item)}" for item in value)]
