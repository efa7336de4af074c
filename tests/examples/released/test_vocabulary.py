"""Rows of a released vocabulary, and ids that do not clash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from reference.released.vocabulary import resolve_vocabulary

IMAGE, GROUND, COORD = "<image>", "<ground>", "<coord>"
RELEASED = {IMAGE: 151646, GROUND: 151647, COORD: 151648}


def write(folder: Path, **files: object) -> None:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("embed", "head"), [(152064, 151649), (151649, 152064), (152064, 152064)])
def test_released_rows_have_room(embed: int, head: int, tmp_path: Path) -> None:
    vocabulary = resolve_vocabulary(tmp_path, {}, embed=embed, lm_head=head)
    assert vocabulary.special == RELEASED
    assert vocabulary.rows == 152064
    assert (vocabulary.image_token_id, vocabulary.video_token_id) == (152062, 152063)


def test_rows_without_room_grow_to_those_of_qwen2(tmp_path: Path) -> None:
    vocabulary = resolve_vocabulary(tmp_path, {}, embed=151649, lm_head=151649)
    assert (vocabulary.special, vocabulary.rows) == (RELEASED, 152064)
    assert (vocabulary.embed, vocabulary.lm_head) == (151649, 151649)


def test_llava_video_gets_the_ids_that_the_released_model_gave(tmp_path: Path) -> None:
    write(tmp_path, vocab={"a": 0, "b": 151642}, added_tokens={IMAGE: 151646, "<|im_end|>": 151645})
    vocabulary = resolve_vocabulary(tmp_path, {}, embed=152064, lm_head=152064)
    assert vocabulary.special == RELEASED


def test_the_tokenizer_is_believed(tmp_path: Path) -> None:
    """Even where it has the ids that a host of transformers would take for its placeholders."""
    tokens = [{"content": GROUND, "id": 151646}, {"content": COORD, "id": 151650}]
    write(tmp_path, tokenizer={"model": {"vocab": {"a": 7}}, "added_tokens": tokens})
    decoder = {"151660": {"content": "<more>"}, "151646": {"content": GROUND}}
    write(tmp_path, tokenizer_config={"added_tokens_decoder": decoder})
    config = {"coord_token_ids": [151650], "ground_token_ids": 151646}
    vocabulary = resolve_vocabulary(tmp_path, config, embed=152064, lm_head=152064)
    assert vocabulary.special == {IMAGE: 151661, GROUND: 151646, COORD: 151650}
    ids = [*vocabulary.special.values(), vocabulary.image_token_id, vocabulary.video_token_id]
    assert len(set(ids)) == 5
    assert max(ids) < vocabulary.rows


def test_the_config_alone_is_believed(tmp_path: Path) -> None:
    config = {"ground_token_ids": [151648], "coord_token_ids": [151647]}
    vocabulary = resolve_vocabulary(tmp_path, config, embed=152064, lm_head=151649)
    assert vocabulary.special == {IMAGE: 151646, GROUND: 151648, COORD: 151647}
    config = {"ground_token_ids": [151646]}
    vocabulary = resolve_vocabulary(tmp_path, config, embed=152064, lm_head=151649)
    assert len(set(vocabulary.special.values())) == 3


def test_placeholders_are_never_a_word(tmp_path: Path) -> None:
    write(tmp_path, vocab={"a": 152063})
    vocabulary = resolve_vocabulary(tmp_path, {}, embed=152064, lm_head=152064)
    assert vocabulary.special == {IMAGE: 152064, GROUND: 152065, COORD: 152066}
    assert vocabulary.rows == 152128
    assert vocabulary.image_token_id > 152066


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        ({"added_tokens": {COORD: 100}}, {}, "must have a row for each special token; got .*100"),
        ({}, {"ground_token_ids": [-1]}, "must have a row for each special token"),
        (
            {"added_tokens": {COORD: 5}},
            {"coord_token_ids": [6]},
            "config.json must give <coord> the tokenizer's id 5; got 6",
        ),
        (
            {"added_tokens": {COORD: 5}, "vocab": {COORD: 6}},
            {},
            "vocab.json must give <coord> the id 5 of added_tokens.json; got 6",
        ),
        (
            {"added_tokens": {COORD: 5, GROUND: 5}},
            {},
            "must give each special token an id of its own",
        ),
        ({}, {"coord_token_ids": [5, 6]}, r"must give coord_token_ids as one id; got \[5, 6\]"),
        ({}, {"coord_token_ids": "5"}, "must give coord_token_ids as one id"),
        ({"vocab": [1]}, {}, "vocab.json must be a JSON object; got list"),
    ],
)
def test_clashes_are_named(
    files: dict[str, object], config: dict[str, object], message: str, tmp_path: Path
) -> None:
    write(tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        resolve_vocabulary(tmp_path, config, embed=64, lm_head=64)


def test_new_words_start_from_the_mean_and_padding_from_zero(tmp_path: Path) -> None:
    vocabulary = resolve_vocabulary(tmp_path, {}, embed=60, lm_head=60)
    assert vocabulary.special == {IMAGE: 60, GROUND: 61, COORD: 62}
    embedding = torch.randn(60, 8)
    grown = vocabulary.grow(embedding)
    assert grown.shape == (128, 8)
    assert torch.equal(grown[:60], embedding)
    torch.testing.assert_close(grown[60:63], embedding.mean(0).expand(3, -1))
    assert not grown[63:].any()
