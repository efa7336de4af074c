from __future__ import annotations

import pytest
import torch
from reference.segments import segment_mask, segment_positions, segment_shift

SEGMENTS = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 3], [0, 0, 1, 2, 2, -1, -1, -1]])


def test_a_token_sees_the_scene_and_the_past_of_its_own_turn() -> None:
    mask = segment_mask(SEGMENTS, torch.float32)
    b, t = SEGMENTS.shape
    assert mask.shape == (b, 1, t, t)
    for row, segments in enumerate(SEGMENTS.tolist()):
        for query, turn in enumerate(segments):
            for key, other in enumerate(segments):
                seen = key <= query and other in (0, turn)
                assert (mask[row, 0, query, key] == 0) == seen


def test_every_turn_is_placed_right_after_the_scene() -> None:
    positions = segment_positions(SEGMENTS)
    assert positions[0].tolist() == [0, 1, 2, 3, 4, 2, 3, 2]
    assert positions[1, :5].tolist() == [0, 1, 2, 2, 3]


def test_one_turn_is_ordinary_causal_attention() -> None:
    segments = torch.tensor([[0, 0, 0, 1, 1, 1]])
    mask, positions = segment_mask(segments, torch.float32), segment_positions(segments)
    assert torch.equal(mask[0, 0] == 0, torch.ones(6, 6).tril().bool())
    assert positions.tolist() == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mask_hides_completely(dtype: torch.dtype) -> None:
    mask = segment_mask(SEGMENTS, dtype)
    assert mask.dtype == dtype
    weights = mask.softmax(-1)
    assert weights.isfinite().all()
    assert not weights[mask < 0].any()


def test_padding_never_attends_to_nothing_and_is_never_seen() -> None:
    mask = segment_mask(SEGMENTS, torch.float32)
    padding = SEGMENTS == -1
    seen = mask[:, 0] == 0
    assert seen.any(-1).all()
    assert not (seen & padding[:, None] & ~padding[:, :, None]).any()


def test_compiles() -> None:
    together = SEGMENTS == 0
    mask = torch.compile(segment_mask, fullgraph=True, backend="eager")
    positions = torch.compile(segment_positions, fullgraph=True, backend="eager")
    expected = segment_mask(SEGMENTS, torch.float32, together)
    assert torch.equal(mask(SEGMENTS, torch.float32, together), expected)
    assert torch.equal(positions(SEGMENTS), segment_positions(SEGMENTS))


def test_padding_within_the_scene_takes_no_place() -> None:
    padded, plain = (torch.tensor([row]) for row in ([0, -1, -1, 0, 1, 2], [0, 0, 1, 2]))
    kept = padded[0] >= 0
    mask, positions = segment_mask(padded, torch.float32), segment_positions(padded)
    expected, places = segment_mask(plain, torch.float32), segment_positions(plain)
    assert torch.equal(positions[:, kept], places)
    assert torch.equal(mask[:, :, kept][..., kept], expected)
    assert not (mask[0, 0, kept][:, ~kept] == 0).any()


def test_tokens_of_the_scene_can_see_later_ones() -> None:
    segments = torch.tensor([[-1, 0, 0, 0, -1, 0, 1, 1, 2]])
    together = torch.tensor([[False, False, True, True, True, True, False, False, True]])
    mask, causal = (
        segment_mask(segments, torch.float32, together),
        segment_mask(segments, torch.float32),
    )
    more = (mask == 0) & (causal < 0)
    assert more[0, 0].nonzero().tolist() == [[2, 3], [2, 5], [3, 5]]
    assert torch.equal(mask[~more], causal[~more])


def test_the_shift_turns_ordinary_positions_into_those_of_turns() -> None:
    segments = torch.tensor([[-1, -1, 0, 0, 1, 1, 2, 2, 3, -1], [0, 0, 0, 1, 2, 2, 2, -1, -1, -1]])
    ordinary = torch.tensor([[0, 0, *range(8)], [*range(10)]])
    kept = segments >= 0
    shifted = ordinary - segment_shift(segments)
    assert torch.equal(shifted[kept], segment_positions(segments)[kept])
    assert not segment_shift(segments)[~kept].any()
