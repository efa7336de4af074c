"""A tiny random host of every family that has an adapter: HOSTS, name -> maker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hosts_qwen import QWEN_HOSTS
from reference.lmm import DecoderLMM, InternVLLMM, LlavaNextVideoLMM, LlavaOnevisionLMM
from reference.pixels import normalise
from reference.tiny_lmm import tiny_llava
from tiny_host import DIM, END, PAD, START, UNUSED, VISUAL, VOCAB, TinyHost, awake
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
)

SIZE = 32
TEXT = {
    "model_type": "qwen2",
    "vocab_size": VOCAB,
    "hidden_size": DIM,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 8,
}
CLIP = {"model_type": "clip_vision_model", "projection_dim": 8, **VISION}


def llava_onevision(**options: Any) -> TinyHost:
    lmm = LlavaOnevisionLMM(_siglip_qwen2(), **options)

    def stock(images: Tensor, ids: Tensor) -> dict[str, Any]:
        return {"input_ids": ids, "pixel_values_videos": (images - 0.5) / 0.5}

    return TinyHost(lmm, SIZE, stock)


def llava_video(**options: Any) -> TinyHost:
    """The same host with a newline after every row, which it would not write by itself."""
    lmm = LlavaOnevisionLMM(_siglip_qwen2(), newline="row", **options)
    host = lmm.host

    def stock(images: Tensor, ids: Tensor) -> dict[str, Any]:
        pixels = (images - 0.5) / 0.5
        embeds = host.get_input_embeddings()(ids).clone()
        for scene, row in enumerate(ids):
            features = host.model.get_video_features(pixels[scene, None], return_dict=True)
            tokens, newline = features.pooler_output[0, :-1], host.model.image_newline
            lines = [line for cells in tokens.split(lmm.grid[1]) for line in (*cells, newline)]
            embeds[scene, row == VISUAL] = torch.stack(lines)
        return {"inputs_embeds": embeds}

    return TinyHost(lmm, SIZE, stock)


def llava_next_video(**options: Any) -> TinyHost:
    config = LlavaNextVideoConfig(
        text_config={**TEXT, "model_type": "llama"},
        vision_config=CLIP,
        image_token_index=UNUSED,
        video_token_index=VISUAL,
    )
    lmm = LlavaNextVideoLMM(awake(LlavaNextVideoForConditionalGeneration(config)), **options)

    def stock(images: Tensor, ids: Tensor) -> dict[str, Any]:
        pixels = normalise(images, SIZE, lmm.mean, lmm.std)
        return {"input_ids": ids, "pixel_values_videos": pixels}

    return TinyHost(lmm, SIZE, stock)


def internvl(**options: Any) -> TinyHost:
    vision = {"model_type": "internvl_vision", **VISION}
    config = InternVLConfig(
        text_config=TEXT, vision_config=vision, image_token_id=VISUAL, tie_word_embeddings=False
    )
    host = awake(InternVLForConditionalGeneration(config))
    lmm = InternVLLMM(host, view_start=[START], view_end=[END], **options)

    def stock(images: Tensor, ids: Tensor) -> dict[str, Any]:
        pixels = normalise(images, SIZE, lmm.mean, lmm.std)
        return {"input_ids": ids, "pixel_values": pixels.flatten(0, 1)}

    return TinyHost(lmm, SIZE, stock)


def decoder(**options: Any) -> TinyHost:
    """An encoder of one's own before a model of text."""
    config = Qwen2Config(**{k: v for k, v in TEXT.items() if k != "model_type"})
    lmm = DecoderLMM(Patches(), awake(Qwen2ForCausalLM(config)), VISUAL, grid=(2, 2), **options)

    def stock(images: Tensor, ids: Tensor) -> dict[str, Any]:
        embeds = lmm.host.get_input_embeddings()(ids).clone()
        for scene, row in enumerate(ids):
            embeds[scene, row == VISUAL] = lmm.encoder(images[scene]).flatten(0, 1)
        return {"inputs_embeds": embeds}

    return TinyHost(lmm, SIZE, stock)


def multimodal_decoder(**options: Any) -> TinyHost:
    """A multimodal model that has no adapter, by embeddings."""
    config = LlavaConfig(text_config=TEXT, vision_config=CLIP, image_token_index=VISUAL)
    host = awake(LlavaForConditionalGeneration(config))
    host.model.vision_tower.post_layernorm.requires_grad_(False)
    host.model.vision_tower.encoder.layers[-1].requires_grad_(False)

    def encoder(images: Tensor) -> Tensor:
        pixels = ((images - 0.5) / 0.5).to(host.dtype)
        return torch.stack(list(host.get_image_features(pixels, return_dict=True).pooler_output))

    lmm = DecoderLMM(encoder, host, VISUAL, grid=(4, 4), **options)

    def stock(images: Tensor, ids: Tensor) -> dict[str, Any]:
        return {"input_ids": ids, "pixel_values": ((images - 0.5) / 0.5).flatten(0, 1)}

    return TinyHost(lmm, SIZE, stock)


class Patches(nn.Module):
    """Four tokens per view."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, SIZE // 2, SIZE // 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.patches(images.to(self.patches.weight)).flatten(2).mT


def _siglip_qwen2() -> Any:
    sizes = {"image_size": SIZE, "patch_size": 8, "vision_dim": 16, "vision_layers": 2}
    host = tiny_llava(VOCAB, VISUAL, PAD, dim=DIM, layers=2, heads=2, **sizes)
    host.generation_config.eos_token_id = None
    return host


HOSTS: dict[str, Callable[..., TinyHost]] = {
    "llava_onevision": llava_onevision,
    "llava_video": llava_video,
    "llava_next_video": llava_next_video,
    "internvl": internvl,
    "decoder": decoder,
    "multimodal_decoder": multimodal_decoder,
    **QWEN_HOSTS,
}
"""Options of a maker go to the adapter."""

on_every_host = pytest.mark.parametrize("name", HOSTS)
with_both_attentions = pytest.mark.parametrize("attention", ["causal", "bidirectional"])


def make(name: str, attention: str = "causal") -> TinyHost:
    """Make a host of the table, always with the same weights."""
    if attention != "causal" and not HOSTS[name]().masks:
        pytest.skip("takes no mask of which token sees which")
    torch.manual_seed(0)
    host = HOSTS[name](visual_attention=attention)
    host.lmm.eval()
    return host


def padded(ids: Tensor, count: int, side: str) -> tuple[Tensor, Tensor]:
    """Pad rows of ids on a side: the ids, and their attention mask."""
    amounts = (count, 0) if side == "left" else (0, count)
    return pad(ids, amounts, value=PAD), pad(torch.ones_like(ids), amounts)
