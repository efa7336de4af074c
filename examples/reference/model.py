"""The reference ROSS3D model: an LMM, and the blocks that teach it 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ross3d import (
    GroundingHead,
    PositionAwareEncoder,
    ReconstructionLoss,
    ViewMasker,
    depth_patch_coords,
    grounding_loss,
    pool_objects,
)

from .batch import Batch, Text
from .text import IGNORE

if TYPE_CHECKING:
    from .lmm import LMM, LMMOutput


class Ross3D(nn.Module):
    """Masked views and positions in, text and reconstructions out.

    Args:
        lmm: E, H and P of the paper: an encoder, a projector and a language model (see LMM).
        reconstruction: L_3D, the pretext tasks with their denoiser.
        dim: width d of the visual tokens.
        voxel_size: metres, of the position code (paper: 0.1).
        temperature: longest over shortest wavelength of the position code (paper: 10,000).
    """

    def __init__(
        self,
        lmm: LMM,
        reconstruction: ReconstructionLoss,
        dim: int,
        *,
        voxel_size: float = 0.1,
        temperature: float = 10_000.0,
    ) -> None:
        super().__init__()
        self.lmm = lmm
        self.masker = ViewMasker(dim)  # T_i
        self.positions = PositionAwareEncoder(dim, voxel_size, temperature=temperature)
        self.grounding = GroundingHead(dim)
        self.reconstruction = reconstruction  # L_3D

    def forward(
        self,
        batch: Batch,
        masked: Tensor | None = None,
        *,
        step: int | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            batch: scenes; without text only the pretext tasks teach.
            masked: (b, m) bool, True = hidden; None = every view is visible.
            step: optimiser step, for the tasks' schedules; None = every task takes part.
            generator: of the denoiser's timesteps and noise.

        Returns:
            Name -> scalar: one per pretext task; ``text`` and ``grounding`` for labelled scenes.
            Their sum depends on every trainable parameter, whatever the scenes lack: one that
            takes no part has a gradient of zero, so that ranks with and without labels agree
            (DistributedDataParallel needs no ``find_unused_parameters``).
        """
        masked = self.no_mask(batch) if masked is None else masked
        text = batch.text or self.no_text(batch)
        visual = self.see(batch, masked)
        output, hidden = self.read(batch, visual)
        losses = self.reconstruction(
            hidden, batch.frames, masked, step=step, generator=generator
        )  # Eqs. 6 and 7
        logits = self.ground(batch, text, output, visual, masked)
        asked = text.ground_positions >= 0
        grounding = grounding_loss(logits, text.ground_targets, valid=batch.objects, asked=asked)
        if batch.text is None:  # Both are exactly 0; they keep the words' parameters in the graph.
            return {name: loss + output.loss + grounding for name, loss in losses.items()}
        return {**losses, "text": output.loss, "grounding": grounding}  # text: Eq. 1

    def see(self, batch: Batch, masked: Tensor) -> Tensor:
        """Visual tokens (b, m, p, d); a hidden view's are the mask token (Eq. 4)."""
        return self.masker(self.lmm.encode(batch.frames.images), masked)

    def place(self, batch: Batch, visual: Tensor) -> Tensor:
        """Add to each visual token (b, m, p, d) the code of the surface that it shows."""
        frames = batch.frames
        coords, known = depth_patch_coords(
            frames.depths, frames.intrinsics, frames.poses, self.lmm.grid
        )
        return self.positions(visual, coords, known)

    def read(self, batch: Batch, visual: Tensor) -> tuple[LMMOutput, Tensor]:
        """Run the language model on positioned tokens and text: its output, hidden (b, m, p, d)."""
        text = batch.text or self.no_text(batch)
        return self.lmm.decode(
            self.place(batch, visual),
            text.input_ids,
            labels=text.labels,
            attention_mask=text.attention_mask,
            segments=text.segments if bool((text.segments > 1).any()) else None,
            added=self.pointed_at(text),
        )

    def ground(
        self, batch: Batch, text: Text, output: LMMOutput, visual: Tensor, masked: Tensor
    ) -> Tensor:
        """Score every object for every ``<ground>`` token: logits (b, q, o + 1).

        An object's feature is the mean of the visual tokens on it, plus the position code of its
        centre; hidden views do not contribute.
        """
        frames = batch.frames
        valid = frames.valid & ~masked[..., None, None]
        features = pool_objects(
            visual, frames.world_coords(), valid, batch.boxes, self.lmm.grid, min_fraction=None
        )
        features = features + self.positions.code(batch.boxes[..., :3]).to(features.dtype)
        at = text.ground_positions.clamp(min=0)
        scene = torch.arange(at.shape[0], device=at.device)[:, None]
        return self.grounding(output.last_hidden_state[scene, at], features, batch.objects)

    def pointed_at(self, text: Text) -> Tensor | None:
        """Position codes (b, t, d) at the ``<coord>`` tokens; None where nothing is pointed at."""
        if not text.coord_positions.numel():
            return None
        codes = self.positions.code(text.coord_points)
        codes = torch.where(text.coord_positions[..., None] >= 0, codes, 0.0)
        at = text.coord_positions.clamp(min=0)[..., None].expand_as(codes)
        b, t = text.input_ids.shape
        return codes.new_zeros(b, t, codes.shape[-1]).scatter_add(1, at, codes)

    @torch.no_grad()
    def answer(self, batch: Batch, **options: object) -> Tensor:
        """Continue left-padded text greedily: the new token ids (b, l)."""
        text = batch.text
        if text is None:
            raise ValueError("text of batch must hold the questions; got None")
        visual = self.see(batch, self.no_mask(batch))
        return self.lmm.generate(
            self.place(batch, visual),
            text.input_ids,
            text.attention_mask,
            added=self.pointed_at(text),
            do_sample=False,
            **options,
        )

    def num_visual(self, views: int) -> int:
        """Visual placeholders that the prompt of a scene with so many views needs."""
        rows, columns = self.lmm.grid
        return views * rows * columns + self.lmm.num_extra

    def no_text(self, batch: Batch) -> Text:
        """The text of scenes about which nothing is said: visual placeholders alone."""
        b, m = batch.frames.images.shape[:2]
        shape, device = (b, self.num_visual(m)), batch.objects.device
        placeholders = torch.full(shape, self.lmm.visual_token_id, device=device)
        nowhere = placeholders[:, :0]
        return Text(
            input_ids=placeholders,
            attention_mask=torch.ones_like(placeholders),
            segments=torch.zeros_like(placeholders),
            labels=torch.full_like(placeholders, IGNORE),
            coord_positions=nowhere,
            coord_points=batch.boxes[:, :0, :3],
            ground_positions=nowhere,
            ground_targets=batch.objects[:, None].expand(b, 0, -1),
        )

    @staticmethod
    def no_mask(batch: Batch) -> Tensor:
        """A mask (b, m) that hides nothing."""
        images = batch.frames.images
        return torch.zeros(images.shape[:2], dtype=torch.bool, device=images.device)
