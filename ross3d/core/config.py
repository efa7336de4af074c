"""How a part was made, as JSON, and the same part made again: of a closed table of classes."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor, nn

from ross3d.core.cached_tokenizer import CachedTokenizer

Classes = Mapping[str, Callable[..., Any]]

PARTS = {
    "BEVRenderer": "ross3d.geometry.bev:BEVRenderer",
    "ConditionedDiT": "ross3d.core.dit:ConditionedDiT",
    "Conditioner": "ross3d.pretext.conditioner:Conditioner",
    "CrossAttentionFusion": "ross3d.core.fusion:CrossAttentionFusion",
    "CrossViewTask": "ross3d.pretext.tasks:CrossViewTask",
    "DCTTokenizer": "ross3d.core.dct:DCTTokenizer",
    "DDPMLoss": "ross3d.core.diffusion:DDPMLoss",
    "DepthTask": "ross3d.pretext.tasks:DepthTask",
    "FlowMatchingLoss": "ross3d.core.flow:FlowMatchingLoss",
    "GlobalViewTask": "ross3d.pretext.tasks:GlobalViewTask",
    "GroundingHead": "ross3d.heads.grounding:GroundingHead",
    "MeshBEVRenderer": "ross3d.geometry.mesh_bev:MeshBEVRenderer",
    "PixelTokenizer": "ross3d.core.tokenizer:PixelTokenizer",
    "PositionAwareEncoder": "ross3d.geometry.position:PositionAwareEncoder",
    "QueryPooler": "ross3d.core.pooler:QueryPooler",
    "RayAwareEncoder": "ross3d.geometry.rays:RayAwareEncoder",
    "ReconstructionLoss": "ross3d.pretext.reconstruction:ReconstructionLoss",
    "RegressionLoss": "ross3d.core.regression:RegressionLoss",
    "Schedule": "ross3d.pretext.schedule:Schedule",
    "VAETokenizer": "ross3d.core.vae:VAETokenizer.from_pretrained",
    "VanillaTask": "ross3d.pretext.tasks:VanillaTask",
    "ViewMasker": "ross3d.pretext.masking:ViewMasker",
}
"""What a file may name: class -> where it is, and what makes it. Nothing else is ever looked up."""


def to_config(value: Any, classes: Classes | None = None) -> Any:
    """Write a value as JSON.

    A part of ross3d, which keeps its constructor's arguments as ``config``, becomes
    ``{"class": ..., "config": {...}}``. Any other object becomes ``{"given": its class}``: whoever
    loads the file has to bring it. Of a cache, only the tokenizer inside is written.

    Args:
        value: numbers, text, sequences, mappings, dataclasses and parts, in each other.
        classes: more classes that may be named.

    Returns:
        The same as JSON values.

    Example:
        >>> from ross3d import DCTTokenizer
        >>> to_config({"tokenizer": DCTTokenizer(pack=1), "heads": 4})
        {'tokenizer': {'class': 'DCTTokenizer', 'config': {'whiten': 1.0, 'pack': 1}}, 'heads': 4}
    """
    if isinstance(value, CachedTokenizer):
        value = value.tokenizer
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [to_config(item, classes) for item in value]
    if isinstance(value, Mapping | nn.ModuleDict):
        return {str(key): to_config(item, classes) for key, item in value.items()}
    config = getattr(value, "config", None)
    if dataclasses.is_dataclass(value):
        config = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    name = type(value).__name__
    if not isinstance(config, Mapping) or not _is_known(type(value), classes or {}):
        return {"given": name}
    return {"class": name, "config": to_config(config, classes)}


def from_config(
    config: Mapping[str, Any],
    make: Callable[..., Any],
    source: Path | str,
    *,
    parts: Mapping[str, Any] | None = None,
    classes: Classes | None = None,
    meta: bool = False,
) -> Any:
    """Make what a config describes, and every part in it.

    Args:
        config: JSON values: the arguments of ``make``.
        make: a class.
        source: the file, for complaints.
        parts: objects that take the place of what the config has under their names, for what it
            cannot describe. ``"tokenizer"`` is the argument of that name wherever it is, unless a
            longer name (``"reconstruction.tokenizer"``) says where.
        classes: more classes that may be named.
        meta: make modules on the meta device: without memory, to be filled. If one has tensors that
            are in no state (buffers that are not persistent), which no file could fill, all are
            made in memory.

    Returns:
        What ``make`` returns.

    Raises:
        ValueError: naming the file, if a part is missing or has no place, a class is not in the
            table, or the arguments are not those of a class.
    """
    parts, places = parts or {}, dict(_places(config))
    for key in parts:
        if (count := sum(_is_at(key, place) for place in places)) != 1:
            expected = f"one of {', '.join(sorted(places))} of {source}"
            raise ValueError(f"{key} must name {expected}; got {count} of them")
    missing = [
        f"{place} ({value['given']})"
        for place, value in places.items()
        if set(value) == {"given"} and not any(_is_at(key, place, within=True) for key in parts)
    ]
    if missing:
        raise ValueError(f"{', '.join(missing)} must be given to load {source}; got None")
    maker = _Maker(source, parts, classes or {}, meta)
    made = maker.call(make, maker.arguments(config, ""))
    if meta and isinstance(made, nn.Module) and _has_unsaved_meta(made):
        return from_config(config, make, source, parts=parts, classes=classes)
    return made


@dataclasses.dataclass(frozen=True)
class _Maker:
    source: Path | str
    parts: Mapping[str, Any]
    classes: Classes
    meta: bool

    def arguments(self, config: Mapping[str, Any], place: str) -> dict[str, Any]:
        return {name: self.value(item, f"{place}{name}") for name, item in config.items()}

    def value(self, item: Any, place: str) -> Any:
        if isinstance(item, list):
            return tuple(self.value(one, place) for one in item)
        if not isinstance(item, dict):
            return item
        if given := [key for key in self.parts if _is_at(key, place)]:
            return self.parts[given[0]]
        if set(item) != {"class", "config"}:
            return self.arguments(item, f"{place}.")
        name, config = item["class"], item["config"]
        known = sorted({*PARTS, *self.classes})
        if name not in known or not isinstance(config, dict):
            expected = f"{place} in {self.source} must be one of {', '.join(known)}, and arguments"
            raise ValueError(f"{expected}; got {name!r}")
        make = self.classes[name] if name in self.classes else resolve_name(PARTS[name])
        return self.call(make, self.arguments(config, f"{place}."))

    def call(self, make: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        module = isinstance(make, type) and issubclass(make, nn.Module)
        try:
            inspect.signature(make).bind(**arguments)
            with torch.device("meta" if module and self.meta else "cpu"):
                return make(**arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            name = getattr(make, "__qualname__", make)
            got = str(error).removeprefix("got ")
            raise ValueError(f"{self.source} must hold arguments of {name}; got {got}") from error


def read_config(path: Path, **expected: Any) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        **expected: values that it must have, for example ``format=1``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is not JSON, or a value is another.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be what save_pretrained wrote; got no such file")
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} must be JSON; got {error}") from error
    held = config if isinstance(config, dict) else {}
    for key, value in expected.items():
        if held.get(key) != value:
            raise ValueError(f"{key} of {path} must be {value!r}; got {held.get(key)!r}")
    if not isinstance(held.get("config"), dict):
        raise ValueError(f"config of {path} must be an object; got {held.get('config')!r}")
    return held


def _has_unsaved_meta(module: nn.Module) -> bool:
    saved = {id(value) for value in module.state_dict(keep_vars=True).values()}
    plain = (value for part in module.modules() for value in vars(part).values())
    tensors = (value for value in (*module.buffers(), *plain) if isinstance(value, Tensor))
    return any(value.is_meta and id(value) not in saved for value in tensors)


def _is_known(kind: type, classes: Classes) -> bool:
    name = kind.__name__
    where, _, _ = PARTS.get(name, "").partition(":")
    return classes.get(name) is kind or where == kind.__module__


def _is_at(key: str, place: str, *, within: bool = False) -> bool:
    """Whether a name means this place, or with ``within`` one that holds it."""
    steps = place.split(".")
    ends = range(1, len(steps) + 1) if within else [len(steps)]
    return any(f".{'.'.join(steps[:end])}".endswith(f".{key}") for end in ends)


def _places(config: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a config and where it is; only those can be replaced."""
    for name, item in config.items():
        if isinstance(item, dict):
            yield f"{place}{name}", item
            inner = item["config"] if set(item) == {"class", "config"} else item
            if isinstance(inner, dict):
                yield from _places(inner, f"{place}{name}.")
