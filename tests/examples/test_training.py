from __future__ import annotations

import math

import pytest
import torch
from reference.batch import Batch
from reference.data.scene import Scene
from reference.training import StepDataset, batches, draw_mask, learning_rate, step_generators
from strategies import make_frames


class Names:
    """Scenes that are their index, collated to a list: what the order of batches is read from."""

    def __call__(self, index: int) -> int:
        return index

    @staticmethod
    def collate(scenes: list[int]) -> list[int]:
        return scenes


def batch(b: int = 2, m: int = 8) -> Batch:
    return Batch(make_frames(b, m, (8, 8)), torch.zeros(b, 0, 6), torch.zeros(b, 0).bool())


def test_ranks_share_the_stream_without_overlap() -> None:
    sets = [StepDataset(Names(), Names.collate, 3, rank=rank, ranks=2) for rank in range(2)]
    drawn = [index for step in range(4) for one in sets for index in one[step]]
    assert drawn == list(range(24))


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_in_order_from_any_step(workers: int) -> None:
    dataset = StepDataset(Names(), Names.collate, 2)
    assert list(batches(dataset, range(3, 6), workers=workers)) == [[6, 7], [8, 9], [10, 11]]


def test_step_dataset_collates_scenes() -> None:
    def scene(index: int) -> Scene:
        return Scene(str(index), make_frames(1, 2, (8, 8), seed=index), torch.zeros(0, 6))

    def names(scenes: list[Scene]) -> str:
        return " ".join(scene.name for scene in scenes)

    assert StepDataset(scene, names, 2)[5] == "10 11"


def test_scenes_without_text_come_on_top() -> None:
    def batches_of(rank: int, ranks: int) -> list[list[int]]:
        dataset = StepDataset(Names(), Names.collate, 2, lambda i: -1 - i, rank=rank, ranks=ranks)
        return [dataset[step] for step in range(2)]

    assert batches_of(0, 1) == [[0, 1, -1, -2], [2, 3, -3, -4]]
    assert batches_of(1, 2) == [[2, 3, -3, -4], [6, 7, -7, -8]]


def test_masks_hide_the_ratio_on_scheduled_steps_only() -> None:
    for step in range(6):
        masked = draw_mask(batch(), 0.25, 3, step=step, generator=torch.Generator())
        assert masked.dtype == torch.bool
        assert masked.shape == (2, 8)
        assert masked.sum(1).tolist() == ([2, 2] if step % 3 == 0 else [0, 0])


def test_masks_hide_nothing_of_scenes_that_take_no_part() -> None:
    among = torch.tensor([True, False])
    whole, some = (
        draw_mask(batch(), 0.25, 1, step=0, generator=torch.Generator(), among=x)
        for x in (None, among)
    )
    assert torch.equal(some[0], whole[0])
    assert not some[1].any()


def test_masks_repeat_with_their_generator() -> None:
    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return draw_mask(batch(8), 0.25, 1, step=0, generator=generator)

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


@pytest.mark.parametrize("steps", [1, 2, 10, 600])
def test_learning_rate_rises_then_falls(steps: int) -> None:
    rates = [learning_rate(step, steps, 3.0) for step in range(steps)]
    assert max(rates) <= 3.0
    assert min(rates) > 0
    rising = max(1, round(0.03 * steps))
    assert rates[rising - 1] == 3.0
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)


def test_learning_rate_is_a_cosine_after_the_warm_up() -> None:
    # Half of the peak half-way between the last step of the warm-up and the end.
    assert math.isclose(learning_rate(51, 100, 1.0), 0.5, abs_tol=0.01)
    assert math.isclose(learning_rate(0, 100, 1.0, warmup=0.5), 1 / 50)


def test_generators_depend_on_where_the_run_is() -> None:
    def numbers(*place: int) -> tuple[float, ...]:
        return tuple(torch.rand(1, generator=g).item() for g in step_generators(*place))

    start = numbers(0, 0, 0, 0)
    assert start == numbers(0, 0, 0, 0)
    assert start[0] != start[1]
    for place in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
        other = numbers(*place)
        assert other[0] != start[0]
        assert other[1] != start[1]
