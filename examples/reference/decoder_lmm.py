"""An adapter to any encoder and any causal language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from einops import rearrange
from torch import Tensor, nn

from ross3d import check_shape, scatter_tokens

from .host_lmm import HostLMM
from .lmm import Grid

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DecoderLMM(HostLMM):
    """Any encoder with any causal language model that takes embeddings: scatter, run, gather.

    Args:
        encoder: module, images (n, 3, h, w) in [0, 1] -> tokens (n, p, d) of the decoder's width.
        decoder: causal language model of transformers.
        visual_token_id: id of the visual placeholder.
        grid: rows and columns of tokens per view; p = rows * columns.
    """

    def __init__(
        self, encoder: nn.Module, decoder: PreTrainedModel, visual_token_id: int, *, grid: Grid
    ):
        super().__init__(decoder, visual_token_id, grid)
        self.encoder = encoder

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1] into visual tokens (b, m, p, d)."""
        b = check_shape("images", images, "b m 3 h w")["b"]
        tokens = self.encoder(rearrange(images, "b m c h w -> (b m) c h w"))
        return rearrange(tokens, "(b m) p d -> b m p d", b=b)

    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        embeds = self._embeds(input_ids, added)
        positions = self._positions(visual, input_ids)
        return {"inputs_embeds": scatter_tokens(embeds, positions, visual.to(embeds))}
