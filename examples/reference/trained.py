"""A run that train_ross3d.py has written, ready to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .build import build_from_options
from .chat import build_tokenizer
from .collate import SceneCollator
from .data.sources import Source, open_source
from .files import read_json
from .model import Ross3D
from .presets import Preset
from .run import RunFolder, load_checkpoint


@dataclass(frozen=True)
class TrainedRun:
    """What the newest checkpoint of a run holds, and what it was trained on.

    Attributes:
        model: with its weights, in evaluation mode.
        source: of scenes, the run's own or another.
        collate: of the model's tokenizer.
        preset: the numbers of the recipe.
        step: optimiser steps done.
    """

    model: Ross3D
    source: Source
    collate: SceneCollator
    preset: Preset
    step: int


def load_run(path: Path | str, *, data: str | None = None, device: str = "cpu") -> TrainedRun:
    """Rebuild the model of a run from its config, and load its newest checkpoint.

    Args:
        path: folder that train_ross3d.py wrote.
        data: scenes to look at; None = those of the run.
        device: where the model goes.

    Raises:
        FileNotFoundError: if the folder holds no run, or no checkpoint.
        ValueError: if a file is damaged.
    """
    folder = Path(path)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"RUN must be a folder that train_ross3d.py wrote; got {folder}")
    config = read_json(folder / "config.json")
    options, preset = config["options"], Preset(**config["preset"])
    layout = {
        "views": preset.views,
        "size": preset.image_size,
        "turns": preset.turns,
        "hidden": max(1, round(preset.views * preset.mask_ratio)),
        "seed": options["seed"],
    }
    tokenizer = build_tokenizer(open_source(options["data"], **layout).words())
    model = build_from_options(preset, tokenizer, options)
    checkpoint = RunFolder(folder, resume=True).latest_checkpoint()
    if checkpoint is None:
        raise FileNotFoundError(f"RUN must hold a checkpoint; got {folder}")
    step = load_checkpoint(checkpoint, model)["step"]
    source = open_source(data or options["data"], **layout)
    collate = SceneCollator(tokenizer, model.num_visual(preset.views))
    return TrainedRun(model.to(device).eval(), source, collate, preset, step)
