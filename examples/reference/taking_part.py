"""The pretext losses of those scenes of a batch that take part in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ross3d import PosedFrames

from .batch import Batch, each_tensor

if TYPE_CHECKING:
    from ross3d import ReconstructionLoss

    from .no_reconstruction import NoReconstruction


def pretext_losses(
    reconstruction: ReconstructionLoss | NoReconstruction,
    hidden: Tensor,
    batch: Batch,
    masked: Tensor,
    taking_part: Tensor | None = None,
    *,
    step: int | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Compute the losses of the scenes that take part, as a mean over all scenes.

    Args:
        reconstruction: L_3D.
        hidden: (b, m, p, D) hidden states of the visual tokens.
        batch: the posed views, and targets that are prepared.
        masked: (b, m) bool, True = hidden.
        taking_part: (b,) bool; None = all scenes. The others count as a loss of 0, as in batches of
            one scene each.
        step: optimiser step, for the schedules.
        generator: of the timesteps and the noise.

    Returns:
        Name -> scalar; exactly 0, in the graph of every parameter, where no scene takes part.
    """
    options = {"step": step, "generator": generator}
    frames, prepared = batch.frames, batch.prepared
    if taking_part is None or bool(taking_part.all()):
        return reconstruction(hidden, frames, masked, prepared=prepared, **options)
    if not bool(taking_part.any()):
        learned = [p for p in reconstruction.parameters() if p.requires_grad]
        nothing = hidden.sum() * 0 + sum((p * 0).sum() for p in learned)
        return dict.fromkeys(reconstruction.tasks, nothing)
    tensors = (frames.images, frames.depths, frames.intrinsics, frames.poses)
    some = PosedFrames(*(x[taking_part] for x in tensors))
    made = {k: each_tensor(x, lambda y: y[taking_part]) for k, x in prepared.items()}
    options["prepared"] = made
    losses = reconstruction(hidden[taking_part], some, masked[taking_part], **options)
    share = taking_part.float().mean()
    return {name: loss * share for name, loss in losses.items()}
