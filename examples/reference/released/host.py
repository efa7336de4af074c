"""The host of a released checkpoint: sizes from its shapes and its config."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import TYPE_CHECKING, Any

from torch import nn

from ross3d import require

from .keys import Layout
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration

LETTERS = {"D": "hidden_size", "I": "intermediate_size"}
COPIED = (
    "max_position_embeddings",
    "rms_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
QWEN2 = {"max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "eos_token_id": 151645}
QWEN2_HEAD = 128
SIGLIP_HEADS = {1152: 16}


def config_sizes(config: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What a released config.json says of the sizes that its tensors must have."""
    known = {letter: config[key] for letter, key in LETTERS.items() if key in config}
    layers = config.get("num_hidden_layers")
    return {"known": known, "layers": {"language model": layers} if layers else {}}


def host_sizes(layout: Layout, config: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """Sizes of the LLaVA-OneVision that has the released weights' shapes.

    Heads cannot be told from shapes: without a config.json they are of Qwen2's 128 channels.

    Raises:
        ValueError: if the number of heads is not given and does not follow, or does not fit.
    """
    sizes = layout.sizes
    heads = config.get("num_attention_heads", sizes["Q"] // QWEN2_HEAD)
    key_heads = config.get("num_key_value_heads", sizes["K"] // QWEN2_HEAD)
    width = sizes["Q"] // max(heads, 1)
    if heads * width != sizes["Q"] or key_heads * width != sizes["K"] or not key_heads:
        got = f"{heads} and {key_heads} for {sizes['Q']} and {sizes['K']} channels"
        raise ValueError(f"config.json must give the heads of queries and keys; got {got}")
    text = {
        **QWEN2,
        **{key: config[key] for key in COPIED if config.get(key) is not None},
        "vocab_size": vocabulary.rows,
        "hidden_size": sizes["D"],
        "intermediate_size": sizes["I"],
        "num_hidden_layers": layout.layers["language model"],
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": width,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.get("rope_theta", 1e6)},
    }
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if isinstance(text.get(key), int) and text[key] >= vocabulary.rows:
            text[key] = None
    side, patch = isqrt(sizes["P"]), sizes["S"]
    if side * side != sizes["P"]:
        raise ValueError(f"position_embedding must be of a square grid; got {sizes['P']} patches")
    vision = {
        "hidden_size": sizes["V"],
        "intermediate_size": sizes["F"],
        "num_hidden_layers": layout.layers["vision tower"],
        "num_attention_heads": SIGLIP_HEADS.get(sizes["V"], max(1, sizes["V"] // 64)),
        # Patches leave the last pixels of SigLIP so400m's views out.
        "image_size": 384 if (side, patch) == (27, 14) else side * patch,
        "patch_size": patch,
    }
    ids = {"image_token_id": vocabulary.image_token_id, "video_token_id": vocabulary.video_token_id}
    return {"text": text, "vision": vision, **ids}


def build_host(sizes: Mapping[str, Any]) -> LlavaOnevisionForConditionalGeneration:
    """Build a host of these sizes whose parameters wait for their values on the meta device."""
    transformers = require("transformers", "hf")
    vision = {"model_type": "siglip_vision_model", "vision_use_head": False, **sizes["vision"]}
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", "tie_word_embeddings": False, **sizes["text"]},
        vision_config=vision,
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_token_id=sizes["image_token_id"],
        video_token_id=sizes["video_token_id"],
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    with require("accelerate", "hf").init_empty_weights(include_buffers=False):
        return transformers.LlavaOnevisionForConditionalGeneration(config)


def trim_vocabulary(host: LlavaOnevisionForConditionalGeneration, rows: int) -> None:
    """Let the output embedding end where the released one does: no padding takes part in it."""
    head = host.lm_head
    if rows < head.out_features:
        trimmed = nn.Linear(head.in_features, rows, bias=False, device="meta")
        trimmed.weight = nn.Parameter(head.weight[:rows].detach().clone())
        host.lm_head = trimmed
