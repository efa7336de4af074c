"""ROSS3D exactly as released: what its weights need in order to compute what they were made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ross3d import (
    BEV,
    BEVRenderer,
    DDPMLoss,
    GroundingHead,
    PosedFrames,
    PositionAwareEncoder,
    QueryPooler,
    ReconstructionLoss,
    depth_patch_coords,
    pool_objects,
    require,
)

from ..build import FLUX_VAE
from ..inputs import Seen
from ..llava_lmm import LlavaOnevisionLMM
from ..model import Ross3D
from ..tiny_lmm import paper_llava
from .dit import DenoiserSizes, ReleasedDiT, released_blocks
from .targets import ReleasedBEV, ReleasedTokenizer, ReleasedViews

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration

    from ..batch import Batch, Text
    from ..inputs import SceneTokens
    from ..lmm import LMMOutput


class ReleasedRoss3D(Ross3D):
    """ROSS3D whose positions and object features are computed as the released model's are.

    Pixels of unknown depth count, at the camera centre; the tower's patches, and so positions and
    objects, leave the last rows and columns of a view out; an object is the mean of the patches
    before they are pooled of which half shows it.
    """

    def place(self, batch: Batch, visual: Tensor, masked: Tensor) -> SceneTokens:
        """Add the code of the mean place of each token's pixels, known or not."""
        frames, s = batch.frames, self.covered
        coords, known = depth_patch_coords(
            frames.depths[..., :s, :s].contiguous(),
            frames.intrinsics,
            frames.poses,
            self.lmm.grid,
            count_unknown=True,
        )
        seen = Seen(visual, coords, known, masked, frames, batch.points)
        return self.representation(seen, self.positions, self.lmm.encode)

    def ground(
        self, batch: Batch, text: Text, output: LMMOutput, visual: Tensor, masked: Tensor
    ) -> Tensor:
        """Score every object for every ``<ground>`` token: logits (b, q, o + 1)."""
        features = self.objects(batch, masked)
        at = text.ground_positions.clamp(min=0)
        scene = torch.arange(at.shape[0], device=at.device)[:, None]
        return self.grounding(output.last_hidden_state[scene, at], features, batch.objects)

    def objects(self, batch: Batch, masked: Tensor) -> Tensor:
        """Features (b, o, d) of the scene's objects, with the code of their centres."""
        frames, s = batch.frames, self.covered
        counted = ~masked[..., None, None].expand(-1, -1, s, s)
        features = pool_objects(
            self.patches(frames.images),
            frames.world_coords()[..., :s, :s, :],
            counted,
            batch.boxes,
            (self.side, self.side),
            min_fraction=0.5,
        )
        return features + self.positions.code(batch.boxes[..., :3]).to(features.dtype)

    def patches(self, images: Tensor) -> Tensor:
        """Projected patches (b, m, side * side, d) of views, before they are pooled."""
        host, b = self.lmm.host, images.shape[0]
        pixels = ((images - 0.5) / 0.5).flatten(0, 1).to(host.model.image_newline.dtype)
        hidden = host.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]
        projected = host.model.multi_modal_projector(hidden)
        return rearrange(projected, "(b m) p d -> b m p d", b=b)

    @property
    def side(self) -> int:
        """Patches along each side of a view (released: 27)."""
        vision = self.lmm.host.config.vision_config
        return vision.image_size // vision.patch_size

    @property
    def covered(self) -> int:
        """Pixels along each side of a view that are in a patch (released: 378 of 384)."""
        return self.side * self.lmm.host.config.vision_config.patch_size


def official_parity(
    host: LlavaOnevisionForConditionalGeneration | None = None,
    vae: Any | None = None,
    *,
    denoisers: Mapping[str, ReleasedDiT] | None = None,
    poolers: Mapping[str, QueryPooler] | None = None,
    grounding: GroundingHead | None = None,
    positions: PositionAwareEncoder | None = None,
    renderer: Callable[[PosedFrames], BEV] | None = None,
    view_pixels: int = 216,
    bev_size: int = 432,
    draws: int = 4,
    sample: bool = True,
) -> ReleasedRoss3D:
    """Build ROSS3D as it was released; without arguments at full size, on the default device.

    A newline token follows every row of visual tokens. Positions are binned to 0.1 m and coded by
    sines; unknown depth counts, at the camera centre. The queries read the visible views alone and
    are not told where their target lies. Views are recovered from 216 pixels with four noise draws,
    the room from above from 432 with one; objects are grounded by InfoNCE.

    Args:
        host: a LLaVA-OneVision with the released weights, or random ones; None = of full size.
        vae: an ``AutoencoderKL`` of diffusers; None = of FLUX's sizes, with random weights.
        denoisers: as ``load_official_denoiser`` gives them; None = random ones that fit.
        poolers: the same.
        grounding: as ``load_official_grounding_head`` gives it; None = a random one.
        positions: None = the code without parameters.
        renderer: frames -> BEV; None = our own. The released pictures were rendered by a program
            that was not published.
        view_pixels: side of the hidden views that are encoded.
        bev_size: side of the room from above.
        draws: noise draws per hidden view: as many as there are views per hidden one.
        sample: False takes the mode of the autoencoder's posterior.

    Raises:
        ValueError: if only one of ``denoisers`` and ``poolers`` is given.
    """
    if (denoisers is None) != (poolers is None):
        raise ValueError("denoisers and poolers must come together; got one without the other")
    host = paper_llava() if host is None else host
    dim = host.config.text_config.hidden_size
    vae = require("diffusers", "vae").AutoencoderKL(**FLUX_VAE) if vae is None else vae
    tokenizer = ReleasedTokenizer(vae, sample=sample)
    stride = tokenizer.stride
    tasks = {
        "cross_view": ReleasedViews(view_pixels, stride=stride),
        "global_view": ReleasedBEV(renderer or BEVRenderer(bev_size), bev_size, stride=stride),
    }
    if denoisers is None or poolers is None:
        cells = {name: (task.size // stride) ** 2 for name, task in tasks.items()}
        sizes = DenoiserSizes(dim, *cells.values(), channels=tokenizer.channels)
        denoisers, poolers = released_blocks(sizes)
    reconstruction = ReconstructionLoss(
        tasks,
        tokenizer,
        denoisers,
        context_dim=dim,
        objective={
            "cross_view": DDPMLoss(draws=draws, shared_timestep=False),
            "global_view": DDPMLoss(),
        },
        context="visible",
        target_coords=False,
        context_coords=False,
        heads=poolers["cross_view"].heads,
    )
    for name, pooler in poolers.items():
        reconstruction.conditioners[name].pooler = pooler
    lmm = LlavaOnevisionLMM(host, newline="row")
    model = ReleasedRoss3D(lmm, reconstruction, dim)
    parts: dict[str, nn.Module | None] = {"grounding": grounding, "positions": positions}
    for name, part in parts.items():
        if part is not None:
            setattr(model, name, part)
    return model
