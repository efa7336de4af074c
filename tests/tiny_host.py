"""What the table of hosts asks of a tiny host: a random model, its adapter and its pixel path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from reference.batch import Batch, Text
from reference.lmm import HostLMM
from reference.model import Ross3D
from reference.no_reconstruction import NoReconstruction
from reference.text import IGNORE
from strategies import make_frames
from torch import Tensor

VOCAB, PAD, START, END, VISUAL, UNUSED, FIRST_WORD = 64, 0, 2, 3, 4, 5, 16
DIM, VIEWS = 32, 3
NO_WORDS = list(range(FIRST_WORD))
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 4, "suppress_tokens": NO_WORDS}
"""Ids below FIRST_WORD are for placeholders and markers, those from there on are words."""


@dataclass(frozen=True)
class TinyHost:
    """A random host of less than 0.2 million parameters, and its adapter.

    Attributes:
        lmm: the adapter.
        size: pixels of a view.
        stock: images (b, m, 3, h, w) in [0, 1] and input_ids (b, t) -> the arguments of the host's
            forward that make it read them by itself; ``input_ids`` or ``inputs_embeds`` included.
        masks: False = the host has layers that take no mask of which token sees which: it cannot
            tell turns apart within a pass, nor look ahead.
    """

    lmm: HostLMM
    size: int
    stock: Callable[[Tensor, Tensor], dict[str, Any]]
    masks: bool = True

    def images(self, b: int = 2) -> Tensor:
        return torch.rand(b, VIEWS, 3, self.size, self.size)

    def ids(self, b: int = 2, *, before: int = 2, after: int = 5) -> Tensor:
        """Words, a scene, words."""
        words = torch.randint(FIRST_WORD, VOCAB, (b, before + after))
        scene = torch.tensor(self.lmm.scene_ids(VIEWS)).repeat(b, 1)
        return torch.cat([words[:, :before], scene, words[:, before:]], dim=1)

    def ross3d(self) -> Ross3D:
        """The reference model around the host, with a mask token that is not zero."""
        model = Ross3D(self.lmm, NoReconstruction(), DIM)
        torch.nn.init.normal_(model.masker.mask_token)
        return model

    def batch(self, b: int = 2) -> Batch:
        """Scenes of random pixels and depths with one turn each, and ``<coord>`` in it."""
        frames = make_frames(b, VIEWS, (self.size, self.size), unknown=0.1)
        ids = self.ids(b, before=0)
        scene = len(self.lmm.scene_ids(VIEWS))
        at = torch.arange(ids.shape[1]).expand_as(ids)
        text = Text(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            segments=(at >= scene).long(),
            labels=torch.where(at >= scene + 2, ids, IGNORE),
            coord_positions=torch.full((b, 1), scene + 1),
            coord_points=torch.rand(b, 1, 3),
            ground_positions=ids[:, :0],
            ground_targets=torch.zeros(b, 0, 1, dtype=torch.bool),
        )
        return Batch(frames, torch.rand(b, 1, 6), torch.ones(b, 1, dtype=torch.bool), text)


def awake(host: Any) -> Any:
    """Move what starts at zero, so that every parameter matters."""
    with torch.no_grad():
        for parameter in host.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    host.generation_config.eos_token_id = None
    host.generation_config.pad_token_id = PAD
    return host
