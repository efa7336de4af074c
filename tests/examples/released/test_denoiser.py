"""The released denoiser's names, and the start from the denoiser of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path

import fabricated
import pytest
import torch
from reference.checkpoints import ReleasedDiT, load_flat_denoiser, load_official_denoiser
from reference.released.denoiser import is_flat
from reference.released.keys import TEMPLATES, expand
from reference.released.names import official_name, our_name

S = fabricated.Sizes()
FULL = {"D": 3584, "C": 1024, "H": 4096, "Z": 64, "W": 196, "B": 729}
LAYERS = {"language model": 28, "vision tower": 26, "denoiser": 3}
COUNTS = {
    "language model": 339,
    "vision tower": 421,
    "projector": 4,
    "newline token": 1,
    "mask token": 1,
    "grounding head": 13,
    "denoiser": 56,
}


@pytest.mark.parametrize(("part", "count"), COUNTS.items())
def test_released_parts_have_their_tensors(part: str, count: int) -> None:
    assert len(expand(TEMPLATES[part], LAYERS.get(part, 0))) == count


def test_released_denoiser_has_its_parameters() -> None:
    keys = expand(TEMPLATES["denoiser"], 3)
    sizes = [
        prod(int(x) if x.isdigit() else int(x[:-1] or 1) * FULL[x[-1]] for x in letters)
        for letters in keys.values()
    ]
    assert sum(sizes) == 75_807_808


@pytest.mark.parametrize("part", TEMPLATES)
def test_names_are_one_to_one(part: str) -> None:
    names = list(expand(TEMPLATES[part], 3))
    ours = [our_name(name) for name in names]
    assert None not in ours
    assert len(set(ours)) == len(names)
    assert [official_name(name) for name in ours] == names
    assert our_name("model.mask_token.more") is official_name("x") is None


@pytest.mark.parametrize("prefix", ["", "net.", "model.mm_inv_projector.net.", "module.a."])
def test_any_prefix_will_do(prefix: str) -> None:
    state = fabricated.denoiser(S, prefix)
    others = {"lm_head.weight": torch.zeros(1)} if prefix else {}
    denoisers, poolers = load_official_denoiser({**state, **others})
    assert set(denoisers) == set(poolers) == {"cross_view", "global_view"}
    assert torch.equal(
        poolers["global_view"].queries, state[f"{prefix}z_embedder_bev.cls_token"][0]
    )
    stem = state[f"{prefix}x_embedder_view.proj.weight"][..., 0, 0]
    assert torch.equal(denoisers["cross_view"].x_embedder.weight, stem)


def test_the_trunk_is_one_and_trains_with_both() -> None:
    state = fabricated.denoiser(S)
    denoisers, poolers = load_official_denoiser(state)
    view, bev = denoisers["cross_view"], denoisers["global_view"]
    for part in ("t_embedder", "blocks", "final_layer"):
        assert getattr(view, part) is getattr(bev, part)
    assert view.x_embedder is not bev.x_embedder
    for name, denoiser in denoisers.items():
        cells = len(denoiser.pos_embed)
        z, t = torch.randn(1, S.channels, 1, cells), torch.tensor([5])
        denoiser(z, t, poolers[name](torch.randn(1, 3, S.dim))).sum().backward()
    every = [*view.parameters(), *bev.parameters(), *poolers["cross_view"].parameters()]
    assert all(p.grad is not None for p in every)
    assert all(p.data_ptr() not in {x.data_ptr() for x in state.values()} for p in every)


def test_a_denoiser_is_saved_and_loaded(tmp_path: Path) -> None:
    bev = load_official_denoiser(fabricated.denoiser(S))[0]["global_view"]
    bev.save_pretrained(tmp_path)
    loaded = ReleasedDiT.from_pretrained(tmp_path)
    z, t, c = torch.randn(1, S.channels, 3, 3), torch.tensor([5]), torch.randn(1, 9, S.width)
    assert torch.equal(loaded(z, t, c), bev(z, t, c))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_it_computes_in_float32_or_wider(dtype: torch.dtype, expected: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in fabricated.denoiser(S).items()}
    denoisers, poolers = load_official_denoiser(state)
    blocks = [*denoisers.values(), *poolers.values()]
    assert {p.dtype for block in blocks for p in block.parameters()} == {expected}


@pytest.mark.parametrize(
    ("width", "heads", "expected"),
    [(32, None, 16), (64, None, 16), (24, None, 1), (136, None, 2), (24, 3, 3)],
)
def test_heads(width: int, heads: int | None, expected: int) -> None:
    _, poolers = load_official_denoiser(fabricated.denoiser(replace(S, width=width)), heads=heads)
    assert poolers["cross_view"].heads == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, p: s.pop(f"{p}z_embedder_view.k.weight"), r"missing z_embedder_view\.k\.weight"),
        (lambda s, p: s.update({f"{p}extra": torch.zeros(1)}), "unexpected extra"),
        (
            lambda s, p: s.update({f"{p}pos_embed_bev": torch.zeros(9, 32)}),
            r"pos_embed_bev is of shape \(9, 32\), not \(1, 9, 32\)",
        ),
        (
            lambda s, p: s.update({f"{p}blocks.0.attn.qkv.bias": torch.zeros(95)}),
            r"qkv\.bias is of shape \(95,\), not \(96,\)",
        ),
        (
            lambda s, p: s.update({f"{p}t_embedder.mlp.0.weight": torch.zeros(32, 64)}),
            r"not \(32, 256\)",
        ),
        (lambda s, p: s.pop(f"{p}t_embedder.mlp.0.weight"), "of one denoiser; got none"),
        (
            lambda s, p: s.update(fabricated.denoiser(S, "ema.")),
            r"got it under \['ema\.', 'model\.",
        ),
    ],
)
def test_tensors_are_checked(change: Callable[..., object], message: str) -> None:
    state = fabricated.denoiser(S)
    change(state, f"{fabricated.DENOISER}.")
    with pytest.raises(ValueError, match=message) as error:
        load_official_denoiser(state, source="some.bin")
    assert str(error.value).startswith("some.bin must hold")


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="dim must be divisible by heads = 5"):
        load_official_denoiser(fabricated.denoiser(S), heads=5)


@pytest.mark.parametrize("pools", [False, True])
def test_start_from_the_denoiser_of_images(pools: bool) -> None:
    flat = fabricated.flat_denoiser(S, pools=pools)
    assert is_flat(flat)
    assert not is_flat(fabricated.denoiser(S))
    denoisers, poolers, fresh = load_flat_denoiser(flat, view_side=2)
    tables = [flat[f"{fabricated.DENOISER}.{'pos_embed'}"][0]]
    ours = [(denoisers[name].pos_embed for name in ("cross_view", "global_view"))]
    if pools:
        tables.append(flat[f"{fabricated.DENOISER}.z_embedder.cls_token"][0])
        ours.append(poolers[name].queries for name in ("cross_view", "global_view"))
    for table, (view, bev) in zip(tables, ours, strict=True):
        assert torch.equal(bev, table)
        grid = table.T.view(1, S.width, 3, 3)
        resized = torch.nn.functional.interpolate(grid, (2, 2), mode="bilinear")
        torch.testing.assert_close(view, resized[0].flatten(1).T)
    name = "z_embedder.proj.1.bias" if pools else "z_embedder.1.bias"
    for task in poolers:
        assert torch.equal(poolers[task].proj.bias, flat[f"{fabricated.DENOISER}.{name}"])
        stem = flat[f"{fabricated.DENOISER}.x_embedder.proj.bias"]
        assert torch.equal(denoisers[task].x_embedder.bias, stem)
    parts = () if pools else ("cls_token", "k.weight", "linear.weight", "v.weight")
    stems = ("bev", "view")
    expected = [f"{fabricated.DENOISER}.z_embedder_{s}.{part}" for s in stems for part in parts]
    assert fresh == expected
    assert denoisers["cross_view"].blocks is denoisers["global_view"].blocks


def test_views_have_half_the_side_by_default() -> None:
    flat = fabricated.flat_denoiser(replace(S, bev=25))
    denoisers, _, _ = load_flat_denoiser(flat)
    assert len(denoisers["cross_view"].pos_embed) == 9


def test_flat_denoisers_are_checked() -> None:
    with pytest.raises(ValueError, match="pos_embed must be of a square grid; got 10 cells"):
        load_flat_denoiser(fabricated.flat_denoiser(replace(S, bev=10)))
    flat = fabricated.flat_denoiser(S)
    del flat[f"{fabricated.DENOISER}.x_embedder.proj.bias"]
    flat["model.mm_inv_projector.net.more"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"(?s)missing x_embedder\.proj\.bias.*unexpected more"):
        load_flat_denoiser(flat)
