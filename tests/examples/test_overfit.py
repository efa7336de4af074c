"""Fifteen questions of five kinds about one scan, learned by heart: every path has to work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference.answers import answers
from reference.batching import open_batches
from reference.build import build_model
from reference.chat import build_tokenizer
from reference.collate import SceneCollator
from reference.data.sources import ScanSource
from reference.evaluation import grounding_figures
from reference.supervision import SupervisedSource
from tiny import PRESET

LIVING_ROOM = Path(__file__).resolve().parents[3] / "shared" / "data" / "living_room"
STEPS = {"mixed": 100, "by-task": 300}


@pytest.mark.skipif(not LIVING_ROOM.is_dir(), reason="the living room is not here")
@pytest.mark.parametrize("kind", ["mixed", pytest.param("by-task", marks=pytest.mark.slow)])
def test_a_small_model_learns_all_five_tasks_by_heart(kind: str) -> None:
    preset = replace(PRESET, dim=64, layers=2, heads=4, vision_dim=32, batch=2, turns=16)
    source = ScanSource(str(LIVING_ROOM), views=4, size=32, turns=16, hidden=1)
    tokenizer = build_tokenizer(source.words())
    torch.manual_seed(0)
    model = build_model(preset, tokenizer, tasks=(), several="each")
    collate = SceneCollator(tokenizer, model.scene_ids(4))
    batches = open_batches(SupervisedSource(source), collate, preset, kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(STEPS[kind]):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1.0, 2 * (1 - step / STEPS[kind]))
        optimizer.zero_grad()
        sum(model(batches[step]).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    scene = source.train(0)
    assert {turn.kind for turn in scene.turns} == {
        "qa", "sqa", "caption", "grounding", "multi_grounding",
    }  # fmt: skip
    for kind, (question, answer, said) in answers(model, [scene], collate, longest=32):
        spaced = answer.lower().replace(".", " .")
        assert said == spaced, (kind, question)
    figures = grounding_figures(model, [collate([scene])])
    assert figures["grounding/accuracy"] == figures["grounding/f1"] == 1.0
