"""Files that appear whole or not at all, and JSON that is named when it is damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write a file or folder under; it becomes ``path`` once whole."""
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        yield temporary
        for written in (*temporary.glob("*"), temporary):
            flush(written)
        if path.is_dir():
            remove(path)
        os.replace(temporary, path)
    finally:
        remove(temporary)
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":  # pragma: no cover
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there; a kill never leaves half of it under its name."""
    if path.is_dir():
        going = path.with_name(f"{TEMPORARY}going-{path.name.removeprefix(TEMPORARY)}")
        shutil.rmtree(going, ignore_errors=True)
        shutil.rmtree(path.rename(going))
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        ValueError: if it holds something else; the message names the file.
    """
    return parse(Path(path).read_bytes(), str(path))


def parse(text: str | bytes, source: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: if it is none.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source} must be JSON; got {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{source} must be a JSON object; got {type(value).__name__}")
    return value
