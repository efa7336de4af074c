from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference.build import (
    FLUX_VAE,
    TASKS,
    build_model,
    build_objective,
    build_teacher,
    cache_latents,
    hides_views,
)
from reference.chat import IMAGE, build_tokenizer
from reference.collate import SceneCollator
from reference.data.sources import RoomSource
from reference.data.text import vocabulary
from reference.parameters import count_parameters, parameter_groups
from reference.presets import PRESETS, ROSS3D_7B_NARROW, Preset
from reference.training import draw_mask
from tiny import PRESET, hide, tiny_ross3d

from ross3d import DCTTokenizer, DDPMLoss, FlowMatchingLoss, VAETokenizer, require


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


@torch.no_grad()
def test_the_vanilla_task_recovers_views_that_are_seen() -> None:
    tiny = tiny_ross3d(tasks=TASKS["vanilla"])
    batch = tiny.batch()
    task = tiny.model.reconstruction.tasks["vanilla"]
    assert task(batch.frames, tiny.model.no_mask(batch)).images.shape[:2] == (2, PRESET.views)
    assert set(tiny.model(batch)) == {"vanilla", "text", "grounding"}


def test_views_are_hidden_for_all_tasks_but_vanilla() -> None:
    hiding = {name for name, tasks in TASKS.items() if hides_views(tasks)}
    assert hiding == {"both", "cross_view", "global_view"}
    assert hides_views(["vanilla", "normals"])


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


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_flux_stand_in_is_the_paper_s_teacher() -> None:
    with torch.device("meta"):
        vae = require("diffusers", "vae").AutoencoderKL(**FLUX_VAE)
        teacher = build_teacher(PRESETS["ross3d-7b"])
    assert len(vae.state_dict()) == 244
    assert count(vae) == 83_819_683
    assert count(vae.encoder) == count(teacher.vae.encoder) == 34_274_208
    thin = build_teacher(ROSS3D_7B_NARROW)
    assert (thin.channels, thin.stride) == (64, 16)
    assert thin.vae.config.block_out_channels == [8, 16, 32, 32]
    assert thin.encode(torch.rand(1, 3, 32, 32)).shape == (1, 64, 2, 2)


def test_training_never_holds_the_teacher_s_decoder() -> None:
    tokenizer = build_tokenizer(vocabulary())
    preset = replace(PRESET, teacher="flux", narrow=16, objective="eps")
    model = build_model(preset, tokenizer)
    batch = tiny_ross3d().batch()
    sum(model(batch, hide(2, 4, 1)).values()).backward()
    teacher = model.reconstruction.tokenizer
    assert teacher.vae.decoder is None
    assert count(teacher.vae) == count(teacher.vae.encoder)
    with torch.no_grad():
        rebuilt = teacher.decode(teacher.encode(torch.rand(1, 3, 32, 32)))
    assert rebuilt.shape == (1, 3, 32, 32)
    assert teacher.vae.decoder is not None


def test_latents_of_a_model_are_kept(tmp_path: Path) -> None:
    tiny = tiny_ross3d()
    batch, masked, losses = tiny.batch(), hide(2, 4, 1), []
    for _ in range(3):
        noise = torch.Generator().manual_seed(0)
        losses.append(tiny.model(batch, masked, generator=noise))
        if len(losses) == 1:
            teacher = cache_latents(tiny.model, str(tmp_path), 0.1)
    assert teacher.cache.max_bytes == 10**8
    assert (teacher.misses, teacher.hits) == (4, 4)
    for name, loss in losses[0].items():
        assert losses[1][name].equal(loss)
        assert losses[2][name].equal(loss)
    with pytest.raises(ValueError, match="latents must be those of pretext tasks; got there wit"):
        cache_latents(tiny_ross3d(tasks=()).model, "there", 1.0)
    with pytest.raises(ValueError, match="max_bytes must be at least 1; got 0"):
        cache_latents(tiny_ross3d().model, str(tmp_path), 0.0)


def test_the_paper_s_denoisers_share_their_trunk() -> None:
    preset = replace(PRESET, tables=True)
    model = build_model(preset, build_tokenizer(vocabulary()))
    view, above = (model.reconstruction.denoiser(n) for n in ("cross_view", "global_view"))
    assert view.blocks is above.blocks
    assert view.final_layer is above.final_layer
    assert view.x_embedder is not above.x_embedder
    assert view.pos_embed is not above.pos_embed
    alone = build_model(preset, build_tokenizer(vocabulary()), tasks=("global_view",))
    assert len(alone.reconstruction.denoiser("global_view").blocks) == preset.denoiser_depth


def paper_step(preset: Preset) -> dict[str, float]:
    """Take one step of the paper's recipe: its losses, after a look at who has moved."""
    source = RoomSource(views=preset.views, size=preset.image_size, turns=preset.turns, hidden=1)
    tokenizer = build_tokenizer(source.words())
    model = build_model(preset, tokenizer)
    placeholder = tokenizer.convert_tokens_to_ids(IMAGE)
    scene = model.scene_ids(preset.views)
    assert scene == [placeholder] * (preset.views * 14 * 15)
    batch = SceneCollator(tokenizer, scene)([source.train(0)])
    generator = torch.Generator().manual_seed(0)
    masked = draw_mask(batch, preset.mask_ratio, preset.every, step=0, generator=generator)
    assert masked.sum() == preset.views // 4
    optimizer = torch.optim.AdamW(parameter_groups(model, preset), preset.lr, weight_decay=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = model(batch, masked, step=0, generator=generator)
    sum(losses.values()).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), preset.clip)
    assert norm.isfinite()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert not any("vision_tower" in name for name in moved)
    host = ("lm_head.weight", "embed_tokens.weight", "linear_1.weight", "layers.0.mlp.up_proj")
    for name in (*host, "image_newline", "mask_token", "final_layer.linear.weight"):
        assert any(name in found for found in moved), name
    return {name: float(loss.detach()) for name, loss in losses.items()}


def test_the_paper_s_model_takes_a_step_at_a_sixteenth_of_its_width() -> None:
    losses = paper_step(replace(ROSS3D_7B_NARROW, views=4, layers=1, vision_layers=1))
    assert losses["cross_view"] == pytest.approx(1, abs=0.1)
    assert losses["global_view"] == pytest.approx(1, abs=0.1)
    assert losses["text"] == pytest.approx(math.log(152_064), abs=0.5)


@pytest.mark.slow
def test_the_paper_s_step_with_all_views_tokens_and_layers() -> None:
    losses = paper_step(ROSS3D_7B_NARROW)
    assert losses["cross_view"] == pytest.approx(1, abs=0.05)
    assert losses["text"] == pytest.approx(math.log(152_064), abs=0.5)


def test_parts_cover_the_model() -> None:
    model = tiny_ross3d().model
    counted = sum(total for total, _ in count_parameters(model).values())
    assert counted == sum(parameter.numel() for parameter in model.parameters())
