from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference.answers import answers
from reference.chat import add_chat_tokens, collate_text, prompt_ids
from reference.chat_format import CHATML, chat_format
from reference.collate import SceneCollator
from reference.data.scene import Scene, Turn
from strategies import make_frames
from templates import TEMPLATES, letters
from tiny import tiny_ross3d
from torch import Tensor
from transformers import PreTrainedTokenizerFast

QA = Turn("qa", "What is red?", "A chair")
CAPTION = Turn("caption", "What is at <coord>?", "a lamp", point=(1.0, 2.0, 0.5))
GROUNDING = Turn("grounding", "The chair.", "<ground>", objects=(1,))
PLACES = 3


def with_words(template: str) -> tuple[PreTrainedTokenizerFast, list[int]]:
    tokenizer = letters(template)
    assert add_chat_tokens(tokenizer) == 2, "a template brings the rest"
    return tokenizer, [tokenizer.convert_tokens_to_ids("<image>")] * PLACES


def text_of(tokenizer: PreTrainedTokenizerFast, ids: Tensor) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(ids.tolist()))


def rendered(tokenizer: PreTrainedTokenizerFast, listed: bool, *contents: str, ask: bool) -> str:
    messages = [
        {"role": role, "content": [{"type": "text", "text": words}] if listed else words}
        for role, words in zip(("user", "assistant"), contents, strict=False)
    ]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_is_what_the_template_writes(name: str) -> None:
    tokenizer, scene = with_words(name)
    user = "<image>" * PLACES + "\nWhat is red?"
    whole = text_of(tokenizer, prompt_ids(tokenizer, [QA], scene).input_ids)
    start = text_of(tokenizer, prompt_ids(tokenizer, [QA], scene, answered=False).input_ids)
    if name == "llava":  # Its template opens an answer with a space that a generation lacks.
        assert rendered(tokenizer, True, user, "A chair", ask=False) == whole
        assert whole.startswith(start)
        assert start.endswith("assistant \n")
        return
    assert rendered(tokenizer, False, user, "A chair", ask=False) == whole
    assert rendered(tokenizer, False, user, ask=True) == start


@pytest.mark.parametrize("name", TEMPLATES)
def test_only_the_answer_and_its_end_are_supervised(name: str) -> None:
    tokenizer, scene = with_words(name)
    end = "</s>" if name == "vicuna" else "<|im_end|>"
    prompt = prompt_ids(tokenizer, [QA, GROUNDING, CAPTION], scene)
    kept = prompt.labels[prompt.labels != -100]
    assert text_of(tokenizer, kept) == f"A chair{end}a lamp{end}"
    collate = SceneCollator(tokenizer, scene)
    assert collate.stop["eos_token_id"] == tokenizer.convert_tokens_to_ids(end)
    assert collate.stop["pad_token_id"] == tokenizer.eos_token_id, "there is no token that pads"


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_turn_is_written_as_if_alone(name: str) -> None:
    tokenizer, scene = with_words(name)
    turns = [QA, CAPTION, GROUNDING]
    together = prompt_ids(tokenizer, turns, scene)
    front = together.input_ids[together.segments == 0]
    assert front[-PLACES:].tolist() == scene
    assert text_of(tokenizer, front[:-PLACES]) == chat_format(tokenizer).before
    for number, turn in enumerate(turns, 1):
        alone = prompt_ids(tokenizer, [turn], scene)
        for ids in ("input_ids", "labels"):
            own = getattr(together, ids)[together.segments == number]
            assert torch.equal(own, getattr(alone, ids)[alone.segments == 1])
        assert torch.equal(alone.input_ids[alone.segments == 0], front)


def test_a_template_answers_one_turn_at_a_time() -> None:
    tokenizer, scene = with_words("qwen")
    with pytest.raises(ValueError, match="turns must be one, to be answered by a template; got 2"):
        prompt_ids(tokenizer, [QA, CAPTION], scene, answered=False)


def test_templates_batch_like_others() -> None:
    tokenizer, scene = with_words("qwen")
    frames, boxes = make_frames(1, 2, (8, 8)), torch.rand(2, 6)
    scenes = [Scene("a", frames, boxes, turns=(turn,)) for turn in (CAPTION, QA)]
    batch = SceneCollator(tokenizer, scene)(scenes)
    coord = tokenizer.convert_tokens_to_ids("<coord>")
    assert batch.text.input_ids[0, batch.text.coord_positions[0, 0]] == coord
    assert (batch.text.input_ids == scene[0]).sum(1).tolist() == [PLACES] * 2
    padded = collate_text([prompt_ids(tokenizer, [QA], scene)], 0)
    assert (padded["segments"][0, : len(chat_format(tokenizer).before)] == 0).any()


def test_a_tokenizer_without_a_template_gets_chatml() -> None:
    assert chat_format(letters()) is CHATML


def test_an_answer_without_an_end_gets_that_of_the_tokenizer() -> None:
    tokenizer = letters()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    form = chat_format(tokenizer)
    assert (form.asks, form.replies, form.ends, form.closes) == ("\n", "", "</s>", "")


def test_a_template_that_swallows_words() -> None:
    tokenizer = letters()
    tokenizer.chat_template = "{{ messages[0].content }}"
    with pytest.raises(ValueError, match=r"must write the words of user and assistant; got '\[sce"):
        chat_format(tokenizer)


def test_a_model_reads_turns_under_a_template_one_by_one() -> None:
    tiny = tiny_ross3d(turns=4)
    tokenizer = tiny.collate.tokenizer
    tokenizer.chat_template = TEMPLATES["qwen"]
    collate = SceneCollator(tokenizer, tiny.model.scene_ids(4))
    scene = tiny.scenes(1)[0]
    total, words = 0.0, 0
    with torch.no_grad():
        for turn in scene.turns:
            batch = collate([replace(scene, turns=(turn,))])
            count = int((batch.text.labels >= 0).sum())
            total += float(tiny.model(batch)["text"]) * count
            words += count
        whole = tiny.model(collate([scene]))["text"]
    assert float(whole) == pytest.approx(total / words, abs=1e-5)
    said = answers(tiny.model, tiny.scenes(), collate, batch=16)
    assert said == answers(tiny.model, tiny.scenes(), collate, batch=1)
