"""The frozen autoencoder that a released checkpoint may carry: its config, from its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ross3d import require

from ..build import FLUX_VAE
from .keys import VAE, Shape, count_layers

FOLDER = "vae"
STEM = "diffusion_pytorch_model"


def vae_config(found: Mapping[str, Shape]) -> tuple[dict[str, Any] | None, list[str]]:
    """Find the sizes of the autoencoder among a checkpoint's tensors, and what is wrong with them.

    Scaling, shift and number of groups are FLUX's: shapes do not tell them.

    Args:
        found: key -> shape, of the whole checkpoint.

    Returns:
        Its config for diffusers; None = there is none. And every key that is missing, unexpected
        or mis-shaped.

    Raises:
        ImportError: if there is one, but diffusers is not installed.
    """
    shapes = {name.removeprefix(VAE): s for name, s in found.items() if name.startswith(VAE)}
    if not shapes:
        return None, []
    blocks = count_layers(shapes, "encoder.down_blocks.")
    first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    channels = [shapes.get(first.format(i), (0,))[0] for i in range(blocks)]
    latent = shapes.get("decoder.conv_in.weight", (0, 0))[1]
    if not (blocks and all(channels) and latent):
        return None, [f"missing {VAE}{first.format('*')} or {VAE}decoder.conv_in.weight"]
    config = {
        **FLUX_VAE,
        "down_block_types": ["DownEncoderBlock2D"] * blocks,
        "up_block_types": ["UpDecoderBlock2D"] * blocks,
        "block_out_channels": channels,
        "layers_per_block": count_layers(shapes, "encoder.down_blocks.0.resnets."),
        "latent_channels": latent,
    }
    with torch.device("meta"):
        vae = require("diffusers", "vae").AutoencoderKL(**config)
    wanted = {name: tuple(value.shape) for name, value in vae.state_dict().items()}
    problems = [f"missing {VAE}{name}" for name in wanted if name not in shapes]
    problems += [f"unexpected {VAE}{name}" for name in shapes if name not in wanted]
    problems += [
        f"{VAE}{name} is of shape {shapes[name]}, not {shape}"
        for name, shape in wanted.items()
        if shapes.get(name, shape) != shape
    ]
    return config, problems
