"""Held-out figures: losses, answers, grounding, pictures, each beside what a simple guess reaches."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ross3d import PosedFrames, Reconstruction, select_boxes, select_views

from .batch import Batch
from .collate import SceneCollator
from .data.scene import Scene, Turn
from .data.sources import Source
from .model import Ross3D
from .run import generator_for

Sample = tuple[str, str, str]
"""Question, answer, what the model said."""


def hide_last(batch: Batch, hidden: int) -> Tensor:
    """A mask (b, m) that hides the last views of every scene."""
    b, m = batch.frames.images.shape[:2]
    index = torch.arange(m, device=batch.frames.images.device)
    return (index >= m - hidden).expand(b, m)


@torch.no_grad()
def held_out_losses(model: Ross3D, batches: Iterable[Batch], hidden: int) -> dict[str, float]:
    """Average the losses of batches, with the same timesteps and noise at every call.

    Args:
        model: to be judged.
        batches: held-out scenes.
        hidden: views at the end of each scene that are hidden.

    Returns:
        Name -> mean loss.
    """
    totals: dict[str, list[float]] = defaultdict(list)
    model.eval()
    for number, batch in enumerate(batches):
        generator = generator_for("held out", number)
        for name, loss in model(batch, hide_last(batch, hidden), generator=generator).items():
            totals[name].append(float(loss))
    model.train()
    return {name: sum(values) / len(values) for name, values in totals.items()}


def answers(
    model: Ross3D, scenes: Sequence[Scene], collate: SceneCollator, *, batch: int = 16
) -> list[tuple[str, Sample]]:
    """Ask every question with a text answer, one at a time.

    Args:
        model: to be judged.
        scenes: with turns.
        collate: of the model's tokenizer.
        batch: questions at once.

    Returns:
        (kind, (question, answer, said)) for each question.
    """
    asked = [
        (replace(scene, turns=(turn,)), turn)
        for scene in scenes
        for turn in scene.turns
        if turn.kind in ("qa", "sqa", "caption")
    ]
    device = next(model.parameters()).device
    said: list[tuple[str, Sample]] = []
    for first in range(0, len(asked), batch):
        chunk = asked[first : first + batch]
        questions = collate.questions([scene for scene, _ in chunk]).to(device)
        ids = model.answer(questions, max_new_tokens=24, **collate.stop)
        for (_, turn), row in zip(chunk, ids, strict=True):
            said.append((turn.kind, (turn.question, turn.answer, collate.decode(row))))
    return said


def answer_figures(
    said: Sequence[tuple[str, Sample]], training: Iterable[Turn]
) -> dict[str, float]:
    """Exact-match rates of question answering, and what two guesses reach without looking.

    Args:
        said: from :func:`answers`.
        training: questions and answers of training scenes, for the guesses.

    Returns:
        ``qa/accuracy``; ``qa/majority``: always the most frequent held-out answer; ``qa/prior``: the
        answer most frequent in training for questions that begin alike.
    """
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for turn in training:
        if turn.kind in ("qa", "sqa"):
            known[beginning(turn.question)][turn.answer] += 1
    rows = [sample for kind, sample in said if kind in ("qa", "sqa")]
    if not rows:
        return {}
    right = sum(answer == guess for _, answer, guess in rows)
    majority = Counter(answer for _, answer, _ in rows).most_common(1)[0][1]
    prior = sum(
        bool(known[beginning(question)])
        and known[beginning(question)].most_common(1)[0][0] == answer
        for question, answer, _ in rows
    )
    total = len(rows)
    return {
        "qa/accuracy": right / total,
        "qa/majority": majority / total,
        "qa/prior": prior / total,
        "qa/questions": float(total),
    }


def beginning(question: str) -> str:
    """The words of a question that tell its kind: its first three."""
    return " ".join(question.split()[:3])


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
    output, _ = model.read(batch, visual)
    logits = model.ground(batch, batch.text, output, visual, masked)
    return select_boxes(logits, rule="single"), select_boxes(logits, rule="multiple")


@torch.no_grad()
def rebuild(
    model: Ross3D, batch: Batch, masked: Tensor, *, steps: int = 25, seed: int = 0
) -> dict[str, Reconstruction]:
    """Sample the pictures of a batch back, without reading its text.

    Args:
        model: to be judged.
        batch: the scenes.
        masked: (b, m) bool, True = hidden.
        steps: denoiser evaluations per picture.
        seed: of the first noise.

    Returns:
        Task -> reconstruction.
    """
    _, hidden = model.read(batch.without_text(), model.see(batch, masked))
    generator = generator_for(seed, "pictures")
    return model.reconstruction.reconstruct(
        hidden, batch.frames, masked, steps=steps, generator=generator
    )


def picture_figures(
    model: Ross3D, batches: Iterable[Batch], hidden: int, *, steps: int = 25
) -> dict[str, float]:
    """PSNR of sampled pictures, where they count, beside the tokenizer's limit and the nearest view.

    A sharp sample can score below a blurred average: judge the pictures by eye, too.

    Args:
        model: to be judged.
        batches: held-out scenes.
        hidden: views at the end of each scene that are hidden.
        steps: denoiser evaluations per picture.

    Returns:
        ``TASK/psnr`` and ``TASK/psnr_limit`` in dB, and ``cross_view/psnr_nearest``.
    """
    totals: dict[str, list[Tensor]] = defaultdict(list)
    for number, batch in enumerate(batches):
        masked = hide_last(batch, hidden)
        rebuilt = rebuild(model, batch, masked, steps=steps, seed=number)
        for name, r in rebuilt.items():
            truth, weight = r.targets.images, r.targets.weight
            totals[f"{name}/psnr"].append(psnr(r.images, truth, weight))
            totals[f"{name}/psnr_limit"].append(psnr(r.round_trip, truth, weight))
        if "cross_view" in rebuilt:
            targets = rebuilt["cross_view"].targets
            near = nearest_views(batch.frames, masked, targets.images.shape[-1])
            score = psnr(near, targets.images, targets.weight)
            totals["cross_view/psnr_nearest"].append(score)
    return {name: float(torch.cat(values).mean()) for name, values in totals.items()}


def psnr(images: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """PSNR in dB of each picture (b, k, 3, s, s) where it counts (b, k, s, s); uncounted ones left out."""
    error = (images - truth).square().mean(dim=2)
    counted = weight.sum(dim=(-2, -1))
    mse = (error * weight).sum(dim=(-2, -1)) / counted.clamp(min=1e-6)
    return -10 * torch.log10(mse.clamp(min=1e-10))[counted > 0]


def nearest_views(frames: PosedFrames, masked: Tensor, size: int) -> Tensor:
    """For each hidden view the visible one whose camera is closest: (b, k, 3, s, s).

    Closeness is the distance of the centres in metres plus the angle between the axes in radians.
    """
    centres, axes = frames.poses[..., :3, 3], frames.poses[..., :3, 2]
    cosine = torch.einsum("bmc,bnc->bmn", axes, axes).clamp(-1, 1)
    far = torch.cdist(centres, centres) + torch.arccos(cosine)
    far = far.masked_fill(masked[:, None], torch.inf)
    closest = select_views(far, masked).argmin(dim=-1)
    scene = torch.arange(len(closest), device=closest.device)[:, None]
    images = frames.images[scene, closest]
    b, k = images.shape[:2]
    flat = torch.nn.functional.interpolate(images.flatten(0, 1), (size, size), mode="bilinear")
    return flat.unflatten(0, (b, k))


def evaluate(
    model: Ross3D, source: Source, collate: SceneCollator, *, scenes: int = 48, batch: int = 8
) -> tuple[dict[str, float], list[Sample]]:
    """All figures on held-out scenes.

    Args:
        model: to be judged.
        source: of the scenes.
        collate: of the model's tokenizer.
        scenes: how many are read.
        batch: scenes at once.

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
    figures |= picture_figures(model, batches, source.hidden)
    model.train()
    return figures, [sample for _, sample in said]
