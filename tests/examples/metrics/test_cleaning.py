from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.metrics.cleaning import clean_answer


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("The TV.", "TV"),
        ("2 chairs", "two chairs"),
        ("none", "zero"),
        ("21", "21"),
        ("20, 22 and 23", "twenty, 22 and twenty-three"),
        ("no1", "no"),
        ("a chair", "chair"),
        ("an apple on the   table!", "apple on table"),
        ("  Backwards ", "backward"),
        ("letf of tehre", "left of there"),
        (
            "let rigth rght behine chai wasing waslked",
            "left right right behind chair washing walked",
        ),
        ("3 oclock", "three o'clock"),
        ("o' clock", "o'clock"),
        ("the", "the"),
        ("black-and-white: yes", "black-and-white: yes"),
        ("2.5", "25"),
        ("", ""),
    ],
)
def test_known_answers(text: str, cleaned: str) -> None:
    assert clean_answer(text) == cleaned


@given(st.text(max_size=40))
def test_only_plain_characters_are_left(text: str) -> None:
    cleaned = clean_answer(text)
    assert all(c.isascii() or c.isspace() for c in cleaned)
    assert not set('.!?"()') & set(cleaned)


@given(st.text(alphabet="ABC abc", max_size=20))
def test_case_never_matters(text: str) -> None:
    assert clean_answer(text.upper()) == clean_answer(text.lower())
