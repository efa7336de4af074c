"""From a preset to a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ross3d import (
    BEVRenderer,
    CachedTokenizer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    DDPMLoss,
    FlowMatchingLoss,
    GlobalViewTask,
    LatentCache,
    PretextTask,
    ReconstructionLoss,
    Tokenizer,
    VAETokenizer,
    VanillaTask,
    require,
)

from .chat import COORD, GROUND, IMAGE
from .llava_lmm import LlavaOnevisionLMM
from .model import Ross3D
from .no_reconstruction import NoReconstruction
from .presets import Preset
from .released.dit import ReleasedDiT
from .representations import build_representation
from .tiny_lmm import paper_llava, tiny_llava
from .trainable import choose_trainable, freeze

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerBase

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
    "norm_num_groups": 32,
}
"""Sizes of the paper's teacher, for runs without its weights (counting on the meta device)."""


TASKS = {
    "both": ("cross_view", "global_view"),
    "vanilla": ("vanilla",),
    "cross_view": ("cross_view",),
    "global_view": ("global_view",),
    "none": (),
}
"""What ``--tasks`` can be: names of the pretext tasks."""


def hides_views(tasks: Iterable[str]) -> bool:
    """Whether pretext tasks of these names need views to be hidden: all but the vanilla one do."""
    return any(name != "vanilla" for name in tasks)


def build_from_options(
    preset: Preset, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]
) -> Ross3D:
    """Build the model that the options of ``train_ross3d.py``, or of its config.json, mean."""
    return build_model(
        preset,
        tokenizer,
        vae=options.get("vae"),
        context=options.get("context", "all"),
        target_coords=not options.get("no_target_coords", False),
        context_coords=not options.get("no_context_coords", False),
        representation=options.get("input", "views"),
        tasks=TASKS[options.get("tasks", "both")],
        train=options.get("train", "full"),
        several=options.get("several", "any"),
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
    train: str = "full",
    several: str = "any",
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
        train: which parameters train, one of TRAIN.
        several: what is learned of a phrase that means several objects (see GroundingHead).

    Returns:
        The model; the vision tower is frozen where the preset says so.

    Raises:
        ValueError: if the representation, a task or ``train`` is unknown.
    """
    host = build_host(preset, tokenizer)
    if not preset.train_tower:
        freeze(host.model.vision_tower)
    lmm = LlavaOnevisionLMM(host, newline=preset.newline)
    # The learned tokens of "points" lie nowhere.
    places = {"target_coords": target_coords, "context_coords": context_coords}
    if representation == "points":
        places["context_coords"] = False
    reconstruction = build_reconstruction(preset, tasks, vae, lmm.grid, context=context, **places)
    numbers = {"temperature": preset.temperature, "several": several}
    model = Ross3D(lmm, reconstruction, preset.dim, **numbers)
    # At last, so that a seed gives the other parts the same weights with every representation.
    model.representation = build_representation(representation, preset, lmm.grid)
    words = tokenizer.convert_tokens_to_ids([COORD, GROUND])
    choose_trainable(model, preset, train, new_words=words)
    return model


def build_host(
    preset: Preset, tokenizer: PreTrainedTokenizerBase
) -> LlavaOnevisionForConditionalGeneration:
    """Build the untouched host of a preset, whose visual placeholder is the tokenizer's."""
    placeholder = tokenizer.convert_tokens_to_ids(IMAGE)
    layers = {"layers": preset.layers, "vision_layers": preset.vision_layers}
    if preset.host == "paper":
        return paper_llava(narrow=preset.narrow, video_token_id=placeholder, **layers)
    return tiny_llava(
        len(tokenizer),
        placeholder,
        tokenizer.pad_token_id,
        dim=preset.dim,
        heads=preset.heads,
        image_size=preset.image_size,
        patch_size=preset.patch_size,
        vision_dim=preset.vision_dim,
        **layers,
    )


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
    if unknown := set(tasks) - (known := {name for names in TASKS.values() for name in names}):
        raise ValueError(f"tasks must be some of {sorted(known)}; got {sorted(unknown)}")
    if not tasks:
        return NoReconstruction()
    teacher = build_teacher(preset, vae)
    bev, stride = preset.bev_size, teacher.stride
    built: dict[str, PretextTask] = {
        "vanilla": VanillaTask(preset.view_size, stride=stride),
        "cross_view": CrossViewTask(preset.view_size, stride=stride),
        "global_view": GlobalViewTask(BEVRenderer(bev), bev, stride=stride),
    }
    chosen = {name: built[name] for name in tasks}
    return ReconstructionLoss(
        chosen,
        teacher,
        build_denoiser(preset, teacher, chosen),
        context_dim=preset.dim,
        objective=build_objective(preset),
        grid=grid,
        heads=preset.denoiser_heads,
        **options,
    )


def build_denoiser(
    preset: Preset, teacher: Tokenizer, tasks: Mapping[str, PretextTask]
) -> nn.Module | dict[str, nn.Module]:
    """Build the denoiser: one, or one per task whose stems and tables differ over one trunk."""
    sizes = (teacher.channels, preset.denoiser_dim)
    options = {"depth": preset.denoiser_depth, "heads": preset.denoiser_heads}
    options["recompute"] = preset.recompute
    if not preset.tables:
        return ConditionedDiT(*sizes, **options)
    denoisers: dict[str, ReleasedDiT] = {}
    for name, task in tasks.items():
        cells = (task.size // teacher.stride) ** 2
        trunk = next(iter(denoisers.values()), None)
        own = {} if trunk is None else {"depth": 0}
        denoisers[name] = ReleasedDiT(cells, *sizes, **{**options, **own})
        if trunk is not None:
            denoisers[name].share_trunk(trunk)
    return denoisers


def build_teacher(preset: Preset, vae: str | None = None) -> Tokenizer:
    """Build the tokenizer of the targets; a VAE without weights is a stand-in of its sizes."""
    if preset.teacher == "dct":
        return DCTTokenizer(preset.whiten, preset.pack)
    if vae is not None:
        return VAETokenizer.from_pretrained(vae)
    channels = [width // preset.narrow for width in FLUX_VAE["block_out_channels"]]
    thin = {"block_out_channels": channels, "norm_num_groups": 32 // preset.narrow}
    make = partial(require("diffusers", "vae").AutoencoderKL, **{**FLUX_VAE, **thin})
    return VAETokenizer(make(), again=make)


def cache_latents(model: Ross3D, folder: str, gigabytes: float) -> CachedTokenizer:
    """Let a model's teacher keep its latents on disk; the model learns, and is saved, as before.

    Raises:
        ValueError: if there is no teacher, or the bound is not positive.
    """
    loss = model.reconstruction
    if not isinstance(loss, ReconstructionLoss):
        raise ValueError(f"latents must be those of pretext tasks; got {folder} without tasks")
    loss.tokenizer = CachedTokenizer(loss.tokenizer, LatentCache(folder, int(gigabytes * 1e9)))
    return loss.tokenizer


def build_objective(preset: Preset) -> nn.Module:
    """Build the denoiser's objective."""
    if preset.objective == "flow":
        return FlowMatchingLoss(draws=preset.draws)
    return DDPMLoss(target=preset.objective, draws=preset.draws)
