"""Short names for what tensors hold, and for what a frozen network computes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from inspect import isroutine
from pathlib import PurePath

import torch
from torch import Tensor, nn

Plain = None | bool | int | float | str | bytes | torch.dtype | torch.device | PurePath
UNSEEN = ("training",)  # attributes of a module that say nothing of a frozen one


def digest(*parts: str | Tensor) -> str:
    """Give 128 bits of SHA-256: of text, and of what tensors are: dtype, shape and every bit.

    Where a tensor lies, and how, does not matter.

    Args:
        *parts: text and tensors; their order and their borders count.

    Returns:
        32 hexadecimal digits.

    Raises:
        ValueError: if a tensor is on the meta device, where there are no bits.

    Example:
        >>> len(digest("a", torch.zeros(2)))
        32
        >>> digest("a", "b") == digest("ab")
        False
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            if part.is_meta:
                raise ValueError("parts must hold numbers; got a tensor on the meta device")
            sha.update(f"tensor {part.dtype} {tuple(part.shape)}:".encode())
            flat = part.detach().cpu().reshape(-1)
            if flat.stride(0) != 1:  # also of a single number: a view as bytes wants it
                flat = flat.clone(memory_format=torch.contiguous_format)
            sha.update(flat.view(torch.uint8).numpy().data)
        else:
            text = part.encode()
            sha.update(b"text %d:" % len(text) + text)
    return sha.hexdigest()[:32]


def fingerprint(value: object) -> str:
    """Give a digest of what a tokenizer computes: its class, its numbers, its weights.

    It covers attributes that are numbers, text, tensors, modules, and sequences, mappings and
    objects of them. Of a module: the classes, numbers and tensors of all its parts. An object may
    say itself what it is, in an attribute ``identity``, which takes the place of the others.

    Args:
        value: a tokenizer, or anything of the above.

    Returns:
        32 hexadecimal digits: the same in every process that holds the same.

    Raises:
        ValueError: if there is something else, such as a function, which may compute anything;
            or weights are on the meta device.

    Example:
        >>> from ross3d import DCTTokenizer
        >>> fingerprint(DCTTokenizer(0.5)) == fingerprint(DCTTokenizer(0.5))
        True
        >>> fingerprint(DCTTokenizer(0.5)) == fingerprint(DCTTokenizer(0.6))
        False
    """
    return digest(*_pieces(value, type(value).__name__))


def _pieces(value: object, place: str) -> Iterator[str | Tensor]:
    """What a value consists of, each piece after where it is."""
    yield f"{place} is {_name(type(value))}"
    if isinstance(value, Tensor):
        yield value
    elif _is_plain(value):
        yield repr(value)
    elif isinstance(value, Mapping):
        for name in sorted(value, key=repr):
            yield from _pieces(value[name], f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _pieces(item, f"{place}.{index}")
    elif hasattr(value, "identity"):
        yield from _pieces(value.identity, f"{place}.identity")
    elif isinstance(value, nn.Module):
        yield from _module_pieces(value, place)
    elif hasattr(value, "__dict__") and not isroutine(value) and not isinstance(value, partial):
        yield from _pieces(vars(value), place)
    else:
        expected = "numbers, text, tensors or modules, or say what it is as `identity`"
        raise ValueError(f"{place} must hold {expected}; got a {type(value).__name__}")


def _module_pieces(module: nn.Module, place: str) -> Iterator[str | Tensor]:
    for name, part in module.named_modules():
        yield f"{place}.{name} is {_name(type(part))}"
        for key, item in sorted(vars(part).items()):
            if key in UNSEEN or key.startswith("_"):
                continue
            if isroutine(item):
                yield f"{place}.{name}.{key} is {_name(item)}"
            elif isinstance(item, Tensor) or _is_plain(item):
                yield f"{place}.{name}.{key}"
                yield item if isinstance(item, Tensor) else repr(item)
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, tensor in tensors:
            yield f"{place}.{name}"
            yield tensor


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, Plain)


def _name(kind: object) -> str:
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}"
