"""The parts of a model: which parameters each has, which of them train, and at what rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from .model import Ross3D
    from .presets import Preset

PROJECTORS = ("projector", "merger", "connector")
ADAPTERS = ("lora_", "trainable_tokens_delta")
PARTS = {
    "LoRA adapters": ("lora_",),
    "new words": ("trainable_tokens_delta",),
    "newline": ("image_newline",),
    "projector": PROJECTORS,
    "output embedding": ("lm_head.",),
    "place codes": (".pooler.position.",),
    "denoiser and poolers": ("reconstruction.",),
    "grounding head": ("grounding.",),
    "mask token": ("masker.",),
    "position code": ("positions.",),
    "input representation": ("representation.",),
    "vision tower": (".vision", ".visual", "lmm.encoder."),
    "language model": ("",),
}
"""Part -> what the names of its parameters hold; the first part that fits has the parameter."""

SHOWN = (
    "vision tower",
    "projector",
    "newline",
    "language model",
    "output embedding",
    "LoRA adapters",
    "new words",
    "mask token",
    "position code",
    "input representation",
    "denoiser and poolers",
    "place codes",
    "grounding head",
)


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name was added to the host: an adapter, or rows of new words."""
    return any(word in name for word in ADAPTERS)


def parameter_groups(model: Ross3D, preset: Preset) -> list[dict[str, object]]:
    """Group what trains for an optimiser: each group with its ``peak`` learning rate."""
    parts = (model.reconstruction, model.representation)
    fresh = {id(p) for part in parts for p in part.parameters()}
    trains = {name: p for name, p in model.named_parameters() if p.requires_grad}
    adapters = [p for name, p in trains.items() if is_adapter(name)]
    host = [p for name, p in trains.items() if id(p) not in fresh and not is_adapter(name)]
    groups: list[dict[str, object]] = [
        {"params": host, "peak": preset.lr},
        {
            "params": [p for p in trains.values() if id(p) in fresh],
            "peak": preset.lr * preset.denoiser_lr,
        },
    ]
    if adapters:
        groups.append({"params": adapters, "peak": preset.lr * preset.lora_lr})
    return groups


def named_parts(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of each part of a model; a shared one counts once."""
    found: dict[str, list[nn.Parameter]] = {part: [] for part in SHOWN}
    for name, parameter in model.named_parameters():
        part = next(part for part, words in PARTS.items() if any(word in name for word in words))
        found[part].append(parameter)
    return {part: parameters for part, parameters in found.items() if parameters}


def count_parameters(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Count the parameters of each part: name -> (all, trainable)."""
    return {part: _counts(parameters) for part, parameters in named_parts(model).items()}


def training_bytes(model: nn.Module, frozen: Iterable[nn.Module] = ()) -> dict[str, int]:
    """Count what training holds in memory all the time, activations and buffers aside.

    Args:
        model: its parameters, trainable or not.
        frozen: modules beside it, such as the teacher's encoder.

    Returns:
        Bytes of "weights", "gradients" and "Adam" (two moments of each trainable parameter).
    """
    beside = [p for module in frozen for p in module.parameters()]
    trains = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    weights = sum(p.nbytes for p in [*model.parameters(), *beside])
    return {"weights": weights, "gradients": trains, "Adam": 2 * trains}


def trainable_table(model: nn.Module, groups: Iterable[Mapping[str, Any]] = ()) -> str:
    """Say which parameters train.

    Args:
        model: the reference model.
        groups: of the optimiser, each with its ``peak`` learning rate.

    Returns:
        A table of each part: parameters, how many train, dtype, peak learning rate.
    """
    peaks = {id(p): group["peak"] for group in groups for p in group["params"]}
    parts = named_parts(model)
    lines = [f"{'part':<24}{'parameters':>16}{'trainable':>16}  {'dtype':<18}learning rate"]
    for part, parameters in parts.items():
        total, trainable = _counts(parameters)
        dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in parameters})
        rates = sorted({peaks[id(p)] for p in parameters if id(p) in peaks})
        rate = ", ".join(f"{rate:.0e}" for rate in rates) or "-"
        lines.append(f"{part:<24}{total:>16,}{trainable:>16,}  {', '.join(dtypes):<18}{rate}")
    total, trainable = _counts(p for parameters in parts.values() for p in parameters)
    return "\n".join([*lines, f"{'total':<24}{total:>16,}{trainable:>16,}"])


def _counts(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    held = list(parameters)
    return sum(p.numel() for p in held), sum(p.numel() for p in held if p.requires_grad)
