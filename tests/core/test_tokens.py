"""token_positions, gather_tokens and scatter_tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.core.tokens import gather_tokens, scatter_tokens, token_positions


def draw_visual(b: int, m: int, p: int, gaps: int) -> Tensor:
    """Rows of m*p visual tokens and as many gaps, each row in an order of its own."""
    row = torch.arange(m * p + gaps) < m * p
    order = torch.rand(b, m * p + gaps).argsort(dim=1)
    return row.expand(b, -1).gather(1, order)


SIZES = {
    "b": st.integers(0, 3),
    "m": st.integers(1, 4),
    "p": st.integers(0, 3),
    "gaps": st.integers(0, 5),
}


@given(**SIZES)
def test_positions_count_up_and_point_at_visual_tokens(b: int, m: int, p: int, gaps: int) -> None:
    is_visual = draw_visual(b, m, p, gaps)
    positions = token_positions(is_visual, m)
    assert positions.dtype == torch.long
    expected = [[t for t, flag in enumerate(row) if flag] for row in is_visual.tolist()]
    expected_p = p if b else 0
    assert positions.shape == (b, m, expected_p)
    assert positions.reshape(b, m * expected_p).tolist() == expected


@given(**SIZES)
def test_gather_and_scatter_are_inverse(b: int, m: int, p: int, gaps: int) -> None:
    is_visual = draw_visual(b, m, p, gaps)
    positions = token_positions(is_visual, m)
    embeds, tokens = torch.randn(*is_visual.shape, 5), torch.randn(*positions.shape, 5)
    before = embeds.clone()
    written = scatter_tokens(embeds, positions, tokens)
    assert torch.equal(embeds, before)
    assert torch.equal(gather_tokens(written, positions), tokens)
    assert torch.equal(written[~is_visual], embeds[~is_visual])
    assert torch.equal(scatter_tokens(embeds, positions, gather_tokens(embeds, positions)), embeds)


def test_equals_the_loop() -> None:
    positions = token_positions(draw_visual(2, 3, 4, 7), 3)
    embeds, tokens = torch.randn(2, 19, 5), torch.randn(2, 3, 4, 5)
    slow = embeds.clone()
    for b in range(2):
        for m in range(3):
            for p in range(4):
                slow[b, positions[b, m, p]] = tokens[b, m, p]
                read = gather_tokens(embeds, positions)[b, m, p]
                assert torch.equal(read, embeds[b, positions[b, m, p]])
    assert torch.equal(scatter_tokens(embeds, positions, tokens), slow)


def test_views_may_come_in_any_order() -> None:
    positions = torch.tensor([[[4, 5], [0, 2]]])
    hidden = torch.arange(6.0)[None, :, None]
    assert gather_tokens(hidden, positions).flatten().tolist() == [4, 5, 0, 2]
    swapped = scatter_tokens(hidden, positions, gather_tokens(hidden, positions.flip(1)))
    assert swapped.flatten().tolist() == [4, 1, 5, 3, 0, 2]


def test_takes_tensors_that_are_not_contiguous() -> None:
    positions = token_positions(draw_visual(2, 2, 2, 3), 2)
    embeds, tokens = torch.randn(2, 5, 7).mT, torch.randn(2, 5, 2, 2).permute(0, 3, 2, 1)
    written = scatter_tokens(embeds, positions, tokens)
    assert torch.equal(gather_tokens(written, positions), tokens)


def test_the_sequence_decides_the_dtype() -> None:
    positions = torch.tensor([[[0, 2]]])
    tokens = torch.randn(1, 1, 2, 3)
    written = scatter_tokens(torch.zeros(1, 4, 3, dtype=torch.bfloat16), positions, tokens)
    assert written.dtype == torch.bfloat16
    assert torch.equal(gather_tokens(written, positions), tokens.bfloat16())


@pytest.mark.parametrize(
    ("is_visual", "views", "message"),
    [
        (torch.ones(4, dtype=torch.bool), 1, r"is_visual must be of shape \(b t\)"),
        (torch.ones(1, 4), 1, "is_visual must be boolean; got torch.float32"),
        (torch.ones(1, 4, dtype=torch.bool), 0, "views must be at least 1; got 0"),
        (torch.ones(1, 4, dtype=torch.bool), 3, "a multiple of 3 True in a row; got 4"),
        (torch.eye(2, 3).cumsum(1) > 0, 1, r"as many True in every row; got \[3, 2\]"),
    ],
)
def test_position_errors(is_visual: Tensor, views: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        token_positions(is_visual, views)


def test_gather_and_scatter_errors() -> None:
    embeds, positions = torch.zeros(2, 6, 3), torch.zeros(2, 1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"hidden must be of shape \(b t d\)"):
        gather_tokens(embeds[0], positions)
    with pytest.raises(ValueError, match=r"positions must be of shape \(b m p\) with b = 2"):
        gather_tokens(embeds, positions[:1])
    with pytest.raises(ValueError, match=r"embeds must be of shape \(b t d\)"):
        scatter_tokens(embeds[0], positions, torch.zeros(2, 1, 2, 3))
    with pytest.raises(ValueError, match=r"positions must be of shape \(b m p\) with b = 2"):
        scatter_tokens(embeds, positions[:1], torch.zeros(2, 1, 2, 3))
    with pytest.raises(ValueError, match=r"tokens must be of shape \(b m p d\) with .* d = 3"):
        scatter_tokens(embeds, positions, torch.zeros(2, 1, 2, 4))


def test_gradients() -> None:
    positions = token_positions(draw_visual(2, 2, 1, 2), 2)
    embeds = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(2, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: gather_tokens(e, positions), embeds)
    assert torch.autograd.gradcheck(lambda e, x: scatter_tokens(e, positions, x), (embeds, tokens))


def test_overwritten_embeds_get_no_gradient() -> None:
    is_visual = draw_visual(2, 2, 2, 3)
    embeds = torch.randn(2, 7, 3, requires_grad=True)
    scatter_tokens(embeds, token_positions(is_visual, 2), torch.zeros(2, 2, 2, 3)).sum().backward()
    assert torch.equal(embeds.grad, (~is_visual)[..., None].expand(-1, -1, 3).float())


def test_saves_nothing_of_the_sequence_for_backward() -> None:
    positions = token_positions(draw_visual(1, 2, 4, 5), 2)
    embeds = torch.randn(1, 13, 64, requires_grad=True)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        written = scatter_tokens(embeds, positions, gather_tokens(embeds, positions))
    written.sum().backward()
    assert saved
    assert max(x.numel() for x in saved) <= positions.numel()


# torch itself warns while it traces an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles() -> None:
    positions = token_positions(draw_visual(2, 2, 2, 3), 2)

    def swap_views(hidden: Tensor) -> Tensor:
        return scatter_tokens(hidden, positions, gather_tokens(hidden, positions.flip(1)))

    compiled = torch.compile(swap_views, fullgraph=True, backend="eager")
    weight = torch.randn(2, 7, 3)
    hidden = torch.randn(2, 7, 3, requires_grad=True)
    results = []
    for function in (swap_views, compiled):
        out = function(hidden)
        results.append((out, *torch.autograd.grad((out * weight).sum(), hidden)))
    torch.testing.assert_close(*results)
