"""How a language model writes a question about a scene and its answer: its own template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

START, END = "<|im_start|>", "<|im_end|>"
SCENE, QUESTION, ANSWER = "[scene]", "[question]", "[answer]"
SPATIAL = (
    "The pictures above show one room from several places, and where everything is in the room is "
    "known. Use these places in space to answer."
)
"""Two sentences that may stand before every question (see ``--instruction``)."""


@dataclass(frozen=True)
class ChatFormat:
    """What stands between a scene, a question and an answer.

    Attributes:
        before: in front of the scene.
        opens: between scene and question.
        asks: ends the question.
        replies: opens the answer.
        ends: ends the answer, and is learned with it.
        closes: behind that.
    """

    before: str
    opens: str
    asks: str
    replies: str
    ends: str
    closes: str


CHATML = ChatFormat("", f"{START}user\n", f"{END}\n", f"{START}assistant\n", END, "\n")
"""For a tokenizer without a template."""


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    r"""Read from a tokenizer's template what stands around scene, question and answer.

    The scene opens the user's turn, as LLaVA-Video has it; a system turn stands before it where the
    template writes one.

    Args:
        tokenizer: of a host; one without a template gets ``CHATML``.

    Raises:
        ValueError: if the template does not write the words of both roles in their order.

    Example:
        >>> from .chat import build_tokenizer
        >>> tokenizer = build_tokenizer([])
        >>> tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
        >>> form = chat_format(tokenizer)
        >>> form.before, form.opens, form.asks, form.replies
        ('<', '\n', '>', '<')
    """
    if not getattr(tokenizer, "chat_template", None):
        return CHATML
    written = _write(tokenizer, f"{SCENE}\n{QUESTION}", ANSWER)
    before, _, rest = written.partition(SCENE)
    opens, _, rest = rest.partition(QUESTION)
    asks, _, rest = rest.partition(ANSWER)
    # Without the answer the text ends where the question does, in most templates.
    asked = _write(tokenizer, f"{SCENE}\n{QUESTION}").partition(QUESTION)[2]
    cut = len(asked) if asks.startswith(asked) else 0
    ends, closes = _end_of_answer(tokenizer, rest)
    return ChatFormat(before, opens, asks[:cut], asks[cut:], ends, closes)


def _write(tokenizer: PreTrainedTokenizerBase, *contents: str) -> str:
    """What the template makes of a conversation: words alone, or as templates of pictures want."""
    texts: list[str] = []
    for content in ((lambda words: words), (lambda words: [{"type": "text", "text": words}])):
        messages: list[dict[str, Any]] = [
            {"role": role, "content": content(words)}
            for role, words in zip(("user", "assistant"), contents, strict=False)
        ]
        texts.append(str(tokenizer.apply_chat_template(messages, tokenize=False)))
        marks = [texts[-1].find(mark) for mark in (SCENE, QUESTION, ANSWER)[: len(contents) + 1]]
        if marks == sorted(marks) and marks[0] >= 0:
            return texts[-1]
    raise ValueError(f"chat_template must write the words of user and assistant; got {texts[0]!r}")


def _end_of_answer(tokenizer: PreTrainedTokenizerBase, rest: str) -> tuple[str, str]:
    """Divide what follows an answer behind its first special token; without one it is the end's."""
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    found = [rest.find(token) + len(token) for token in special if token and token in rest]
    if not found:
        return str(tokenizer.eos_token), ""
    return rest[: min(found)], rest[min(found) :]
