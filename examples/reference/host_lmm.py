"""What adapters to models of transformers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ross3d import check_shape, gather_tokens, join_tokens, require, token_positions

from .lmm_protocol import Grid, LMMOutput
from .segments import CausalMask, segment_mask, segment_positions
from .text import text_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VisualAttention = Literal["causal", "bidirectional"]


class HostLMM(nn.Module, ABC):
    """What the adapters share: a transformers model ``host`` and one way to read it.

    A causal language model lets an early view see no later one. With ``bidirectional`` the
    placeholders of a scene all see each other; text stays causal, and flash attention, which takes
    no such mask, cannot be used.

    Args:
        host: the untouched model of transformers.
        visual_token_id: id of the visual placeholder.
        grid: rows and columns of visual tokens per view; p = rows * columns.
        view_start: ids before the placeholders of every view.
        view_end: ids after them.
        visual_attention: which placeholders see each other.

    Raises:
        ValueError: if ``visual_attention`` is neither "causal" nor "bidirectional".
    """

    num_deep = 0

    def __init__(
        self,
        host: PreTrainedModel,
        visual_token_id: int,
        grid: Grid,
        *,
        view_start: Sequence[int] = (),
        view_end: Sequence[int] = (),
        visual_attention: VisualAttention = "causal",
    ):
        super().__init__()
        if visual_attention not in (known := get_args(VisualAttention)):
            raise ValueError(f"visual_attention must be one of {known}; got {visual_attention!r}")
        self.host = host
        self.visual_token_id = visual_token_id
        self.grid = grid
        self.view_start, self.view_end = tuple(view_start), tuple(view_end)
        self.visual_attention = visual_attention

    @property
    def dtype(self) -> torch.dtype:
        """Of what the language model reads; adapters may keep words of another one."""
        return self.host.get_output_embeddings().weight.dtype

    def scene_ids(self, views: int) -> list[int]:
        """Ids that stand for a scene, as ``LMM.scene_ids`` says."""
        placeholders = [self.visual_token_id] * (self.grid[0] * self.grid[1])
        return [*self.view_start, *placeholders, *self.view_end] * views

    def is_visual(self, views: int) -> Tensor:
        """Which placeholders hold visual tokens, as ``LMM.is_visual`` says."""
        return torch.ones(views * self.grid[0] * self.grid[1], dtype=torch.bool)

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
        if segments is None and self.visual_attention == "bidirectional":
            segments = _padding(attention_mask, input_ids)
        if segments is not None:
            attention_mask = self._mask(input_ids == self.visual_token_id, segments)
            inputs["position_ids"] = self._position_ids(input_ids, segments)
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
        with self._prefill(input_ids):
            ids = self.host.generate(**inputs, attention_mask=attention_mask, **kwargs)
        return ids[:, input_ids.shape[1] :] if "input_ids" in inputs else ids

    def activation_checkpointing_enable(self, **kwargs: Any) -> None:
        """Recompute activations in the backward pass, as the host's method of this name does.

        Raises:
            ValueError: if reentrant checkpoints are asked for.
        """
        if (kwargs.get("activation_checkpointing_kwargs") or {}).get("use_reentrant"):
            raise ValueError("use_reentrant must be False; got True")
        self.host.activation_checkpointing_enable(**kwargs)
        # The host has made its embeddings' outputs need a gradient, as reentrant checkpoints want:
        # a frozen tower would be computed again, and differentiated, for nothing.
        self.host.disable_input_require_grads()

    def _positions(self, visual: Tensor, input_ids: Tensor) -> Tensor:
        sizes = check_shape("visual", visual, "b m p d", p=self.grid[0] * self.grid[1])
        check_shape("input_ids", input_ids, "b t", b=sizes["b"])
        placeholder = input_ids == self.visual_token_id
        is_visual = self.is_visual(sizes["m"]).to(input_ids.device)
        counts, wanted = placeholder.sum(1), len(is_visual)
        if bool((counts != wanted).any()):
            expected = f"rows with {wanted} visual placeholders"
            raise ValueError(f"input_ids must be {expected}; got {counts.tolist()}")
        number = (placeholder.cumsum(1) - 1).clamp(min=0)
        return token_positions(placeholder & is_visual[number], views=sizes["m"])

    def _embeds(self, input_ids: Tensor, added: Tensor | None) -> Tensor:
        embeds = self.host.get_input_embeddings()(input_ids)
        if added is None:
            return embeds
        check_shape("added", added, "b t d", **dict(zip("btd", embeds.shape, strict=True)))
        return embeds + added.to(embeds)

    def _hand_over(
        self, modality: str, features: Tensor, input_ids: Tensor, added: Tensor | None
    ) -> dict[str, Any]:
        """Arguments that put features in place of the placeholders, in their order."""
        if added is None:
            # Made anew for each call: beam search writes into it.
            outputs = require("transformers.modeling_outputs", "hf")
            encoded = outputs.BaseModelOutputWithPooling(pooler_output=features)
            return {"input_ids": input_ids, "mm_encoder_outputs": {modality: encoded}}
        # With embeddings as input the host would look for placeholders by comparing vectors.
        tokens = features.reshape(len(input_ids), -1, features.shape[-1])
        return {"inputs_embeds": self._joined(tokens, input_ids, added)}

    def _joined(self, tokens: Tensor, input_ids: Tensor, added: Tensor | None) -> Tensor:
        """Input embeddings (b, t, d): words, and tokens (b, n, d) in place of the placeholders.

        A placeholder is no word: nothing is looked up for it.
        """
        placeholder = input_ids == self.visual_token_id
        spoken, given = (token_positions(which, 1)[:, 0] for which in (~placeholder, placeholder))
        words = self.host.get_input_embeddings()(input_ids.gather(1, spoken))
        if added is not None:
            check_shape(
                "added", added, "b t d", b=len(words), t=input_ids.shape[1], d=words.shape[2]
            )
            words = words + added.gather(1, spoken[..., None].expand_as(words)).to(words)
        return join_tokens((spoken, words), (given, tokens.to(words)))

    @abstractmethod
    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        """Return the host's arguments that carry the visual tokens and the text."""

    def _position_ids(self, input_ids: Tensor, segments: Tensor) -> Tensor:
        """Return the host's positions of independent turns; hosts of 3-D positions override it."""
        return segment_positions(segments)

    def _mask(self, placeholder: Tensor, segments: Tensor) -> Tensor:
        if self.visual_attention == "bidirectional":
            return segment_mask(segments, self.dtype, placeholder)
        return segment_mask(segments, self.dtype).as_subclass(CausalMask)

    @contextmanager
    def _prefill(self, input_ids: Tensor) -> Iterator[None]:
        """Let placeholders see each other in ``generate``.

        It appends to a 2-D mask as text grows, so the 4-D one takes its place at the decoder's
        door, whenever the whole text enters.
        """
        if self.visual_attention == "causal":
            yield
            return
        placeholder = input_ids == self.visual_token_id

        def widen(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            embeds = kwargs.get("inputs_embeds")
            if embeds is not None and embeds.shape[1] >= placeholder.shape[1]:
                longer = F.pad(placeholder, (0, embeds.shape[1] - placeholder.shape[1]))
                longer = longer.repeat_interleave(embeds.shape[0] // longer.shape[0], dim=0)
                segments = _padding(kwargs.get("attention_mask"), longer)
                kwargs["attention_mask"] = self._mask(longer, segments)
            return args, kwargs

        handle = self.host.get_decoder().register_forward_pre_hook(widen, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def _padding(attention_mask: Tensor | None, like: Tensor) -> Tensor:
    """Segments (b, t) of one conversation: 0 = a token, -1 = padding."""
    segments = torch.zeros_like(like, dtype=torch.long)
    return segments if attention_mask is None else segments.masked_fill(attention_mask == 0, -1)
