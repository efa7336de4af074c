"""A reference model of a few thousand parameters, and generated rooms that fit it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from reference.batch import Batch
from reference.build import build_model
from reference.chat import build_tokenizer
from reference.collate import SceneCollator
from reference.data.scene import Scene
from reference.data.sources import RoomSource, Source
from reference.model import Ross3D
from reference.presets import PRESETS, Preset

PRESET = replace(
    PRESETS["tiny"],
    image_size=32,
    patch_size=8,
    vision_dim=16,
    vision_layers=1,
    dim=32,
    layers=1,
    heads=2,
    view_size=32,
    bev_size=32,
    denoiser_dim=32,
    denoiser_depth=1,
    denoiser_heads=2,
    views=4,
    batch=2,
    turns=3,
    steps=4,
)


@dataclass(frozen=True)
class Tiny:
    """What a recipe sets up: rooms, a model, and what makes batches of the one for the other."""

    preset: Preset
    source: Source
    model: Ross3D
    collate: SceneCollator

    def scenes(self, count: int = 2) -> list[Scene]:
        """The first held-out rooms."""
        return [self.source.held_out(i) for i in range(count)]

    def batch(self, count: int = 2) -> Batch:
        """The first held-out rooms, collated."""
        return self.collate(self.scenes(count))


def tiny_ross3d(*, turns: int = 3, seed: int = 0, awake: bool = True, **options: Any) -> Tiny:
    """Set up a tiny model; its layers that start at zero are drawn at random if ``awake``."""
    preset = replace(PRESET, turns=turns)
    source = RoomSource(views=preset.views, size=preset.image_size, turns=turns, hidden=1)
    tokenizer = build_tokenizer(source.words())
    torch.manual_seed(seed)
    model = build_model(preset, tokenizer, **options)
    if awake:
        wake(model)
    return Tiny(preset, source, model, SceneCollator(tokenizer, model.scene_ids(preset.views)))


def wake(model: torch.nn.Module) -> None:
    """Move every parameter that starts at zero, so that gradients pass and conditions matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)


def hide(b: int, m: int, *views: int) -> torch.Tensor:
    """A mask (b, m) that hides the same views of every scene."""
    masked = torch.zeros(b, m, dtype=torch.bool)
    masked[:, list(views)] = True
    return masked
