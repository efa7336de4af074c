"""Questions with a text answer: asked one at a time, and judged beside two blind guesses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .collate import SceneCollator
from .data.scene import Scene, Turn
from .model import Ross3D

Sample = tuple[str, str, str]
"""Question, answer, what the model said."""


def answers(
    model: Ross3D,
    scenes: Sequence[Scene],
    collate: SceneCollator,
    *,
    batch: int = 16,
    longest: int = 24,
) -> list[tuple[str, Sample]]:
    """Ask every question with a text answer, one at a time.

    Args:
        model: to be judged.
        scenes: with turns.
        collate: of the model's tokenizer.
        batch: questions at once.
        longest: tokens of an answer at most; captions of a benchmark are longer.

    Returns:
        (kind, (question, answer, said)) for each question.
    """
    asked = [
        (replace(scene, turns=(turn,)), turn)
        for scene in scenes
        for turn in scene.turns
        if turn.kind in ("qa", "sqa", "caption")
    ]
    device = next(model.parameters()).device
    said: list[tuple[str, Sample]] = []
    for first in range(0, len(asked), batch):
        chunk = asked[first : first + batch]
        questions = collate.questions([scene for scene, _ in chunk]).to(device)
        ids = model.answer(questions, max_new_tokens=longest, **collate.stop)
        for (_, turn), row in zip(chunk, ids, strict=True):
            said.append((turn.kind, (turn.question, turn.answer, collate.decode(row))))
    return said


def answer_figures(
    said: Sequence[tuple[str, Sample]], training: Iterable[Turn]
) -> dict[str, float]:
    """Exact-match rates of question answering, and what two guesses reach without looking.

    Args:
        said: from :func:`answers`.
        training: questions and answers of training scenes, for the guesses.

    Returns:
        ``qa/accuracy``; ``qa/majority``: always the most frequent held-out answer; ``qa/prior``:
        the answer most frequent in training for questions that begin alike.
    """
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for turn in training:
        if turn.kind in ("qa", "sqa"):
            known[beginning(turn.question)][turn.answer] += 1
    rows = [sample for kind, sample in said if kind in ("qa", "sqa")]
    if not rows:
        return {}
    right = sum(answer == guess for _, answer, guess in rows)
    majority = Counter(answer for _, answer, _ in rows).most_common(1)[0][1]
    prior = sum(
        bool(known[beginning(question)])
        and known[beginning(question)].most_common(1)[0][0] == answer
        for question, answer, _ in rows
    )
    total = len(rows)
    return {
        "qa/accuracy": right / total,
        "qa/majority": majority / total,
        "qa/prior": prior / total,
        "qa/questions": float(total),
    }


def beginning(question: str) -> str:
    """The words of a question that tell its kind: its first three."""
    return " ".join(question.split()[:3])
