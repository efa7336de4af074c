"""The card of a whole model: what its folder knows about teacher, data, protocol and licences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ross3d import ModelCard

DATA = {
    "rooms": ("rooms that ross3d generates", "Apache-2.0, as ross3d"),
    "furnished_room": ("furnished_room, the scan that ships with ross3d", "CC0-1.0"),
}
"""Data by name: what it is, and its licence."""

USAGE = """\
# from a clone of ross3d, in examples/
from reference.model import Ross3D

model = Ross3D.from_pretrained("FOLDER OR ID")"""


def model_card(description: Mapping[str, Any], *, license: str | None = None) -> ModelCard:
    """Write down what a model's description says.

    Args:
        description: the content of ross3d.json.
        license: of the weights.
    """
    recipe, host = description["recipe"] or {}, description["host"] or {}
    options, preset = recipe.get("options", {}), recipe.get("preset", {})
    data, licence = DATA.get(
        options.get("data"), (options.get("data") or ModelCard.UNSTATED, ModelCard.UNSTATED)
    )
    teacher, teacher_licence = _teacher(description["config"]["reconstruction"])
    origin = host.get("id")
    base = None if origin is None or origin.startswith("/") else origin
    named = origin or f"{host.get('class', description['config']['lmm'].get('given'))}, inside"
    unknown = origin or preset.get("host") != "scratch"
    host_licence = ModelCard.UNSTATED if unknown else "as these weights"
    return ModelCard(
        "A ROSS3D model",
        teacher=teacher,
        data=data,
        protocol=_protocol(recipe.get("step"), preset, options),
        licences={
            f"host ({named})": host_licence,
            "teacher": teacher_licence,
            "data": licence,
        },
        license=license,
        base_model=base,
        usage=USAGE,
    )


def _teacher(reconstruction: Mapping[str, Any]) -> tuple[str, str]:
    """The teacher and its licence."""
    if "given" in reconstruction:
        return ModelCard.UNSTATED, ModelCard.UNSTATED
    tokenizer = reconstruction["config"].get("tokenizer")
    if tokenizer is None:
        return "none: no pretext tasks", "none"
    if "given" in tokenizer:
        return f"{tokenizer['given']}, to be given again", ModelCard.UNSTATED
    name, numbers = tokenizer["class"], tokenizer["config"]
    told = ", ".join(f"{key} {value}" for key, value in numbers.items())
    free = name in ("DCTTokenizer", "PixelTokenizer")
    return f"{name} ({told})", "none: it has no weights" if free else ModelCard.UNSTATED


def _protocol(step: int | None, preset: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """How the model was trained."""
    if step is None or not preset:
        return ModelCard.UNSTATED
    scenes = preset["batch"] * preset["accumulate"]
    return (
        f"{step} optimiser steps of {scenes} scenes (per device) of {preset['views']} views, of "
        f"which {preset['mask_ratio']:.0%} are hidden in every {preset['every']}. step; objective "
        f"{preset['objective']}, {preset['draws']} draws; peak learning rate {preset['lr']:g}; "
        f"pretext tasks: {options.get('tasks', 'both')}; parameters that train: "
        f"{options.get('train', 'full')}. Figures of the run, if any, are of held-out scenes."
    )
