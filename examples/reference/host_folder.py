"""A host beside the blocks that were trained with it: inside their folder, or by reference."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ross3d import require, save_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INSIDE, REFERENCE = "inside", "reference"
ATTENTION = ("eager", "sdpa", "flash_attention_2", "flex_attention")
"""What a file may ask for: transformers would fetch any other name from the Hub, as code."""


def describe_host(host: PreTrainedModel, place: str) -> dict[str, Any]:
    """Say what a host is and where it will be found.

    Args:
        host: a model of transformers, with at most one adapter of PEFT.
        place: "inside" = in the folder; "reference" = where it came from: a repository, with the
            commit, or a folder of this machine.

    Raises:
        ValueError: if ``place`` is neither, the host came from nowhere, or has several adapters.
    """
    if place not in (INSIDE, REFERENCE):
        raise ValueError(f"host must be 'inside' or 'reference'; got {place!r}")
    adapters = adapter_names(host)
    if len(adapters) > 1:
        raise ValueError(f"host must have one adapter at most; got {', '.join(adapters)}")
    attention = host.config._attn_implementation
    described = {
        "class": type(host).__name__,
        "dtype": str(host.dtype).removeprefix("torch."),
        "attention": attention if attention in ATTENTION else None,
        "adapter": adapters[0] if adapters else None,
        "place": place,
    }
    if place == INSIDE:
        return described
    origin = host.name_or_path
    if not origin:
        raise ValueError("host must have been loaded to be saved by reference; got one built here")
    if Path(origin).is_dir():
        origin = str(Path(origin).resolve())
    return described | {"id": origin, "revision": getattr(host.config, "_commit_hash", None)}


def own_tensors(host: PreTrainedModel, place: str) -> set[str]:
    """Names of the host's tensors that are kept with the blocks: no other file has their numbers.

    That is the adapter's; by reference what trains, and inside what is of another dtype than the
    host, which transformers would round.
    """
    adapters, names = adapter_names(host), set()
    for name, value in host.state_dict(keep_vars=True).items():
        trains, odd = value.requires_grad, value.dtype != host.dtype and value.is_floating_point()
        if _is_adapters(name, adapters) or (trains if place == REFERENCE else odd):
            names.add(name)
    return names


def checksums(host: PreTrainedModel, without: Collection[str]) -> dict[str, str]:
    """Checksum of each of the host's tensors, so that another host's are noticed."""
    state = host.state_dict()
    return {name: _checksum(value) for name, value in state.items() if name not in without}


def save_host(host: PreTrainedModel, folder: Path) -> None:
    """Write the host, without its adapter, as ``from_pretrained`` of its class reads it."""
    adapters = adapter_names(host)
    if not adapters:
        host.save_pretrained(folder, save_original_format=False)
        return
    folder.mkdir(parents=True)
    host.config.architectures = [type(host).__name__]
    host.config.dtype = host.dtype
    host.config.save_pretrained(folder)
    if host.can_generate():
        host.generation_config.save_pretrained(folder)
    bare = {}
    for name, value in host.state_dict().items():
        if not _is_adapters(name, adapters):
            for wrapper in (".token_adapter.", ".base_layer.", ".original_module."):
                name = name.replace(wrapper, ".")
            bare[name] = value
    save_tensors(folder / "model.safetensors", bare)


def save_adapter(host: PreTrainedModel, folder: Path) -> None:
    """Write the adapter as PEFT does."""
    host.save_pretrained(folder)


def load_host(described: Mapping[str, Any], folder: Path) -> PreTrainedModel:
    """Load a host, without its adapter, in the dtype that it had.

    Safetensors alone are read, and no code of a repository is run.

    Args:
        described: by ``describe_host``.
        folder: where a host "inside" is.

    Raises:
        ValueError: if it is no model of transformers, or a file is missing, damaged, or does not
            fit.
    """
    transformers = require("transformers", "hf")
    kind = getattr(transformers, str(described.get("class")), None)
    if not isinstance(kind, type) or not issubclass(kind, transformers.PreTrainedModel):
        expected = "a model of transformers"
        raise ValueError(f"class of host must be {expected}; got {described.get('class')!r}")
    dtype = getattr(torch, str(described.get("dtype")), None)
    if not isinstance(dtype, torch.dtype) or described.get("attention") not in (None, *ATTENTION):
        raise ValueError(f"dtype and attention of host must be known; got {dict(described)}")
    inside = described.get("place") == INSIDE
    source = folder if inside else described.get("id")
    attention = described.get("attention")
    at = {"revision": described.get("revision")} if described.get("revision") else {}
    options = {"attn_implementation": attention} if attention else {}
    errors = (OSError, ValueError, RuntimeError, require("safetensors", "hf").SafetensorError)
    try:
        model_type = kind.config_class.get_config_dict(source, **at)[0].get("model_type")
        if model_type != kind.config_class.model_type:  # transformers would build its default size
            raise ValueError(f"a config of model_type {model_type!r}")
        options |= {"use_safetensors": True, "output_loading_info": True}
        host, report = kind.from_pretrained(source, dtype=dtype, **at, **options)
    except errors as error:
        raise ValueError(f"{source} must hold a {kind.__name__}; got {error}") from error
    problems = [
        f"{what.removesuffix('_keys')} {name}"
        for what, names in report.items()
        for name in sorted(map(str, names))
    ]
    if inside and problems:
        listed = "\n  ".join(problems)
        raise ValueError(f"{source} must hold a whole {kind.__name__}; got\n  {listed}")
    for parameter in host.parameters():
        # A file's memory is not aligned as torch's is: sums would run in another order.
        parameter.data = parameter.data.clone()
    return host


def add_adapter(host: PreTrainedModel, name: str, folder: Path) -> None:
    """Put the adapter of a folder on a host, without its numbers.

    Raises:
        ValueError: if the folder holds no adapter of the host.
    """
    try:
        config = require("peft", "lora").PeftConfig.from_pretrained(str(folder))
        host.add_adapter(config, name)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} must hold an adapter of the host; got {error}") from error


def check_same(host: PreTrainedModel, saved: Mapping[str, str], source: Path) -> None:
    """Refuse a host whose numbers are not those of before.

    Raises:
        ValueError: naming every tensor that differs.
    """
    found = checksums(host, set(host.state_dict()) - set(saved))
    if differing := sorted(name for name, value in saved.items() if found.get(name) != value):
        listed = "\n  ".join(differing)
        raise ValueError(f"host must be the one of {source}; got other numbers in\n  {listed}")


def adapter_names(host: PreTrainedModel) -> list[str]:
    """Names of the adapters that are on a host."""
    return list(getattr(host, "peft_config", {}))


def _is_adapters(name: str, adapters: Collection[str]) -> bool:
    return not set(adapters).isdisjoint(name.split("."))


def _checksum(value: Tensor) -> str:
    data = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    return f"{zlib.crc32(data.numpy()):08x}"
