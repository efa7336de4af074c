"""A run's folder: its log, its pictures and its checkpoints, none of which a kill can tear."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from ross3d import __version__, load_weights, save_tensors

from .files import TEMPORARY, parse, read_json, remove, replacing
from .state import flatten, load_optimizer, optimizer_state, refuse

if TYPE_CHECKING:
    from PIL.Image import Image

RUN_FILES = ("metrics.jsonl", "figures.json", "config.json", "report.html", "checkpoint-*")


class RunFolder:
    """Where one run writes.

    Files appear whole or not at all: they are written under a temporary name, then renamed.

    Args:
        path: the folder; it is made if it does not exist.
        resume: go on with the run that the folder holds.
        keep: how many checkpoints to keep, the newest ones.

    Raises:
        FileExistsError: if the folder holds a run and ``resume`` is False, or the path is a file.
        ValueError: if ``keep`` is less than 1.
    """

    def __init__(self, path: Path | str, *, resume: bool = False, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1; got {keep}")
        self.path, self.keep = Path(path), keep
        self.path.mkdir(parents=True, exist_ok=True)
        held = sorted(found.name for name in RUN_FILES for found in self.path.glob(name))
        if held and not resume:
            raise FileExistsError(
                f"{self.path} must hold no run, unless it is resumed; got {', '.join(held)}"
            )
        for left in list(self.path.glob(f"{TEMPORARY}*")):
            remove(left)
        self.metrics = self.path / "metrics.jsonl"
        if self.metrics.exists() and not self.metrics.read_bytes().endswith(b"\n"):
            self._rewrite(self.rows())

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to ``metrics.jsonl``; one-element tensors become numbers."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row), default=float) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """Read ``metrics.jsonl``, except a last line that a kill has torn.

        Raises:
            ValueError: if another line is not JSON.
        """
        if not self.metrics.exists():
            return []
        *lines, _ = self.metrics.read_text(encoding="utf-8", errors="replace").split("\n")
        return [parse(line, f"{self.metrics}, line {n}") for n, line in enumerate(lines, 1)]

    def truncate(self, step: int) -> None:
        """Drop the rows of this step and later ones: a resumed run logs them again."""
        self._rewrite([row for row in self.rows() if row.get("step", -1) < step])

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self.write_text(self.metrics.name, "".join(json.dumps(row) + "\n" for row in rows))

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        with replacing(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file; one-element tensors become numbers."""
        self.write_text(name, json.dumps(value, indent=2, default=float) + "\n")

    def save_image(self, name: str, image: Image) -> None:
        """Write a picture in the format that the name's suffix says."""
        with replacing(self.path / name) as temporary:
            image.save(temporary)

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest step first."""
        found = [path for path in self.path.iterdir() if re.fullmatch(r"checkpoint-\d+", path.name)]
        return sorted(found, key=lambda path: int(path.name.partition("-")[2]))

    def latest_checkpoint(self) -> Path | None:
        """The checkpoint of the highest step; None = there is none."""
        return next(reversed(self.checkpoints()), None)

    def save_checkpoint(
        self,
        step: int,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        extra: Mapping[str, Any] | None = None,
        *,
        config: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write ``checkpoint-<step>/``, then drop the oldest beyond ``keep``.

        Args:
            step: optimiser steps done so far.
            model: its parameters and buffers; shared ones are written once.
            optimizer: any optimiser of the model's parameters that keeps its state in tensors.
            extra: anything JSON to hand back on loading.
            config: what :func:`load_checkpoint` can hold against the config of the day.

        Returns:
            The checkpoint's folder.
        """
        state = {"step": step, "version": __version__, "extra": dict(extra or {})}
        state |= {"config": None if config is None else dict(config)}
        path = self.path / f"checkpoint-{step:06d}"
        with replacing(path) as folder:
            folder.mkdir()
            save_tensors(folder / "model.safetensors", model.state_dict())
            if optimizer is not None:
                tensors, state["optimizer"] = optimizer_state(model, optimizer)
                save_tensors(folder / "optimizer.safetensors", tensors)
            (folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
        for old in self.checkpoints()[: -self.keep]:
            remove(old)
        return path


def load_checkpoint(
    path: Path | str,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    free: Sequence[str] = (),
) -> dict[str, Any]:
    """Fill a model, and its optimiser, from a checkpoint: bit for bit what was saved.

    Args:
        path: a checkpoint's folder.
        model: a model of the same config.
        optimizer: an optimiser of the same kind over the same parameters; None = leave it out.
        config: what the saved config must be equal to; None = anything.
        free: options that may differ, for example ``threads``.

    Returns:
        ``step``, ``extra``, ``config`` and the ``version`` of ross3d that wrote it.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the checkpoint is one of another config; nothing has
            been filled then, unless only the optimiser does not fit.
    """
    folder = Path(path)
    files = ("state.json", "model.safetensors", "optimizer.safetensors")[: 3 if optimizer else 2]
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} must hold {', '.join(missing)}; got no such file")
    state = read_json(folder / "state.json")
    saved = flatten(state.get("config") or {})
    wanted = saved if config is None else flatten(json.loads(json.dumps(dict(config))))
    differing = [
        f"{key}: {saved.get(key)!r} was saved, {wanted.get(key)!r} is wanted"
        for key in sorted({*saved, *wanted})
        if saved.get(key) != wanted.get(key) and key.removeprefix("options.") not in free
    ]
    refuse(folder / "state.json", differing if "step" in state else ["missing step"])
    load_weights(folder / "model.safetensors", model)
    groups = state.pop("optimizer", None)
    if optimizer is not None:
        load_optimizer(folder / "optimizer.safetensors", model, optimizer, groups)
    return state


def generator_for(seed: int, *keys: int | str) -> torch.Generator:
    """Make the generator of one draw, for example ``generator_for(seed, step, "mask")``.

    Every draw is a function of its keys alone, so a resumed run draws what it would have drawn.

    Args:
        seed: of the run.
        *keys: what the draw is for.
    """
    digest = hashlib.sha256(json.dumps([seed, *keys]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
