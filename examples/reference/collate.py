"""Scenes with their turns, as one batch of a model's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .batch import Batch, Text, stack_scenes
from .chat import collate_text, prompt_ids, unlabelled_prompt
from .chat_format import chat_format
from .data.scene import Scene
from .labels import Labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SceneCollator:
    """Write each scene's turns as one conversation, and pad scenes to one batch.

    Args:
        tokenizer: of the language model, with the chat's special tokens; its template is used where
            it has one.
        scene_ids: ids that stand for a scene in a prompt (see Ross3D.scene_ids).
        labels: which tokens are supervised (see ``labels.py``).
        instruction: text that precedes every question.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        scene_ids: Sequence[int],
        *,
        labels: Labels = "answer",
        instruction: str = "",
    ) -> None:
        self.tokenizer, self.scene_ids = tokenizer, scene_ids
        self.form = chat_format(tokenizer)
        self.options: dict[str, Any] = {
            "labels": labels,
            "instruction": instruction,
            "form": self.form,
        }

    def __call__(self, scenes: Sequence[Scene]) -> Batch:
        """Collate for training: answers are there, padding is on the right.

        Of a scene without turns only what stands for the scene is written: it has no label and no
        query, so that the pretext tasks alone learn from it. Of scenes none of which has turns the
        batch is without text.
        """
        batch = stack_scenes(scenes)
        labelled = any(scene.turns for scene in scenes)
        return replace(batch, text=self._text(scenes, True)) if labelled else batch

    def questions(self, scenes: Sequence[Scene]) -> Batch:
        """Collate for generation: the last turn is unanswered, padding is on the left."""
        return replace(stack_scenes(scenes), text=self._text(scenes, False))

    @property
    def stop(self) -> dict[str, int]:
        """Options of ``generate`` that end an answer where the tokenizer ends one."""
        end = self.tokenizer.convert_tokens_to_ids(self.form.ends)
        known = isinstance(end, int) and end != self.tokenizer.unk_token_id
        stop = end if known else self.tokenizer.eos_token_id
        return {"eos_token_id": stop, "pad_token_id": self.pad_id}

    @property
    def pad_id(self) -> int:
        """The id that pads; that of the answers' end where the tokenizer has none."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def decode(self, ids: Tensor) -> str:
        """The words of an answer, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def _text(self, scenes: Sequence[Scene], answered: bool) -> Text:
        prompts = [
            prompt_ids(
                self.tokenizer, scene.turns, self.scene_ids, answered=answered, **self.options
            )
            if scene.turns or not answered
            else unlabelled_prompt(self.scene_ids)
            for scene in scenes
        ]
        side = "right" if answered else "left"
        padded = collate_text(prompts, self.pad_id, side=side)
        coords, grounds = padded["coord_positions"], padded["ground_positions"]
        points = torch.zeros(*coords.shape, 3)
        objects = max(len(scene.boxes) for scene in scenes)
        targets = torch.zeros(*grounds.shape, objects, dtype=torch.bool)
        for row, scene in enumerate(scenes):
            pointed = [turn.point for turn in scene.turns if turn.point is not None]
            points[row, : len(pointed)] = torch.tensor(pointed).reshape(-1, 3)
            asked = [turn.objects for turn in scene.turns if turn.kind.endswith("grounding")]
            for query, meant in enumerate(asked[: grounds.shape[1]]):
                targets[row, query, list(meant)] = True
        return Text(**padded, coord_points=points, ground_targets=targets)
