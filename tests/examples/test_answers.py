from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference.answers import answer_figures, answers, beginning
from reference.data.scene import Turn
from tiny import Tiny, tiny_ross3d


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_ross3d(turns=8)


def test_every_question_with_a_text_answer_is_asked_once(tiny: Tiny) -> None:
    scenes = tiny.scenes()
    said = answers(tiny.model, scenes, tiny.collate, batch=3)
    asked = [t for s in scenes for t in s.turns if not t.kind.endswith("grounding")]
    assert [(kind, question, answer) for kind, (question, answer, _) in said] == [
        (turn.kind, turn.question, turn.answer) for turn in asked
    ]
    assert len(said) % 3, "the last batch must be a smaller one"


def test_answers_do_not_depend_on_the_batch(tiny: Tiny) -> None:
    assert answers(tiny.model, tiny.scenes(), tiny.collate, batch=1) == answers(
        tiny.model, tiny.scenes(), tiny.collate, batch=16
    )


def test_answers_never_read_the_truth(tiny: Tiny) -> None:
    scenes = tiny.scenes(1)
    lied = [
        replace(
            scene,
            turns=tuple(
                t if t.kind.endswith("grounding") else replace(t, answer="chair")
                for t in scene.turns
            ),
        )
        for scene in scenes
    ]
    honest, blind = (answers(tiny.model, s, tiny.collate) for s in (scenes, lied))
    assert [sample[2] for _, sample in honest] == [sample[2] for _, sample in blind]


def test_no_questions_no_answers(tiny: Tiny) -> None:
    assert answers(tiny.model, [replace(tiny.scenes(1)[0], turns=())], tiny.collate) == []


def test_a_model_that_knows_the_answer_is_right(tiny: Tiny) -> None:
    scene = tiny.scenes(1)[0]
    scene = replace(scene, turns=(Turn("qa", "how many chairs ?", "two"),))
    batch = tiny.collate([scene])
    optimizer = torch.optim.Adam(tiny.model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        tiny.model(batch)["text"].backward()
        optimizer.step()
    [(_, (_, answer, guess))] = answers(tiny.model, [scene], tiny.collate)
    assert guess == answer


def test_figures_beside_both_guesses() -> None:
    training = [
        Turn("qa", "how many chairs are there?", "two"),
        Turn("qa", "how many chairs do you see?", "two"),
        Turn("qa", "how many chairs?", "one"),
        Turn("caption", "how many chairs?", "five"),
    ]
    said = [
        ("qa", ("how many chairs now?", "two", "two")),
        ("qa", ("is there a table?", "yes", "no")),
        ("sqa", ("is there a bed?", "yes", "yes")),
        ("sqa", ("what is it?", "bed", "chair")),
        ("caption", ("describe it", "a bed", "a bed")),
    ]
    assert answer_figures(said, training) == {
        "qa/accuracy": 0.5,
        "qa/majority": 0.5,
        "qa/prior": 0.25,
        "qa/questions": 4.0,
    }


def test_no_questions_no_figures() -> None:
    assert answer_figures([("caption", ("q", "a", "a"))], []) == {}


def test_beginning_is_three_words() -> None:
    assert beginning("how many red chairs") == "how many red"
    assert beginning("what?") == "what?"
