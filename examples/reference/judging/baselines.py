"""Guesses that look at nothing, scored as a model is: what its figures must exceed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from random import Random

from ..answers import beginning
from ..data.benchmarks.sample import GROUNDING, Sample, Task
from ..metrics.records import Prediction
from .judged import Asked, Judged, identity

MAJORITY, PRIOR = "most frequent answer", "most frequent answer to questions that begin alike"
RANDOM, NOTHING = "a random box", "no box"
Guess = Callable[[Sample], Prediction]


def baselines(judged: Judged, asked: Asked) -> dict[str, dict[Task, list[Prediction]]]:
    """All guesses about all samples.

    Answers are guessed from the samples to learn from; where a task has none, from those that are
    judged, which favours the guess.

    Returns:
        Guess -> task -> predictions, of the tasks that it fits.
    """
    training = list(judged.training)
    boxes = {x.scene: judged.boxes(i) for i in range(len(judged)) for x in judged.samples(i)[:1]}
    found: dict[str, dict[Task, list[Prediction]]] = {}
    for task, samples in asked.by_task.items():
        known = [x for x in training if x.task == task] or samples
        for name, guess in _guesses(task, known, boxes).items():
            found.setdefault(name, {})[task] = [guess(sample) for sample in samples]
    return found


def _guesses(
    task: Task, known: Sequence[Sample], boxes: Mapping[str, Sequence[tuple[float, ...]]]
) -> dict[str, Guess]:
    if task in GROUNDING:
        guesses: dict[str, Guess] = {
            RANDOM: lambda x: Prediction(identity(x), boxes=_random_box(x, boxes[x.scene]))
        }
        if task == "multi3drefer":
            guesses[NOTHING] = lambda x: Prediction(identity(x), boxes=())
        return guesses
    most = _most_frequent([answer for sample in known for answer in sample.answers])
    guesses = {MAJORITY: lambda x: Prediction(identity(x), most)}
    if task == "scan2cap":
        return guesses
    alike: dict[str, list[str]] = defaultdict(list)
    for sample in known:
        alike[beginning(question(sample))] += sample.answers
    prior = {begins: _most_frequent(answers) for begins, answers in alike.items()}
    guesses[PRIOR] = lambda x: Prediction(identity(x), prior.get(beginning(question(x)), most))
    return guesses


def question(sample: Sample) -> str:
    """The question itself, without the situation before it or an instruction behind it.

    Example:
        >>> from ..data.scene import Turn
        >>> said = "I am by the door. What is behind me? Answer briefly."
        >>> question(Sample("0", "sqa3d", "scannet/a", Turn("sqa", said, "a bed"), words=said))
        'What is behind me?'
    """
    sentences = re.split(r"(?<=[.!?])\s+", (sample.words or sample.turn.question).strip())
    return next((x for x in reversed(sentences) if x.endswith("?")), sentences[-1])


def _most_frequent(answers: Sequence[str]) -> str:
    return Counter(answers).most_common(1)[0][0] if answers else ""


def _random_box(
    sample: Sample, boxes: Sequence[tuple[float, ...]]
) -> tuple[tuple[float, ...], ...]:
    return (Random(f"{sample.task}/{sample.id}").choice(boxes),) if boxes else ()
