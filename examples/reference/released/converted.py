"""A converted checkpoint as a model that computes what the released one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ross3d import BEV, GroundingHead, PosedFrames, PositionAwareEncoder, require

from ..build import FLUX_VAE
from ..files import read_json
from .dit import DenoiserSizes, released_blocks
from .folder import ORIGINAL, read_config
from .host import build_host, trim_vocabulary
from .parity import official_parity
from .sharded import TensorFiles
from .vae import FOLDER

if TYPE_CHECKING:
    from .parity import ReleasedRoss3D

HIDDEN = "reconstruction."


def load_converted(
    path: Path | str,
    *,
    vae: Any | None = None,
    renderer: Callable[[PosedFrames], BEV] | None = None,
    draws: int = 4,
    sample: bool = True,
    trim: bool = True,
) -> ReleasedRoss3D:
    """Build the model of a folder that ``convert`` wrote, with its weights, on the CPU.

    The language model and the tower keep the weights' dtype; the denoiser computes in float32.
    Files are read one after the other, so that memory holds the model and one file.

    Args:
        path: the folder.
        vae: an ``AutoencoderKL`` of diffusers; None = that of the checkpoint. Without either there
            is none: the model reads, answers and grounds, but its pretext losses cannot be had.
        renderer: see ``official_parity``.
        draws: see ``official_parity``.
        sample: see ``official_parity``.
        trim: whether the output embedding gets its released number of rows back, so that the
            text loss and generation are the released ones. False keeps the host loadable by
            transformers, whose two embeddings must agree.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the folder was not converted, or naming every tensor that is missing,
            unexpected or mis-shaped.
    """
    folder = Path(path)
    numbers = read_config(folder)
    if not numbers:
        raise ValueError(f"{folder} must be a folder that was converted; got no config.json")
    original = folder / ORIGINAL
    config = read_json(original) if original.is_file() else {}
    host = build_host(numbers["host"])
    vae = _vae(folder, numbers) if vae is None else vae
    dim = numbers["host"]["text"]["hidden_size"]
    blocks: dict[str, Any] = {}
    if "denoiser" in numbers:
        letters, depth = numbers["denoiser"]["sizes"], numbers["denoiser"]["depth"]
        sizes = DenoiserSizes.of({**letters, "D": dim}, depth)
        blocks["denoisers"], blocks["poolers"] = released_blocks(sizes)
        half = 2 ** (len(vae.config.block_out_channels) - 1)
        # Latents of one row and column less than the cells need, as the released 27 of 28.
        blocks["view_pixels"] = (2 * isqrt(sizes.view_cells) - 1) * half
        blocks["bev_size"] = 2 * isqrt(sizes.bev_cells) * half
    model = official_parity(
        host,
        vae,
        **blocks,
        grounding=GroundingHead(dim, temperature=config.get("ground_head_temperature", 0.07)),
        positions=_positions(dim, numbers, config),
        renderer=renderer,
        draws=draws,
        sample=sample,
    )
    _fill(model, TensorFiles(folder), numbers)
    if trim:
        trim_vocabulary(host, numbers["lm_head"])
    return model


def _vae(folder: Path, numbers: Mapping[str, Any]) -> Any:
    autoencoder = require("diffusers", "vae").AutoencoderKL
    if numbers["vae"]:
        return autoencoder.from_pretrained(folder / FOLDER)
    with torch.device("meta"):  # the sizes alone: it refuses to encode
        return autoencoder(**FLUX_VAE)


def _positions(
    dim: int, numbers: Mapping[str, Any], config: Mapping[str, Any]
) -> PositionAwareEncoder:
    """The position code that the released config names.

    Raises:
        ValueError: if it is none that is read off the mean of a token's pixels.
    """
    named = config.get("world_position_embedding_type", "avg-discrete-sin3d")
    kind = "mlp" if "position_hidden" in numbers else "sincos"
    if "avg" not in named or ("mlp" in named) != (kind == "mlp"):
        held = "an MLP" if kind == "mlp" else "no MLP"
        raise ValueError(
            f"world_position_embedding_type must be avg with sin3d or mlp; got {named!r}, and "
            f"{held} among the weights"
        )
    options: dict[str, Any] = {}
    if "min_xyz_range" in config and "max_xyz_range" in config:
        options["bounds"] = (tuple(config["min_xyz_range"]), tuple(config["max_xyz_range"]))
    if kind == "mlp":
        options["hidden_dim"] = numbers["position_hidden"]
    voxel_size = config.get("voxel_size", 0.1) if "discrete" in named else None
    return PositionAwareEncoder(dim, voxel_size, kind=kind, **options)


def _fill(model: nn.Module, files: TensorFiles, numbers: Mapping[str, Any]) -> None:
    """Put the tensors in place, file by file.

    Raises:
        ValueError: naming every tensor that is missing, unexpected or mis-shaped.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = files.shapes()
    problems = [f"unexpected {name}" for name in found if name not in wanted]
    problems += [
        f"{name} is of shape {found[name]}, not {shape}"
        for name, shape in wanted.items()
        if found.get(name, shape) != shape
    ]
    needed = {name for name, value in model.named_parameters() if value.is_meta}
    if not numbers["fresh"] and "fresh_tensors" not in numbers:
        needed = {name for name, _ in model.named_parameters()}
    problems += [f"missing {name}" for name in sorted(needed - found.keys())]
    if problems:
        listed = "\n  ".join(problems)
        raise ValueError(f"{files.path} must hold the model of its config.json; got\n  {listed}")
    chunk: dict[str, torch.Tensor] = {}
    last: Path | None = None
    for name, value in files.tensors():
        file = files.stored[name].file
        if chunk and file != last:
            model.load_state_dict(chunk, strict=False, assign=True)
            chunk = {}
        wide = torch.promote_types(value.dtype, torch.float32)
        chunk[name] = value.to(wide) if name.startswith(HIDDEN) else value
        last = file
    model.load_state_dict(chunk, strict=False, assign=True)
