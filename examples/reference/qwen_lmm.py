"""Adapters to the Qwen-VL family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .host_lmm import VisualAttention
from .patch_lmm import PatchLMM
from .pixels import CLIP_MEAN, CLIP_STD, HALF, Statistic
from .segments import segment_shift

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class QwenLMM(PatchLMM):
    """What the family shares: each view is an image, and a visual token's position has three axes.

    Views are not frames of a video, of which the tower would mix pairs. The host's markers of an
    image's begin and end keep them apart: without them two views would pass for one.

    Args:
        host: the untouched model of transformers.
        image_size: pixels of a view, (height, width) or the side of a square: multiples of a visual
            token's, that is of two patches.
        mean: what is subtracted from images in [0, 1], per channel or for all; None = the family's.
        std: what the difference is divided by; None = the family's.
        visual_attention: which placeholders see each other (see HostLMM).

    Raises:
        ValueError: if the patches do not divide ``image_size``, or views are to see each other
            in a host that cannot do it.
    """

    default_mean: Statistic = HALF
    default_std: Statistic = HALF
    takes_mask = True

    def __init__(
        self,
        host: PreTrainedModel,
        image_size: int | tuple[int, int],
        *,
        mean: Statistic | None = None,
        std: Statistic | None = None,
        visual_attention: VisualAttention = "causal",
    ):
        if visual_attention == "bidirectional" and not self.takes_mask:
            expected = "'causal' for a host with linear attention, which takes no such mask"
            raise ValueError(f"visual_attention must be {expected}; got {visual_attention!r}")
        config, vision = host.config, host.config.vision_config
        super().__init__(
            host,
            image_size,
            patch_size=vision.patch_size,
            merge_size=vision.spatial_merge_size,
            num_frames=vision.temporal_patch_size,
            mean=self.default_mean if mean is None else mean,
            std=self.default_std if std is None else std,
            view_start=(config.vision_start_token_id,),
            view_end=(config.vision_end_token_id,),
            visual_attention=visual_attention,
        )

    @torch.no_grad()
    def generate(
        self,
        visual: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        added: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Continue the text, as ``LMM.generate`` says."""
        self._positions(visual, input_ids)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        # The host's own positions would miss the tokens of a view that only pad it.
        kwargs["position_ids"] = self._position_ids(input_ids, attention_mask.long() - 1)
        return super().generate(visual, input_ids, attention_mask, added=added, **kwargs)

    def _positions(self, visual: Tensor, input_ids: Tensor) -> Tensor:
        positions = super()._positions(visual, input_ids)
        p = positions.shape[-1]
        gaps = positions.flatten(1).diff(dim=1) > 1
        between = torch.arange(1, gaps.shape[1] + 1, device=gaps.device) % p == 0
        if bool((gaps != between).any()):
            row = gaps[int((gaps != between).any(1).nonzero()[0])]
            runs = [len(run) for run in torch.arange(len(row) + 1).tensor_split(_ends(row))]
            raise ValueError(f"input_ids must hold placeholders in runs of {p}; got runs of {runs}")
        return positions

    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        inputs = super()._inputs(visual, input_ids, added)
        return {**inputs, **self._images(input_ids)}

    def _images(self, input_ids: Tensor) -> dict[str, Tensor]:
        """What the host's three-dimensional positions are made of."""
        placeholder = input_ids == self.visual_token_id
        count = int(placeholder.sum()) // (self.grid[0] * self.grid[1])
        return {
            "mm_token_type_ids": placeholder.int(),
            "image_grid_thw": self._patch_grids(count, input_ids.device),
        }

    def _position_ids(self, input_ids: Tensor, segments: Tensor) -> Tensor:
        # A view keeps its shape where some of its tokens only pad it.
        counted = (segments >= 0) | (input_ids == self.visual_token_id)
        rope, _ = self.host.model.get_rope_index(
            input_ids, **self._images(input_ids), attention_mask=counted
        )
        return rope - segment_shift(segments)


class Qwen25VLLMM(QwenLMM):
    """Qwen2.5-VL: its released weights take views of multiples of 28 pixels, and CLIP's colours."""

    default_mean, default_std = CLIP_MEAN, CLIP_STD


class Qwen3VLLMM(QwenLMM):
    """Qwen3-VL, whose tower adds features to the first layers of the language model, too.

    These deep features stand behind the tokens: ``encode`` gives (b, m, p, d * (1 + num_deep)).
    Those of a hidden view must be zero, or they tell what it shows. ``decode`` and ``generate``
    take tokens of width d as well, with no deep features. Released weights take views of multiples
    of 32 pixels.
    """

    @property
    def num_deep(self) -> int:  # type: ignore[override]
        """Layers that get features of their own."""
        return len(self.host.config.vision_config.deepstack_visual_indexes)


class Qwen35LMM(QwenLMM):
    """Qwen3.5, most layers of which keep a running summary in place of attention.

    A summary goes through the text in order, past one turn into the next: neither independent turns
    nor bidirectional views can be had. Released weights take views of multiples of 32 pixels.
    """

    takes_mask = False

    def _mask(self, placeholder: Tensor, segments: Tensor) -> Tensor:
        if bool((segments > 1).any()):
            expected = "one turn for a host with linear attention, which cannot keep turns apart"
            raise ValueError(f"segments must be of {expected}; got {int(segments.max())} turns")
        return (segments >= 0).long()


def _ends(gaps: Tensor) -> Tensor:
    """Where to split a row of placeholders: after each gap."""
    return gaps.nonzero()[:, 0].cpu() + 1
