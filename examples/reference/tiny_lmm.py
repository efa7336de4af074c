"""LLaVA-OneVision hosts built from numbers: a tiny one that trains on a laptop, and the paper's."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

import torch
from torch import nn

from ross3d import require

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration


def tiny_llava(
    vocab_size: int,
    video_token_id: int,
    pad_token_id: int = 0,
    *,
    dim: int = 128,
    layers: int = 4,
    heads: int = 4,
    image_size: int = 96,
    patch_size: int = 8,
    vision_dim: int = 96,
    vision_layers: int = 2,
) -> LlavaOnevisionForConditionalGeneration:
    """Build a random, tiny host of the paper's architecture: SigLIP, a projector, Qwen2.

    Args:
        vocab_size: number of token ids.
        video_token_id: id of the visual placeholder.
        pad_token_id: id that pads a batch.
        dim: width of the language model.
        layers: layers of the language model.
        heads: attention heads of both transformers; divides ``dim`` and ``vision_dim``.
        image_size: side of a view, pixels.
        patch_size: side of a patch, pixels; two by two patches become one visual token.
        vision_dim: width of the vision tower.
        vision_layers: layers of the vision tower.

    Returns:
        The host, in float32.

    Raises:
        ValueError: if ``heads`` does not divide both widths, or ``patch_size`` the image size.

    Example:
        >>> tiny_llava(64, 4).model.language_model.config.hidden_size
        128
    """
    if dim % (2 * heads) or vision_dim % heads:
        expected = f"a divisor of {dim} / 2 (dim) and of {vision_dim} (vision_dim)"
        raise ValueError(f"heads must be {expected}; got {heads}")
    if image_size % patch_size:
        raise ValueError(f"patch_size must be a divisor of {image_size}; got {patch_size}")
    text = {
        "vocab_size": vocab_size,
        "hidden_size": dim,
        "intermediate_size": 3 * dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "pad_token_id": pad_token_id,
        "tie_word_embeddings": False,
        "initializer_range": dim**-0.5,  # the usual 0.02 makes narrow models start out mute
    }
    vision = {
        "hidden_size": vision_dim,
        "intermediate_size": 3 * vision_dim,
        "num_hidden_layers": vision_layers,
        "num_attention_heads": heads,
        "hidden_act": "silu",  # a third of GELU's time on a CPU
        "image_size": image_size,
        "patch_size": patch_size,
    }
    # The image path is unused: any id that no text has, so the row after the last one.
    host = _build(text, vision, "silu", image_token_id=vocab_size, video_token_id=video_token_id)
    _start_reading(host)
    return host


@torch.no_grad()
def _start_reading(host: LlavaOnevisionForConditionalGeneration) -> None:
    """Start a narrow model where it can learn to read within minutes.

    Words and visual tokens enter with about the size of a position code, or the larger drown the
    smaller. Half of the heads begin by looking at the last dozen tokens: equal biases of query and
    key in the rotary pairs of middle frequency score a token by its distance alone.
    """
    model, text = host.model, host.config.text_config
    nn.init.normal_(host.get_input_embeddings().weight, std=0.5)
    projector = model.multi_modal_projector
    for linear in (projector.linear_1, projector.linear_2):
        nn.init.normal_(linear.weight, std=2 * linear.in_features**-0.5)
    dim = text.hidden_size // text.num_attention_heads
    pairs = slice(dim // 16, dim // 4)
    for layer in model.language_model.layers:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            bias = projection.bias.view(-1, 2, dim // 2)
            bias[: len(bias) // 2, :, pairs] = 1.6


def paper_llava(
    *,
    narrow: int = 1,
    layers: int = 28,
    vision_layers: int = 26,
    video_token_id: int = 152063,
) -> LlavaOnevisionForConditionalGeneration:
    """Build the paper's host at full size (8 billion parameters), if only on the meta device.

    Qwen2-7B with the 26 layers of SigLIP so400m/14 at 384 pixels that LLaVA-Video keeps. The two
    placeholder ids are free rows at the end of the vocabulary, because 151646 to 151648 are
    ``<image>``, ``<ground>`` and ``<coord>`` in released checkpoints.

    Args:
        narrow: 1, 4 or 16, by which all widths are divided; its root divides the number of heads,
            and the width of a head.
        layers: layers of the language model.
        vision_layers: layers of the vision tower.
        video_token_id: id of the visual placeholder.

    Returns:
        The host, in the default dtype and on the default device.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     host = paper_llava()
        >>> host.get_output_embeddings().weight.shape
        torch.Size([152064, 3584])
    """
    root = isqrt(narrow)
    text = {
        "vocab_size": 152064,
        "hidden_size": 3584 // narrow,
        "intermediate_size": 18944 // narrow,
        "num_hidden_layers": layers,
        "num_attention_heads": 28 // root,
        "num_key_value_heads": 4 // root,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "rms_norm_eps": 1e-6,
        "pad_token_id": 151643,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "tie_word_embeddings": False,
    }
    vision = {
        "hidden_size": 1152 // narrow,
        "intermediate_size": 4304 // narrow,
        "num_hidden_layers": vision_layers,
        "num_attention_heads": 16 // root,
        "image_size": 384,
        "patch_size": 14,
    }
    return _build(text, vision, "gelu", image_token_id=152062, video_token_id=video_token_id)


def _build(
    text: dict[str, object],
    vision: dict[str, object],
    projector_act: str,
    *,
    image_token_id: int,
    video_token_id: int,
) -> LlavaOnevisionForConditionalGeneration:
    transformers = require("transformers", "hf")
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **vision},
        projector_hidden_act=projector_act,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_token_id=image_token_id,
        video_token_id=video_token_id,
        tie_word_embeddings=text["tie_word_embeddings"],
        attn_implementation="sdpa",
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config)
