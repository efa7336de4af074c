"""Sizes of a preset, counted on the meta device: nothing is allocated."""

from __future__ import annotations

import torch

from .build import build_model, count_parameters
from .chat import build_tokenizer
from .data.text import vocabulary
from .presets import Preset


def size_table(preset: Preset) -> str:
    """Count a preset's parameters and tokens.

    Args:
        preset: the numbers.

    Returns:
        A table: parameters of each part, all and trainable, and tokens per scene.
    """
    tokenizer = build_tokenizer(vocabulary())
    with torch.device("meta"):
        model = build_model(preset, tokenizer)
    lines = [f"{'part':<24}{'parameters':>16}{'trainable':>16}"]
    counts = count_parameters(model)
    counts["total"] = tuple(sum(values) for values in zip(*counts.values(), strict=True))
    lines += [f"{name:<24}{total:>16,}{train:>16,}" for name, (total, train) in counts.items()]
    rows, columns = model.lmm.grid
    stride = model.reconstruction.tokenizer.stride
    hidden = preset.views - int(preset.views * (1 - preset.mask_ratio))
    lines += [
        "",
        f"visual tokens per scene  {preset.views} views x {rows} x {columns} = "
        f"{preset.views * rows * columns}",
        f"latents per hidden view  {preset.view_size // stride} x {preset.view_size // stride}"
        f" x {model.reconstruction.tokenizer.channels}, {hidden} hidden views",
        f"latents of the bird's-eye view  {preset.bev_size // stride} x "
        f"{preset.bev_size // stride} x {model.reconstruction.tokenizer.channels}",
    ]
    return "\n".join(lines)
