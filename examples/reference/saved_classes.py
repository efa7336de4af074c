"""The classes that a saved model's ross3d.json may name beside the blocks of ross3d."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .inputs import ViewTokens
from .lmm import ADAPTERS, DecoderLMM
from .no_reconstruction import NoReconstruction
from .released.dit import ReleasedDiT
from .representations import BEVTokens, FusedTokens, PointTokens, VoxelTokens

LMMS = {kind.__name__: kind for kind in (*ADAPTERS.values(), DecoderLMM)}
INPUTS = (ViewTokens, VoxelTokens, PointTokens, BEVTokens, FusedTokens)
CLASSES: Mapping[str, Callable[..., Any]] = {
    **LMMS,
    **{kind.__name__: kind for kind in (NoReconstruction, ReleasedDiT, *INPUTS)},
}
