"""Pictures sampled back from hidden states, and how good they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from ross3d import PosedFrames, Reconstruction, select_views

from .batch import Batch
from .build import hides_views
from .model import Ross3D
from .run import generator_for

PICTURE_TASKS = ("cross_view", "global_view", "vanilla")
"""Tasks whose targets are the scene's own colours; other targets have no mean among its views."""


def hide_last(batch: Batch, hidden: int) -> Tensor:
    """A mask (b, m) that hides the last views of every scene."""
    b, m = batch.frames.images.shape[:2]
    index = torch.arange(m, device=batch.frames.images.device)
    return (index >= m - hidden).expand(b, m)


def hide_for(model: Ross3D, batch: Batch, hidden: int) -> Tensor:
    """A mask (b, m) that hides the last views, if the model has been trained with hidden views."""
    return hide_last(batch, hidden if hides_views(model.reconstruction.tasks) else 0)


@torch.no_grad()
def rebuild(
    model: Ross3D,
    batch: Batch,
    masked: Tensor,
    *,
    steps: int = 25,
    method: str | None = None,
    seed: int = 0,
) -> dict[str, Reconstruction]:
    """Sample the pictures of a batch back, without reading its text.

    Args:
        model: to be judged.
        batch: the scenes.
        masked: (b, m) bool, True = hidden.
        steps: denoiser evaluations per picture.
        method: sampler, see ``ross3d.sample``; None = the objective's own.
        seed: of the first noise.

    Returns:
        Task -> reconstruction.
    """
    _, hidden = model.read(batch.without_text(), model.see(batch, masked), masked)
    generator = generator_for(seed, "pictures")
    return model.reconstruction.reconstruct(
        hidden, batch.frames, masked, steps=steps, method=method, generator=generator
    )


def picture_figures(
    model: Ross3D,
    batches: Iterable[Batch],
    hidden: int,
    *,
    steps: int = 25,
    method: str | None = None,
) -> dict[str, float]:
    """PSNR of sampled pictures where they count, beside that of simple guesses, and the limit.

    A sharp sample can score below a blurred average: judge the pictures by eye, too.

    Args:
        model: to be judged.
        batches: held-out scenes.
        hidden: views at the end of each scene that are hidden.
        steps: denoiser evaluations per picture.
        method: sampler, see ``ross3d.sample``; None = the objective's own.

    Returns:
        ``TASK/psnr`` and ``TASK/psnr_limit`` (the tokenizer's round trip) in dB; of pictures of the
        scene also ``TASK/psnr_mean`` (one colour, the mean of the visible views), and
        ``cross_view/psnr_nearest`` (the nearest visible view).
    """
    totals: dict[str, list[Tensor]] = defaultdict(list)
    for number, batch in enumerate(batches):
        masked = hide_for(model, batch, hidden)
        rebuilt = rebuild(model, batch, masked, steps=steps, method=method, seed=number)
        for name, r in rebuilt.items():
            truth, weight = r.targets.images, r.targets.weight
            totals[f"{name}/psnr"].append(psnr(r.images, truth, weight))
            totals[f"{name}/psnr_limit"].append(psnr(r.round_trip, truth, weight))
            if name in PICTURE_TASKS:
                flat = mean_colours(batch.frames, masked)[:, None, :, None, None].expand_as(truth)
                totals[f"{name}/psnr_mean"].append(psnr(flat, truth, weight))
        if "cross_view" in rebuilt:
            targets = rebuilt["cross_view"].targets
            near = nearest_views(batch.frames, masked, targets.images.shape[-1])
            score = psnr(near, targets.images, targets.weight)
            totals["cross_view/psnr_nearest"].append(score)
    return {name: float(torch.cat(values).mean()) for name, values in totals.items()}


def psnr(images: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """PSNR in dB of each picture (b, k, 3, s, s) where it counts (b, k, s, s), if anywhere."""
    error = (images - truth).square().mean(dim=2)
    counted = weight.sum(dim=(-2, -1))
    mse = (error * weight).sum(dim=(-2, -1)) / counted.clamp(min=1e-6)
    return -10 * torch.log10(mse.clamp(min=1e-10))[counted > 0]


def mean_colours(frames: PosedFrames, masked: Tensor) -> Tensor:
    """Mean colour (b, 3) of the pixels of each scene's visible views."""
    views, visible = frames.images.mean(dim=(-2, -1)), ~masked[..., None]
    return (views * visible).sum(dim=1) / visible.sum(dim=1).clamp(min=1)


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
