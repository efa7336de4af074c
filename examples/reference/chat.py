"""Turns of text as token ids: what is supervised, where special tokens stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ross3d import require

from .chat_format import END, START, ChatFormat, chat_format
from .data.scene import Turn
from .labels import Labels, marks, released_labels
from .text import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PAD, UNKNOWN = "<pad>", "<unk>"
IMAGE, COORD, GROUND = "<image>", "<coord>", "<ground>"
CHAT_TOKENS = (START, END, IMAGE, COORD, GROUND)


@dataclass(frozen=True)
class Prompt:
    """One conversation about one scene.

    Attributes:
        input_ids: (t) what stands for the scene, then text.
        labels: (t) ids that are supervised, -100 elsewhere.
        segments: (t) 0 for what stands for the scene and before it, 1, 2, ... for the turns.
        coord_positions: (c) where ``<coord>`` stands, in the order of the turns that hold one.
        ground_positions: (q) where ``<ground>`` stands, in the order of the grounding turns.
    """

    input_ids: Tensor
    labels: Tensor
    segments: Tensor
    coord_positions: Tensor
    ground_positions: Tensor


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer: lower-case words and single punctuation marks.

    Ids are the special tokens, then the words in alphabetical order.

    Args:
        texts: all text whose words must be known; other words become ``<unk>``.

    Returns:
        The tokenizer.

    Example:
        >>> tokenizer = build_tokenizer(["Where is the red chair?"])
        >>> tokenizer.decode(tokenizer("The chair <ground>")["input_ids"])
        'the chair <ground>'
    """
    tokenizers = require("tokenizers", "hf")
    normalizer = tokenizers.normalizers.Lowercase()
    splitter = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Whitespace(), tokenizers.pre_tokenizers.Punctuation()]
    )
    words = {"user", "assistant"}
    for text in texts:
        for token in (PAD, UNKNOWN, *CHAT_TOKENS):
            text = text.replace(token, " ")
        pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        words.update(word for word, _ in pieces)
    vocabulary = {word: i for i, word in enumerate((PAD, UNKNOWN, *CHAT_TOKENS, *sorted(words)))}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN))
    model.normalizer, model.pre_tokenizer = normalizer, splitter
    tokenizer = require("transformers", "hf").PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token=PAD, unk_token=UNKNOWN, eos_token=END
    )
    add_chat_tokens(tokenizer)
    return tokenizer


def add_chat_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """Make the chat's special tokens known to a tokenizer, for example to that of a released host.

    Args:
        tokenizer: changed in place; tokens that it has keep their ids. One with a template of its
            own needs ``<coord>`` and ``<ground>`` alone.

    Returns:
        Number of tokens that are new: the host's embeddings must have room for ``len(tokenizer)``.
    """
    before = len(tokenizer)
    own = getattr(tokenizer, "chat_template", None)
    tokenizer.add_tokens([COORD, GROUND] if own else list(CHAT_TOKENS), special_tokens=True)
    return len(tokenizer) - before


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Turn],
    scene_ids: Sequence[int],
    *,
    supervise: bool = True,
    answered: bool = True,
    labels: Labels = "answer",
    instruction: str = "",
    form: ChatFormat | None = None,
) -> Prompt:
    """Write a conversation: the scene, then question and answer of each turn, as the host writes.

    Supervised are the words of answers and the end token after them, or more (see ``labels.py``). A
    grounding answer is not: its ``<ground>`` is given, and the grounding loss takes the place of
    the text loss.

    Args:
        tokenizer: knows the chat's special tokens.
        turns: at least one; each is written as if it alone followed the scene.
        scene_ids: ids that stand for the scene: visual placeholders and what lies between them.
        supervise: whether answers are supervised; otherwise all labels are -100.
        answered: False ends the text where the last answer begins, for generation.
        labels: what is supervised.
        instruction: text that precedes every question; the turns stay as they are.
        form: of the tokenizer's chat; None = read from the tokenizer.

    Returns:
        The prompt.

    Raises:
        ValueError: if there are no turns, a question has ``<coord>`` but its turn no point (or the
            other way round, or two of them), an answer's ``<ground>`` does not fit its kind,
            ``labels`` is unknown, or a host's own template gets several turns, one unanswered.

    Example:
        >>> tokenizer = build_tokenizer(["what is red ? chair"])
        >>> prompt = prompt_ids(tokenizer, [Turn("qa", "What is red?", "chair")], [4, 4])
        >>> tokenizer.decode(prompt.input_ids[2:])
        '<|im_start|> user what is red ? <|im_end|> <|im_start|> assistant chair <|im_end|>'
    """
    if not turns:
        raise ValueError("turns must hold at least one turn; got none")
    form = form or chat_format(tokenizer)
    if form.before and len(turns) > 1 and not answered:
        raise ValueError(f"turns must be one, to be answered by a template; got {len(turns)}")
    whole = released_labels(labels) and supervise
    marked = marks(tokenizer) if whole and not all(map(_is_grounding, turns)) else set()
    pieces: list[tuple[str | Sequence[int], int, bool, set[int]]] = []
    pieces += (form.before, 0, False, marked), (scene_ids, 0, False, set())
    for number, turn in enumerate(turns, 1):
        _check_turn(turn)
        text = not _is_grounding(turn)
        kept = marked if text else set()
        question = f"{instruction}\n{turn.question}" if instruction else turn.question
        pieces.append((f"{form.opens}{question}{form.asks}", number, False, kept))
        pieces.append((form.replies, number, whole and text, kept))
        if answered or number < len(turns):
            pieces.append((f"{turn.answer}{form.ends}", number, supervise and text, kept))
            pieces.append((form.closes, number, whole and text, kept))
    ids: list[int] = []
    targets: list[int] = []
    segments: list[int] = []
    texts = [new for new, *_ in pieces if isinstance(new, str)]  # in one call: most costs per call
    words = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
    for new, segment, learned, kept in pieces:
        tokens = words[new] if isinstance(new, str) else new
        begins = segment > 1 and bool(tokens) and segments[-1] != segment
        ids.extend(tokens)
        segments.extend([segment] * len(tokens))
        targets.extend(token if learned or token in kept else IGNORE for token in tokens)
        if begins:  # The token before it is another turn's: there, nothing predicts it.
            targets[-len(tokens)] = IGNORE
    input_ids = torch.tensor(ids)
    coords, grounds = (
        (input_ids == tokenizer.convert_tokens_to_ids(token)).nonzero()[:, 0]
        for token in (COORD, GROUND)
    )
    return Prompt(input_ids, torch.tensor(targets), torch.tensor(segments), coords, grounds)


