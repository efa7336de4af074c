"""Tiny random hosts whose towers read flat patches: QWEN_HOSTS, name -> maker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from reference.patch_lmm import PatchLMM
from reference.pixels import normalise
from reference.qwen_lmm import Qwen3VLLMM, Qwen25VLLMM, Qwen35LMM
from reference.video_llama3_lmm import VideoLlama3LMM
from tiny_host import DIM, END, PAD, START, UNUSED, VISUAL, VOCAB, TinyHost, awake
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
)

SIZE, PATCH = 32, 8
IDS = {
    "image_token_id": VISUAL,
    "video_token_id": UNUSED,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
    "tie_word_embeddings": False,
}
TEXT = {
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
}
VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": PATCH,
    "out_hidden_size": DIM,
    "initializer_range": 0.2,
}


def qwen25_vl(image_size: int | tuple[int, int] = SIZE, **options: Any) -> TinyHost:
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": _rope([2, 3, 3])},
        vision_config={**VISION, "window_size": 2 * 2 * PATCH, "fullatt_block_indexes": [1]},
        **IDS,
    )
    host = awake(Qwen2_5_VLForConditionalGeneration(config))
    return _tiny(Qwen25VLLMM(host, image_size, **options), num_frames=2)


def qwen3_vl(image_size: int | tuple[int, int] = SIZE, **options: Any) -> TinyHost:
    config = Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 16, "rope_parameters": _rope([4, 2, 2])},
        vision_config={**VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
        **IDS,
    )
    host = awake(Qwen3VLForConditionalGeneration(config))
    return _tiny(Qwen3VLLMM(host, image_size, **options), num_frames=2)


def qwen35(image_size: int | tuple[int, int] = SIZE, **options: Any) -> TinyHost:
    rope = {**_rope([2, 1, 1]), "partial_rotary_factor": 0.5}
    linear = {f"linear_{kind}_head_dim": 8 for kind in ("key", "value")}
    linear |= {f"linear_num_{kind}_heads": 2 for kind in ("key", "value")}
    layers = {"layer_types": ["linear_attention", "full_attention"], "head_dim": 16}
    config = Qwen3_5Config(
        text_config={**TEXT, **linear, **layers, "rope_parameters": rope},
        vision_config={**VISION, "num_position_embeddings": 16},
        **IDS,
    )
    host = awake(Qwen3_5ForConditionalGeneration(config))
    return _tiny(Qwen35LMM(host, image_size, **options), num_frames=2, masks=False)


def video_llama3(image_size: int | tuple[int, int] = SIZE, **options: Any) -> TinyHost:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": PATCH,
        "initializer_range": 0.2,
    }
    config = VideoLlama3Config(
        text_config={**TEXT, "model_type": "qwen2"},
        vision_config=vision,
        image_token_id=VISUAL,
        video_token_id=UNUSED,
    )
    host = awake(VideoLlama3ForConditionalGeneration(config))
    return _tiny(VideoLlama3LMM(host, image_size, **options), num_frames=1)


def patches(images: Tensor, num_frames: int, merge: int) -> Tensor:
    """What the processors of the family make of pixels (b, c, h, w): one row per patch."""
    _, _, height, width = images.shape
    block = range(0, merge * PATCH, PATCH)
    rows = [
        image[:, None, top + y : top + y + PATCH, left + x : left + x + PATCH]
        for image in images
        for top in range(0, height, merge * PATCH)
        for left in range(0, width, merge * PATCH)
        for y in block
        for x in block
    ]
    return torch.stack([row.expand(-1, num_frames, -1, -1).flatten() for row in rows])


def _rope(sections: list[int]) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}


def _tiny(lmm: PatchLMM, *, num_frames: int, masks: bool = True) -> TinyHost:
    def stock(images: Tensor, ids: Tensor) -> dict[str, Any]:
        b, m, _, height, width = images.shape
        pixels = normalise(images, (height, width), lmm.mean, lmm.std).flatten(0, 1)
        count, merge = b * m, lmm.merge_size
        inputs = {
            "input_ids": ids,
            "pixel_values": patches(pixels, num_frames, merge),
            "image_grid_thw": torch.tensor([[1, height // PATCH, width // PATCH]] * count),
        }
        if num_frames == 1:
            return {**inputs, "image_merge_sizes": torch.full((count,), merge)}
        return {**inputs, "mm_token_type_ids": (ids == VISUAL).int()}

    return TinyHost(lmm, lmm.image_size[0], stock, masks)


QWEN_HOSTS: dict[str, Callable[..., TinyHost]] = {
    "qwen2_5_vl": qwen25_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_5": qwen35,
    "video_llama_3": video_llama3,
}
"""Options of a maker go to the adapter."""
