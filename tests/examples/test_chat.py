from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.chat import (
    CHAT_TOKENS,
    Prompt,
    add_chat_tokens,
    build_tokenizer,
    collate_text,
    prompt_ids,
)
from reference.data.scene import Turn
from reference.llava_lmm import LlavaOnevisionLMM
from reference.tiny_lmm import tiny_llava
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

QA = Turn("qa", "What colour is the chair?", "dark red")
CAPTION = Turn("caption", "Describe the object at <coord>.", "a red chair", point=(1.0, 2.0, 0.5))
GROUNDING = Turn("grounding", "Which object is the red chair?", "<ground>", objects=(1,))
TURNS = (QA, CAPTION, GROUNDING)
TOKENIZER = build_tokenizer(text for turn in TURNS for text in (turn.question, turn.answer))
VISUAL = 7
IDS = {token: TOKENIZER.convert_tokens_to_ids(token) for token in (*CHAT_TOKENS, "<pad>", "<unk>")}


SCENE = [IDS["<image>"]] * VISUAL


def supervised_text(prompt: Prompt, tokenizer: PreTrainedTokenizerFast = TOKENIZER) -> list[str]:
    return tokenizer.convert_ids_to_tokens(prompt.labels[prompt.labels != -100].tolist())


def test_vocabulary_is_the_special_tokens_and_the_sorted_words() -> None:
    tokenizer = build_tokenizer(["Zebra, apple (apple)?!", "<coord> 12.5 <unk>"])
    words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert words[:7] == ["<pad>", "<unk>", *CHAT_TOKENS]
    expected = {"!", "(", ")", ",", ".", "12", "5", "?", "apple", "assistant", "user", "zebra"}
    assert words[7:] == sorted(expected)


@given(st.permutations(["a chair", "The Table.", "<ground> lamp", "sofa a"]))
def test_vocabulary_does_not_depend_on_the_order_of_texts(texts: list[str]) -> None:
    vocabulary = build_tokenizer(texts).get_vocab()
    assert vocabulary == build_tokenizer(sorted(texts)).get_vocab()


def test_words_are_lower_cased_and_special_tokens_are_left_alone() -> None:
    ids = TOKENIZER("The CHAIR at<coord>, sofa<ground><|im_end|>", add_special_tokens=False)
    words = TOKENIZER.convert_ids_to_tokens(ids["input_ids"])
    assert words == ["the", "chair", "at", "<coord>", "<unk>", "<unk>", "<ground>", "<|im_end|>"]
    assert TOKENIZER.pad_token == "<pad>"
    assert TOKENIZER.eos_token == "<|im_end|>"
    text = TOKENIZER.decode(ids["input_ids"], skip_special_tokens=True)
    assert text == "the chair at"


def test_prompt_is_placeholders_then_questions_and_answers() -> None:
    prompt = prompt_ids(TOKENIZER, TURNS, SCENE)
    assert (prompt.input_ids[:VISUAL] == IDS["<image>"]).all()
    assert TOKENIZER.decode(prompt.input_ids[VISUAL:]) == (
        "<|im_start|> user what colour is the chair ? <|im_end|> "
        "<|im_start|> assistant dark red <|im_end|> "
        "<|im_start|> user describe the object at <coord> . <|im_end|> "
        "<|im_start|> assistant a red chair <|im_end|> "
        "<|im_start|> user which object is the red chair ? <|im_end|> "
        "<|im_start|> assistant <ground> <|im_end|>"
    )


def test_only_answers_and_their_end_are_supervised() -> None:
    prompt = prompt_ids(TOKENIZER, TURNS, SCENE)
    end = "<|im_end|>"
    assert supervised_text(prompt) == ["dark", "red", end, "a", "red", "chair", end]
    kept = prompt.labels != -100
    assert torch.equal(prompt.labels[kept], prompt.input_ids[kept])
    # The label stands at the token itself: the position before the first is the assistant's header.
    first = int(kept.nonzero()[0])
    assert TOKENIZER.decode(prompt.input_ids[first - 2 : first]) == "<|im_start|> assistant"
    assert not supervised_text(prompt_ids(TOKENIZER, TURNS, SCENE, supervise=False))
    assert not supervised_text(prompt_ids(TOKENIZER, [GROUNDING], SCENE))


def test_positions_point_at_their_tokens() -> None:
    prompt = prompt_ids(TOKENIZER, (CAPTION, GROUNDING, QA, GROUNDING, CAPTION), SCENE)
    assert (prompt.input_ids[prompt.coord_positions] == IDS["<coord>"]).all()
    assert (prompt.input_ids[prompt.ground_positions] == IDS["<ground>"]).all()
    assert len(prompt.coord_positions) == len(prompt.ground_positions) == 2
    bare = prompt_ids(TOKENIZER, [QA], SCENE)
    assert bare.coord_positions.shape == bare.ground_positions.shape == (0,)


def test_an_unanswered_prompt_is_the_beginning_of_the_answered_one() -> None:
    whole = prompt_ids(TOKENIZER, (CAPTION, QA), SCENE)
    start = prompt_ids(TOKENIZER, (CAPTION, QA), SCENE, answered=False)
    length = len(start.input_ids)
    assert torch.equal(whole.input_ids[:length], start.input_ids)
    assert TOKENIZER.decode(whole.input_ids[length:]) == "dark red <|im_end|>"
    assert supervised_text(start) == ["a", "red", "chair", "<|im_end|>"]


def test_a_scene_is_written_with_the_ids_it_is_given() -> None:
    prompt = prompt_ids(TOKENIZER, [QA], [3, 1, 1, 4])
    assert prompt.input_ids[:5].tolist() == [3, 1, 1, 4, IDS["<|im_start|>"]]
    assert prompt.segments[:5].tolist() == [0, 0, 0, 0, 1]


