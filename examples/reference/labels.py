"""Which tokens of a conversation are supervised: the answer alone, or as the released code has it.

The released code supervises the answer's header, the newline behind it, and every newline, start
and end token of the whole text. Of a one-word answer's 15 supervised tokens one is the word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from .chat_format import END, START

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Labels = Literal["answer", "released"]


def released_labels(labels: str) -> bool:
    """Whether labels are those of the released code.

    Raises:
        ValueError: if they are not known.
    """
    if labels not in get_args(Labels):
        raise ValueError(f"labels must be one of {get_args(Labels)}; got {labels!r}")
    return labels == "released"


def marks(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of a newline, where it is a token, and of the tokens that begin and end a turn."""
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    known = tokenizer.get_vocab()
    return {known[token] for token in (START, END) if token in known}.union(newline[:1])
