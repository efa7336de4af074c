"""From a preset to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ross3d import (
    BEVRenderer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    DDPMLoss,
    FlowMatchingLoss,
    GlobalViewTask,
    ReconstructionLoss,
    Tokenizer,
    VAETokenizer,
    require,
)

from .chat import IMAGE
from .lmm import LlavaOnevisionLMM
from .model import Ross3D
from .presets import Preset
from .tiny_lmm import paper_llava, tiny_llava

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FLUX_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""Sizes of the paper's teacher, for runs without its weights (counting on the meta device)."""


def build_model(
    preset: Preset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vae: str | None = None,
    context: str = "all",
    target_coords: bool = True,
    context_coords: bool = True,
) -> Ross3D:
    """Build the reference model of a preset, with random weights, on the default device.

    Args:
        preset: the numbers.
        tokenizer: of the text, with the chat's special tokens.
        vae: folder or id of a diffusers AutoencoderKL, for the "flux" teacher.
        context: which hidden states the conditions are read from (see ReconstructionLoss).
        target_coords: whether the conditions know where their target lies.
        context_coords: whether they know where the visual tokens lie.

    Returns:
        The model; the vision tower is frozen where the preset says so.
    """
    if preset.host == "paper":
        host = paper_llava()
    else:
        host = tiny_llava(
            len(tokenizer),
            tokenizer.convert_tokens_to_ids(IMAGE),
            tokenizer.pad_token_id,
            dim=preset.dim,
            layers=preset.layers,
            heads=preset.heads,
            image_size=preset.image_size,
            patch_size=preset.patch_size,
            vision_dim=preset.vision_dim,
            vision_layers=preset.vision_layers,
        )
    if not preset.train_tower:
        host.model.vision_tower.requires_grad_(False)
    lmm, teacher = LlavaOnevisionLMM(host), build_teacher(preset, vae)
    denoiser = ConditionedDiT(
        teacher.channels,
        preset.denoiser_dim,
        depth=preset.denoiser_depth,
        heads=preset.denoiser_heads,
    )
    reconstruction = ReconstructionLoss(
        {
            "cross_view": CrossViewTask(preset.view_size, stride=teacher.stride),
            "global_view": GlobalViewTask(
                BEVRenderer(preset.bev_size), preset.bev_size, stride=teacher.stride
            ),
        },
        teacher,
        denoiser,
        context_dim=preset.dim,
        objective=build_objective(preset),
        context=context,
        target_coords=target_coords,
        context_coords=context_coords,
        grid=lmm.grid,
        heads=preset.denoiser_heads,
    )
    return Ross3D(
        LlavaOnevisionLMM(host), reconstruction, preset.dim, temperature=preset.temperature
    )


def build_teacher(preset: Preset, vae: str | None = None) -> Tokenizer:
    """Build the tokenizer of the targets."""
    if preset.teacher == "dct":
        return DCTTokenizer(preset.whiten, preset.pack)
    if vae is not None:
        return VAETokenizer.from_pretrained(vae)
    return VAETokenizer(require("diffusers", "vae").AutoencoderKL(**FLUX_VAE))


def build_objective(preset: Preset) -> nn.Module:
    """Build the denoiser's objective."""
    if preset.objective == "flow":
        return FlowMatchingLoss(draws=preset.draws)
    return DDPMLoss(target=preset.objective, draws=preset.draws)


def count_parameters(model: Ross3D) -> dict[str, tuple[int, int]]:
    """Count the parameters of each part: name -> (all, trainable)."""
    host = model.lmm.host
    parts = {
        "vision tower": host.model.vision_tower,
        "projector": host.model.multi_modal_projector,
        "language model": host.model.language_model,
        "output embedding": host.get_output_embeddings(),
        "position code": model.positions,
        "mask token": model.masker,
        "denoiser and poolers": model.reconstruction,
        "grounding head": model.grounding,
    }
    counts = {}
    for name, part in parts.items():
        parameters = list(part.parameters())
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        counts[name] = (sum(p.numel() for p in parameters), trainable)
    return counts


def parameter_groups(model: Ross3D, preset: Preset) -> list[dict[str, object]]:
    """Group what trains for an optimiser: each group with its ``peak`` learning rate."""
    fresh = {id(p) for p in model.reconstruction.parameters()}
    trains = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trains if id(p) not in fresh], "peak": preset.lr},
        {
            "params": [p for p in trains if id(p) in fresh],
            "peak": preset.lr * preset.denoiser_lr,
        },
    ]
