"""The paper's whole step with every width divided by 16: 32 views, 14 x 14 tokens, 28 layers.

Two ways to say what the pretext tasks add to it. Whole steps are timed in turn, each of a minute on
one core. Beside them the tasks' own part is timed, from the hidden states to their gradient: all
that a step with pretext tasks does more, and quick enough to be timed often.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import torch
from reference.build import build_model
from reference.chat import build_tokenizer
from reference.collate import SceneCollator
from reference.data.sources import RoomSource
from reference.parameters import parameter_groups
from reference.presets import PRESETS, Preset
from torch import Tensor

from benchmarks.in_turn import seconds
from ross3d import sample_view_mask

TASKS = {
    "text only": (),
    "+ cross-view": ("cross_view",),
    "+ global-view": ("global_view",),
    "+ both": ("cross_view", "global_view"),
}
NARROW = PRESETS["ross3d-7b-narrow"]


class Replica:
    """A model with some pretext tasks, one scene, and an optimiser.

    Args:
        tasks: names of the pretext tasks.
        preset: the numbers.
        device: of everything.
    """

    def __init__(
        self, tasks: Sequence[str], preset: Preset = NARROW, device: torch.device | str = "cpu"
    ) -> None:
        hidden = preset.views - int(preset.views * (1 - preset.mask_ratio))
        sizes = {"views": preset.views, "size": preset.image_size, "turns": preset.turns}
        source = RoomSource(**sizes, hidden=hidden)
        tokenizer = build_tokenizer(source.words())
        torch.manual_seed(0)
        self.model = build_model(preset, tokenizer, tasks=tasks).to(device)
        collate = SceneCollator(tokenizer, self.model.scene_ids(preset.views))
        self.batch = collate([source.train(0)]).to(device)
        self.masked = sample_view_mask(1, preset.views, preset.mask_ratio if tasks else 0.0)
        self.masked = self.masked.to(device)
        groups = parameter_groups(self.model, preset)
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        like = self.batch.frames.images
        visual = preset.views, self.model.lmm.grid[0] * self.model.lmm.grid[1], preset.dim
        self.hidden = torch.randn(1, *visual, device=like.device, requires_grad=True)

    def step(self) -> dict[str, Tensor]:
        """Forward pass, all losses, backward pass, optimiser."""
        losses = self.model(self.batch, self.masked)
        sum(losses.values()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return losses

    def pretext(self) -> None:
        """What the tasks add: targets, latents, losses, and the gradients of all they read."""
        losses = self.model.reconstruction(self.hidden, self.batch.frames, self.masked)
        sum(losses.values()).backward()
        self.hidden.grad = None
        self.optimizer.zero_grad()


def small() -> Preset:
    """Two views of the replica: enough to warm up."""
    from dataclasses import replace

    return replace(NARROW, views=4)


def pretext_seconds(replica: Replica, rounds: int = 3) -> float:
    """Median processor seconds of the tasks' own part."""
    replica.pretext()
    return median(seconds(replica.pretext) for _ in range(rounds))
