from __future__ import annotations

import pytest
import torch
from reference.segments import segment_attention

SEGMENTS = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 3], [0, 0, 1, 2, 2, -1, -1, -1]])


def test_a_token_sees_the_scene_and_the_past_of_its_own_turn() -> None:
    mask, _ = segment_attention(SEGMENTS, torch.float32)
    b, t = SEGMENTS.shape
    assert mask.shape == (b, 1, t, t)
    for row, segments in enumerate(SEGMENTS.tolist()):
        for query, turn in enumerate(segments):
            for key, other in enumerate(segments):
                seen = key <= query and other in (0, turn)
                assert (mask[row, 0, query, key] == 0) == seen


def test_every_turn_is_placed_right_after_the_scene() -> None:
    _, positions = segment_attention(SEGMENTS, torch.float32)
    assert positions[0].tolist() == [0, 1, 2, 3, 4, 2, 3, 2]
    assert positions[1, :5].tolist() == [0, 1, 2, 2, 3]


def test_one_turn_is_ordinary_causal_attention() -> None:
    segments = torch.tensor([[0, 0, 0, 1, 1, 1]])
    mask, positions = segment_attention(segments, torch.float32)
    assert torch.equal(mask[0, 0] == 0, torch.ones(6, 6).tril().bool())
    assert positions.tolist() == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mask_hides_completely(dtype: torch.dtype) -> None:
    mask, _ = segment_attention(SEGMENTS, dtype)
    assert mask.dtype == dtype
    weights = mask.softmax(-1)
    assert weights.isfinite().all()
    assert not weights[mask < 0].any()


def test_padding_never_attends_to_nothing_and_is_never_seen() -> None:
    mask, _ = segment_attention(SEGMENTS, torch.float32)
    padding = SEGMENTS == -1
    seen = mask[:, 0] == 0
    assert seen.any(-1).all()
    assert not (seen & padding[:, None] & ~padding[:, :, None]).any()


def test_compiles() -> None:
    compiled = torch.compile(segment_attention, fullgraph=True, backend="eager")
    for actual, expected in zip(
        compiled(SEGMENTS, torch.float32), segment_attention(SEGMENTS, torch.float32), strict=True
    ):
        assert torch.equal(actual, expected)


def test_padding_within_the_scene_takes_no_place() -> None:
    padded, plain = (torch.tensor([row]) for row in ([0, -1, -1, 0, 1, 2], [0, 0, 1, 2]))
    kept = padded[0] >= 0
    mask, positions = segment_attention(padded, torch.float32)
    expected, places = segment_attention(plain, torch.float32)
    assert torch.equal(positions[:, kept], places)
    assert torch.equal(mask[:, :, kept][..., kept], expected)
    assert not (mask[0, 0, kept][:, ~kept] == 0).any()
