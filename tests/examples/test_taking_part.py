from __future__ import annotations

import pytest
import torch
from reference.run import generator_for
from reference.taking_part import pretext_losses
from tiny import Tiny, hide, tiny_ross3d
from torch import Tensor


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_ross3d(turns=8)


def losses(tiny: Tiny, about: Tensor | None, rows: slice = slice(None)) -> dict[str, Tensor]:
    scenes, masked = tiny.scenes()[rows], hide(2, 4, 1)[rows]
    batch = tiny.collate(scenes)
    return tiny.model(batch, masked, generator=generator_for(0, "noise"), pretext=about)


def test_scenes_that_take_no_part_count_as_zero(tiny: Tiny) -> None:
    whole, first = losses(tiny, None), losses(tiny, None, slice(1))
    some = losses(tiny, torch.tensor([True, False]))
    for name in ("cross_view", "global_view"):
        torch.testing.assert_close(some[name], first[name] / 2)
        assert not torch.equal(some[name], whole[name])
    for name in ("text", "grounding"):
        assert torch.equal(some[name], whole[name])


def test_all_scenes_are_the_default(tiny: Tiny) -> None:
    everything, whole = losses(tiny, torch.tensor([True, True])), losses(tiny, None)
    assert all(torch.equal(everything[name], loss) for name, loss in whole.items())


def test_no_scene_leaves_zeros_in_the_graph(tiny: Tiny) -> None:
    tiny.model.zero_grad()
    none = losses(tiny, torch.tensor([False, False]))
    assert none["cross_view"].item() == none["global_view"].item() == 0.0
    sum(none.values()).backward()
    trained = [(n, p) for n, p in tiny.model.named_parameters() if p.requires_grad]
    assert [n for n, p in trained if p.grad is None] == []
    assert not any(p.grad.any() for n, p in trained if n.startswith("reconstruction"))


def test_without_tasks_there_is_nothing_to_leave_out() -> None:
    bare = tiny_ross3d(turns=8, tasks=())
    about = torch.tensor([False, False])
    hidden, batch = torch.zeros(2, 4, 4, 32), bare.batch()
    assert pretext_losses(bare.model.reconstruction, hidden, batch, hide(2, 4), about) == {}