def unlabelled_prompt(scene_ids: Sequence[int]) -> Prompt:
    """Write what stands for a scene, about which nothing is said."""
    ids = torch.tensor(scene_ids)
    nowhere = ids[:0]
    return Prompt(ids, torch.full_like(ids, IGNORE), torch.zeros_like(ids), nowhere, nowhere)


def collate_text(
    prompts: Sequence[Prompt], pad_id: int, *, side: Literal["right", "left"] = "right"
) -> dict[str, Tensor]:
    """Pad conversations to one length.

    Args:
        prompts: b conversations.
        pad_id: the id that pads.
        side: where the padding goes: "right" for training, "left" for generation.

    Returns:
        ``input_ids``, ``labels``, ``segments`` (-1 = padding) and ``attention_mask``, (b, t) each;
        ``coord_positions`` (b, c) and ``ground_positions`` (b, q) in the padded sequence, -1 where
        a conversation has fewer.

    Raises:
        ValueError: if there are no prompts, or ``side`` is neither "right" nor "left".

    Example:
        >>> tokenizer = build_tokenizer(["a b c"])
        >>> turns = [Turn("qa", question, "c") for question in ("a", "a b")]
        >>> short, long = (prompt_ids(tokenizer, [turn], [4] * 4) for turn in turns)
        >>> collate_text([short, long], tokenizer.pad_token_id)["input_ids"].shape
        torch.Size([2, 13])
    """
    if not prompts:
        raise ValueError("prompts must hold at least one prompt; got none")
    if side not in ("right", "left"):
        raise ValueError(f'side must be "right" or "left"; got {side!r}')
    longest = max(len(prompt.input_ids) for prompt in prompts)
    shifts = [longest - len(p.input_ids) if side == "left" else 0 for p in prompts]
    coords = [p.coord_positions + shift for p, shift in zip(prompts, shifts, strict=True)]
    grounds = [p.ground_positions + shift for p, shift in zip(prompts, shifts, strict=True)]
    return {
        "input_ids": _stack([p.input_ids for p in prompts], pad_id, side),
        "labels": _stack([p.labels for p in prompts], IGNORE, side),
        "segments": _stack([p.segments for p in prompts], -1, side),
        "attention_mask": _stack([torch.ones_like(p.input_ids) for p in prompts], 0, side),
        "coord_positions": _stack(coords, -1),
        "ground_positions": _stack(grounds, -1),
    }


def _is_grounding(turn: Turn) -> bool:
    return turn.kind in ("grounding", "multi_grounding")


def _check_turn(turn: Turn) -> None:
    for name, text, token, wanted in (
        ("question", turn.question, COORD, int(turn.point is not None)),
        ("question", turn.question, GROUND, 0),
        ("answer", turn.answer, COORD, 0),
        ("answer", turn.answer, GROUND, int(_is_grounding(turn))),
    ):
        if text.count(token) != wanted:
            raise ValueError(f"{name} must be text with {wanted} {token}; got {text!r}")


def _stack(rows: Sequence[Tensor], value: int, side: str = "right") -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        rows, batch_first=True, padding_value=value, padding_side=side
    )
