"""No pretext tasks: what stands in for the reconstruction loss of a model that learns from text."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ross3d import PretextTask, Reconstruction


class NoReconstruction(nn.Module):
    """A ReconstructionLoss of no tasks: no parameters, no losses, no pictures.

    Attributes:
        tasks: none.
        config: the arguments of its constructor, as those of ross3d's blocks.
    """

    tasks: Mapping[str, PretextTask] = {}
    config: Mapping[str, object] = {}

    def forward(self, *_: object, **__: object) -> dict[str, Tensor]:
        """Return no losses."""
        return {}

    def reconstruct(self, *_: object, **__: object) -> dict[str, Reconstruction]:
        """Return no pictures."""
        return {}
