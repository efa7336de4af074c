"""An adapter to InternVL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from einops import rearrange
from torch import Tensor

from .host_lmm import HostLMM, VisualAttention
from .pixels import IMAGENET_MEAN, IMAGENET_STD, Statistic, normalise

if TYPE_CHECKING:
    from transformers import InternVLForConditionalGeneration


class InternVLLMM(HostLMM):
    """InternVL: each view is an image, two by two patches of which make a visual token.

    Args:
        host: the untouched model of transformers.
        view_start: ids before the placeholders of a view: that of ``<img>``.
        view_end: ids after them: that of ``</img>``.
        mean: what is subtracted from images in [0, 1], per channel or for all.
        std: what the difference is divided by.
        visual_attention: which placeholders see each other (see HostLMM).
    """

    def __init__(
        self,
        host: InternVLForConditionalGeneration,
        *,
        view_start: Sequence[int] = (),
        view_end: Sequence[int] = (),
        mean: Statistic = IMAGENET_MEAN,
        std: Statistic = IMAGENET_STD,
        visual_attention: VisualAttention = "causal",
    ):
        vision = host.config.vision_config
        size = vision.image_size[0]
        side = int(size // vision.patch_size[0] * host.config.downsample_ratio)
        super().__init__(
            host,
            host.config.image_token_id,
            (side, side),
            view_start=view_start,
            view_end=view_end,
            visual_attention=visual_attention,
        )
        self.image_size = size
        self.mean, self.std = mean, std

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1], of the tower's size, into visual tokens."""
        pixels = normalise(images, self.image_size, self.mean, self.std)
        pixels = rearrange(pixels, "b m c h w -> (b m) c h w")
        features = self.host.model.get_image_features(pixels, return_dict=True).pooler_output
        return rearrange(features, "(b m) p d -> b m p d", b=images.shape[0])

    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        features = rearrange(visual, "b m p d -> (b m) p d")
        return self._hand_over("image", features, input_ids, added)
