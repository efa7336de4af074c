"""Adapters to the LLaVA family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from .host_lmm import HostLMM, VisualAttention
from .pixels import CLIP_MEAN, CLIP_STD, HALF, Statistic, normalise

if TYPE_CHECKING:
    from transformers import (
        LlavaNextVideoForConditionalGeneration,
        LlavaOnevisionForConditionalGeneration,
        PreTrainedModel,
    )

Newline = Literal["video", "row"]


class LlavaLMM(HostLMM):
    """What the family shares: each view is a frame of a video, as ``mm_encoder_outputs``."""

    def __init__(
        self,
        host: PreTrainedModel,
        side: int,
        *,
        mean: Statistic,
        std: Statistic,
        visual_attention: VisualAttention,
    ):
        placeholder = host.config.video_token_id
        super().__init__(host, placeholder, (side, side), visual_attention=visual_attention)
        self.image_size = host.config.vision_config.image_size
        self.mean, self.std = mean, std

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1], of the tower's size, into visual tokens."""
        pixels = normalise(images, self.image_size, self.mean, self.std)
        features = self.host.model.get_video_features(
            pixels.to(self.dtype), return_dict=True
        ).pooler_output
        m, p = images.shape[1], self.grid[0] * self.grid[1]
        return rearrange(features[:, : m * p], "b (m p) d -> b m p d", m=m)

    def _features(self, visual: Tensor) -> Tensor:
        """What takes the place of the placeholders, (b, n, d)."""
        return rearrange(visual, "b m p d -> b (m p) d")

    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        features = self._features(visual.to(self.dtype))
        return self._hand_over("video", features, input_ids, added)


class LlavaOnevisionLMM(LlavaLMM):
    """LLaVA-OneVision and LLaVA-Video.

    The host's learned newline token, which has no position code, takes placeholders of its own: one
    after the last view (LLaVA-OneVision, and what the host does with pixels), or one after every
    row of every view (LLaVA-Video, Video-3D-LLM and ROSS3D, as released).

    Args:
        host: the untouched model of transformers.
        newline: "video" or "row".
        mean: what is subtracted from images in [0, 1], per channel or for all.
        std: what the difference is divided by.
        visual_attention: which placeholders see each other (see HostLMM).

    Raises:
        ValueError: if ``newline`` is neither "video" nor "row".

    Example:
        >>> from reference.tiny_lmm import tiny_llava
        >>> lmm = LlavaOnevisionLMM(tiny_llava(64, 4), newline="row")
        >>> lmm.encode(torch.rand(2, 3, 3, 96, 96)).shape, len(lmm.scene_ids(views=3))
        (torch.Size([2, 3, 36, 128]), 126)
    """

    def __init__(
        self,
        host: LlavaOnevisionForConditionalGeneration,
        *,
        newline: Newline = "video",
        mean: Statistic = HALF,
        std: Statistic = HALF,
        visual_attention: VisualAttention = "causal",
    ):
        if newline not in (known := get_args(Newline)):
            raise ValueError(f"newline must be one of {known}; got {newline!r}")
        vision = host.config.vision_config
        side = -(-(vision.image_size // vision.patch_size) // 2)
        super().__init__(host, side, mean=mean, std=std, visual_attention=visual_attention)
        self.newline = newline
        # Features leave the tower before this norm: it gets no gradient, which DDP would wait for.
        host.model.vision_tower.post_layernorm.requires_grad_(False)

    def scene_ids(self, views: int) -> list[int]:
        """Placeholders of visual tokens and newlines."""
        return [self.visual_token_id] * len(self.is_visual(views))

    def is_visual(self, views: int) -> Tensor:
        """All of them but the newlines."""
        rows, columns = self.grid
        if self.newline == "row":
            return (torch.arange(columns + 1) < columns).repeat(views * rows)
        return torch.arange(views * rows * columns + 1) < views * rows * columns

    def _features(self, visual: Tensor) -> Tensor:
        newline = self.host.model.image_newline
        if self.newline == "row":
            rows = rearrange(visual, "b m (r c) d -> b (m r) c d", r=self.grid[0])
            ends = repeat(newline, "d -> b n 1 d", b=rows.shape[0], n=rows.shape[1])
            return rearrange(torch.cat([rows, ends], dim=2), "b n c d -> b (n c) d")
        return torch.cat([super()._features(visual), newline.expand(visual.shape[0], 1, -1)], dim=1)


class LlavaNextVideoLMM(LlavaLMM):
    """LLaVA-NeXT-Video: CLIP, two by two patches pooled to a visual token, Vicuna; no newlines.

    Args:
        host: the untouched model of transformers.
        mean: what is subtracted from images in [0, 1], per channel or for all.
        std: what the difference is divided by.
        visual_attention: which placeholders see each other (see HostLMM).
    """

    def __init__(
        self,
        host: LlavaNextVideoForConditionalGeneration,
        *,
        mean: Statistic = CLIP_MEAN,
        std: Statistic = CLIP_STD,
        visual_attention: VisualAttention = "causal",
    ):
        config = host.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        side //= config.spatial_pool_stride
        super().__init__(host, side, mean=mean, std=std, visual_attention=visual_attention)
        # Nothing after the layer that features leave from gets a gradient, nor does the newline.
        host.model.image_newline.requires_grad_(False)
        host.model.vision_tower.post_layernorm.requires_grad_(False)
        layers: nn.ModuleList = host.model.vision_tower.encoder.layers
        last = _last(config.vision_feature_layer, len(layers))
        layers[last:].requires_grad_(False)


def _last(chosen: int | list[int], count: int) -> int:
    """Layers that features pass, of hidden states numbered from 0 = the embeddings."""
    wanted = [chosen] if isinstance(chosen, int) else chosen
    return max(index % (count + 1) for index in wanted)
