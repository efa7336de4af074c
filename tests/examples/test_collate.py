from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference.chat import COORD, END, GROUND, IMAGE, build_tokenizer
from reference.collate import SceneCollator
from reference.data.scene import Scene, Turn
from reference.text import IGNORE
from strategies import make_frames

NUM_VISUAL = 5
QA = Turn("qa", "what is red ?", "a chair")
SQA = Turn("sqa", "what is at <coord> ?", "table", point=(1.0, 2.0, 0.5))
ONE = Turn("grounding", "the red chair", "<ground>", objects=(1,))
MANY = Turn("multi_grounding", "the chairs", "<ground>", objects=(0, 2))
NONE = Turn("multi_grounding", "the table", "<ground>")


@pytest.fixture(scope="module")
def collate() -> SceneCollator:
    turns = (QA, SQA, ONE, MANY, NONE)
    tokenizer = build_tokenizer(text for t in turns for text in (t.question, t.answer))
    return SceneCollator(tokenizer, [tokenizer.convert_tokens_to_ids(IMAGE)] * NUM_VISUAL)


def scene(*turns: Turn, objects: int = 3) -> Scene:
    return Scene("scene", make_frames(1, 2, (8, 8)), torch.rand(objects, 6), turns=turns)


def test_targets_and_points_follow_their_tokens(collate: SceneCollator) -> None:
    batch = collate([scene(ONE, SQA, MANY), scene(QA, NONE, objects=4)])
    text = batch.text
    assert text.ground_targets.shape == (2, 2, 4)
    assert text.ground_targets[0].tolist() == [
        [False, True, False, False],
        [True, False, True, False],
    ]
    assert not text.ground_targets[1].any()
    assert (text.ground_positions >= 0).sum(1).tolist() == [2, 1]
    assert text.coord_points[0, 0].tolist() == [1.0, 2.0, 0.5]
    assert text.coord_positions[1].tolist() == [-1]
    for positions, token in ((text.coord_positions, COORD), (text.ground_positions, GROUND)):
        wanted = collate.tokenizer.convert_tokens_to_ids(token)
        for row, places in enumerate(positions):
            assert (text.input_ids[row, places[places >= 0]] == wanted).all()


def test_training_text_is_padded_on_the_right(collate: SceneCollator) -> None:
    text = collate([scene(QA, SQA), scene(QA)]).text
    visual = collate.tokenizer.convert_tokens_to_ids(IMAGE)
    assert (text.input_ids[:, :NUM_VISUAL] == visual).all()
    assert (text.input_ids == visual).sum(1).tolist() == [NUM_VISUAL] * 2
    padding = text.attention_mask == 0
    assert torch.equal(padding, text.segments == -1)
    assert padding[1, -1]
    assert not padding[0].any()
    assert text.segments[0].max() == 2
    assert (text.labels[padding] == IGNORE).all()


def test_answers_are_supervised_and_grounding_is_not(collate: SceneCollator) -> None:
    text = collate([scene(QA, ONE)]).text
    supervised = text.labels[0][text.labels[0] != IGNORE]
    assert collate.tokenizer.decode(supervised) == f"a chair {END}"


def test_questions_end_where_the_answer_begins(collate: SceneCollator) -> None:
    batch = collate.questions([scene(QA), scene(SQA)])
    text = batch.text
    assert (text.attention_mask[:, -1] == 1).all()
    assert text.attention_mask.sum(1).tolist() != [text.input_ids.shape[1]] * 2
    for row in text.input_ids:
        assert collate.tokenizer.decode(row).endswith("assistant")
    at = text.coord_positions[1, 0]
    assert text.input_ids[1, at] == collate.tokenizer.convert_tokens_to_ids(COORD)
    assert (text.labels == IGNORE).all()


def test_scenes_about_which_only_places_are_asked(collate: SceneCollator) -> None:
    batch = collate([scene(ONE, NONE), scene(ONE, QA), scene(QA)])
    assert batch.grounding_only.tolist() == [True, False, False]
    assert batch.without_text().grounding_only.tolist() == [False] * 3


@pytest.mark.parametrize("labels", ["answer", "released"])
def test_an_instruction_precedes_every_question_and_changes_no_turn(
    collate: SceneCollator, labels: str
) -> None:
    ids = (collate.tokenizer, collate.scene_ids)
    asking = SceneCollator(*ids, labels=labels, instruction="table chair")
    given = scene(QA, SQA)
    for _ in range(2):
        whole = collate.tokenizer.decode(asking([given]).text.input_ids[0])
        assert whole.count("user table chair what is") == 2
        assert given.turns == (QA, SQA)
    start = collate.tokenizer.decode(asking.questions([scene(QA)]).text.input_ids[0])
    assert start.endswith("user table chair what is red ? <|im_end|> <|im_start|> assistant")


def test_scenes_without_turns_are_unlabelled(collate: SceneCollator) -> None:
    batch = collate([scene(), scene(objects=0)])
    assert batch.text is None
    assert batch.objects.sum(1).tolist() == [3, 0]


def test_a_batch_may_hold_scenes_without_turns(collate: SceneCollator) -> None:
    labelled, bare = scene(QA, SQA, ONE), scene(objects=2)
    batch = collate([bare, labelled])
    alone = collate([labelled]).text
    text = batch.text
    assert batch.objects.sum(1).tolist() == [2, 3]
    for name in ("input_ids", "attention_mask", "segments", "labels"):
        assert torch.equal(getattr(text, name)[1:], getattr(alone, name)), name
    for name in ("coord_positions", "ground_positions"):
        assert getattr(text, name).tolist() == [[-1], *getattr(alone, name).tolist()], name
    assert (text.labels[0] == IGNORE).all()
    assert not text.ground_targets[0].any()
    visual = collate.tokenizer.convert_tokens_to_ids(IMAGE)
    assert text.input_ids[0, :NUM_VISUAL].tolist() == [visual] * NUM_VISUAL
    assert text.segments[0].unique().tolist() == [-1, 0]
    assert (text.segments[0] == 0).sum() == NUM_VISUAL
    assert text.attention_mask[0].sum() == NUM_VISUAL


def test_questions_must_be_asked(collate: SceneCollator) -> None:
    with pytest.raises(ValueError, match="turns must hold at least one turn; got none"):
        collate.questions([scene(QA), scene()])


def test_decode_drops_special_tokens(collate: SceneCollator) -> None:
    ids = collate.tokenizer(f"a red chair{END}", add_special_tokens=False)["input_ids"]
    pad = collate.stop["pad_token_id"]
    assert collate.decode(torch.tensor([*ids, pad])) == "a red chair"
    assert ids[-1] == collate.stop["eos_token_id"]


def test_a_scene_can_be_written_with_other_ids(collate: SceneCollator) -> None:
    start, end, view = collate.tokenizer.convert_tokens_to_ids(["red", "table", "chair"])
    other = SceneCollator(collate.tokenizer, [start, view, view, end])
    text = other([scene(replace(QA, answer="table"))]).text
    assert text.input_ids[0, :4].tolist() == [start, view, view, end]
    assert text.segments[0, :5].tolist() == [0, 0, 0, 0, 1]
    assert IMAGE not in collate.tokenizer.decode(text.input_ids[0])
