"""Sentences with the values that pycocoevalcap 1.2 and METEOR 1.5 give for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

PREDICTIONS = [
    "a brown chair by the window",
    "the the the table",
    "on left side",
    "",
    "two",
]
REFERENCES = [
    ["the brown chair is by the window", "a wooden chair"],
    ["a table", "the round table in the corner of the room"],
    ["left side", "on the left side of bed"],
    ["nothing"],
    ["2", "two chairs", "two"],
]
BLEU = [0.9999999999285716, 0.6324555319794655, 0.38517135707048467, 6.147881528645355e-05]
BLEU_2 = [0.6556819244445669, 1.825741857818046e-08, 0.7071067808919201, 0.0, 0.0009999999985000015]
ROUGE = [0.75870647, 0.57911392, 1.0, 0.0, 1.0]
CIDER = [2.46563601, 1.23281389, 3.13538224, 0.0, 1.41446145]
METEOR = 0.3831074187986353
METEORS = [0.428416251451178, 0.27906976744186046, 0.4660191824608054, 0.0, 1.0]

STORED = ["coco80_first_vs_rest_ptb", "scanqa_val_first_vs_rest", "scanqa_val_shuffled"]

words = st.sampled_from(["the", "a", "chair", "table", "left", "of", "red"])
sentences = st.lists(words, max_size=7).map(" ".join)
samples = st.lists(
    st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3)), min_size=1, max_size=6
)


@dataclass(frozen=True)
class Stored:
    predictions: list[str]
    references: list[list[str]]
    summary: dict[str, float]
    per_sample: dict[str, list[float]]


def stored(shared: Path, name: str) -> Stored:
    """Sentences of a benchmark with their scores."""
    path = shared / "metric_reference" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no stored scores at {path}")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    said = content["predictions"]
    references = [content["references"][key] for key in said]
    return Stored(list(said.values()), references, content["summary"], content["per_sample"])
