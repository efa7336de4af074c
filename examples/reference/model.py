"""The reference ROSS3D model: an LMM, and the blocks that teach it 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ross3d import (
    GroundingHead,
    PositionAwareEncoder,
    Pretrained,
    ReconstructionLoss,
    ViewMasker,
    depth_patch_coords,
    grounding_loss,
    pool_objects,
)

from .batch import Batch, Text
from .inputs import Seen, ViewTokens
from .pretrained import load_model, save_model
from .seeing import encode_shown
from .taking_part import pretext_losses
from .text import IGNORE

if TYPE_CHECKING:
    from os import PathLike

    from transformers import PreTrainedModel

    from .inputs import InputRepresentation, SceneTokens
    from .lmm_protocol import LMM, LMMOutput
    from .no_reconstruction import NoReconstruction


class Ross3D(Pretrained):
    """Masked views and positions in, text and reconstructions out.

    Args:
        lmm: E, H and P of the paper: an encoder, a projector and a language model (see LMM).
        reconstruction: L_3D, the pretext tasks with their denoiser, or none of them.
        dim: width d of the visual tokens.
        voxel_size: metres, of the position code (paper: 0.1).
        temperature: longest over shortest wavelength of the position code (paper: 10,000).
        several: what is learned of a phrase that means several objects (see GroundingHead).
        representation: what the language model reads of a scene; None = its posed views (paper).
    """

    def __init__(
        self,
        lmm: LMM,
        reconstruction: ReconstructionLoss | NoReconstruction,
        dim: int,
        *,
        voxel_size: float = 0.1,
        temperature: float = 10_000.0,
        several: Literal["any", "each"] = "any",
        representation: InputRepresentation | None = None,
    ) -> None:
        super().__init__()
        self.lmm = lmm
        self.masker = ViewMasker(dim)  # T_i
        self.positions = PositionAwareEncoder(dim, voxel_size, temperature=temperature)
        self.grounding = GroundingHead(dim, several=several)
        self.reconstruction = reconstruction  # L_3D
        self.representation = representation or ViewTokens()

    def forward(
        self,
        batch: Batch,
        masked: Tensor | None = None,
        *,
        step: int | None = None,
        generator: torch.Generator | None = None,
        pretext: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            batch: scenes; from those without text only the pretext tasks learn.
            masked: (b, m) bool, True = hidden; None = every view is visible.
            step: optimiser step, for the tasks' schedules; None = every task takes part.
            generator: of the denoiser's timesteps and noise.
            pretext: (b,) bool, the scenes that the pretext tasks are about; None = all.

        Returns:
            Name -> scalar: one per pretext task; ``text`` and ``grounding`` for labelled scenes.
            Their sum depends on every trainable parameter, whatever the scenes lack: one that
            takes no part has a gradient of zero, so that ranks with and without labels agree
            (DistributedDataParallel needs no ``find_unused_parameters``).

        Raises:
            ValueError: if the scenes are not labelled and there is no pretext task.
        """
        masked = self.no_mask(batch) if masked is None else masked
        text = batch.text or self.no_text(batch)
        visual = self.see(batch, masked)
        output, hidden = self.read(batch, visual, masked)
        about = (self.reconstruction, hidden, batch, masked, pretext)
        losses = pretext_losses(*about, step=step, generator=generator)  # Eqs. 6 and 7
        logits = self.ground(batch, text, output, visual, masked)
        asked = text.ground_positions >= 0
        asking = {"valid": batch.objects, "asked": asked, "several": self.grounding.several}
        grounding = grounding_loss(logits, text.ground_targets, **asking)
        if batch.text is None and not losses:
            raise ValueError("text of batch must be given where no pretext task is; got None")
        if batch.text is None:  # Both are exactly 0; they keep the words' parameters in the graph.
            return {name: loss + output.loss + grounding for name, loss in losses.items()}
        return {**losses, "text": output.loss, "grounding": grounding}  # text: Eq. 1

    def see(self, batch: Batch, masked: Tensor) -> Tensor:
        """Visual tokens (b, m, p, d); a hidden view's are the mask token (Eq. 4).

        Deep features, where the LMM has some, stand behind them; a hidden view's are zero.
        """
        visual = encode_shown(self.lmm.encode, batch.frames.images, masked)
        tokens, deep = self.without_deep(visual)
        return torch.cat([self.masker(tokens, masked), deep], dim=-1)

    def without_deep(self, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (b, m, p, d), and the deep features (b, m, p, n * d) that stood behind them."""
        tokens, deep = visual.tensor_split([self.positions.dim], dim=-1)
        return tokens, deep

    def place(self, batch: Batch, visual: Tensor, masked: Tensor) -> SceneTokens:
        """Turn visual tokens (b, m, p, d) into what is read, with the code of where each is."""
        frames = batch.frames
        coords, known = depth_patch_coords(
            frames.depths, frames.intrinsics, frames.poses, self.lmm.grid
        )
        tokens, deep = self.without_deep(visual)
        seen = Seen(tokens, coords, known, masked, frames, batch.points, deep)
        return self.representation(
            seen, self.positions, lambda images: self.without_deep(self.lmm.encode(images))[0]
        )

    def read(self, batch: Batch, visual: Tensor, masked: Tensor) -> tuple[LMMOutput, Tensor]:
        """Run the language model on positioned tokens and text: its output, hidden (b, m, p, d)."""
        scene = self.place(batch, visual, masked)
        text = self.without_padding(batch.text or self.no_text(batch), scene)
        apart = scene.valid is not None or bool((text.segments > 1).any())
        output, hidden = self.lmm.decode(
            scene.tokens,
            text.input_ids,
            labels=text.labels,
            attention_mask=text.attention_mask,
            segments=text.segments if apart else None,
            added=self.pointed_at(text),
        )
        return output, scene.per_view(hidden)

    def without_padding(self, text: Text, scene: SceneTokens) -> Text:
        """Let nothing attend to the placeholders of tokens that only pad a scene."""
        if scene.valid is None:
            return text
        placeholder, valid = text.input_ids == self.lmm.visual_token_id, scene.valid.flatten(1)
        is_visual = self.lmm.is_visual(scene.valid.shape[1]).to(valid.device)
        kept = (~is_visual).repeat(len(valid), 1)
        kept[:, is_visual] = valid
        number = (placeholder.cumsum(dim=1) - 1).clamp(min=0)
        return text.without(placeholder & ~kept.gather(1, number))

    def ground(
        self, batch: Batch, text: Text, output: LMMOutput, visual: Tensor, masked: Tensor
    ) -> Tensor:
        """Score every object for every ``<ground>`` token: logits (b, q, o + 1).

        An object's feature is the mean of the visual tokens on it, plus the position code of its
        centre; hidden views do not contribute.
        """
        frames = batch.frames
        valid = frames.valid & ~masked[..., None, None]
        tokens, _ = self.without_deep(visual)
        features = pool_objects(
            tokens, frames.world_coords(), valid, batch.boxes, self.lmm.grid, min_fraction=None
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
        masked = self.no_mask(batch)
        scene = self.place(batch, self.see(batch, masked), masked)
        text = self.without_padding(text, scene)
        return self.lmm.generate(
            scene.tokens,
            text.input_ids,
            text.attention_mask,
            added=self.pointed_at(text),
            do_sample=False,
            **options,
        )

    def scene_ids(self, views: int) -> list[int]:
        """Ids that stand for a scene of so many views in a prompt (see LMM)."""
        return self.lmm.scene_ids(self.representation.num_views(views))

    def no_text(self, batch: Batch) -> Text:
        """The text of scenes about which nothing is said: what stands for the scene alone."""
        b, m = batch.frames.images.shape[:2]
        ids = torch.tensor(self.scene_ids(m), device=batch.objects.device)
        placeholders = ids.repeat(b, 1)
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

    def save_pretrained(
        self, folder: str | PathLike[str], *, host: str = "inside", **options: Any
    ) -> None:
        """Write the model to a folder; the host inside, or by reference (see ``save_model``)."""
        save_model(self, folder, host=host, **options)

    @classmethod
    def from_pretrained(
        cls, folder: str | PathLike[str], host: PreTrainedModel | None = None, **options: Any
    ) -> Ross3D:
        """Load a model from a folder or the Hub (see ``load_model``)."""
        return load_model(cls, folder, host, **options)

    @staticmethod
    def no_mask(batch: Batch) -> Tensor:
        """A mask (b, m) that hides nothing."""
        images = batch.frames.images
        return torch.zeros(images.shape[:2], dtype=torch.bool, device=images.device)
