"""What the recipes ask of a large multimodal model, and adapters to models that exist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from ross3d import check_shape, gather_tokens, require, token_positions

from .segments import segment_attention
from .text import text_loss

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel

Grid = tuple[int, int]


@dataclass(frozen=True)
class LMMOutput:
    """What a language model says about one batch.

    Attributes:
        last_hidden_state: (b, t, d) after the final norm.
        loss: scalar text cross-entropy in float32, or None without labels.
    """

    last_hidden_state: Tensor
    loss: Tensor | None = None


class LMM(Protocol):
    """A vision tower, a projector and a language model.

    Attributes:
        grid: rows and columns of visual tokens per view.
        visual_token_id: id that holds the place of visual tokens in ``input_ids``.
        num_extra: placeholders after those of the views: the host's own newline token.
    """

    grid: Grid
    visual_token_id: int
    num_extra: int

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1] into visual tokens (b, m, p, d)."""
        ...

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
        """Run the language model on visual tokens and text.

        Args:
            visual: (b, m, p, d) visual tokens.
            input_ids: (b, t) text with m * p + num_extra placeholders in each row.
            labels: (b, t) token ids, each predicted from the position before; -100 = none.
            attention_mask: (b, t) 1 where a token counts, 0 where it pads; None = all count.
            segments: (b, t) 0 = scene, 1, 2, ... = independent turns, -1 = padding (see
                segment_attention); takes the place of ``attention_mask``.
            added: (b, t, d) added to the text embeddings: a position code at ``<coord>``.

        Returns:
            The output, and hidden (b, m, p, d) at the visual positions.
        """
        ...

    def generate(
        self,
        visual: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        added: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Continue left-padded text (``kwargs`` go to the host): the new token ids (b, l)."""
        ...


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
