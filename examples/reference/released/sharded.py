"""Checkpoints in one file or many: read a tensor at a time, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files import read_json

INDEX = "model.safetensors.index.json"
INDICES = (INDEX, "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")
GLOBS = ("model*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Stored:
    """Where a tensor is, and what it is like."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype | str


class TensorFiles:
    """The tensors of a checkpoint, read one at a time.

    Args:
        path: a file, or a folder of ``model.safetensors``, ``pytorch_model.bin``, or shards of one
            of these with or without their index. Nothing in a file is run.

    Attributes:
        stored: name -> where it is and what it is like.
        problems: tensors that the index and the shards do not agree on.

    Raises:
        FileNotFoundError: if there is no checkpoint, or a shard of it is missing.
        ValueError: if a file is damaged, or holds anything else than tensors.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.stored: dict[str, Stored] = {}
        self.problems: list[str] = []
        promised = self._promised()
        for file in self.files:
            for name, entry in _entries(file):
                if name in self.stored:
                    where = f"{self.stored[name].file.name} and {file.name}"
                    self.problems.append(f"{name} is twice there, in {where}")
                if promised and name not in promised:
                    self.problems.append(f"unexpected {name} in {file.name}: not in the index")
                self.stored[name] = entry
        for name in sorted(promised.keys() - self.stored.keys()):
            self.problems.append(f"missing {name} in {promised[name]}: only in the index")

    def _promised(self) -> dict[str, str]:
        """Find the files; give what their index says."""
        if self.path.is_file():
            self.files = [self.path]
            return {}
        index = next((self.path / n for n in INDICES if (self.path / n).is_file()), None)
        if index is None:
            singles = [self.path / name for name in SINGLE if (self.path / name).is_file()]
            shards = [found for glob in GLOBS if (found := sorted(self.path.glob(glob)))]
            self.files = singles[:1] or (shards[0] if shards else [])
            if not self.files:
                expected = " or ".join((*SINGLE, *INDICES))
                raise FileNotFoundError(f"{self.path} must hold {expected}; got none of them")
            return {}
        promised = read_json(index).get("weight_map")
        if not isinstance(promised, dict) or not all(
            isinstance(name, str) and name == Path(name).name for name in promised.values()
        ):
            raise ValueError(f"{index} must map tensors to files beside it; got {promised!r:.100}")
        self.files = [self.path / name for name in sorted(set(promised.values()))]
        if lost := [file.name for file in self.files if not file.is_file()]:
            raise FileNotFoundError(f"{index} must name files that are there; got {lost}")
        return promised

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: entry.shape for name, entry in self.stored.items()}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Read the tensors, file by file; a file is let go before the next is opened."""
        for file in self.files:
            yield from _tensors(file)


def _entries(file: Path) -> Iterator[tuple[str, Stored]]:
    if file.suffix != ".safetensors":
        for name, value in _unpickled(file).items():
            yield name, Stored(file, tuple(value.shape), value.dtype)
        return
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                value = opened.get_slice(name)
                yield name, Stored(file, tuple(value.get_shape()), value.get_dtype())
    except SafetensorError as error:
        raise ValueError(f"{file} must be a whole safetensors file; got {error}") from error


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    if file.suffix != ".safetensors":
        yield from _unpickled(file).items()
        return
    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118
            yield name, opened.get_tensor(name)


def load_tensor_file(path: Path | str) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint at once; for small ones.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, or holds anything else than tensors.
    """
    return dict(TensorFiles(path).tensors())


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Read a file of torch.save, without running anything in it, mapped rather than read."""
    try:
        try:
            value = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the format before torch 1.6 cannot be mapped
            value = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a torn or hostile pickle trips over
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{file} must hold tensors and nothing else; got {reason[0]}") from error
    tensors = isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )
    if not tensors:
        raise ValueError(f"{file} must hold a dict of tensors; got {type(value).__name__}")
    return dict(value)


class ShardWriter:
    """Writes tensors to ``model-00001-of-0000N.safetensors`` and their index.

    Args:
        folder: where to; it must exist.
        shard_bytes: size from which on a new shard is begun. No more than this, and one tensor,
            is held in memory.
        stem: of the files' names.
    """

    def __init__(self, folder: Path, *, shard_bytes: int = 4 * 10**9, stem: str = "model") -> None:
        self.folder, self.shard_bytes, self.stem = folder, shard_bytes, stem
        self.pending: dict[str, Tensor] = {}
        self.shards: list[list[str]] = []
        self.pending_bytes = self.total_bytes = 0

    def add(self, name: str, value: Tensor) -> None:
        """Take a tensor; it is copied."""
        if self.pending and self.pending_bytes + value.nbytes > self.shard_bytes:
            self._write()
        self.pending[name] = value.detach().clone(memory_format=torch.contiguous_format)
        self.pending_bytes += value.nbytes
        self.total_bytes += value.nbytes

    def _write(self) -> None:
        self.shards.append(list(self.pending))
        path = self.folder / f"shard-{len(self.shards):05d}.safetensors"
        save_file(self.pending, path, metadata={"format": "pt"})
        self.pending, self.pending_bytes = {}, 0

    def close(self) -> None:
        """Write what is left, give the shards their final names, and write the index."""
        if self.pending:
            self._write()
        count, weight_map = len(self.shards), {}
        for number, names in enumerate(self.shards, start=1):
            name = f"{self.stem}-{number:05d}-of-{count:05d}.safetensors"
            if count == 1:
                name = f"{self.stem}.safetensors"
            (self.folder / f"shard-{number:05d}.safetensors").rename(self.folder / name)
            weight_map |= dict.fromkeys(names, name)
        if count > 1:
            index = {"metadata": {"total_size": self.total_bytes}, "weight_map": weight_map}
            path = self.folder / f"{self.stem}.safetensors.index.json"
            path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
