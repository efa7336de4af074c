"""The options of ``train_ross3d.py``, and what a resumed run may not change of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from .batching import BATCHES
from .build import TASKS
from .chat import build_tokenizer
from .chat_format import SPATIAL
from .collate import SceneCollator
from .files import read_json
from .inputs import INPUTS
from .labels import Labels
from .presets import PRESETS
from .supervision import add_supervision_options
from .trainable import TRAIN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .data.sources import Source
    from .model import Ross3D

FREE = ("threads", "workers", "evaluate", "save_every", "latent_cache", "latent_cache_gb")
"""Options of how it is learned, not of what."""
INSTRUCTION = {
    "none": (),
    "train": ("train",),
    "evaluation": ("evaluation",),
    "both": ("train", "evaluation"),
}
"""What ``--instruction`` can be: prompts in which two sentences about space precede a question."""


def parse_options(description: str) -> argparse.Namespace:
    """Read the options; a resumed run keeps its own, and refuses to be given others."""
    parser = build_parser(description)
    args = parser.parse_args()
    out = args.out or f"runs/{Path(args.data).name}"
    config = Path(out, "config.json")
    if args.resume and config.exists():
        saved = read_json(config)["options"]
        parser.set_defaults(**saved)
        args = parser.parse_args()  # again: what is not given is as it was saved
        for name, was in saved.items():
            if name not in FREE and (given := getattr(args, name)) != was:
                option = f"--{name.replace('_', '-')}"
                parser.error(f"{option} must be {was}, as saved in {config}; got {given}")
    args.out = out
    if args.threads is None:  # one that waits for a core makes all the others wait for it
        args.threads = max(1, (os.cpu_count() or 1) - args.workers)
    return args


def build_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--data", default="rooms", help="rooms, furnished_room, or a scan folder")
    add("--preset", default="tiny", choices=sorted(PRESETS))
    add("--out", default=None, help="run folder (default: runs/DATA)")
    add("--steps", type=int, default=None, help="optimiser steps")
    add("--seed", type=int, default=0)
    add("--input", default="views", choices=INPUTS, help="what the LMM reads")
    add("--tasks", default="both", choices=TASKS, help="pretext tasks")
    add("--train", default="full", choices=TRAIN, help="which parameters train")
    add("--context", default="all", choices=["visible", "all", "own"])
    add("--no-target-coords", action="store_true", help="one condition for all")
    add("--no-context-coords", action="store_true", help="tokens without place")
    add_supervision_options(parser)
    add("--vae", default=None, help="AutoencoderKL folder of the flux teacher")
    add("--latent-cache", default=None, help="folder that keeps what the teacher encoded")
    add("--latent-cache-gb", type=float, default=20.0, help="of which the oldest is dropped")
    add("--batches", default="mixed", choices=BATCHES, help="one kind of task per step, or all")
    add("--labels", default="answer", choices=get_args(Labels), help="what is supervised of a turn")
    add("--instruction", default="none", choices=INSTRUCTION, help="prompts with words on space")
    add("--grounding-pretext", default="on", choices=["on", "off"], help="on = as other scenes")
    add("--several", default="any", choices=["any", "each"], help="targets that a query must find")
    add("--threads", type=int, default=None, help="default: one per core that no worker has")
    add("--workers", type=int, default=1, help="processes that prepare batches")
    add("--save-every", type=int, default=100, help="steps between checkpoints")
    add("--evaluate", type=int, default=48, help="held-out scenes judged; 0 = none")
    add("--resume", action="store_true", help="go on, with the run's own options")
    add("--sizes", action="store_true", help="print the preset's sizes and stop")
    return parser


def run_tokenizer(source: Source, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Build the tokenizer that knows what the questions, answers and instructions of a run say."""
    said = [] if options.get("instruction", "none") == "none" else [SPATIAL]
    return build_tokenizer([*source.words(), *said])


def run_collators(
    tokenizer: PreTrainedTokenizerBase, model: Ross3D, views: int, options: Mapping[str, Any]
) -> tuple[SceneCollator, SceneCollator]:
    """Make what writes a run's prompts: for training, and for evaluation."""
    scene = model.scene_ids(views)
    labels, instructed = options.get("labels", "answer"), options.get("instruction", "none")
    training, evaluation = (
        SPATIAL if use in INSTRUCTION[instructed] else "" for use in ("train", "evaluation")
    )
    return (
        SceneCollator(tokenizer, scene, labels=labels, instruction=training),
        SceneCollator(tokenizer, scene, labels=labels, instruction=evaluation),
    )
