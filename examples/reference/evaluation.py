"""Held-out figures: losses, answers, grounding, pictures, each beside what a guess reaches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from ross3d import select_boxes

from .answers import Sample, answer_figures, answers
from .batch import Batch
from .collate import SceneCollator
from .data.sources import Source
from .model import Ross3D
from .rebuilding import hide_for, picture_figures
from .run import generator_for


@torch.no_grad()
def held_out_losses(model: Ross3D, batches: Iterable[Batch], hidden: int) -> dict[str, float]:
    """Average the losses of batches, with the same timesteps and noise at every call.

    Args:
        model: to be judged.
        batches: held-out scenes.
        hidden: views at the end of each scene that are hidden, if a pretext task needs it.

    Returns:
        Name -> mean loss.
    """
    totals: dict[str, list[float]] = defaultdict(list)
    model.eval()
    for number, batch in enumerate(batches):
        generator = generator_for("held out", number)
        masked = hide_for(model, batch, hidden)
        for name, loss in model(batch, masked, generator=generator).items():
            totals[name].append(float(loss))
    model.train()
    return {name: sum(values) / len(values) for name, values in totals.items()}


@torch.no_grad()
def grounding_figures(model: Ross3D, batches: Iterable[Batch]) -> dict[str, float]:
    """Grounding on unmasked views: right choices of single objects, F1 of sets, and chance.

    Args:
        model: to be judged.
        batches: held-out scenes with text.

    Returns:
        ``grounding/accuracy`` and ``grounding/chance`` of phrases that mean one object;
        ``grounding/f1`` of all phrases, "none" included.
    """
    right, chance, f1 = [], [], []
    for batch in batches:
        if batch.text is None:
            continue
        single, several = choose(model, batch)
        truth, asked = batch.text.ground_targets, batch.text.ground_positions >= 0
        one = asked & (truth.sum(dim=-1) == 1)
        right += (single & truth).any(dim=-1)[one].float().tolist()
        chance += (1 / batch.objects.sum(dim=-1, keepdim=True)).expand_as(one)[one].tolist()
        both, sizes = (several & truth).sum(dim=-1), several.sum(dim=-1) + truth.sum(dim=-1)
        scores = torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0)
        f1 += scores[asked].tolist()
    means = {"accuracy": right, "chance": chance, "f1": f1}
    return {f"grounding/{k}": sum(v) / len(v) for k, v in means.items() if v}


@torch.no_grad()
def choose(model: Ross3D, batch: Batch) -> tuple[Tensor, Tensor]:
    """The objects (b, q, o) that the model grounds each phrase in: exactly one, or any number.

    Raises:
        ValueError: if the batch has no text.
    """
    if batch.text is None:
        raise ValueError("text of batch must hold the phrases; got None")
    masked = model.no_mask(batch)
    visual = model.see(batch, masked)
    output, _ = model.read(batch, visual, masked)
    logits = model.ground(batch, batch.text, output, visual, masked)
    rule = "each" if model.grounding.several == "each" else "multiple"
    return select_boxes(logits, rule="single"), select_boxes(logits, rule=rule)


def evaluate(
    model: Ross3D,
    source: Source,
    collate: SceneCollator,
    *,
    scenes: int = 48,
    batch: int = 8,
    steps: int = 25,
) -> tuple[dict[str, float], list[Sample]]:
    """All figures on held-out scenes.

    Args:
        model: to be judged.
        source: of the scenes.
        collate: of the model's tokenizer.
        scenes: how many are read.
        batch: scenes at once.
        steps: denoiser evaluations per picture.

    Returns:
        Name -> figure, and the questions with what the model said.
    """
    device = next(model.parameters()).device
    held_out = [source.held_out(i) for i in range(scenes)]
    batches = [collate(held_out[i : i + batch]).to(device) for i in range(0, scenes, batch)]
    losses = held_out_losses(model, batches, source.hidden)
    model.eval()
    said = answers(model, held_out, collate)
    figures = {f"{name}/loss": value for name, value in losses.items()}
    figures |= answer_figures(said, (turn for i in range(400) for turn in source.turns(i)))
    figures |= grounding_figures(model, batches)
    figures |= picture_figures(model, batches, source.hidden, steps=steps)
    model.train()
    return figures, [sample for _, sample in said]
