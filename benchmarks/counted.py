"""What a step of the paper's model costs, counted without numbers: exact, and needs no GPU.

Arithmetic is counted on the meta device, where attention is two matrix products; memory on tensors
without storage that claim to be on a CPU, where attention keeps what a fused kernel keeps. The host
is in bfloat16 as in the paper; denoiser, poolers and teacher are in float32. Optimiser states,
weights and their gradients are not activations and do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from reference.build import TASKS, build_model
from reference.chat import build_tokenizer
from reference.data.text import vocabulary
from reference.model import Ross3D
from reference.presets import PRESETS
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.live import live_peak, saved_bytes
from ross3d import PosedFrames, Targets, VAETokenizer

TEXT = 214
PAPER = PRESETS["ross3d-7b"]


def paper_model(tasks: str, *, recompute: bool = True) -> Ross3D:
    """Build the paper's model on the meta device.

    Args:
        tasks: a key of TASKS.
        recompute: compute the host's layers again in the backward pass, as the paper does.
    """
    preset = replace(PAPER, recompute=recompute)
    with torch.device("meta"):
        model = build_model(preset, build_tokenizer(vocabulary()), tasks=TASKS[tasks])
    model.lmm.host.to(torch.bfloat16)
    return model


def paper_frames(device: str) -> PosedFrames:
    """One scene of the paper's size."""
    m, size = PAPER.views, PAPER.image_size
    pose = torch.eye(4, device=device).expand(1, m, 4, 4)
    images = torch.zeros(1, m, 3, size, size, device=device)
    return PosedFrames(images, images[:, :, 0] + 1, pose[..., :3, :3], pose)


class ShapesOf:
    """Targets of a task, of the right shape: what they show takes no part in what they cost.

    Args:
        size: pixels of the square pictures.
        cells: latent cells of one picture.
        count: pictures k per scene.
        is_view: whether they are views, whose cells may have rays instead of places.
    """

    def __init__(self, size: int, cells: int, count: int, *, is_view: bool) -> None:
        self.size, self.cells, self.count, self.is_view = size, cells, count, is_view

    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Name k targets."""
        like, (k, g) = frames.images, (self.count, self.cells)
        of_views = {}
        if self.is_view:
            of_views["known"] = torch.empty(1, k, g, dtype=torch.bool, device=like.device)
            of_views["rays"] = like.new_empty(1, k, g, 6)
        return Targets(
            like.new_empty(1, k, 3, self.size, self.size),
            like.new_empty(1, k, self.size, self.size),
            like.new_empty(1, k, g, 3),
            **of_views,
        )


class CountedStep:
    """Forward pass and losses of one scene of the paper's model, on tensors without numbers.

    Args:
        model: on the meta device.
        frames: of the scene; real ones become fake when they are used within a FakeTensorMode.
        device: "meta", or "cpu" within a FakeTensorMode.
        all_logits: text logits at every position.
    """

    def __init__(
        self,
        model: Ross3D,
        frames: PosedFrames,
        *,
        device: str = "meta",
        all_logits: bool = False,
    ) -> None:
        self.model, self.all_logits = _on(model, device), all_logits
        if model.reconstruction.tasks:
            self._without_numbers(device)
        m = PAPER.views
        self.frames = frames
        self.masked = torch.zeros(1, m, dtype=torch.bool, device=device)
        others = TEXT + len(model.lmm.is_visual(m)) - m * model.lmm.grid[0] * model.lmm.grid[1]
        self.words = torch.empty(1, others, PAPER.dim, dtype=torch.bfloat16, device=device)
        self.labels = torch.zeros(TEXT, dtype=torch.long, device=device)
        self.held = [self.words, self.labels, frames.images, *self.model.parameters()]

    def _without_numbers(self, device: str) -> None:
        loss = self.model.reconstruction
        tokenizer = loss.tokenizer
        if isinstance(tokenizer, VAETokenizer):
            vae = _on(tokenizer.vae, device)
            vae.to = lambda _: vae  # already there; fake tensors refuse to be moved
        hidden = PAPER.views - int(PAPER.views * (1 - PAPER.mask_ratio))
        for name, task in loss.tasks.items():
            cells, view = (task.size // tokenizer.stride) ** 2, name != "global_view"
            loss.tasks[name] = ShapesOf(task.size, cells, hidden if view else 1, is_view=view)

    def losses(self) -> Tensor:
        """The sum of the text loss and the pretext losses."""
        model = self.model
        visual = model.lmm.encode(self.frames.images)
        visual = model.masker(visual, self.masked)
        sequence = torch.cat([visual.flatten(1, 2), self.words.to(visual.dtype)], dim=1)
        states = model.lmm.host.model.language_model(
            inputs_embeds=sequence, use_cache=False, attention_mask={"full_attention": None}
        ).last_hidden_state
        head = model.lmm.host.get_output_embeddings()
        labels = self.labels
        if self.all_logits:
            logits, labels = head(states[0]).float(), labels.new_zeros(states.shape[1])
        else:
            logits = head(states[0, -TEXT:]).float()
        total = F.cross_entropy(logits, labels)
        hidden = states[:, : visual.shape[1] * visual.shape[2]].view(visual.shape)
        if model.reconstruction.tasks:
            total = total + sum(model.reconstruction(hidden, self.frames, self.masked).values())
        return total

    def step(self) -> None:
        """Forward and backward pass."""
        self.losses().backward()


def _on(module: nn.Module, device: str) -> nn.Module:
    """Give a module tensors of another device; those that its parts share stay shared."""
    new: dict[Tensor, Tensor] = {}
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, old in held.items():
                if old is not None and old not in new:
                    empty = torch.empty(old.shape, dtype=old.dtype, device=device)
                    kind = isinstance(old, nn.Parameter)
                    new[old] = nn.Parameter(empty, old.requires_grad) if kind else empty
                held[name] = None if old is None else new[old]
    return module


def teraflops(work: Callable[[], object]) -> float:
    """Arithmetic of matrix products, convolutions and attention, in 10^12 operations."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops() / 1e12


def count_arithmetic(tasks: str, *, all_logits: bool = False) -> float:
    """Teraflops of one step with the host's layers recomputed."""
    counted = CountedStep(paper_model(tasks), paper_frames("meta"), all_logits=all_logits)
    return teraflops(counted.step)


def count_memory(tasks: str, *, recompute: bool) -> dict[str, float]:
    """Gigabytes that the forward pass keeps, and the most that are alive within the step."""
    model, frames = paper_model(tasks, recompute=recompute), paper_frames("cpu")
    with FakeTensorMode(allow_non_fake_inputs=True):
        counted = CountedStep(model, frames, device="cpu")
        for parameter in counted.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
        held = [*counted.held, *(p.grad for p in counted.model.parameters() if p.requires_grad)]
        kept = saved_bytes(counted.losses, held=held)
        return {"saved": kept / 1e9, "peak": live_peak(counted.step, held=held) / 1e9}
