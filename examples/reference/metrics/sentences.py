"""Sentences against sentences: BLEU, ROUGE-L, CIDEr and METEOR of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ross3d import box_iou

from .answers import degenerate
from .bleu import bleu
from .cider import cider
from .cleaning import clean_answer
from .meteor import meteor
from .rouge import rouge_l
from .score import Pair, Score, mean
from .tokens import ptb_tokens

Write = Callable[[str], str]


def as_said(text: str) -> str:
    """The text as it is: words are what spaces separate."""
    return text


def without_full_stop(text: str) -> str:
    """The text without full stops at its end."""
    return text.rstrip(".")


def ptb(text: str) -> str:
    """The tokens of the Penn Treebank tokenizer, punctuation dropped."""
    return " ".join(ptb_tokens(text))


def cleaned_ptb(text: str) -> str:
    """The same of the text that :func:`clean_answer` leaves."""
    return ptb(clean_answer(text))


def sos_eos(text: str) -> str:
    """In lower case, full stops and commas apart, between ``sos`` and ``eos``: Scan2Cap's way."""
    return f"sos {text.replace('.', ' . ').replace(',', ' , ').lower()} eos"


def sentence_scores(
    pairs: Sequence[Pair], *, said: Write, true: Write, guard: bool = False
) -> dict[str, Score]:
    """BLEU-1 to BLEU-4, ROUGE-L, CIDEr and METEOR; where nothing was predicted all are 0.

    Args:
        pairs: samples with what was said.
        said: applied to predictions.
        true: applied to references.
        guard: whether a degenerate prediction counts as none.
    """
    texts = [pair.text for pair in pairs]
    there = [text is not None and not (guard and degenerate(text)) for text in texts]
    said_texts = [said(text or "") if ok else "" for text, ok in zip(texts, there, strict=True)]
    references = [[true(answer) for answer in pair.truth.answers] for pair in pairs]

    def kept(scores: Sequence[float]) -> list[float]:
        return [score if ok else 0.0 for score, ok in zip(scores, there, strict=True)]

    figures, per_sample = bleu(said_texts, references)
    scores = {
        f"BLEU-{n}": Score(figure, kept(own))
        for n, (figure, own) in enumerate(zip(figures, per_sample, strict=True), start=1)
    }
    scores["METEOR"] = Score(None, ())
    if measured := meteor(said_texts, references):
        scores["METEOR"] = Score(measured[0], kept(measured[1]))
    scores["ROUGE-L"] = mean(kept(rouge_l(said_texts, references)))
    scores["CIDEr"] = mean(kept(cider(said_texts, references)))
    return scores


def boxes_match(pairs: Sequence[Pair], least: float = 0.5) -> list[bool]:
    """Whether the box that each caption is about covers its object.

    Args:
        pairs: captions; the box is the prediction's, or else the one that was asked about.
        least: intersection over union from which on it does.

    Raises:
        ValueError: if the box of an object is not known.
    """
    if unknown := [pair.truth.id for pair in pairs if not pair.truth.boxes]:
        found = f"{len(unknown)} without, {unknown[0]} first"
        raise ValueError(f"references must have the box of the object described; got {found}")
    nothing = (0.0,) * 6
    described = [
        pair.prediction.boxes[0]
        if pair.prediction is not None and pair.prediction.boxes
        else pair.truth.box_input or nothing
        for pair in pairs
    ]
    truth = torch.tensor([pair.truth.boxes[0] for pair in pairs], dtype=torch.float64)
    ours = torch.tensor(described, dtype=torch.float64)
    return (box_iou(ours[:, None], truth[:, None])[:, 0, 0] >= least).tolist()
