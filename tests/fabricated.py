"""Released checkpoints in miniature: the names and layouts of the real ones, made-up numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

TOWER = "model.vision_tower.vision_tower.vision_model"
DENOISER = "model.mm_inv_projector.net"
VAE = "model.mm_pixel_decoder.pixel_decoder"
TOKENS = {"<image>": 94, "<ground>": 95, "<coord>": 96}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a miniature; those of the real ones are other numbers of the same letters."""

    dim: int = 48
    mlp: int = 40
    layers: int = 2
    heads: int = 4
    key_heads: int = 2
    embed: int = 100
    lm_head: int = 97
    vision: int = 16
    vision_mlp: int = 24
    vision_layers: int = 2
    side: int = 3
    patch: int = 4
    width: int = 32
    width_mlp: int = 64
    depth: int = 2
    channels: int = 16
    view: int = 4
    bev: int = 9


def linear(state: dict[str, Tensor], name: str, out: int, into: int, *, bias: bool = True) -> None:
    state[f"{name}.weight"] = torch.randn(out, into) * into**-0.5
    if bias:
        state[f"{name}.bias"] = torch.randn(out) * 0.1


def norm(state: dict[str, Tensor], name: str, dim: int, *, bias: bool = True) -> None:
    state[f"{name}.weight"] = 1 + 0.1 * torch.randn(dim)
    if bias:
        state[f"{name}.bias"] = 0.1 * torch.randn(dim)


def llava_video(s: Sizes) -> dict[str, Tensor]:
    """LLaVA-Video: language model, vision tower, projector, newline."""
    state: dict[str, Tensor] = {"model.embed_tokens.weight": torch.randn(s.embed, s.dim)}
    key_dim = s.dim // s.heads * s.key_heads
    for n in range(s.layers):
        layer = f"model.layers.{n}"
        linear(state, f"{layer}.self_attn.q_proj", s.dim, s.dim)
        linear(state, f"{layer}.self_attn.k_proj", key_dim, s.dim)
        linear(state, f"{layer}.self_attn.v_proj", key_dim, s.dim)
        linear(state, f"{layer}.self_attn.o_proj", s.dim, s.dim, bias=False)
        linear(state, f"{layer}.mlp.gate_proj", s.mlp, s.dim, bias=False)
        linear(state, f"{layer}.mlp.up_proj", s.mlp, s.dim, bias=False)
        linear(state, f"{layer}.mlp.down_proj", s.dim, s.mlp, bias=False)
        norm(state, f"{layer}.input_layernorm", s.dim, bias=False)
        norm(state, f"{layer}.post_attention_layernorm", s.dim, bias=False)
    norm(state, "model.norm", s.dim, bias=False)
    linear(state, "lm_head", s.lm_head, s.dim, bias=False)
    state[f"{TOWER}.embeddings.patch_embedding.weight"] = torch.randn(
        s.vision, 3, s.patch, s.patch
    ) / (s.patch * 3**0.5)
    state[f"{TOWER}.embeddings.patch_embedding.bias"] = torch.randn(s.vision)
    state[f"{TOWER}.embeddings.position_embedding.weight"] = torch.randn(s.side**2, s.vision)
    for n in range(s.vision_layers):
        layer = f"{TOWER}.encoder.layers.{n}"
        norm(state, f"{layer}.layer_norm1", s.vision)
        norm(state, f"{layer}.layer_norm2", s.vision)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(state, f"{layer}.self_attn.{part}", s.vision, s.vision)
        linear(state, f"{layer}.mlp.fc1", s.vision_mlp, s.vision)
        linear(state, f"{layer}.mlp.fc2", s.vision, s.vision_mlp)
    norm(state, f"{TOWER}.post_layernorm", s.vision)
    linear(state, "model.mm_projector.0", s.dim, s.vision)
    linear(state, "model.mm_projector.2", s.dim, s.dim)
    state["model.image_newline"] = torch.randn(s.dim)
    return state


def grounding_head(dim: int) -> dict[str, Tensor]:
    """The head of Video-3D-LLM and Ross3D."""
    state = {"ground_head_zero_target": torch.randn(dim)}
    for part in ("obj", "query"):
        linear(state, f"ground_head_{part}.0", dim, dim)
        norm(state, f"ground_head_{part}.2", dim)
        linear(state, f"ground_head_{part}.3", dim, dim)
    return state


def trunk(s: Sizes, prefix: str = f"{DENOISER}.") -> dict[str, Tensor]:
    """What the denoisers of both target sizes share."""
    state: dict[str, Tensor] = {}
    linear(state, f"{prefix}t_embedder.mlp.0", s.width, 256)
    linear(state, f"{prefix}t_embedder.mlp.2", s.width, s.width)
    for n in range(s.depth):
        block = f"{prefix}blocks.{n}"
        linear(state, f"{block}.attn.qkv", 3 * s.width, s.width)
        linear(state, f"{block}.attn.proj", s.width, s.width)
        linear(state, f"{block}.mlp.fc1", s.width_mlp, s.width)
        linear(state, f"{block}.mlp.fc2", s.width, s.width_mlp)
        linear(state, f"{block}.adaLN_modulation.1", 6 * s.width, s.width)
    linear(state, f"{prefix}final_layer.linear", s.channels, s.width)
    linear(state, f"{prefix}final_layer.adaLN_modulation.1", 2 * s.width, s.width)
    return state


