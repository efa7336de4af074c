from __future__ import annotations

import pytest
from reference.chat import add_chat_tokens, prompt_ids
from reference.data.scene import Turn
from reference.labels import marks, released_labels
from templates import letters

QA = Turn("qa", "Red?", "chair")
OTHER = Turn("qa", "What?", "box")
GROUNDING = Turn("grounding", "Find it.", "<ground>", objects=(1,))


def supervised(*turns: Turn, template: str | None = "qwen", **options: object) -> str:
    """The text of a prompt with a dot in place of every token that is not supervised."""
    tokenizer = letters(template)
    add_chat_tokens(tokenizer)
    scene = [tokenizer.convert_tokens_to_ids("<image>")] * 2
    prompt = prompt_ids(tokenizer, turns, scene, **options)
    kept = prompt.labels != -100
    assert (prompt.labels[kept] == prompt.input_ids[kept]).all()
    tokens = tokenizer.convert_ids_to_tokens(prompt.input_ids.tolist())
    return "".join(t if keep else "." for t, keep in zip(tokens, kept.tolist(), strict=True))


def test_released_labels_are_the_whole_answer_and_every_mark() -> None:
    start, end = "<|im_start|>", "<|im_end|>"
    system = f"{start}......\n{'.' * 16}{end}\n"
    user = f"{start}....\n"
    assert supervised(QA, labels="released") == (
        f"{system}{user}..\n....{end}\n{start}assistant\nchair{end}\n"
    )
    assert supervised(QA).strip(".") == f"chair{end}"


def test_a_later_turn_is_not_predicted_from_the_one_before() -> None:
    text = supervised(QA, OTHER, labels="released")
    first, _, second = text.partition("chair<|im_end|>\n")
    assert first.count("\n") == 6
    assert second == "......<|im_end|>\n<|im_start|>assistant\nbox<|im_end|>\n"


def test_grounding_is_left_to_its_own_loss() -> None:
    assert set(supervised(GROUNDING, labels="released")) == {"."}
    both = supervised(GROUNDING, QA, labels="released")
    assert "<ground>" not in both
    assert both.endswith("chair<|im_end|>\n")


def test_nothing_is_supervised_where_nothing_shall_be() -> None:
    assert set(supervised(QA, labels="released", supervise=False)) == {"."}


def test_a_tokenizer_without_newlines_has_two_marks() -> None:
    from reference.chat import build_tokenizer

    tokenizer = build_tokenizer(["red chair"])
    assert tokenizer.convert_ids_to_tokens(sorted(marks(tokenizer))) == [
        "<|im_start|>",
        "<|im_end|>",
    ]


def test_unknown_labels() -> None:
    with pytest.raises(
        ValueError, match=r"labels must be one of \('answer', 'released'\); got 'a'"
    ):
        released_labels("a")
