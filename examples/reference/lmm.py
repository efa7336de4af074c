"""Large multimodal models: what the recipes ask of one, and an adapter for each family.

``adapt(host)`` picks the adapter of a model of transformers. DecoderLMM joins any encoder to any
causal language model that takes embeddings; whatever else has the methods of LMM will do as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ross3d import require

from .decoder_lmm import DecoderLMM
from .host_lmm import HostLMM
from .internvl_lmm import InternVLLMM
from .llava_lmm import LlavaNextVideoLMM, LlavaOnevisionLMM
from .lmm_protocol import LMM, Grid, LMMOutput
from .qwen_lmm import Qwen3VLLMM, Qwen25VLLMM, Qwen35LMM
from .video_llama3_lmm import VideoLlama3LMM

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "ADAPTERS",
    "LMM",
    "DecoderLMM",
    "Grid",
    "HostLMM",
    "InternVLLMM",
    "LMMOutput",
    "LlavaNextVideoLMM",
    "LlavaOnevisionLMM",
    "Qwen3VLLMM",
    "Qwen25VLLMM",
    "Qwen35LMM",
    "VideoLlama3LMM",
    "adapt",
]

ADAPTERS: Mapping[str, type[HostLMM]] = {
    "llava_onevision": LlavaOnevisionLMM,
    "llava_next_video": LlavaNextVideoLMM,
    "internvl": InternVLLMM,
    "qwen2_5_vl": Qwen25VLLMM,
    "qwen3_vl": Qwen3VLLMM,
    "qwen3_5": Qwen35LMM,
    "video_llama_3": VideoLlama3LMM,
}
"""The adapter of each ``config.model_type``."""


def adapt(host: PreTrainedModel, **options: Any) -> HostLMM:
    """Pick the adapter of a model of transformers.

    Args:
        host: a model that generates, for example of ``AutoModelForImageTextToText``.
        options: of the adapter, for example ``visual_attention="bidirectional"``; adapters to hosts
            that read pictures of any size want an ``image_size``.

    Returns:
        The adapter, an LMM.

    Raises:
        ValueError: if there is no adapter for such a model.

    Example:
        >>> from reference.tiny_lmm import tiny_llava
        >>> adapt(tiny_llava(64, 4)).grid
        (6, 6)
    """
    model = require("transformers", "hf").PreTrainedModel  # a wrapper of PEFT's is none
    name = getattr(getattr(host, "config", None), "model_type", None)
    generates = isinstance(host, model) and host.get_output_embeddings() is not None
    if name not in ADAPTERS or not generates:
        known = ", ".join(sorted(ADAPTERS))
        found = f"{type(host).__name__} of type {name!r}"
        raise ValueError(f"host must be a generating model of type {known}; got {found}")
    return ADAPTERS[name](host, **options)