def denoiser(s: Sizes, prefix: str = f"{DENOISER}.") -> dict[str, Tensor]:
    """The released denoiser."""
    state = trunk(s, prefix)
    for stem, cells in (("view", s.view), ("bev", s.bev)):
        state[f"{prefix}pos_embed_{stem}"] = torch.randn(1, cells, s.width)
        state[f"{prefix}x_embedder_{stem}.proj.weight"] = torch.randn(s.width, s.channels, 1, 1)
        state[f"{prefix}x_embedder_{stem}.proj.bias"] = torch.randn(s.width)
        state[f"{prefix}z_embedder_{stem}.cls_token"] = torch.randn(1, cells, s.width)
        linear(state, f"{prefix}z_embedder_{stem}.proj.1", s.width, s.dim)
        for part in ("k", "v", "linear"):
            linear(state, f"{prefix}z_embedder_{stem}.{part}", s.width, s.width, bias=False)
    return state


def flat_denoiser(s: Sizes, *, pools: bool = False) -> dict[str, Tensor]:
    """``mm_inv_projector.bin``: the denoiser of images alone."""
    prefix = f"{DENOISER}."
    state = trunk(s, prefix)
    state[f"{prefix}pos_embed"] = torch.randn(1, s.bev, s.width)
    state[f"{prefix}x_embedder.proj.weight"] = torch.randn(s.width, s.channels, 1, 1)
    state[f"{prefix}x_embedder.proj.bias"] = torch.randn(s.width)
    linear(state, f"{prefix}z_embedder.{'proj.' if pools else ''}1", s.width, s.dim)
    if pools:
        state[f"{prefix}z_embedder.cls_token"] = torch.randn(1, s.bev, s.width)
        for part in ("k", "v", "linear"):
            linear(state, f"{prefix}z_embedder.{part}", s.width, s.width, bias=False)
    return state


def tiny_vae(channels: int = 4) -> Any:
    """An autoencoder with FLUX's scaling: two levels, latents at half the size."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(32, 32),
        layers_per_block=1,
        latent_channels=channels,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def vae_state(vae: Any) -> dict[str, Tensor]:
    """An autoencoder as a part of a released checkpoint."""
    return {f"{VAE}.{name}": value for name, value in vae.state_dict().items()}


def position_mlp(dim: int, hidden: int = 20) -> dict[str, Tensor]:
    """The position code with parameters, which the released recipe does not use."""
    state: dict[str, Tensor] = {}
    linear(state, "model.world_position_embedding.mlp.0", hidden, 3)
    norm(state, "model.world_position_embedding.mlp.1", hidden)
    linear(state, "model.world_position_embedding.mlp.3", dim, hidden)
    return state


def video_3d_llm(s: Sizes) -> dict[str, Tensor]:
    """Video-3D-LLM."""
    return {**llava_video(s), **grounding_head(s.dim)}


def ross3d(s: Sizes) -> dict[str, Tensor]:
    """Ross3D, without its autoencoder."""
    return {**video_3d_llm(s), "model.mask_token": torch.randn(s.dim), **denoiser(s)}


def config_of(s: Sizes, **other: Any) -> dict[str, Any]:
    """A released config.json, as far as it matters."""
    return {
        "model_type": "ross3d_qwen",
        "hidden_size": s.dim,
        "intermediate_size": s.mlp,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.key_heads,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 512,
        "world_position_embedding_type": "avg-discrete-sin3d",
        "ground_head_type": "infonce",
        "ground_head_temperature": 0.07,
        "ground_token_ids": [TOKENS["<ground>"]],
        "coord_token_ids": [TOKENS["<coord>"]],
        **other,
    }


def write(
    folder: Path,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any] | None = None,
    *,
    shards: int = 1,
    suffix: str = "safetensors",
    tokens: Mapping[str, int] | None = TOKENS,
    index: bool = True,
) -> Path:
    """Write a checkpoint as the released ones are written."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(state)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    weight_map = {}
    for number in range(shards):
        chosen = {name: state[name].contiguous() for name in names[number::shards]}
        end = "" if shards == 1 else f"-{number + 1:05d}-of-{shards:05d}"
        file = folder / f"{stem}{end}.{suffix}"
        if suffix == "safetensors":
            save_file(chosen, file)
        else:
            torch.save(chosen, file)
        weight_map |= dict.fromkeys(chosen, file.name)
    if shards > 1 and index:
        listed = json.dumps({"metadata": {}, "weight_map": weight_map})
        (folder / f"{stem}.{suffix}.index.json").write_text(listed)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(dict(config)))
    if tokens is not None:
        (folder / "added_tokens.json").write_text(json.dumps(dict(tokens)))
    return folder
