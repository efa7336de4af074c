"""Sizes of a preset, counted on the meta device: nothing is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ross3d import VAETokenizer

from .build import build_from_options
from .chat import build_tokenizer
from .data.text import vocabulary
from .model import Ross3D
from .parameters import parameter_groups, trainable_table, training_bytes
from .presets import Preset


def size_table(preset: Preset, options: Mapping[str, Any] | None = None) -> str:
    """Count a preset's parameters, tokens and bytes.

    Args:
        preset: the numbers.
        options: of ``train_ross3d.py``; None = the defaults.

    Returns:
        A table of the parts, as ``trainable_table`` gives it, and what a scene consists of.
    """
    with torch.device("meta"):
        model = build_from_options(preset, build_tokenizer(vocabulary()), options or {})
    lines = [trainable_table(model, parameter_groups(model, preset))]
    teacher = teacher_encoder(model)
    if teacher is not None:
        count = sum(p.numel() for p in teacher.parameters())
        lines.append(
            f"{'teacher (encoder)':<24}{count:>16,}{0:>16,}  float32, no part of the model"
        )
    lines += ["", tokens(model, preset), *latents(model, preset), "", memory(model)]
    return "\n".join(lines)


def tokens(model: Ross3D, preset: Preset) -> str:
    """Count what stands for a scene in a prompt."""
    rows, columns = model.lmm.grid
    visual = f"{preset.views} views x {rows} x {columns} = {preset.views * rows * columns}"
    positions = len(model.lmm.is_visual(preset.views))
    return f"visual tokens per scene  {visual}; with newlines {positions} positions"


def latents(model: Ross3D, preset: Preset) -> list[str]:
    """Say what the denoiser recovers."""
    if not model.reconstruction.tasks:
        return ["no pretext tasks"]
    tokenizer = model.reconstruction.tokenizer
    hidden = preset.views - int(preset.views * (1 - preset.mask_ratio))
    view, above = (size // tokenizer.stride for size in (preset.view_size, preset.bev_size))
    return [
        f"latents per hidden view  {view} x {view} x {tokenizer.channels}, {hidden} hidden views",
        f"latents of the bird's-eye view  {above} x {above} x {tokenizer.channels}",
    ]


def memory(model: Ross3D) -> str:
    """Count what training on one device holds, apart from activations."""
    teacher = teacher_encoder(model)
    held = training_bytes(model, [] if teacher is None else [teacher])
    shares = ", ".join(f"{name} {count / 1e9:.2f} GB" for name, count in held.items())
    total = sum(held.values())
    return (
        f"memory  {shares}: {total / 1e9:.2f} GB ({total / 2**30:.2f} GiB), of one device that\n"
        "        shares nothing; activations, logits and the allocator's reserve come on top"
    )


def teacher_encoder(model: Ross3D) -> nn.Module | None:
    """The network that training asks for the targets; None = the teacher has no weights."""
    tokenizer = getattr(model.reconstruction, "tokenizer", None)
    return tokenizer.vae.encoder if isinstance(tokenizer, VAETokenizer) else None
