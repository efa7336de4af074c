"""Adapters to the LLaVA family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor

from ross3d import check_shape, require

from .host_lmm import HostLMM

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration


class LlavaOnevisionLMM(HostLMM):
    """LLaVA-OneVision and LLaVA-Video: each view is a frame of a video.

    Features go through the host's public ``mm_encoder_outputs`` argument. The host's newline token
    follows the last view: a row of text holds one placeholder more than there are visual tokens.

    Args:
        host: the untouched model of transformers.
        mean: what is subtracted from images in [0, 1], per channel or for all.
        std: what the difference is divided by.

    Example:
        >>> from reference.tiny_lmm import tiny_llava
        >>> lmm = LlavaOnevisionLMM(tiny_llava(64, 4))
        >>> lmm.encode(torch.rand(2, 3, 3, 96, 96)).shape
        torch.Size([2, 3, 36, 128])
    """

    num_extra = 1

    def __init__(
        self,
        host: LlavaOnevisionForConditionalGeneration,
        *,
        mean: float | tuple[float, float, float] = 0.5,
        std: float | tuple[float, float, float] = 0.5,
    ):
        vision = host.config.vision_config
        side = -(-(vision.image_size // vision.patch_size) // 2)
        super().__init__(host, host.config.video_token_id, (side, side))
        self.image_size = vision.image_size
        self.mean, self.std = mean, std
        # Features leave the tower before this norm: it gets no gradient, which DDP would wait for.
        host.model.vision_tower.post_layernorm.requires_grad_(False)

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1], of the tower's size, into visual tokens."""
        m = check_shape("images", images, f"b m 3 {self.image_size} {self.image_size}")["m"]
        mean, std = (images.new_tensor(value).view(-1, 1, 1) for value in (self.mean, self.std))
        pixels = ((images - mean) / std).to(self.host.model.image_newline.dtype)
        features = self.host.model.get_video_features(pixels, return_dict=True).pooler_output
        return rearrange(features[:, :-1], "b (m p) d -> b m p d", m=m)

    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        newline = self.host.model.image_newline.expand(visual.shape[0], 1, -1)
        tokens = rearrange(visual, "b m p d -> b (m p) d").to(newline)
        features = torch.cat([tokens, newline], dim=1)
        if added is None:
            # Made anew for each call: beam search writes into it.
            outputs = require("transformers.modeling_outputs", "hf")
            encoded = outputs.BaseModelOutputWithPooling(pooler_output=features)
            return {"input_ids": input_ids, "mm_encoder_outputs": {"video": encoded}}
        # With embeddings as input the host would look for placeholders by comparing vectors.
        placeholder = (input_ids == self.visual_token_id)[..., None]
        embeds = self._embeds(input_ids, added)
        return {"inputs_embeds": embeds.masked_scatter(placeholder, features)}
