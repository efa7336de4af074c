"""Named sizes, from two CPU cores to the paper's seven billion parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Literal


@dataclass(frozen=True)
class Preset:
    """Every number of a recipe: the host, the pretext tasks, and how they are trained.

    Attributes:
        host: "scratch" = a LLaVA-OneVision of the sizes below; "paper" = SigLIP so400m, Qwen2-7B.
        image_size: pixels of the square views that the vision tower sees.
        patch_size: pixels of a vision patch; the language model gets a quarter as many tokens.
        vision_dim: width of the vision tower.
        vision_layers: layers of the vision tower.
        dim: width of the language model.
        layers: layers of the language model.
        heads: attention heads of both.
        temperature: longest over shortest wavelength of the position code; narrow models have no
            channels to spare for wavelengths beyond a room.
        train_tower: whether the vision tower trains.
        teacher: "dct" = weight-free; "flux" = the FLUX VAE.
        whiten: of the weight-free teacher; less than 1 learns colour and shape before texture.
        pack: of the weight-free teacher: latent cells of 8 * pack pixels.
        view_size: pixels of the cross-view targets.
        bev_size: pixels of the bird's-eye view.
        denoiser_dim: width of the denoiser.
        denoiser_depth: blocks of the denoiser.
        denoiser_heads: attention heads of the denoiser and its poolers.
        objective: "flow", or what a DDPM predicts: "eps" (paper), "v" or "x0".
        draws: noise draws per target.
        sample_steps: denoiser evaluations per picture at the end; 1 shows the mean of what is
            possible, many a sharp guess.
        views: posed views per scene.
        mask_ratio: share of hidden views in a masked step.
        every: Δt, steps from one masked step to the next.
        batch: scenes per micro-batch on one device.
        accumulate: micro-batches per optimiser step.
        turns: questions per scene.
        steps: optimiser steps.
        lr: peak learning rate.
        denoiser_lr: factor of the rate of denoiser and poolers, which start from nothing.
        beta2: of Adam; short runs want a short memory.
        clip: largest norm of the gradient.
        voxel_size: side of the voxels of the inputs "voxels" and "fusion", metres.
        voxel_share: of the views' number of tokens that voxels may take.
        newline: where the host's newline token stands: after the last view, or after every row of
            every view (see LlavaOnevisionLMM).
        tables: give the denoiser an input stem and a trained position table per size of targets,
            as released; False = one denoiser of any size.
        narrow: the widths of the paper's host and teacher are divided by this (see ``narrow``).
        recompute: compute the layers of host (paper) and denoiser again in the backward pass, to
            save memory.
        frozen_dtype: of the host's frozen weights under ``--train lora`` and ``blocks``.
        lora_rank: of the adapters under ``--train lora``.
        lora_alpha: their outputs are scaled by alpha over rank.
        lora_lr: factor of their learning rate.
    """

    host: Literal["scratch", "paper"]
    image_size: int
    patch_size: int
    vision_dim: int
    vision_layers: int
    dim: int
    layers: int
    heads: int
    temperature: float
    train_tower: bool
    teacher: Literal["dct", "flux"]
    whiten: float
    pack: int
    view_size: int
    bev_size: int
    denoiser_dim: int
    denoiser_depth: int
    denoiser_heads: int
    objective: Literal["flow", "eps", "v", "x0"]
    draws: int
    sample_steps: int
    views: int
    mask_ratio: float
    every: int
    batch: int
    accumulate: int
    turns: int
    steps: int
    lr: float
    denoiser_lr: float
    beta2: float
    clip: float
    voxel_size: float = 0.2
    voxel_share: float = 0.75
    newline: Literal["video", "row"] = "video"
    tables: bool = False
    narrow: int = 1
    recompute: bool = False
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    lora_rank: int = 16
    lora_alpha: float = 32.0
    lora_lr: float = 1.0


TINY = Preset(
    host="scratch",
    image_size=96,
    patch_size=8,
    vision_dim=96,
    vision_layers=1,
    dim=128,
    layers=2,
    heads=4,
    temperature=100.0,
    train_tower=True,
    teacher="dct",
    whiten=0.3,
    pack=1,
    view_size=96,
    bev_size=96,
    denoiser_dim=128,
    denoiser_depth=2,
    denoiser_heads=4,
    objective="x0",
    draws=1,
    sample_steps=1,
    views=8,
    mask_ratio=0.25,
    every=1,
    batch=4,
    accumulate=1,
    turns=16,
    steps=400,
    lr=6e-4,
    denoiser_lr=5.0,
    beta2=0.99,
    clip=10.0,
    voxel_size=0.4,
)
"""Two CPU cores, minutes."""

SMALL = replace(
    TINY,
    image_size=192,
    patch_size=8,
    vision_dim=384,
    vision_layers=6,
    dim=512,
    layers=8,
    heads=8,
    pack=2,
    view_size=192,
    bev_size=192,
    denoiser_dim=512,
    denoiser_depth=3,
    denoiser_heads=8,
    draws=2,
    sample_steps=25,
    views=16,
    turns=16,
    steps=20_000,
    lr=3e-4,
    denoiser_lr=1.0,
    voxel_size=0.2,
)
"""One GPU, hours."""

ROSS3D_7B = Preset(
    host="paper",
    image_size=384,
    patch_size=14,
    vision_dim=1152,
    vision_layers=26,
    dim=3584,
    layers=28,
    heads=28,
    temperature=10_000.0,
    train_tower=False,
    teacher="flux",
    whiten=1.0,
    pack=2,
    view_size=224,
    bev_size=432,
    denoiser_dim=1024,
    denoiser_depth=3,
    denoiser_heads=16,
    objective="eps",
    draws=4,
    sample_steps=50,
    views=32,
    mask_ratio=0.25,
    every=4,
    batch=1,
    accumulate=32,
    turns=1,
    steps=871,
    lr=1e-5,
    denoiser_lr=1.0,
    beta2=0.999,
    clip=1.0,
    voxel_share=0.5,
    newline="row",
    tables=True,
    recompute=True,
    frozen_dtype="bfloat16",
    lora_lr=10.0,
)
"""The paper's recipe for eight GPUs: 256 scenes per optimiser step."""


def narrow(preset: Preset, factor: int) -> Preset:
    """Divide every width: layers, views, tokens and vocabulary stay, for a look without a GPU.

    Args:
        preset: of the paper's host.
        factor: 1, 4 or 16; its root divides the number of heads, and the width of a head.

    Returns:
        The narrow preset, with one micro-batch per optimiser step and all weights in float32.

    Raises:
        ValueError: if the factor is another.

    Example:
        >>> narrow(ROSS3D_7B, 16).dim, narrow(ROSS3D_7B, 16).heads
        (224, 7)
    """
    if factor not in (1, 4, 16):
        raise ValueError(f"factor must be 1, 4 or 16; got {factor}")
    widths, heads = ("vision_dim", "dim", "denoiser_dim"), ("heads", "denoiser_heads")
    thin = {name: getattr(preset, name) // factor for name in widths}
    thin |= {name: getattr(preset, name) // isqrt(factor) for name in heads}
    return replace(preset, **thin, narrow=factor, accumulate=1, frozen_dtype="float32")


ROSS3D_7B_NARROW = narrow(ROSS3D_7B, 16)
"""The paper's model with every width divided by 16: its code, views and tokens on two CPU cores."""

PRESETS = {
    "tiny": TINY,
    "small": SMALL,
    "ross3d-7b": ROSS3D_7B,
    "ross3d-7b-narrow": ROSS3D_7B_NARROW,
}
