from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference.build import (
    build_model,
    build_objective,
    build_teacher,
    count_parameters,
    parameter_groups,
)
from reference.chat import build_tokenizer
from reference.data.text import vocabulary
from reference.presets import PRESETS
from tiny import PRESET, hide, tiny_ross3d

from ross3d import DCTTokenizer, DDPMLoss, FlowMatchingLoss, VAETokenizer


def test_a_preset_becomes_a_model() -> None:
    model = tiny_ross3d().model
    config = model.lmm.host.config
    assert config.text_config.hidden_size == PRESET.dim
    assert config.vision_config.hidden_size == PRESET.vision_dim
    assert model.lmm.grid == (2, 2)
    assert {n: t.size for n, t in model.reconstruction.tasks.items()} == {
        "cross_view": PRESET.view_size,
        "global_view": PRESET.bev_size,
    }
    assert model.reconstruction.denoiser("cross_view") is model.reconstruction.denoiser(
        "global_view"
    )


def test_the_same_seed_builds_the_same_model() -> None:
    first, second = (tiny_ross3d(awake=False).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_tower_is_frozen_where_the_preset_says_so() -> None:
    tokenizer = build_tokenizer(vocabulary())
    model = build_model(replace(PRESET, train_tower=False), tokenizer)
    assert count_parameters(model)["vision tower"][1] == 0
    assert count_parameters(tiny_ross3d().model)["vision tower"][1] > 0


def test_what_trains_gets_the_rate_of_its_part() -> None:
    preset = replace(PRESET, train_tower=False, lr=1e-3, denoiser_lr=2.0)
    model = build_model(preset, build_tokenizer(vocabulary()))
    rates = {
        id(parameter): group["peak"]
        for group in parameter_groups(model, preset)
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        wanted = (2e-3 if name.startswith("reconstruction") else 1e-3) * parameter.requires_grad
        assert rates.get(id(parameter), 0) == wanted, name


@pytest.mark.parametrize("context", ["visible", "all", "own"])
@pytest.mark.parametrize("target_coords", [True, False])
def test_options_reach_the_conditioners(context: str, target_coords: bool) -> None:
    tiny = tiny_ross3d(context=context, target_coords=target_coords)
    for conditioner in tiny.model.reconstruction.conditioners.values():
        assert conditioner.context == context
        assert conditioner.target_coords == target_coords
    with torch.no_grad():
        losses = tiny.model(tiny.batch(), hide(2, 4, 1))
    assert all(loss.isfinite() for loss in losses.values())


def test_objectives() -> None:
    flow = build_objective(replace(PRESET, objective="flow", draws=3))
    assert isinstance(flow, FlowMatchingLoss)
    assert flow.draws == 3
    for target in ("eps", "v", "x0"):
        ddpm = build_objective(replace(PRESET, objective=target))
        assert isinstance(ddpm, DDPMLoss)
        assert ddpm.target == target


def test_teachers() -> None:
    assert isinstance(build_teacher(PRESET), DCTTokenizer)
    with torch.device("meta"):
        flux = build_teacher(PRESETS["ross3d-7b"])
    assert isinstance(flux, VAETokenizer)
    assert (flux.channels, flux.stride) == (64, 16)


def test_parts_cover_the_model() -> None:
    model = tiny_ross3d().model
    counted = sum(total for total, _ in count_parameters(model).values())
    host = model.lmm.host
    size = sum(parameter.numel() for parameter in model.parameters())
    assert counted + host.model.image_newline.numel() == size
    for total, trained in count_parameters(model).values():
        assert 0 <= trained <= total
