"""Short answers: right, or right but for words around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .cleaning import clean_answer
from .score import Pair, Score, mean

Clean = Callable[[str], str]


def exact_match(said: str, answers: Sequence[str]) -> bool:
    """Whether an answer is one of the right ones, letter by letter (EM)."""
    return said in answers


def relaxed_match(said: str, answers: Sequence[str]) -> bool:
    """Whether, spaces aside, an answer holds a right one or is held by it (EM-R).

    An empty answer is held by every other: guard against it (see :func:`degenerate`).
    """
    said = "".join(said.split())
    return any(said in "".join(a.split()) or "".join(a.split()) in said for a in answers)


def degenerate(said: str) -> bool:
    """Whether a text says nothing: cleaned, it is empty or a single character.

    Example:
        >>> [degenerate(text) for text in ("", "e", "e .", "2")]
        [True, True, True, False]
    """
    return len("".join(clean_answer(said).split())) < 2


def answer_scores(
    pairs: Sequence[Pair], *, clean: Clean, relaxed: bool, guard: bool = False
) -> dict[str, Score]:
    """EM and EM-R; where nothing was predicted both are 0.

    Args:
        pairs: samples with what was said.
        clean: applied to both sides.
        relaxed: whether EM-R is among the scores.
        guard: whether a degenerate answer counts as wrong.
    """
    exact, held = [], []
    for pair in pairs:
        counts = pair.text is not None and not (guard and degenerate(pair.text))
        said = clean(pair.text or "")
        answers = [clean(answer) for answer in pair.truth.answers]
        exact.append(counts and exact_match(said, answers))
        held.append(counts and relaxed_match(said, answers))
    scores = {"EM": mean(exact, by_kind=True)}
    return scores | ({"EM-R": mean(held, by_kind=True)} if relaxed else {})
