from __future__ import annotations

import pytest
from reference.data.benchmarks.sample import Sample
from reference.data.scene import Turn
from reference.judging.page import verdict
from reference.metrics.records import Prediction

CHAIR = "A white chair. It stands by the wall."


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("a white chair . it stands by the wall .", "word for word"),
        ("a white chair by the wall", "not word for word"),
        ("", "not word for word"),
    ],
)
def test_captions_are_compared_word_by_word(said: str, expected: str) -> None:
    turn = Turn("caption", "Describe the object at <coord>.", CHAIR, point=(0.0, 0.0, 0.0))
    box = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
    sample = Sample("1", "scan2cap", "room", turn, (CHAIR,), box_input=box, target_boxes=(box,))
    assert verdict(sample, Prediction("1", text=said)) == expected
