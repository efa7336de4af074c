"""What trains: all that the paper trains, adapters in the language model, or ROSS3D alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ross3d import require

from .parameters import PROJECTORS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .model import Ross3D
    from .presets import Preset

TRAIN = ("full", "lora", "blocks")
"""What ``--train`` can be."""


def choose_trainable(
    model: Ross3D, preset: Preset, train: str, *, new_words: Sequence[int] = ()
) -> None:
    """Decide which parameters train, and add adapters where they are asked for.

    - ``"full"``: the paper's split. The vision tower is frozen where the preset says so, and
      everything else trains.
    - ``"lora"``: adapters on the linear layers of the language model, the rows of the new words in
      its input embedding, the projector, and all of ROSS3D.
    - ``"blocks"``: ROSS3D alone; nothing of the host, not even the rows of the new words. A random
      row tells ``<ground>`` from other words as well as a learned one, and the grounding head
      learns to read what the language model makes of it.

    Args:
        model: changed in place.
        preset: of the adapters, of recomputation and of the dtype of frozen weights.
        train: one of TRAIN.
        new_words: ids of the words that the language model has not been trained on. They are never
            predicted, so only their rows of the input embedding matter.

    Raises:
        ValueError: if ``train`` is unknown.
    """
    if train not in TRAIN:
        raise ValueError(f"train must be one of {', '.join(TRAIN)}; got {train!r}")
    if train != "full":
        freeze(model.lmm)
    if train == "lora":
        add_lora(model.lmm.host, preset.lora_rank, preset.lora_alpha, new_words=new_words)
        for module in projectors(model.lmm.host):
            module.requires_grad_(True)
    if train != "full":
        cast_frozen(model.lmm, getattr(torch, preset.frozen_dtype))
    if preset.recompute:
        model.lmm.activation_checkpointing_enable()


def freeze(module: nn.Module) -> None:
    """Let a module say the same every time: no gradients, no dropout, no moving averages.

    It may stay in training mode, in which hosts recompute activations.
    """

    def be_still(part: nn.Module, _: object) -> None:
        part.eval()

    module.requires_grad_(False)
    for part in module.modules():
        if isinstance(part, _DropoutNd | _BatchNorm):
            part.register_forward_pre_hook(be_still)
        for name in ("attention_dropout", "dropout"):  # numbers that attention layers keep
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)


def add_lora(
    host: PreTrainedModel, rank: int = 16, alpha: float = 32.0, *, new_words: Sequence[int] = ()
) -> None:
    """Add adapters to every linear layer of a host's language model, through ``add_adapter``.

    They start as nothing: the host says what it said before.

    Args:
        host: changed in place; all of its own parameters are frozen.
        rank: of the adapters.
        alpha: their outputs are scaled by alpha over rank.
        new_words: rows of the input embedding that train.
    """
    names = {id(module): name for name, module in host.named_modules()}
    decoder, head = host.get_decoder(), host.get_output_embeddings()
    linear = [m for m in decoder.modules() if isinstance(m, nn.Linear) and m is not head]
    leaves = sorted({names[id(module)].rpartition(".")[2] for module in linear})
    words = {names[id(host.get_input_embeddings())]: list(new_words)} if new_words else None
    config = require("peft", "lora").LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=rf"{re.escape(names[id(decoder)])}\.(.*\.)?({'|'.join(leaves)})",
        trainable_token_indices=words,
    )
    host.add_adapter(config)


def merge_lora(host: PreTrainedModel) -> None:
    """Write the adapters into the weights, and leave the plain, frozen host of before."""
    layer = require("peft.tuners.tuners_utils", "lora").BaseTunerLayer
    words = require("peft.utils.other", "lora").TrainableTokensWrapper
    for name, module in list(host.named_modules()):
        adapter = module.token_adapter if isinstance(module, words) else module
        if isinstance(adapter, layer) and not name.endswith(".token_adapter"):
            adapter.merge()
            owner, _, attribute = name.rpartition(".")
            setattr(host.get_submodule(owner), attribute, adapter.get_base_layer())
    host._hf_peft_config_loaded = False
    del host.peft_config


def projectors(host: nn.Module) -> list[nn.Module]:
    """The modules that turn features of the vision tower into visual tokens."""
    named = {
        name: module
        for name, module in host.named_modules()
        if any(word in name for word in PROJECTORS) and not isinstance(module, nn.ModuleList)
    }
    return [m for n, m in named.items() if not any(n.startswith(f"{other}.") for other in named)]


def cast_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    """Hold frozen weights in another dtype; what trains stays in float32.

    Adapters cast what they read themselves. The projectors are told to.
    """
    for parameter in module.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    for part in projectors(module):
        if any(p.requires_grad and p.dtype != dtype for p in part.parameters()):
            part.register_forward_pre_hook(_cast_inputs)
            part.register_forward_hook(_cast_output)


def _cast_inputs(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters()).dtype
    return tuple(
        x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in args
    )


def _cast_output(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.to(args[0].dtype)
