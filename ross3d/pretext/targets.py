"""What a pretext task asks for: the pictures to recover, where they count, and where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.frames import PosedFrames

T = TypeVar("T")


@dataclass(frozen=True)
class Targets:
    """K pictures per scene, with weights and places. T_o(I) in the paper.

    Attributes:
        images: (b, k, 3, s, s) pictures to recover, values in [0, 1].
        weight: (b, k, s, s) how much each pixel counts; 0 = not at all (unobserved, unknown,
            padding).
        coords: (b, k, g, 3) world position of each of the g = h*w latent cells, metres, row by row;
            None = the condition does not say which target is wanted.
        known: (b, k, g) bool, True where ``coords`` is known; None = everywhere.
        rays: (b, k, g, 6) camera centre and unit direction of each cell, world frame, for cells
            that are not known.
        views: (b, k) index of the view that each target is; None for pictures that are no view.
    """

    images: Tensor
    weight: Tensor
    coords: Tensor | None = None
    known: Tensor | None = None
    rays: Tensor | None = None
    views: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that the tensors fit together.

        Raises:
            ValueError: if a shape does not fit, or ``known`` or ``rays`` comes without ``coords``.
        """
        sizes = check_shape("images", self.images, "b k 3 h w")
        check_shape("weight", self.weight, "b k h w", **sizes)
        if self.coords is None and (self.known is not None or self.rays is not None):
            raise ValueError("coords must be given with known or rays; got None")
        sizes = {"b": sizes["b"], "k": sizes["k"]}
        if self.coords is not None:
            sizes = check_shape("coords", self.coords, "b k g 3", **sizes)
        if self.known is not None:
            check_shape("known", self.known, "b k g", **sizes)
        if self.rays is not None:
            check_shape("rays", self.rays, "b k g 6", **sizes)
        if self.views is not None:
            check_shape("views", self.views, "b k", **sizes)


class PretextTask(Protocol):
    """T_o: which pictures must be recovered. Any callable with a ``size`` is one.

    Attributes:
        size: pixels s of the square pictures.
    """

    size: int

    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Name the targets.

        Args:
            frames: b scenes of m posed views.
            masked: (b, m) bool, True = hidden from the language model.

        Returns:
            The targets; k may be 0.
        """
        ...


def view_indices(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """List the chosen views of each scene, in order.

    Args:
        chosen: (b, m) bool.

    Returns:
        Indices (b, k) long, k = the largest count of chosen views in a scene; and valid (b, k)
        bool, False where a scene has fewer (the index is then that of another view of the scene).

    Example:
        >>> view_indices(torch.tensor([[False, True, True], [True, False, False]]))[1].tolist()
        [[True, True], [True, False]]
    """
    check_shape("chosen", chosen, "b m")
    count = chosen.sum(dim=1)
    k = int(count.max()) if chosen.shape[0] else 0
    order = chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :k]
    return order, torch.arange(k, device=chosen.device) < count[:, None]


def select_views(values: Tensor, chosen: Tensor) -> Tensor:
    """Take the chosen views of each scene; scenes with fewer are padded with zeros.

    Args:
        values: (b, m, ...) anything per view.
        chosen: (b, m) bool, for example ``masked`` or ``~masked``.

    Returns:
        (b, k, ...), k = the largest count of chosen views in a scene.

    Raises:
        ValueError: if the first two axes differ.

    Example:
        >>> select_views(torch.zeros(2, 8, 3, 4, 4), torch.eye(8, dtype=torch.bool)[:2]).shape
        torch.Size([2, 1, 3, 4, 4])
    """
    sizes = check_shape("chosen", chosen, "b m")
    if values.shape[:2] != chosen.shape:
        expected = (sizes["b"], sizes["m"])
        raise ValueError(f"values must begin with {expected}; got {tuple(values.shape)}")
    index, valid = view_indices(chosen)
    taken = values[torch.arange(sizes["b"], device=index.device)[:, None], index]
    padding = ~valid.view(*valid.shape, *(1,) * (taken.ndim - 2))
    return taken.masked_fill(padding, 0)


def no_targets(task: PretextTask, frames: PosedFrames) -> Targets:
    """Targets of a task that does not take part: k = 0."""
    images = frames.images.new_zeros(frames.images.shape[0], 0, 3, task.size, task.size)
    return Targets(images=images, weight=images[:, :, 0])


def named_tasks(
    argument: str, values: Mapping[str, T] | None, tasks: Mapping[str, PretextTask]
) -> dict[str, T]:
    """Check that a mapping's keys are names of tasks.

    Raises:
        ValueError: if one is not.
    """
    unknown = sorted(set(values or ()) - set(tasks))
    if unknown:
        raise ValueError(f"{argument} must use the names {sorted(tasks)}; got {unknown}")
    return dict(values or {})


def all_tasks(
    argument: str, values: Mapping[str, T], tasks: Mapping[str, PretextTask]
) -> dict[str, T]:
    """Check that a mapping's keys are the names of all tasks.

    Raises:
        ValueError: if they are not.
    """
    if set(values) != set(tasks):
        raise ValueError(f"{argument} must have the names {sorted(tasks)}; got {sorted(values)}")
    return dict(values)