def test_a_tokenizer_that_keeps_newlines_gets_chatml_line_by_line() -> None:
    characters = sorted(set("".join(t.question + t.answer for t in TURNS) + "user\nassistant"))
    vocabulary = {character: i for i, character in enumerate(characters)}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    model.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<|im_end|>")
    assert add_chat_tokens(tokenizer) == 4
    assert add_chat_tokens(tokenizer) == 0
    prompt = prompt_ids(
        tokenizer, [QA, GROUNDING], [tokenizer.convert_tokens_to_ids("<image>")] * 2
    )
    text = "".join(tokenizer.convert_ids_to_tokens(prompt.input_ids.tolist()))
    assert text == (
        "<image><image><|im_start|>user\nWhat colour is the chair?<|im_end|>\n"
        "<|im_start|>assistant\ndark red<|im_end|>\n"
        "<|im_start|>user\nWhich object is the red chair?<|im_end|>\n"
        "<|im_start|>assistant\n<ground><|im_end|>\n"
    )
    assert "".join(supervised_text(prompt, tokenizer)) == "dark red<|im_end|>"


@pytest.mark.parametrize("side", ["right", "left"])
def test_collate_pads_and_moves_positions(side: str) -> None:
    prompts = [prompt_ids(TOKENIZER, turns, SCENE) for turns in (TURNS, [QA], [GROUNDING, QA])]
    text = collate_text(prompts, IDS["<pad>"], side=side)
    longest = len(prompts[0].input_ids)
    for row, prompt in enumerate(prompts):
        mask = text["attention_mask"][row].bool()
        count = len(prompt.input_ids)
        padding = mask[count:] if side == "right" else mask[: longest - count]
        assert not padding.any()
        assert mask.sum() == count
        assert torch.equal(text["input_ids"][row, mask], prompt.input_ids)
        assert torch.equal(text["labels"][row, mask], prompt.labels)
        assert (text["input_ids"][row, ~mask] == IDS["<pad>"]).all()
        assert (text["labels"][row, ~mask] == -100).all()
    for name, token, counts in (
        ("coord_positions", "<coord>", [1, 0, 0]),
        ("ground_positions", "<ground>", [1, 0, 1]),
    ):
        positions = text[name]
        assert positions.shape == (3, 1)
        assert (positions >= 0).sum(1).tolist() == counts
        rows, columns = (positions >= 0).nonzero().unbind(1)
        found = text["input_ids"][rows, positions[rows, columns]]
        assert (found == IDS[token]).all()
        assert (positions[positions < 0] == -1).all()


def test_collate_without_special_positions() -> None:
    text = collate_text([prompt_ids(TOKENIZER, [QA], SCENE)] * 2, IDS["<pad>"])
    assert text["coord_positions"].shape == text["ground_positions"].shape == (2, 0)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (Turn("caption", "What is here?", "a", point=(0.0, 0.0, 0.0)), "question .* 1 <coord>"),
        (Turn("qa", "What is at <coord>?", "a"), "question must be text with 0 <coord>; got 'What"),
        (Turn("qa", "Where is <ground>?", "a"), "question must be text with 0 <ground>"),
        (Turn("qa", "What?", "at <coord>"), "answer must be text with 0 <coord>"),
        (Turn("qa", "What?", "<ground>"), "answer must be text with 0 <ground>"),
        (Turn("grounding", "Where?", "there"), "answer must be text with 1 <ground>"),
        (Turn("multi_grounding", "Where?", "<ground><ground>"), "answer must be text with 1 <gr"),
    ],
)
def test_turns_that_do_not_fit(turn: Turn, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompt_ids(TOKENIZER, [QA, turn], SCENE)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="turns must hold at least one turn; got none"):
        prompt_ids(TOKENIZER, [], SCENE)
    with pytest.raises(ValueError, match="prompts must hold at least one prompt; got none"):
        collate_text([], 0)
    with pytest.raises(ValueError, match='side must be "right" or "left"; got \'both\''):
        collate_text([prompt_ids(TOKENIZER, [QA], SCENE)], 0, side="both")  # type: ignore[arg-type]


def test_a_tiny_model_learns_an_answer_from_these_prompts() -> None:
    host = tiny_llava(
        len(TOKENIZER),
        IDS["<image>"],
        IDS["<pad>"],
        dim=32,
        layers=1,
        heads=2,
        image_size=16,
        vision_dim=16,
        vision_layers=1,
    )
    lmm = LlavaOnevisionLMM(host)
    images = torch.rand(2, 2, 3, 16, 16)
    batch = [[QA], [CAPTION]]
    text = collate_text(
        [prompt_ids(TOKENIZER, turns, lmm.scene_ids(2)) for turns in batch], IDS["<pad>"]
    )
    inputs = {name: text[name] for name in ("input_ids", "labels", "attention_mask")}
    optimizer = torch.optim.Adam(lmm.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        lmm.decode(lmm.encode(images), **inputs)[0].loss.backward()
        optimizer.step()
    starts = [prompt_ids(TOKENIZER, turns, lmm.scene_ids(2), answered=False) for turns in batch]
    text = collate_text(starts, IDS["<pad>"], side="left")
    new = lmm.generate(
        lmm.encode(images),
        text["input_ids"],
        text["attention_mask"],
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=IDS["<|im_end|>"],
        pad_token_id=IDS["<pad>"],
    )
    answers = [TOKENIZER.decode(row, skip_special_tokens=True) for row in new]
    assert answers == [QA.answer, CAPTION.answer]
