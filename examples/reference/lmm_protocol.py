"""What the recipes ask of a large multimodal model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

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
        num_deep: first layers of the language model that add features of the tower's own to the
            visual tokens (DeepStack); mostly 0.
    """

    grid: Grid
    visual_token_id: int
    num_deep: int

    def scene_ids(self, views: int) -> list[int]:
        """Ids that stand for a scene of so many views in a prompt.

        They are the placeholders of its visual tokens, and whatever the model reads between them:
        placeholders of newlines, markers of where a view begins and ends.
        """
        ...

    def is_visual(self, views: int) -> Tensor:
        """Which placeholders of a scene hold visual tokens: (n) bool, False = a newline."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1] into visual tokens (b, m, p, d).

        With deep features the last axis is d * (1 + num_deep): they stand behind the tokens.
        """
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
            visual: (b, m, p, d) visual tokens; the deep features behind them may be left out.
            input_ids: (b, t) text with the placeholders of ``scene_ids(m)`` in each row.
            labels: (b, t) token ids, each predicted from the position before; -100 = none.
            attention_mask: (b, t) 1 where a token counts, 0 where it pads; None = all count.
            segments: (b, t) 0 = scene, 1, 2, ... = independent turns, -1 = padding (see
                segment_mask); takes the place of ``attention_mask``.
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
