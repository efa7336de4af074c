"""Which views are hidden, and what the language model sees in their place."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from ross3d.core.pretrained import Pretrained
from ross3d.core.shapes import check_shape


def sample_view_mask(
    batch: int, views: int, ratio: float = 0.25, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw which views of each scene are hidden.

    Exactly ``views - floor(views * (1 - ratio))`` views of every scene are hidden (rounding hides
    more), but never all of them. The paper's mask M is the complement: there 1 means visible.

    Args:
        batch: number of scenes b.
        views: number of views m of each scene.
        ratio: share of hidden views, 0 <= ratio < 1 (paper: 0.25).
        generator: where the random numbers come from; the result is on its device.

    Returns:
        masked (b, m) bool: True = hidden.

    Raises:
        ValueError: if ``batch`` is negative, ``views`` is not positive, or ``ratio`` is outside
            [0, 1).

    Example:
        >>> sample_view_mask(2, 32).sum(dim=1).tolist()
        [8, 8]
    """
    if batch < 0:
        raise ValueError(f"batch must be at least 0; got {batch}")
    visible = _num_visible(views, ratio)
    device = "cpu" if generator is None else generator.device
    order = torch.rand(batch, views, generator=generator, device=device).argsort(dim=1)
    return order >= visible


def sample_overlap_mask(
    overlap: Tensor,
    ratio: float = 0.25,
    *,
    temperature: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw which views of each scene are hidden, so that visible views see what they show.

    Views are hidden one after the other, as many as by :func:`sample_view_mask`. The next is drawn
    by its score: how well the hidden views, it among them, would still be seen, each by the visible
    view that sees it best and the worst seen of them counting. A view whose depth is not known is
    hidden last.

    Args:
        overlap: (b, m, m) share of view i that view j sees, as :func:`view_overlap` gives it.
        ratio: share of hidden views, 0 <= ratio < 1 (paper: 0.25).
        temperature: a view is drawn with probability softmax(score / temperature). 0 = always the
            best seen, the first of equals; large = as :func:`sample_view_mask`.
        generator: where the random numbers come from.

    Returns:
        masked (b, m) bool: True = hidden; on the device of ``overlap``.

    Raises:
        ValueError: if the shape does not fit, there is no view, ``ratio`` is outside [0, 1), or
            ``temperature`` is negative.

    Example:
        >>> overlap = torch.tensor([[[1.0, 0.1, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> sample_overlap_mask(overlap, temperature=0.0).tolist()
        [[False, True, False]]
    """
    b, views = check_shape("overlap", overlap, "b m m").values()
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0; got {temperature}")
    hidden = views - _num_visible(views, ratio)
    device = overlap.device if generator is None else generator.device
    draws = torch.rand(hidden, b, views, generator=generator, device=device).to(overlap.device)
    noise = -temperature * torch.log(-torch.log(draws.clamp(1e-9, 1 - 1e-7)))
    themselves = torch.eye(views, dtype=torch.bool, device=overlap.device)
    others = overlap.float().masked_fill(themselves, 0)
    masked = torch.zeros(b, views, dtype=torch.bool, device=overlap.device)
    for step in range(hidden):
        support, by = others.masked_fill(masked[:, None], 0).topk(2, dim=-1)  # (b, m, 2)
        # (b, candidate, view): what is left of a view's support once the candidate is hidden.
        lost = by[:, None, :, 0] == torch.arange(views, device=by.device)[:, None]
        left = torch.where(lost, support[:, None, :, 1], support[:, None, :, 0])
        counted = masked[:, None] | themselves
        score = left.masked_fill(~counted, torch.inf).amin(-1)
        choice = (score + noise[step]).masked_fill(masked, -torch.inf).argmax(-1, keepdim=True)
        masked = masked.scatter(1, choice, True)
    return masked


class ViewMasker(Pretrained):
    """Replace every token of the hidden views by one learned vector (T_i, Eq. 4).

    It comes before the position code, so a hidden view still says where its surfaces are, but not
    what they look like.

    Args:
        dim: width d of the visual tokens.

    Example:
        >>> masker = ViewMasker(8)
        >>> masker(torch.zeros(2, 4, 9, 8), sample_view_mask(2, 4)).shape
        torch.Size([2, 4, 9, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.config = {"dim": dim}
        self.mask_token = nn.Parameter(torch.randn(dim) / math.sqrt(dim))

    def forward(self, visual: Tensor, masked: Tensor) -> Tensor:
        """Hide the masked views.

        Args:
            visual: (b, m, p, d) visual tokens.
            masked: (b, m) bool, True = hidden.

        Returns:
            (b, m, p, d) visual tokens, in the dtype of ``visual``.

        Raises:
            ValueError: if a shape is wrong, or ``masked`` is not boolean.
        """
        sizes = check_shape("visual", visual, "b m p d", d=self.mask_token.shape[0])
        check_mask(masked, b=sizes["b"], m=sizes["m"])
        token = self.mask_token.to(visual.dtype)
        hidden: Tensor = _HideViews.apply(visual, token, masked)  # type: ignore[no-untyped-call]
        return hidden


def check_mask(masked: Tensor, **sizes: int) -> None:
    """Check that a view mask is boolean and of shape (b, m).

    Args:
        masked: (b, m) bool, True = hidden.
        **sizes: the expected b and m.

    Raises:
        ValueError: if it is not.
    """
    check_shape("masked", masked, "b m", **sizes)
    if masked.dtype != torch.bool:
        raise ValueError(f"masked must be boolean, True = hidden; got {masked.dtype}")


class _HideViews(torch.autograd.Function):
    """``torch.where`` whose gradient of the token is summed by view, not written out by place."""

    @staticmethod
    def forward(ctx: FunctionCtx, visual: Tensor, token: Tensor, masked: Tensor) -> Tensor:
        ctx.save_for_backward(masked)
        return torch.where(masked[..., None, None], token, visual)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (masked,), (grad,) = ctx.saved_tensors, grads
        visual = token = None
        if ctx.needs_input_grad[0]:
            visual = torch.where(masked[..., None, None], 0, grad)
        if ctx.needs_input_grad[1]:
            of_views = grad.sum(2, dtype=torch.promote_types(grad.dtype, torch.float32))
            token = torch.where(masked[..., None], of_views, 0).sum((0, 1)).to(grad.dtype)
        return visual, token, None


def _num_visible(views: int, ratio: float) -> int:
    if views < 1:
        raise ValueError(f"views must be at least 1; got {views}")
    if not 0.0 <= ratio < 1.0:
        raise ValueError(f"ratio must be in [0, 1), so that a view stays visible; got {ratio}")
    return max(1, math.floor(views * (1.0 - ratio) + 1e-9))
