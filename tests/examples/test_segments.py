from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reference.segments import CausalMask, segment_mask, segment_positions, segment_shift
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

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


def drawn(b: int, t: int) -> tuple[Tensor, list[Tensor]]:
    """A mask (b, 1, t, t) of random turns, and queries, keys and values (b, 2, t, 4)."""
    torch.manual_seed(0)
    mask = segment_mask(torch.randint(0, 3, (b, t)).sort(dim=1).values, torch.float32).double()
    return mask, [torch.randn(b, 2, t, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("t", [1, 63, 64, 65, 200, 643])
def test_blocks_change_neither_what_is_read_nor_a_gradient(t: int) -> None:
    mask, (q, k, v) = drawn(2, t)
    expected = (q @ k.mT * 0.7 + mask).softmax(dim=-1) @ v
    read = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask.as_subclass(CausalMask), dropout_p=0.0, scale=0.7
    )
    assert type(read) is Tensor
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-12)
    towards = torch.randn_like(read)
    found, wanted = (torch.autograd.grad(x, (q, k, v), towards) for x in (read, expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_blocks_leave_out_what_is_later() -> None:
    mask, qkv = drawn(1, 640)
    arithmetic = []
    for each in (mask, mask.as_subclass(CausalMask)):
        with FlopCounterMode(display=False) as counter:
            F.scaled_dot_product_attention(*qkv, attn_mask=each)
        arithmetic.append(counter.get_total_flops())
    assert arithmetic[1] == pytest.approx(0.6 * arithmetic[0])


def test_queries_that_are_not_the_keys_are_read_in_one_go() -> None:
    mask, (q, k, v) = drawn(1, 200)
    some = mask[:, :, 100:]
    plain, causal = (
        F.scaled_dot_product_attention(q[:, :, 100:], k, v, attn_mask=x)
        for x in (some, some.as_subclass(CausalMask))
    )
    assert torch.equal(plain, causal)


def test_to_other_functions_a_causal_mask_is_a_tensor() -> None:
    mask, (q, k, _) = drawn(1, 5)
    causal = mask.as_subclass(CausalMask)
    for found, expected in (
        (q @ k.mT + causal, q @ k.mT + mask),
        (causal[..., 2:], mask[..., 2:]),
        (causal.to(torch.float32), mask.to(torch.float32)),
    ):
        assert type(found) is Tensor
        assert torch.equal(found, expected)
    assert causal.shape == mask.shape
