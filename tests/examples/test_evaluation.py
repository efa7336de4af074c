from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference.batch import Batch
from reference.data.scene import Turn
from reference.evaluation import choose, evaluate, grounding_figures, held_out_losses
from reference.model import Ross3D
from tiny import Tiny, tiny_ross3d
from torch import Tensor

from ross3d import GroundingHead


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_ross3d(turns=8)


class Chosen(Ross3D):
    """A model whose grounding logits are given."""

    def __init__(self, logits: Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.logits, self.grounding = logits, GroundingHead(8)

    def see(self, batch: Batch, masked: Tensor) -> Tensor:
        return masked

    def read(self, batch: Batch, visual: Tensor, masked: Tensor) -> tuple[None, None]:
        return None, None

    def ground(self, *_: object) -> Tensor:
        return self.logits


def grounded(tiny: Tiny) -> Batch:
    """One scene, four objects, three phrases: one object, none, one that is padding."""
    batch = tiny.collate([tiny.scenes(1)[0]])
    targets = torch.zeros(1, 3, 4, dtype=torch.bool)
    targets[0, 0, 2] = True
    text = replace(batch.text, ground_positions=torch.tensor([[9, 12, -1]]), ground_targets=targets)
    return replace(batch, objects=torch.ones(1, 4, dtype=torch.bool), text=text)


def test_held_out_losses_repeat_and_leave_the_model_training(tiny: Tiny) -> None:
    batches = [tiny.batch(), tiny.batch(1)]
    tiny.model.train()
    first = held_out_losses(tiny.model, batches, 1)
    torch.rand(3)
    assert held_out_losses(tiny.model, batches, 1) == first
    assert set(first) == {"cross_view", "global_view", "text", "grounding"}
    assert tiny.model.training
    one, two = (held_out_losses(tiny.model, [batch], 1)["text"] for batch in batches)
    assert first["text"] == pytest.approx((one + two) / 2, abs=1e-5)


@pytest.mark.parametrize(("best", "accuracy"), [(2, 1.0), (0, 0.0), (4, 0.0)])
def test_accuracy_counts_phrases_of_one_object(tiny: Tiny, best: int, accuracy: float) -> None:
    logits = torch.zeros(1, 3, 5)
    logits[0, 0, best] = 20.0
    logits[0, 1:, 4] = 20.0
    figures = grounding_figures(Chosen(logits), [grounded(tiny)])
    assert figures["grounding/accuracy"] == accuracy
    assert figures["grounding/chance"] == pytest.approx(0.25)
    # "none" is found by the second phrase; the third is padding.
    assert figures["grounding/f1"] == pytest.approx((accuracy + 1) / 2)


@pytest.mark.parametrize(("several", "f1"), [("any", 2 / 3), ("each", 1.0)])
def test_a_head_that_learned_each_target_answers_with_all(
    tiny: Tiny, several: str, f1: float
) -> None:
    batch = grounded(tiny)
    batch.text.ground_targets[0, 0, 1] = True
    batch = replace(batch, text=replace(batch.text, ground_positions=torch.tensor([[9, -1, -1]])))
    logits = torch.tensor([0.02, 0.45, 0.49, 0.02, 0.02]).log().expand(1, 3, 5)
    model = Chosen(logits)
    model.grounding.several = several
    assert grounding_figures(model, [batch])["grounding/f1"] == pytest.approx(f1)


def test_scenes_without_candidates_have_nothing_to_choose(tiny: Tiny) -> None:
    first, second = tiny.scenes()
    nothing = Turn("multi_grounding", "find all chairs.", "<ground>")
    bare = replace(first, boxes=torch.zeros(0, 6), objects=(), turns=(nothing,))
    for scenes in ([bare], [bare, second], [bare, replace(bare, turns=second.turns[:1])]):
        batch = tiny.collate(scenes)
        losses = tiny.model(batch)
        assert all(loss.isfinite() for loss in losses.values())
        single, several = choose(tiny.model, batch)
        assert not single[0].any()
        assert not several[0].any()
        alone = tiny.collate([bare])
        assert grounding_figures(tiny.model, [alone]) == {"grounding/f1": 1.0}


def test_unlabelled_batches_have_no_grounding(tiny: Tiny) -> None:
    assert grounding_figures(tiny.model, [tiny.batch().without_text()]) == {}
    with pytest.raises(ValueError, match="text of batch must hold the phrases; got None"):
        choose(tiny.model, tiny.batch().without_text())


def test_choices_are_objects(tiny: Tiny) -> None:
    batch = tiny.batch()
    single, several = choose(tiny.model, batch)
    assert single.shape == several.shape == batch.text.ground_targets.shape
    padding = ~batch.objects[:, None].expand_as(single)
    assert not single[padding].any()
    assert not several[padding].any()
    assert (single.sum(-1) <= 1).all()


def test_evaluate_reports_every_figure(tiny: Tiny) -> None:
    figures, samples = evaluate(tiny.model, tiny.source, tiny.collate, scenes=3, batch=2)
    assert {name.split("/")[0] for name in figures} == {
        "cross_view", "global_view", "text", "grounding", "qa",
    }  # fmt: skip
    asked = [t.question for s in tiny.scenes(3) for t in s.turns if t.answer != "<ground>"]
    assert [question for question, _, _ in samples] == asked
    assert all(value == value for value in figures.values())
    assert tiny.model.training
