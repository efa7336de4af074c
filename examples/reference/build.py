"""From a preset to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from ross3d import (
    BEVRenderer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    DDPMLoss,
    FlowMatchingLoss,
    GlobalViewTask,
    PretextTask,
    ReconstructionLoss,
    Tokenizer,
    VAETokenizer,
    require,
)

from .chat import IMAGE
from .llava_lmm import LlavaOnevisionLMM
from .model import Ross3D
from .no_reconstruction import NoReconstruction
from .presets import Preset
from .representations import build_representation
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


TASKS = {
    "both": ("cross_view", "global_view"),
    "cross_view": ("cross_view",),
    "global_view": ("global_view",),
    "none": (),
}
"""What ``--tasks`` can be: names of the pretext tasks."""


def build_from_options(
    preset: Preset, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]
) -> Ross3D:
    """Build the model that the options of ``train_ross3d.py``, or of its config.json, mean."""
    return build_model(
        preset,
        tokenizer,
        vae=options["vae"],
        context=options["context"],
        target_coords=not options["no_target_coords"],
        context_coords=not options["no_context_coords"],
        representation=options.get("input", "views"),
        tasks=TASKS[options.get("tasks", "both")],
    )


def build_model(
    preset: Preset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vae: str | None = None,
    context: str = "all",
    target_coords: bool = True,
    context_coords: bool = True,
    representation: str = "views",
    tasks: Sequence[str] = TASKS["both"],
) -> Ross3D:
    """Build the reference model of a preset, with random weights, on the default device.

    Args:
        preset: the numbers.
        tokenizer: of the text, with the chat's special tokens.
        vae: folder or id of a diffusers AutoencoderKL, for the "flux" teacher.
        context: which hidden states the conditions are read from (see ReconstructionLoss).
        target_coords: whether the conditions know where their target lies.
        context_coords: whether they know where the visual tokens lie.
        representation: what the language model reads of a scene, one of INPUTS.
        tasks: names of the pretext tasks; none = text and grounding alone.

    Returns:
        The model; the vision tower is frozen where the preset says so.

    Raises:
        ValueError: if the representation or a task is unknown.
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
    lmm = LlavaOnevisionLMM(host)
    # The learned tokens of "points" lie nowhere.
    places = {"target_coords": target_coords, "context_coords": context_coords}
    if representation == "points":
        places["context_coords"] = False
    reconstruction = build_reconstruction(preset, tasks, vae, lmm.grid, context=context, **places)
    model = Ross3D(lmm, reconstruction, preset.dim, temperature=preset.temperature)
    # At last, so that a seed gives the other parts the same weights with every representation.
    model.representation = build_representation(representation, preset, lmm.grid)
    return model


def build_reconstruction(
    preset: Preset,
    tasks: Sequence[str],
    vae: str | None,
    grid: tuple[int, int],
    **options: Any,
) -> ReconstructionLoss | NoReconstruction:
    """Build the pretext tasks of these names with their teacher and denoiser, or nothing.

    Raises:
        ValueError: if a name is unknown.
    """
    if unknown := set(tasks) - set(TASKS["both"]):
        raise ValueError(f"tasks must be some of {TASKS['both']}; got {sorted(unknown)}")
    if not tasks:
        return NoReconstruction()
    teacher = build_teacher(preset, vae)
    denoiser = ConditionedDiT(
        teacher.channels,
        preset.denoiser_dim,
        depth=preset.denoiser_depth,
        heads=preset.denoiser_heads,
    )
    bev, stride = preset.bev_size, teacher.stride
    known: dict[str, PretextTask] = {
        "cross_view": CrossViewTask(preset.view_size, stride=stride),
        "global_view": GlobalViewTask(BEVRenderer(bev), bev, stride=stride),
    }
    return ReconstructionLoss(
        {name: known[name] for name in tasks},
        teacher,
        denoiser,
        context_dim=preset.dim,
        objective=build_objective(preset),
        grid=grid,
        heads=preset.denoiser_heads,
        **options,
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
    if any(True for _ in model.representation.parameters()):
        parts["input representation"] = model.representation
    counts = {}
    for name, part in parts.items():
        parameters = list(part.parameters())
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        counts[name] = (sum(p.numel() for p in parameters), trainable)
    return counts


def parameter_groups(model: Ross3D, preset: Preset) -> list[dict[str, object]]:
    """Group what trains for an optimiser: each group with its ``peak`` learning rate."""
    parts = (model.reconstruction, model.representation)
    fresh = {id(p) for part in parts for p in part.parameters()}
    trains = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trains if id(p) not in fresh], "peak": preset.lr},
        {
            "params": [p for p in trains if id(p) in fresh],
            "peak": preset.lr * preset.denoiser_lr,
        },
    ]
