"""The denoiser of released checkpoints as blocks of ross3d, and the 2-D one it started from."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d import QueryPooler

from .dit import DenoiserSizes, ReleasedDiT, holder, released_blocks
from .keys import (
    DENOISER,
    FLAT_DENOISER,
    FLAT_EMBEDDER,
    FLAT_POOLER,
    TEMPLATES,
    count_layers,
    expand,
    fit,
)
from .names import STEMS, our_name, to_ours

MARK = "t_embedder.mlp.0.weight"
Blocks = tuple[dict[str, ReleasedDiT], dict[str, QueryPooler]]


def load_official_denoiser(
    state_dict: Mapping[str, Tensor], *, heads: int | None = None, source: str = "state_dict"
) -> Blocks:
    """Turn the denoiser of a released checkpoint into blocks that compute the same.

    Args:
        state_dict: the denoiser's tensors under their released names, behind any prefix; tensors of
            other parts of the model are left alone where there is a prefix that tells them apart.
        heads: attention heads, which no shape tells. None = 16, as in the released code at every
            width; a width that 16 does not divide has a head per 64 channels.
        source: what messages call it.

    Returns:
        Denoisers and poolers, both under "cross_view" and "global_view", in float32 or wider:
        ``poolers[k](context (b, s, D))`` is the condition of ``denoisers[k](z_t, t, condition)``.
        The two denoisers share their trunk, and have an input stem and a trained position table
        each.

    Raises:
        ValueError: naming every tensor that is missing, unexpected or mis-shaped.
    """
    found = _under_prefix(state_dict, source)
    depth = count_layers(found, f"{DENOISER}blocks.")
    keys = expand(TEMPLATES["denoiser"], depth)
    sizes, problems = fit(keys, {name: tuple(value.shape) for name, value in found.items()})
    _refuse(source, problems)
    return _fill(DenoiserSizes.of(sizes, depth, heads), found)


def load_flat_denoiser(
    state_dict: Mapping[str, Tensor],
    *,
    view_side: int | None = None,
    heads: int | None = None,
    source: str = "state_dict",
) -> tuple[dict[str, ReleasedDiT], dict[str, QueryPooler], list[str]]:
    """Start the denoisers from that of images alone (``mm_inv_projector.bin``).

    The bird's-eye view takes over its position table, views a table that is resized bilinearly;
    both take over the input stem and the embedding of the context. What it lacks keeps its random
    start: the poolers' queries, keys, values and outputs, unless the file has these as well.

    Args:
        state_dict: its tensors under their released names, behind any prefix.
        view_side: latent cells along each side of a view; None = half of those of the table.
        heads: as in :func:`load_official_denoiser`.
        source: what messages call it.

    Returns:
        Denoisers, poolers, and the released names of the tensors that start at random.

    Raises:
        ValueError: naming every tensor that is missing, unexpected or mis-shaped, or if the
            position table is not that of a square.
    """
    tensors, sizes = inflate(state_dict, view_side=view_side, source=source)
    depth = count_layers(tensors, f"{DENOISER}blocks.")
    fresh = sorted(expand(TEMPLATES["denoiser"], depth).keys() - tensors.keys())
    return *_fill(DenoiserSizes.of(sizes, depth, heads), tensors), fresh


def is_flat(names: Mapping[str, object]) -> bool:
    """Whether these are the names of the denoiser of images alone."""
    return any(name.endswith("pos_embed") for name in names) and not any(
        name.endswith("pos_embed_view") for name in names
    )


def inflate(
    state_dict: Mapping[str, Tensor],
    *,
    view_side: int | None = None,
    source: str = "state_dict",
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Give the tensors of the 2-D denoiser the released names of both sizes of targets.

    Returns:
        The tensors, and the sizes of the templates' letters.

    Raises:
        ValueError: as :func:`load_flat_denoiser`.
    """
    found = _under_prefix(state_dict, source)
    pools = any(name.startswith(f"{DENOISER}z_embedder.proj.") for name in found)
    names = [name.removeprefix(DENOISER) for name in found]
    template = f"{FLAT_DENOISER}\n{FLAT_POOLER if pools else FLAT_EMBEDDER}"
    depth = count_layers(names, "blocks.")
    shapes = {name: tuple(value.shape) for name, value in zip(names, found.values(), strict=True)}
    sizes, problems = fit(expand(template, depth, net=""), shapes)
    _refuse(source, problems)
    side = math.isqrt(sizes["B"])
    if side * side != sizes["B"]:
        raise ValueError(f"{source}: pos_embed must be of a square grid; got {sizes['B']} cells")
    view_side = -(-side // 2) if view_side is None else view_side
    tensors: dict[str, Tensor] = {}
    for name, value in zip(names, found.values(), strict=True):
        if name.startswith(("t_embedder.", "blocks.", "final_layer.")):
            tensors[DENOISER + name] = value
            continue
        head, _, tail = name.replace("z_embedder.1.", "z_embedder.proj.1.").partition(".")
        for stem in STEMS.values():
            is_table = name in ("pos_embed", "z_embedder.cls_token")
            resized = _resize(value, view_side) if is_table and stem == "view" else value
            tensors[f"{DENOISER}{head}_{stem}{'.' if tail else ''}{tail}"] = resized
    return tensors, {**sizes, "W": view_side**2}


def _resize(table: Tensor, side: int) -> Tensor:
    """Resize a table (1, s*s, C) of a square grid bilinearly."""
    old = math.isqrt(table.shape[1])
    grid = table.unflatten(1, (old, old)).movedim(-1, 1)
    grid = F.interpolate(grid.float(), (side, side), mode="bilinear", align_corners=False)
    return grid.movedim(1, -1).flatten(1, 2).to(table.dtype)


def _under_prefix(state_dict: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Put the released prefix in place of the one that the names have.

    Raises:
        ValueError: if no prefix can be told, or several.
    """
    ends = [name.removesuffix(MARK) for name in state_dict if name.endswith(MARK)]
    prefixes = sorted({end for end in ends if end == "" or end.endswith(".")})
    if len(prefixes) != 1:
        got = f"it under {prefixes}" if prefixes else "none"
        raise ValueError(f"{source} must hold {MARK} of one denoiser; got {got}")
    return {
        DENOISER + name.removeprefix(prefixes[0]): value
        for name, value in state_dict.items()
        if name.startswith(prefixes[0])
    }


def _fill(sizes: DenoiserSizes, tensors: Mapping[str, Tensor]) -> Blocks:
    denoisers, poolers = released_blocks(sizes)
    blocks = holder(denoisers, poolers)
    state = {}
    for name, value in tensors.items():
        wide = value.detach().to(torch.promote_types(value.dtype, torch.float32))
        state[our_name(name) or name] = to_ours(name, wide).clone()
    dtypes = {value.dtype for value in state.values()}
    blocks.to(torch.float64 if torch.float64 in dtypes else torch.float32)
    blocks.load_state_dict(state, strict=False)  # the shared trunk has two names, and one is there
    return denoisers, poolers


def _refuse(source: str, problems: list[str]) -> None:
    if problems:
        listed = "\n  ".join(name.replace(DENOISER, "") for name in problems)
        raise ValueError(f"{source} must hold a released denoiser; got\n  {listed}")
