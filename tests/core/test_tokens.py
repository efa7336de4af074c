"""token_positions, gather_tokens, scatter_tokens and join_tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.core.tokens import gather_tokens, join_tokens, scatter_tokens, token_positions


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


def draw_parts(b: int, m: int, p: int, gaps: int) -> list[tuple[Tensor, Tensor]]:
    """Visual tokens, text, and a newline that stands at several positions, in any order."""
    is_visual = draw_visual(b, m, p, gaps)
    others = token_positions(~is_visual, 1)[:, 0]
    newlines, text = others[:, ::2], others[:, 1::2]
    tokens = torch.randn(b, m, p, 5), torch.randn(*text.shape, 5), torch.randn(5)
    positions = is_visual.nonzero()[:, 1].view(b, m, p), text, newlines
    return list(zip(positions, (x.requires_grad_() for x in tokens), strict=True))


@given(**SIZES | {"b": st.integers(1, 3), "gaps": st.integers(1, 5)})
def test_joining_equals_the_loop(b: int, m: int, p: int, gaps: int) -> None:
    parts = draw_parts(b, m, p, gaps)
    slow = torch.full((b, m * p + gaps, 5), torch.nan)
    for positions, tokens in parts:
        each = tokens.expand(*positions.shape, 5).flatten(1, -2)
        for scene, row in enumerate(positions.flatten(1).tolist()):
            for i, t in enumerate(row):
                slow[scene, t] = each[scene, i]
    weight, leaves = torch.randn(slow.shape), [tokens for _, tokens in parts]
    results = []
    for sequence in (join_tokens(*parts), slow):
        grads = torch.autograd.grad((sequence * weight).sum(), leaves, materialize_grads=True)
        results.append((sequence, *grads))
    torch.testing.assert_close(*results)


def test_joining_is_scattering_into_what_is_there() -> None:
    (visual, tokens), text, newline = draw_parts(2, 3, 4, 7)
    before = join_tokens((visual, torch.zeros(5)), text, newline)
    assert join_tokens(text, newline, (visual, tokens)).equal(
        scatter_tokens(before, visual, tokens)
    )


def test_joining_an_empty_batch() -> None:
    positions = torch.zeros(0, 1, 2, dtype=torch.long)
    assert join_tokens(
        (positions, torch.zeros(5)), (positions[:, 0], torch.zeros(0, 2, 5))
    ).shape == (
        0,
        4,
        5,
    )


def test_the_first_part_decides_the_dtype() -> None:
    parts = draw_parts(1, 2, 2, 4)
    parts[0] = parts[0][0], parts[0][1].detach().bfloat16()
    joined = join_tokens(*parts)
    assert joined.dtype == torch.bfloat16
    joined.sum().backward()
    assert parts[1][1].grad.dtype == torch.float32


def test_joining_complains() -> None:
    where, tokens = torch.arange(4).view(2, 2), torch.zeros(2, 2, 3)
    with pytest.raises(ValueError, match="parts must be at least one; got none"):
        join_tokens()
    for wrong in ((where, tokens[:, :1]), (where[:1], tokens[:1]), (where, torch.zeros(4))):
        with pytest.raises(ValueError, match=r"parts must be \(2, ...\) positions and tokens"):
            join_tokens((where, tokens), wrong)


def test_gradients_of_joining() -> None:
    parts = draw_parts(2, 2, 1, 4)
    leaves = [tokens.detach().double().requires_grad_() for _, tokens in parts]

    def join(*leaves: Tensor) -> Tensor:
        return join_tokens(*zip((where for where, _ in parts), leaves, strict=True))

    assert torch.autograd.gradcheck(join, leaves)
    leaves[0].requires_grad_(False)
    assert torch.autograd.gradcheck(join, leaves)


def test_repeated_positions_add_up_their_gradients_when_read() -> None:
    hidden = torch.randn(1, 3, 2, requires_grad=True)
    gather_tokens(hidden, torch.tensor([[[1, 1], [2, 1]]])).sum().backward()
    assert hidden.grad[0, :, 0].tolist() == [0, 3, 1]


def test_overwritten_embeds_get_no_gradient() -> None:
    is_visual = draw_visual(2, 2, 2, 3)
    embeds = torch.randn(2, 7, 3, requires_grad=True)
    scatter_tokens(embeds, token_positions(is_visual, 2), torch.zeros(2, 2, 2, 3)).sum().backward()
    assert torch.equal(embeds.grad, (~is_visual)[..., None].expand(-1, -1, 3).float())


def test_saves_nothing_of_the_sequence_for_backward() -> None:
    parts = draw_parts(1, 2, 4, 5)
    positions = parts[0][0]
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        embeds = join_tokens(*parts)
        written = scatter_tokens(embeds, positions, torch.randn(1, 2, 4, 5))
    written.sum().backward()
    there = {where.data_ptr() for where, _ in parts}
    assert saved
    assert {x.data_ptr() for x in saved} <= there
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        gather_tokens(written, positions)
    assert max(x.numel() for x in saved) <= positions.numel()


# torch itself warns while it traces an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles() -> None:
    positions = token_positions(draw_visual(2, 2, 2, 3), 2)

    def swap_views(hidden: Tensor) -> Tensor:
        swapped = scatter_tokens(hidden, positions, gather_tokens(hidden, positions.flip(1)))
        others = torch.arange(7, 9).expand(2, 2)
        return join_tokens((torch.arange(7).expand(2, 7), swapped), (others, swapped[0, 0]))

    compiled = torch.compile(swap_views, fullgraph=True, backend="eager")
    weight = torch.randn(2, 9, 3)
    hidden = torch.randn(2, 7, 3, requires_grad=True)
    results = []
    for function in (swap_views, compiled):
        out = function(hidden)
        results.append((out, *torch.autograd.grad((out * weight).sum(), hidden)))
    torch.testing.assert_close(*results)
