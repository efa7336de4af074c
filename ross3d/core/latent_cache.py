"""Tensors on disk, by key: shared by processes, bounded in size, never half written."""

from __future__ import annotations

import os
import re
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import torch
from torch import Tensor

from ross3d.core.fingerprint import digest

TEMPORARY, SUFFIX = ".tmp-", ".safetensors"
STALE = 600.0  # seconds after which nobody is writing any more: an entry takes milliseconds
SHARE = 16  # a writer looks at the folder again after this share of the bound


class _Held(NamedTuple):
    used: int  # when, nanoseconds
    size: int  # bytes
    path: Path


class LatentCache:
    """A folder of tensors, each under a key, that several processes may read and write at once.

    Each tensor is a safetensors file with a checksum, written under a name of its own and then
    renamed: a process that is killed leaves no half entry, only a temporary file, which is removed
    by whoever looks at the folder ten minutes later. A damaged entry, as a power failure may leave
    one, is warned of and counts as missing. Nothing is locked, so that any file system will do.

    What was used longest ago goes when the folder is full. A process looks at all names only before
    its first entry and after every sixteenth of the bound (or entry, if that is larger) that it has
    written: one writer never exceeds the bound, and n of them by no more than n - 1 sixteenths.

    It can be pickled; copies in other processes are writers of their own.

    Args:
        folder: made if it is not there.
        max_bytes: the bound, of the sizes of all files.

    Raises:
        ValueError: if ``max_bytes`` is less than 1, or ``folder`` is a file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     cache = LatentCache(folder)
        ...     cache.put("00ff", torch.ones(2))
        ...     print(cache.get("00ff"), cache.get("ff00"))
        tensor([1., 1.]) None
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int = 20 * 10**9) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1; got {max_bytes}")
        self.folder, self.max_bytes = Path(folder), max_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(f"folder must be a folder; got {self.folder}, a file") from error
        self._room = 0  # bytes that may be written before the next look at the folder

    def path(self, key: str) -> Path:
        """Say where an entry is.

        Raises:
            ValueError: if the key is not of hexadecimal digits, three or more.
        """
        if not re.fullmatch("[0-9a-f]{3,}", key):
            raise ValueError(f"key must be of hexadecimal digits, three or more; got {key!r}")
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def get(self, key: str) -> Tensor | None:
        """Read an entry.

        Args:
            key: hexadecimal digits.

        Returns:
            The tensor that was put, on the CPU, bit for bit; None = there is none, or it is
            damaged, which is warned of.

        Raises:
            ValueError: if the key is not of hexadecimal digits.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.path(key)
        try:
            # Not mapped: pages of a file that another machine deletes are lost with it.
            found = load(path.read_bytes())
            if found["checksum"].tolist() != _checksum(key, found["value"]).tolist():
                raise ValueError("another checksum")
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            warnings.warn(f"{path} is damaged and is made again: {error}", stacklevel=2)
            return None
        with suppress(OSError):  # evicted meanwhile, or nobody may write here
            _touch(path)
        return found["value"]

    def put(self, key: str, value: Tensor) -> None:
        """Store an entry, in the place of an earlier one; a disk that fails is warned of.

        Args:
            key: hexadecimal digits.
            value: on any device.

        Raises:
            ValueError: if the key is not of hexadecimal digits, or the entry exceeds ``max_bytes``.
        """
        from safetensors.torch import save

        path = self.path(key)
        value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        data = save({"value": value, "checksum": _checksum(key, value)})
        if len(data) > self.max_bytes:
            raise ValueError(f"max_bytes must hold {len(data)} of an entry; got {self.max_bytes}")
        temporary = path.with_name(f"{TEMPORARY}{uuid4().hex}")
        try:
            if len(data) > self._room:
                self._make_room(len(data))
            self._room -= len(data)
            path.parent.mkdir(exist_ok=True)
            temporary.write_bytes(data)
            _touch(temporary)
            os.replace(temporary, path)
        except OSError as error:
            warnings.warn(f"{path} could not be written: {error}", stacklevel=2)
            with suppress(OSError):
                temporary.unlink()

    def _make_room(self, wanted: int) -> None:
        """Look at the folder, and drop what was used longest ago until there is room."""
        self._room = max(wanted, self.max_bytes // SHARE)
        held = self._held()
        excess = sum(entry.size for entry in held) + self._room - self.max_bytes
        for entry in sorted(held):
            if excess <= 0:
                break
            with suppress(OSError):  # another process was faster
                entry.path.unlink()
            excess -= entry.size

    def _held(self) -> list[_Held]:
        """All files but temporary ones of the dead, which are removed."""
        held, now = [], time.time()
        for shard in [Path(entry) for entry in os.scandir(self.folder) if entry.is_dir()]:
            for entry in os.scandir(shard):
                with suppress(OSError):
                    stat = entry.stat()
                    if entry.name.startswith(TEMPORARY) and now - stat.st_mtime > STALE:
                        Path(entry).unlink()
                    else:
                        held.append(_Held(stat.st_mtime_ns, stat.st_size, Path(entry)))
        return held


def _checksum(key: str, value: Tensor) -> Tensor:
    """Of the key, too: a file under another name is another's."""
    return torch.tensor(list(bytes.fromhex(digest(key, value))), dtype=torch.uint8, device="cpu")


def _touch(path: Path) -> None:
    """Note that a file is used now; a file system's own clock ticks in milliseconds."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))
