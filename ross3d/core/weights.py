"""Tensors to and from safetensors files: shared ones once, everything that does not fit named."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

FORMAT = {"format": "pt"}
ALIGNMENT = 64  # bytes, of torch's memory on the CPU


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write a file under; it takes the place of ``path`` once whole."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors; those that are the same memory (tied weights) are written once.

    The other names of such a tensor stand in the file's metadata, where ``save_model`` of
    safetensors writes them too. Dtypes are kept.

    Args:
        path: of the file, which appears whole or not at all.
        tensors: name -> tensor, on any device.

    Raises:
        ValueError: if a tensor is on the meta device, where there are no numbers.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_tensors(f"{folder}/a.safetensors", {"weight": torch.ones(2)})
        ...     print(load_tensors(f"{folder}/a.safetensors"))
        {'weight': tensor([1., 1.])}
    """
    from safetensors.torch import save_file

    if empty := [name for name, value in tensors.items() if value.is_meta]:
        raise ValueError(f"tensors must have numbers to be saved; got {empty[0]} on meta")
    groups = shared_names(tensors)
    metadata = {other: first for first, *others in groups for other in others}
    kept = {names[0]: tensors[names[0]].detach().contiguous() for names in groups}
    whole = {
        # A part of a larger storage would be refused as shared memory.
        name: value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
        for name, value in kept.items()
    }
    with replacing(Path(path)) as temporary:
        save_file(whole, temporary, metadata={**metadata, **FORMAT})


def load_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read a file of tensors, on the CPU; a tensor with several names stands under the first.

    Args:
        path: a safetensors file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged.
    """
    return _read(path)[0]


def load_weights(
    path: Path | str,
    module: nn.Module,
    *,
    assign: bool = False,
    names: Collection[str] | None = None,
) -> None:
    """Fill a module from a file of tensors; nothing is filled if anything does not fit.

    Args:
        path: a safetensors file.
        module: whose state the file holds.
        assign: False = copy the numbers into the module's tensors, with their dtype and device;
            True = let the file's tensors take their place: dtypes are the file's, the module may be
            on the meta device, and tensors that were one when they were saved are one again.
        names: of the state's tensors, those that the file must hold; None = all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, and every tensor that is missing, unexpected or of another
            shape or kind.
    """
    found, links = _read(path)
    state = dict(module.state_dict(keep_vars=True))
    if names is not None:
        state = {name: value for name, value in state.items() if name in names}
    problems = [f"unexpected {name}" for name in sorted(set(found) - set(state))]
    sources: dict[str, str] = {}
    for group in shared_names(state):
        held = [name for name in group if name in found]
        linked = [links[name] for name in group if links.get(name) in found]
        if not held and not linked:
            problems.append(f"missing {group[0]}")
            continue
        source = (held or linked)[0]
        sources |= dict.fromkeys(group, source)
        problems += _misfits(source, found, state[group[0]])
        if any(not torch.equal(found[source], found[other]) for other in held[1:]):
            problems.append(f"{' and '.join(held)} differ, but are one tensor")
    if listed := "\n  ".join(problems):
        raise ValueError(f"{path} must fit; got a checkpoint of another config:\n  {listed}")
    filled = {name: found[source] for name, source in sources.items()}
    module.load_state_dict(filled, strict=False, assign=assign)
    if assign:
        _share(module, sources)


def shared_names(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Names that stand for the same tensor or the same memory, together.

    Args:
        tensors: name -> tensor.

    Example:
        >>> weight = torch.ones(2, 2)
        >>> shared_names({"embed": weight, "bias": torch.ones(2), "head": weight.detach()})
        [['embed', 'head'], ['bias']]
    """
    groups: dict[object, list[str]] = {}
    for name, value in tensors.items():
        place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
        real = value.numel() and not value.is_meta
        groups.setdefault(place if real else id(value), []).append(name)
    return list(groups.values())


def _read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by their first name, and the first name of each other one."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} must be a safetensors file; got no such file")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            found = {name: _aligned(file.get_tensor(name)) for name in names}
            return found, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} must be a whole safetensors file; got {error}") from error


def _aligned(value: Tensor) -> Tensor:
    """Put a tensor where torch would: elsewhere sums run in another order, and the last bit moves.

    A file packs tensors one after the other, whatever the processor's vectors would like.
    """
    return value.clone() if value.data_ptr() % ALIGNMENT else value


def _misfits(name: str, found: Mapping[str, Tensor], wanted: Tensor) -> list[str]:
    got = found[name]
    if got.shape != wanted.shape:
        return [f"{name} is of shape {tuple(got.shape)}, not {tuple(wanted.shape)}"]
    if got.is_floating_point() != wanted.is_floating_point():
        return [f"{name} is of {got.dtype}, not {wanted.dtype}"]
    return []


def _share(module: nn.Module, sources: Mapping[str, str]) -> None:
    """Make tensors of one source one tensor again: assignment gives each name its own."""
    first: dict[str, str] = {}
    for name, source in sources.items():
        if (kept := first.setdefault(source, name)) != name:
            owner, _, leaf = name.rpartition(".")
            there, _, there_leaf = kept.rpartition(".")
            shared = getattr(module.get_submodule(there), there_leaf)
            setattr(module.get_submodule(owner), leaf, shared)
