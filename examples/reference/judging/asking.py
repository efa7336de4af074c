"""Ask a model: questions and captions by generation, phrases by choosing boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ..batch import Batch, stack_scenes
from ..collate import SceneCollator
from ..data.benchmarks.sample import GROUNDING, Sample
from ..data.scene import Scene, Turn
from ..evaluation import choose
from ..metrics.records import Prediction
from ..model import Ross3D
from .judged import identity


def ask_scene(
    model: Ross3D,
    scene: Scene,
    samples: Sequence[Sample],
    collate: SceneCollator,
    *,
    batch: int = 8,
    longest: int = 512,
) -> Iterator[list[tuple[Sample, Prediction]]]:
    """Ask all that samples want to know of a scene.

    The scene's views are encoded once; phrases to be grounded share the language model's pass over
    the scene, too, as turns that do not see one another, where the host allows it. An object that
    no box shows is not asked about: its caption is empty.

    Args:
        model: to be judged, in evaluation mode.
        scene: without turns.
        samples: about this scene.
        collate: of the model's tokenizer.
        batch: questions or phrases at once.
        longest: tokens of an answer at most. Published runs: 512.

    Yields:
        Samples with what was predicted, a batch at a time.
    """
    unseen = [sample for sample in samples if not sample.matched]
    if unseen:
        yield [(sample, Prediction(identity(sample), "")) for sample in unseen]
    spoken = [x for x in samples if x.matched and x.task not in GROUNDING]
    seen = SeenScene(model, scene, collate) if spoken else None
    for chunk in _chunks(spoken, batch):
        said = seen.answer([sample.turn for sample in chunk], longest) if seen else []
        yield [
            (x, Prediction(identity(x), text, None if x.box_input is None else (x.box_input,)))
            for x, text in zip(chunk, said, strict=True)
        ]
    together = batch if getattr(model.lmm, "takes_mask", True) else 1
    for chunk in _chunks([x for x in samples if x.task in GROUNDING], together):
        yield list(zip(chunk, ground(model, scene, chunk, collate), strict=True))


class SeenScene:
    """A scene as the language model reads it, made once for many questions."""

    def __init__(self, model: Ross3D, scene: Scene, collate: SceneCollator) -> None:
        self.model, self.collate = model, collate
        device = next(model.parameters()).device
        self.batch = stack_scenes([scene]).to(device)
        # Text is collated with scenes; one view is enough for that.
        self.thin = replace(scene, frames=scene.frames.select(torch.zeros(1, 1, dtype=torch.long)))
        with torch.no_grad():
            masked = model.no_mask(self.batch)
            self.tokens = model.place(self.batch, model.see(self.batch, masked), masked)

    @torch.no_grad()
    def answer(self, turns: Sequence[Turn], longest: int) -> list[str]:
        """Answer questions, each on its own."""
        asked = self.collate.questions([replace(self.thin, turns=(turn,)) for turn in turns])
        one, read = self.batch, self.tokens
        text = Batch(one.frames, one.boxes, one.objects, asked.text).to(one.boxes.device).text
        if text is None:
            raise ValueError("turns must hold at least one question; got none")
        count = len(turns)
        valid = None if read.valid is None else read.valid.expand(count, -1, -1)
        tokens = read.tokens.expand(count, -1, -1, -1)
        text = self.model.without_padding(text, replace(read, tokens=tokens, valid=valid))
        ids = self.model.lmm.generate(
            tokens,
            text.input_ids,
            text.attention_mask,
            added=self.model.pointed_at(text),
            do_sample=False,
            max_new_tokens=longest,
            **self.collate.stop,
        )
        return [self.collate.decode(row) for row in ids]


def ground(
    model: Ross3D, scene: Scene, samples: Sequence[Sample], collate: SceneCollator
) -> list[Prediction]:
    """Choose boxes for phrases: exactly one for ScanRefer, any number for Multi3DRefer."""
    turns = tuple(replace(sample.turn, objects=()) for sample in samples)  # the truth stays out
    batch = collate([replace(scene, turns=turns)]).to(next(model.parameters()).device)
    single, several = (chosen[0].tolist() for chosen in choose(model, batch))
    boxes = [tuple(box) for box in scene.boxes.tolist()]
    predictions = []
    for sample, one, many in zip(samples, single, several, strict=True):
        chosen = one if sample.task == "scanrefer" else many
        found = tuple(box for box, taken in zip(boxes, chosen, strict=False) if taken)
        predictions.append(Prediction(identity(sample), boxes=found))
    return predictions


def _chunks(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    for first in range(0, len(samples), size):
        yield samples[first : first + size]
