from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from reference.prepared import Preparing
from reference.run import generator_for
from tiny import Tiny, hide, tiny_ross3d


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_ross3d(turns=4)


@pytest.mark.parametrize("about", [None, torch.tensor([False, True])])
def test_prepared_targets_change_no_loss(tiny: Tiny, about: torch.Tensor | None) -> None:
    tasks = tiny.model.reconstruction.tasks
    batch = Preparing(tiny.collate, tasks)(tiny.scenes())
    assert list(batch.prepared) == ["global_view"]
    now, before = (
        tiny.model(one, hide(2, 4, 1), generator=generator_for(0, "noise"), pretext=about)
        for one in (tiny.batch(), batch)
    )
    assert now.keys() == before.keys()
    assert all(torch.equal(loss, before[name]) for name, loss in now.items())


def test_the_step_takes_what_is_prepared(tiny: Tiny) -> None:
    batch = Preparing(tiny.collate, tiny.model.reconstruction.tasks)(tiny.scenes())
    darker = replace(batch.prepared["global_view"], images=batch.prepared["global_view"].images / 2)
    other = replace(batch, prepared={"global_view": darker})
    one, two = (
        tiny.model(x, hide(2, 4, 1), generator=generator_for(0, "noise")) for x in (batch, other)
    )
    assert one["global_view"] != two["global_view"]
    assert torch.equal(one["cross_view"], two["cross_view"])


def test_prepared_targets_move_with_the_batch(tiny: Tiny) -> None:
    batch = Preparing(tiny.collate, tiny.model.reconstruction.tasks)(tiny.scenes())
    targets = batch.to("meta").prepared["global_view"]
    held = [getattr(targets, field.name) for field in fields(targets)]
    assert {value.device.type for value in held if value is not None} == {"meta"}
    assert targets.views is None


def test_other_tasks_are_left_to_the_step(tiny: Tiny) -> None:
    assert Preparing(tiny.collate, {})(tiny.scenes()).prepared == {}
