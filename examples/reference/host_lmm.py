"""What adapters to models of transformers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ross3d import check_shape, gather_tokens, token_positions

from .lmm import Grid, LMMOutput
from .segments import segment_attention
from .text import text_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HostLMM(nn.Module, ABC):
    """What the adapters share: a transformers model ``host`` and one way to read it."""

    num_extra = 0

    def __init__(self, host: PreTrainedModel, visual_token_id: int, grid: Grid):
        super().__init__()
        self.host = host
        self.visual_token_id = visual_token_id
        self.grid = grid

    def decode(
        self,
        visual: Tensor,
        input_ids: Tensor,
        *,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        segments: Tensor | None = None,
        added: Tensor | None = None,
    ) -> tuple[LMMOutput, Tensor]:
        """Run the language model, as ``LMM.decode`` says."""
        positions = self._positions(visual, input_ids)
        inputs = self._inputs(visual, input_ids, added)
        if segments is not None:
            attention_mask, inputs["position_ids"] = segment_attention(segments, visual.dtype)
        output = self.host.base_model(**inputs, attention_mask=attention_mask, use_cache=False)
        hidden = output.last_hidden_state
        head = self.host.get_output_embeddings()
        loss = None if labels is None else text_loss(hidden, labels, head)
        return LMMOutput(hidden, loss), gather_tokens(hidden, positions)

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
        inputs = self._inputs(visual, input_ids, added)
        ids = self.host.generate(**inputs, attention_mask=attention_mask, **kwargs)
        return ids[:, input_ids.shape[1] :] if "input_ids" in inputs else ids

    def activation_checkpointing_enable(self, **kwargs: Any) -> None:
        """Recompute activations in the backward pass, as the host's method of this name does."""
        self.host.activation_checkpointing_enable(**kwargs)

    def _positions(self, visual: Tensor, input_ids: Tensor) -> Tensor:
        sizes = check_shape("visual", visual, "b m p d", p=self.grid[0] * self.grid[1])
        check_shape("input_ids", input_ids, "b t", b=sizes["b"])
        placeholder = input_ids == self.visual_token_id
        wanted = sizes["m"] * sizes["p"]
        counts = placeholder.sum(1)
        if bool((counts != wanted + self.num_extra).any()):
            expected = f"rows with {wanted + self.num_extra} visual placeholders"
            raise ValueError(f"input_ids must be {expected}; got {counts.tolist()}")
        return token_positions(placeholder & (placeholder.cumsum(1) <= wanted), views=sizes["m"])

    def _embeds(self, input_ids: Tensor, added: Tensor | None) -> Tensor:
        embeds = self.host.get_input_embeddings()(input_ids)
        if added is None:
            return embeds
        check_shape("added", added, "b t d", **dict(zip("btd", embeds.shape, strict=True)))
        return embeds + added.to(embeds)

    @abstractmethod
    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        """Return the host's arguments that carry the visual tokens and the text."""
