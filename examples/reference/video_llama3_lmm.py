"""An adapter to VideoLLaMA3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .host_lmm import VisualAttention
from .patch_lmm import PatchLMM
from .pixels import HALF, Statistic

if TYPE_CHECKING:
    from transformers import VideoLlama3ForConditionalGeneration


class VideoLlama3LMM(PatchLMM):
    """VideoLLaMA3: each view is an image, merged like a frame of a video.

    Its frames of a video are pruned of what they share with the one before, which would drop tokens
    that a view needs; images are not.

    Args:
        host: the untouched model of transformers.
        image_size: pixels of a view, (height, width) or the side of a square: multiples of
            ``merge_size`` patches.
        merge_size: rows, and columns, of patches that make one visual token (as released: 2 for
            videos, 1 for single images).
        view_start: ids before the placeholders of a view.
        view_end: ids after them: that of a newline.
        mean: what is subtracted from images in [0, 1], per channel or for all.
        std: what the difference is divided by.
        visual_attention: which placeholders see each other (see HostLMM).
    """

    def __init__(
        self,
        host: VideoLlama3ForConditionalGeneration,
        image_size: int | tuple[int, int],
        *,
        merge_size: int = 2,
        view_start: Sequence[int] = (),
        view_end: Sequence[int] = (),
        mean: Statistic = HALF,
        std: Statistic = HALF,
        visual_attention: VisualAttention = "causal",
    ):
        super().__init__(
            host,
            image_size,
            patch_size=host.config.vision_config.patch_size,
            merge_size=merge_size,
            mean=mean,
            std=std,
            view_start=view_start,
            view_end=view_end,
            visual_attention=visual_attention,
        )

    def _tower(self, patches: Tensor, grids: Tensor) -> Any:
        merge_sizes = grids.new_full((len(grids),), self.merge_size)
        return self.host.model.get_image_features(patches, grids, merge_sizes, return_dict=True)
