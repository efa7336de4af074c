"""Blocks that are saved to a folder and loaded from one, or from the Hugging Face Hub."""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from torch import nn

from ross3d.core.card import ModelCard
from ross3d.core.config import from_config, read_config, to_config
from ross3d.core.extras import require
from ross3d.core.weights import load_weights, replacing, save_tensors

VERSION = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


class Pretrained(nn.Module):
    """A module that can be saved and loaded: ``config.json``, ``model.safetensors``, a model card.

    A subclass keeps the arguments of its constructor as ``config``, under their names: numbers,
    text, sequences and mappings of them, and parts of ross3d. Loading makes the module of them, on
    the meta device, and lets the file's tensors take the place of its own: in their dtype, without
    a second copy, and those that several blocks share shared again. No code of a file is run: a
    config can only name ross3d's own classes.

    Attributes:
        config: the arguments of the constructor.

    Example:
        >>> from ross3d import ViewMasker
        >>> masker = ViewMasker(8)
        >>> with TemporaryDirectory() as folder:
        ...     masker.save_pretrained(folder)
        ...     print(sorted(path.name for path in Path(folder).iterdir()))
        ...     print(ViewMasker.from_pretrained(folder).mask_token.equal(masker.mask_token))
        ['README.md', 'config.json', 'model.safetensors']
        True
    """

    config: dict[str, Any]

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, card: ModelCard | None = None
    ) -> None:
        """Write the module.

        Files appear whole or not at all. Weights and config are both written before either takes
        its name, so that a save that fails leaves an earlier one in the folder as it was.

        Args:
            folder: made if it is not there; other files in it are left alone.
            card: what README.md says; None = a card without statements, unless there is one.

        Raises:
            ValueError: if ``config`` does not hold the arguments of the constructor, or weights are
                on the meta device.
        """
        kind, path = type(self), Path(folder)
        problem = _not_arguments(kind, self.config)
        if problem:
            raise ValueError(f"config must hold the arguments of {kind.__name__}; got {problem}")
        config = {"format": VERSION, "class": kind.__name__, "config": to_config(self.config)}
        path.mkdir(parents=True, exist_ok=True)
        with replacing(path / CONFIG) as described, replacing(path / WEIGHTS) as weights:
            save_tensors(weights, self.state_dict())
            described.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        write_card(path, card, ModelCard(f"{kind.__name__} of ross3d", usage=_usage(kind)))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, revision: str | None = None, **parts: Any
    ) -> Self:
        """Load a module that ``save_pretrained`` wrote, in evaluation mode.

        Args:
            folder: the folder, or the id of a repository on the Hugging Face Hub.
            revision: of the repository: a branch, tag or commit.
            **parts: objects that the config could not describe, by the names of the constructor's
                arguments, for example a ``tokenizer`` around your own encoder.

        Returns:
            The module. Parameters are the file's; what trains is what a new module trains.

        Raises:
            FileNotFoundError: if there is no such folder or repository, or a file is missing.
            ImportError: if it is a repository, and huggingface_hub is not installed.
            ValueError: naming the file, if it is damaged, describes another class, or does not
                fit; or a part must be given.
        """
        path = pretrained_folder(folder, revision, files=(CONFIG, WEIGHTS))
        saved = read_config(path / CONFIG, format=VERSION, **{"class": cls.__name__})
        module: Self = from_config(saved["config"], cls, path / CONFIG, parts=parts, meta=True)
        load_weights(path / WEIGHTS, module, assign=True)
        return module.eval()

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        message: str = "Save with ross3d",
        **options: Any,
    ) -> str:
        """Save the module to a repository of the Hugging Face Hub, which is made if need be.

        Args:
            repo_id: "owner/name".
            private: of a new repository; None = as the owner's repositories are by default.
            message: of the commit.
            **options: of ``save_pretrained``.

        Returns:
            The address of the commit.

        Raises:
            ImportError: if huggingface_hub is not installed.
        """
        hub = require("huggingface_hub", "hf")
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, **options)
            hub.create_repo(repo_id, private=private, exist_ok=True)
            return str(
                hub.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
            )


def pretrained_folder(
    folder: str | os.PathLike[str], revision: str | None = None, *, files: tuple[str, ...] = ()
) -> Path:
    """Find what was saved: a folder, or else a repository of the Hub, which is downloaded.

    Args:
        folder: a path; text of the form "owner/name" that is no folder is a repository's id.
        revision: of the repository.
        files: patterns of the files that are needed; none = all.

    Raises:
        FileNotFoundError: if there is neither.
        ImportError: if it is a repository, and huggingface_hub is not installed.
    """
    path = Path(folder)
    if path.is_dir():
        return path
    if not isinstance(folder, str) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", folder):
        raise FileNotFoundError(f"folder must be a folder or the id of a repository; got {folder}")
    hub = require("huggingface_hub", "hf")
    try:
        found = hub.snapshot_download(folder, revision=revision, allow_patterns=files or None)
    except OSError as error:
        raise FileNotFoundError(
            f"folder must be a folder or the id of a repository; got {folder} ({error})"
        ) from error
    return Path(found)


def write_card(path: Path, card: ModelCard | None, default: ModelCard) -> None:
    """Write README.md; without a card of its own, an earlier one stays.

    Args:
        path: the folder.
        card: the card; None = the default.
        default: what is written where there is no card at all.
    """
    if card is not None or not (path / CARD).exists():
        with replacing(path / CARD) as readme:
            readme.write_text((card or default).text(), encoding="utf-8")


def _not_arguments(kind: type[nn.Module], config: dict[str, Any]) -> str | None:
    """Say what is wrong with the arguments of a constructor."""
    try:
        inspect.signature(kind).bind(**config)
    except TypeError as error:
        return str(error).removeprefix("got ")
    return None


def _usage(kind: type[nn.Module]) -> str:
    name = kind.__name__
    return f'from ross3d import {name}\n\nblock = {name}.from_pretrained("FOLDER OR ID")'
