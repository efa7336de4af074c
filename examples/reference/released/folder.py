"""Folders that conversions write: whole or not at all, with what lies beside the weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files import TEMPORARY, flush, read_json, remove, replacing
from .keys import VAE
from .sharded import ShardWriter
from .vae import FOLDER, STEM

FORMAT = "ross3d-released"
CONFIG, ORIGINAL = "config.json", "official_config.json"
BESIDE = ("*token*.json", "vocab.json", "merges.txt", "*.jinja", "generation_config.json")


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Give a folder to write to, which gets its name once all of it is on the disk.

    Raises:
        FileExistsError: if there is anything of this name.
    """
    out = Path(path)
    if out.exists():
        raise FileExistsError(
            f"{out} must not exist; got a {'file' if out.is_file() else 'folder'}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    remove(out.with_name(TEMPORARY + out.name))  # of a conversion that was killed
    with replacing(out) as temporary:
        temporary.mkdir()
        yield temporary
        for file in temporary.glob("*/*"):
            flush(file)


def write_tensors(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    shard_bytes: int,
    vae: Mapping[str, Any] | None = None,
) -> None:
    """Write a model's shards; an autoencoder goes where diffusers would look for it."""
    writer = ShardWriter(folder, shard_bytes=shard_bytes)
    if vae is None:
        for name, value in tensors:
            writer.add(name, value)
        writer.close()
        return
    (folder / FOLDER).mkdir()
    aside = ShardWriter(folder / FOLDER, shard_bytes=2**62, stem=STEM)
    for name, value in tensors:
        if name.startswith(VAE):
            aside.add(name.removeprefix(VAE), value)
        else:
            writer.add(name, value)
    writer.close()
    aside.close()
    write_json(folder / FOLDER / CONFIG, {"_class_name": "AutoencoderKL", **vae})


def copy_beside(source: Path, folder: Path) -> None:
    """Copy the tokenizer's files, and other small ones that belong to a checkpoint."""
    for pattern in BESIDE:
        for file in source.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config of a folder that was converted; nothing where there is none.

    Raises:
        ValueError: if it is that of something else.
    """
    path = folder / CONFIG
    if not path.is_file():
        return {}
    config = read_json(path)
    if config.get("format") != FORMAT:
        raise ValueError(f"{path} must be of format {FORMAT}; got {config.get('format')!r}")
    return config
