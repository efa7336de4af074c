from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from reference.chat_format import SPATIAL
from reference.data.scene import Scene
from reference.data.sources import RoomSource
from reference.options import build_parser, parse_options, run_collators, run_tokenizer
from tiny import tiny_ross3d

SOURCE = RoomSource(views=4, size=32, turns=3, hidden=1)
BEGINNING = "user the pictures above"


def said(collate: object, scene: Scene) -> str:
    return collate.tokenizer.decode(collate([scene]).text.input_ids[0])


def test_the_defaults_are_those_of_earlier_runs() -> None:
    options = vars(build_parser("").parse_args([]))
    chosen = ("batches", "labels", "instruction", "grounding_pretext", "several")
    assert [options[name] for name in chosen] == ["mixed", "answer", "none", "on", "any"]
    plain, tokenizer = run_tokenizer(SOURCE, {}), run_tokenizer(SOURCE, options)
    assert plain.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("cores", "given", "expected"),
    [
        (8, [], 7),
        (2, [], 1),
        (1, [], 1),
        (None, [], 1),
        (8, ["--workers", "3"], 5),
        (2, ["--workers", "0"], 2),
        (2, ["--workers", "4"], 1),
        (2, ["--threads", "2"], 2),
    ],
)
def test_training_leaves_a_core_to_each_worker(
    cores: int | None,
    given: list[str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(sys, "argv", ["train", "--out", str(tmp_path), *given])
    assert parse_options("").threads == expected


@pytest.mark.parametrize(
    ("instruction", "training", "evaluation"),
    [("none", 0, 0), ("train", 1, 0), ("evaluation", 0, 1), ("both", 1, 1)],
)
def test_prompts_of_training_and_evaluation_are_told_apart(
    instruction: str, training: int, evaluation: int
) -> None:
    model, scene = tiny_ross3d().model, SOURCE.held_out(0)
    options = {"instruction": instruction}
    tokenizer = run_tokenizer(SOURCE, options)
    collators = run_collators(tokenizer, model, 4, options)
    texts = [said(collate, scene) for collate in collators]
    assert [text.count(BEGINNING) for text in texts] == [3 * training, 3 * evaluation]
    assert (texts[0] == texts[1]) == (training == evaluation)
    assert not any("<unk>" in text for text in texts)


def test_an_instruction_is_two_sentences() -> None:
    assert SPATIAL.count(".") == 2
    assert SPATIAL.endswith(".")


def test_labels_reach_both_collators() -> None:
    tiny = tiny_ross3d()
    options = {"labels": "released"}
    for collate in run_collators(tiny.collate.tokenizer, tiny.model, 4, options):
        labels = collate([SOURCE.held_out(0)]).text.labels
        assert (labels >= 0).sum() > (tiny.collate([SOURCE.held_out(0)]).text.labels >= 0).sum()
