"""Rows of a released vocabulary, and the ids of its special tokens, so that nothing clashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..chat import COORD, GROUND, IMAGE
from ..files import read_json

RELEASED = {IMAGE: 151646, GROUND: 151647, COORD: 151648}
"""Ids in released checkpoints: the next after Qwen2's own."""

RELEASED_ROWS = 151649
QWEN2_ROWS = 152064
CONFIG_KEYS = {GROUND: "ground_token_ids", COORD: "coord_token_ids"}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "vocab.json")


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary with room for the host's two placeholders.

    Attributes:
        embed: rows of the released input embedding.
        lm_head: rows of the released output embedding.
        rows: rows of both of ours.
        special: ``<image>``, ``<ground>`` and ``<coord>`` -> id.
        image_token_id: the host's placeholder of images, a row that no token uses.
        video_token_id: that of videos.
    """

    embed: int
    lm_head: int
    rows: int
    special: dict[str, int]
    image_token_id: int
    video_token_id: int

    def grow(self, embedding: Tensor) -> Tensor:
        """Append rows (rows, d): the mean for special tokens that are new, else zeros.

        The released model starts new special tokens from the mean as well.
        """
        old = embedding.shape[0]
        grown = F.pad(embedding, (0, 0, 0, self.rows - old))
        new = [i for i in self.special.values() if i >= old]
        if new:
            grown[torch.tensor(new)] = embedding.mean(0, dtype=torch.float32).to(embedding.dtype)
        return grown


def resolve_vocabulary(
    folder: Path, config: Mapping[str, Any], *, embed: int, lm_head: int
) -> Vocabulary:
    """Find the ids of the special tokens, and two free rows for the host's placeholders.

    The tokenizer's files and the config say which ids the tokens have; where they do not, released
    ids are taken as far as the rows go, else the next free ones.

    Args:
        folder: of the checkpoint, with the tokenizer's files if it has them.
        config: its config.json, or nothing.
        embed: rows of the input embedding.
        lm_head: rows of the output embedding.

    Raises:
        ValueError: if two files disagree on an id, two tokens share one, or an id is beyond the
            rows of the embedding.
    """
    known, used = _tokenizer(folder)
    special = {token: known[token] for token in RELEASED if token in known}
    for token, key in CONFIG_KEYS.items():
        if (found := _single(config.get(key), folder / "config.json", key)) is None:
            continue
        if special.setdefault(token, found) != found:
            raise ValueError(
                f"{folder / 'config.json'} must give {token} the tokenizer's id {special[token]}; "
                f"got {found}"
            )
    beyond = {token: i for token, i in special.items() if not 0 <= i < embed}
    if beyond:
        raise ValueError(
            f"{folder} must have a row for each special token; got {beyond} of {embed}"
        )
    rows = min(embed, lm_head)
    free = used if used is not None else min(rows, RELEASED_ROWS)
    for token, released in RELEASED.items():
        if token in special:
            continue
        taken = set(special.values())
        if used is None and rows >= RELEASED_ROWS and released not in taken:
            special[token] = released
            continue
        free = max(free, *(i + 1 for i in taken)) if taken else free
        special[token] = free
    if len(set(special.values())) < len(special):
        raise ValueError(f"{folder} must give each special token an id of its own; got {special}")
    needed = max(free, *(i + 1 for i in special.values())) + 2
    rows = max(embed, lm_head)
    if needed > rows:
        fits = RELEASED_ROWS <= needed <= QWEN2_ROWS
        rows = QWEN2_ROWS if fits else -(-needed // 64) * 64
    special = {token: special[token] for token in RELEASED}
    return Vocabulary(embed, lm_head, rows, special, rows - 2, rows - 1)


def _tokenizer(folder: Path) -> tuple[dict[str, int], int | None]:
    """Special tokens that the tokenizer's files know, and the first id that none of them uses."""
    tokens: dict[str, tuple[int, str]] = {}
    used = None
    for name in TOKENIZER_FILES:
        if not (folder / name).is_file():
            continue
        ids = _ids(read_json(folder / name), name)
        for token in RELEASED.keys() & ids.keys():
            before = tokens.setdefault(token, (ids[token], name))
            if before[0] != ids[token]:
                raise ValueError(
                    f"{folder / name} must give {token} the id {before[0]} of {before[1]}; "
                    f"got {ids[token]}"
                )
        if ids:
            used = max(used or 0, 1 + max(ids.values()))
    return {token: number for token, (number, _) in tokens.items()}, used


def _ids(content: Mapping[str, Any], name: str) -> dict[str, int]:
    """Token -> id, of one of the tokenizer's files."""
    if name == "tokenizer.json":
        added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
        words = content.get("model", {}).get("vocab", {})
        return {**(words if isinstance(words, dict) else {}), **added}
    if name == "tokenizer_config.json":
        added = content.get("added_tokens_decoder", {})
        return {token["content"]: int(number) for number, token in added.items()}
    return {token: int(number) for token, number in content.items()}


def _single(value: Any, file: Path, key: str) -> int | None:
    values = value if isinstance(value, list) else [value]
    if len(values) != 1 or not (values[0] is None or isinstance(values[0], int)):
        raise ValueError(f"{file} must give {key} as one id; got {json.dumps(value)}")
    return values[0]
