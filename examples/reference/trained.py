"""A run that train_ross3d.py has written, or a model exported from it, ready to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build import build_from_options
from .collate import SceneCollator
from .data.sources import Source, open_source
from .files import read_json
from .model import Ross3D
from .options import run_collators, run_tokenizer
from .presets import Preset
from .pretrained import is_saved_model, load_tokenizer, read_description
from .run import RunFolder, load_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TrainedRun:
    """What the newest checkpoint of a run holds, or a model's folder, and what it was trained on.

    Attributes:
        model: with its weights, in evaluation mode.
        source: of scenes, the run's own or another.
        collate: of the model's tokenizer, with the prompts of evaluation.
        preset: the numbers of the recipe.
        step: optimiser steps done.
        options: of train_ross3d.py.
    """

    model: Ross3D
    source: Source
    collate: SceneCollator
    preset: Preset
    step: int
    options: Mapping[str, Any]


def load_run(path: Path | str, *, data: str | None = None, device: str = "cpu") -> TrainedRun:
    """Rebuild the model of a run from its config, and load its newest checkpoint.

    Args:
        path: folder that train_ross3d.py or export_model.py wrote.
        data: scenes to look at; None = those of the run.
        device: where the model goes.

    Raises:
        FileNotFoundError: if the folder holds no run, or no checkpoint.
        ValueError: if a file is damaged, or a model was exported without its recipe.
    """
    folder = Path(path)
    open_folder = _exported if is_saved_model(folder) else _checkpointed
    model, tokenizer, recipe = open_folder(folder)
    options, preset = recipe["options"], Preset(**recipe["preset"])
    source = open_source(data or options["data"], **_layout(preset, options))
    _, collate = run_collators(tokenizer, model, preset.views, options)
    return TrainedRun(model.to(device).eval(), source, collate, preset, recipe["step"], options)


def _checkpointed(folder: Path) -> tuple[Ross3D, PreTrainedTokenizerBase, dict[str, Any]]:
    """The newest checkpoint of a run."""
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"RUN must be a folder that train_ross3d.py wrote; got {folder}")
    config = read_json(folder / "config.json")
    options, preset = config["options"], Preset(**config["preset"])
    tokenizer = run_tokenizer(open_source(options["data"], **_layout(preset, options)), options)
    model = build_from_options(preset, tokenizer, options)
    checkpoint = RunFolder(folder, resume=True).latest_checkpoint()
    if checkpoint is None:
        raise FileNotFoundError(f"RUN must hold a checkpoint; got {folder}")
    step = load_checkpoint(checkpoint, model)["step"]
    return model, tokenizer, {"options": options, "preset": config["preset"], "step": step}


def _exported(folder: Path) -> tuple[Ross3D, PreTrainedTokenizerBase, dict[str, Any]]:
    """A model's folder."""
    recipe = read_description(folder)["recipe"]
    if recipe is None:
        raise ValueError(f"RUN must have been exported with its recipe; got {folder}")
    return Ross3D.from_pretrained(folder), load_tokenizer(folder), recipe


def _layout(preset: Preset, options: Mapping[str, Any]) -> dict[str, int]:
    """How the scenes of a run are put together."""
    return {
        "views": preset.views,
        "size": preset.image_size,
        "turns": preset.turns,
        "hidden": max(1, round(preset.views * preset.mask_ratio)),
        "seed": options["seed"],
    }
