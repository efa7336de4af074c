"""An adapter to any encoder and any causal language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from einops import rearrange
from torch import Tensor

from ross3d import check_shape

from .host_lmm import HostLMM, VisualAttention
from .lmm_protocol import Grid

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DecoderLMM(HostLMM):
    """Any encoder with any causal language model that takes embeddings: join, run, gather.

    The decoder may be a multimodal model without an adapter, and the encoder a function that calls
    its ``get_image_features``; positions are then those of text, one after the other.

    Args:
        encoder: images (n, 3, h, w) in [0, 1] -> tokens (n, p, d) of the decoder's width. A module
            trains and is saved with the rest; a function is called.
        decoder: causal language model of transformers.
        visual_token_id: id of the visual placeholder.
        grid: rows and columns of tokens per view; p = rows * columns.
        view_start: ids before the placeholders of every view.
        view_end: ids after them.
        visual_attention: which placeholders see each other (see HostLMM).
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        decoder: PreTrainedModel,
        visual_token_id: int,
        *,
        grid: Grid,
        view_start: Sequence[int] = (),
        view_end: Sequence[int] = (),
        visual_attention: VisualAttention = "causal",
    ):
        super().__init__(
            decoder,
            visual_token_id,
            grid,
            view_start=view_start,
            view_end=view_end,
            visual_attention=visual_attention,
        )
        self.encoder = encoder

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1] into visual tokens (b, m, p, d)."""
        b = check_shape("images", images, "b m 3 h w")["b"]
        tokens = self.encoder(rearrange(images, "b m c h w -> (b m) c h w"))
        return rearrange(tokens, "(b m) p d -> b m p d", b=b)

    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        tokens = rearrange(visual, "b m p d -> b (m p) d")
        return {"inputs_embeds": self._joined(tokens, input_ids, added)}
