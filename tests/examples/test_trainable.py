from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hosts import make, on_every_host
from reference.build import build_model
from reference.collate import SceneCollator
from reference.model import Ross3D
from reference.parameters import (
    count_parameters,
    is_adapter,
    named_parts,
    parameter_groups,
    trainable_table,
    training_bytes,
)
from reference.presets import PRESETS
from reference.run import RunFolder, load_checkpoint
from reference.trainable import (
    TRAIN,
    add_lora,
    choose_trainable,
    freeze,
    merge_lora,
)
from reference.trained import load_run
from tiny import PRESET, Tiny, hide, tiny_ross3d
from tiny_host import FIRST_WORD, GREEDY, TinyHost
from torch import Tensor, nn

MASKED = torch.tensor([[False, True, False]]).repeat(2, 1)
WORDS = [FIRST_WORD, FIRST_WORD + 1]


def adapted(name: str, **options: object) -> tuple[TinyHost, Ross3D]:
    """A host of the table with adapters, and the reference model around it."""
    host = make(name)
    model = host.ross3d()
    choose_trainable(model, replace(PRESET, **options), "lora", new_words=WORDS)
    return host, model


def wake_adapters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Let adapters and new words matter."""
    added = {name: p for name, p in model.named_parameters() if is_adapter(name)}
    with torch.no_grad():
        for parameter in added.values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return added


def said(host: TinyHost, images: Tensor, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return host.lmm.decode(host.lmm.encode(images), ids)[0].last_hidden_state


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@on_every_host
def test_lora_starts_as_nothing_and_merges_to_a_plain_host(name: str) -> None:
    plain = make(name)
    images, ids = plain.images(), plain.ids()
    ids[:, -2:] = torch.tensor(WORDS)
    host, model = adapted(name)
    untouched, names = said(plain, images, ids), set(plain.lmm.state_dict())
    close(said(host, images, ids), untouched)
    wake_adapters(model)
    moved = said(host, images, ids)
    assert (moved - untouched).abs().max() > 1e-3
    host.lmm.host.disable_adapters()
    close(said(host, images, ids), untouched)
    host.lmm.host.enable_adapters()
    visual = host.lmm.encode(images)
    generated = host.lmm.generate(visual, ids, **GREEDY)
    merge_lora(host.lmm.host)
    assert set(host.lmm.state_dict()) == names
    torch.testing.assert_close(said(host, images, ids), moved, rtol=0, atol=1e-4)
    assert torch.equal(host.lmm.generate(visual, ids, **GREEDY), generated)


@on_every_host
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_get_gradients_and_base_weights_none(name: str, dtype: str) -> None:
    host, model = adapted(name, frozen_dtype=dtype)
    added = wake_adapters(model)
    batch = host.batch()
    batch.text.input_ids[:, -2:] = torch.tensor(WORDS)
    output, hidden = model.read(batch, model.see(batch, MASKED), MASKED)
    (output.loss + hidden.float().square().mean()).backward()
    assert len(added) > 10
    for parameter_name, parameter in model.named_parameters():
        if parameter_name in added:
            assert parameter.dtype == torch.float32
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any() or ".k_proj." in parameter_name, parameter_name
        elif parameter.requires_grad:
            assert parameter.dtype == torch.float32, parameter_name
        else:
            assert parameter.grad is None
            assert parameter.dtype == getattr(torch, dtype), parameter_name
    trained = [m for m in named_parts(model).get("projector", []) if m.requires_grad]
    assert all(p.grad.any() for p in trained if p.ndim > 1)


@on_every_host
@pytest.mark.parametrize("train", ["lora", "blocks"])
def test_recomputation_on_a_frozen_host_changes_no_gradient(name: str, train: str) -> None:
    def gradients(recompute: bool) -> list[Tensor]:
        host = make(name)
        model = host.ross3d().train()
        choose_trainable(model, replace(PRESET, recompute=recompute), train)
        torch.manual_seed(1)
        wake_adapters(model)
        batch = host.batch()
        output, hidden = model.read(batch, model.see(batch, MASKED), MASKED)
        (output.loss + hidden.square().mean()).backward()
        assert host.lmm.host.is_activation_checkpointing == recompute
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain, again = gradients(False), gradients(True)
    assert any(gradient.any() for gradient in plain)
    torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("train", ["full", "blocks"])
def test_recomputation_asks_no_gradient_of_a_frozen_tower(train: str) -> None:
    host = make("llava_onevision")
    model = host.ross3d().train()
    freeze(host.lmm.host.model.vision_tower)
    choose_trainable(model, replace(PRESET, recompute=True), train)
    features: list[Tensor] = []
    host.lmm.host.model.vision_tower.register_forward_hook(
        lambda *hooked: features.append(hooked[-1].last_hidden_state)
    )
    host.lmm.encode(host.images())
    assert not features[0].requires_grad


def test_reentrant_checkpoints_are_refused() -> None:
    lmm = make("llava_onevision").lmm
    with pytest.raises(ValueError, match="use_reentrant must be False; got True"):
        lmm.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": True})


def test_the_paper_s_split_is_the_default() -> None:
    one, other = tiny_ross3d(train="full").model, tiny_ross3d().model
    assert [n for n, p in one.named_parameters() if p.requires_grad] == [
        n for n, p in other.named_parameters() if p.requires_grad
    ]
    groups = parameter_groups(one, PRESET)
    assert [group["peak"] for group in groups] == [PRESET.lr, PRESET.lr * PRESET.denoiser_lr]
    assert sum(len(group["params"]) for group in groups) == sum(
        p.requires_grad for p in one.parameters()
    )


def test_blocks_train_alone() -> None:
    model = tiny_ross3d(train="blocks").model
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith("lmm."), name


def test_adapters_have_a_rate_of_their_own() -> None:
    model = tiny_ross3d(train="lora").model
    *_, adapters = parameter_groups(model, replace(PRESET, lr=1e-3, lora_lr=3.0))
    assert adapters["peak"] == 3e-3
    added = {id(p) for name, p in model.named_parameters() if is_adapter(name)}
    assert {id(p) for p in adapters["params"]} == added


@pytest.mark.parametrize("train", ["lora", "blocks"])
def test_grounding_learns_without_the_embeddings(train: str) -> None:
    tiny = tiny_ross3d(train=train)
    batch, masked = tiny.batch(), hide(2, 4, 1)
    first = last = losses(tiny, batch, masked)
    optimizer = torch.optim.AdamW([p for p in tiny.model.parameters() if p.requires_grad], 3e-3)
    for _ in range(25):
        sum(last.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        last = losses(tiny, batch, masked)
    assert last["grounding"] < 0.5 * first["grounding"]
    assert sum(last.values()) < sum(first.values())


def losses(tiny: Tiny, batch: object, masked: Tensor) -> dict[str, Tensor]:
    return tiny.model(batch, masked, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("train", ["lora", "blocks"])
def test_a_host_in_bfloat16_teaches_blocks_in_float32(train: str) -> None:
    tiny = tiny_ross3d()
    preset = replace(PRESET, frozen_dtype="bfloat16", newline="row", recompute=True)
    model = build_model(preset, tiny.collate.tokenizer, train=train)
    rows = replace(tiny, collate=SceneCollator(tiny.collate.tokenizer, model.scene_ids(4)))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(parameter_groups(model, preset), 1e-3)
    for _ in range(3):
        found = model(rows.batch(), hide(2, 4, 1))
        assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in found.values())
        sum(found.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == parameter.requires_grad, name
        assert parameter.dtype == (torch.float32 if moved else torch.bfloat16), name
    questions = rows.collate.questions(rows.scenes())
    assert model.eval().answer(questions, max_new_tokens=2).shape == (2, 2)


def test_a_frozen_module_says_the_same_every_time() -> None:
    attention = nn.Identity()
    attention.attention_dropout = 0.3
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), attention)
    freeze(module)
    module.train()
    inputs = torch.randn(3, 4)
    first = module(inputs)
    assert torch.equal(module(inputs), first)
    assert torch.equal(module.eval()(inputs), first)
    assert not module[1].running_mean.any()
    assert attention.attention_dropout == 0.0
    assert module.train().training
    assert not first.requires_grad


def test_a_resumed_run_with_adapters_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    def start(seed: int) -> tuple[Tiny, torch.optim.Optimizer]:
        tiny = tiny_ross3d(train="lora", seed=seed, awake=False)
        return tiny, torch.optim.AdamW(parameter_groups(tiny.model, PRESET), 1e-2)

    def step(tiny: Tiny, optimizer: torch.optim.Optimizer) -> None:
        sum(losses(tiny, tiny.batch(), hide(2, 4, 1)).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    straight, resumed = start(0), start(1)
    step(*straight)
    saved = RunFolder(tmp_path).save_checkpoint(1, straight[0].model, straight[1])
    load_checkpoint(saved, resumed[0].model, resumed[1])
    for tiny, optimizer in (straight, resumed):
        step(tiny, optimizer)
    wanted, found = (x[0].model.state_dict() for x in (straight, resumed))
    assert any(is_adapter(name) for name in wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("train", ["lora", "blocks"])
def test_the_main_job_trains_what_it_is_told_to(
    train: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call_main: Callable[..., None],
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", PRESET)
    quick = ("--steps", 2, "--threads", 1, "--workers", 0, "--evaluate", 0)
    call_main("train_ross3d.py", *quick, "--train", train, "--out", tmp_path)
    printed = capsys.readouterr().out
    assert ("LoRA adapters" in printed) == (train == "lora")
    assert json.loads((tmp_path / "config.json").read_text())["options"]["train"] == train
    assert not (tmp_path / "figures.json").exists(), "nothing was to be judged"
    before, after = tiny_ross3d(train=train, awake=False).model, load_run(tmp_path).model
    trained = {name for name, p in after.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in before.named_parameters() if p.requires_grad}
    assert all(p.dtype == torch.float32 for p in after.parameters())


def test_parts_cover_the_model() -> None:
    for train in TRAIN:
        model = tiny_ross3d(train=train).model
        parts = named_parts(model)
        held = [id(p) for parameters in parts.values() for p in parameters]
        assert sorted(held) == sorted(id(p) for p in model.parameters())
        assert all(0 <= train <= total for total, train in count_parameters(model).values())


def test_the_table_says_what_trains() -> None:
    model = tiny_ross3d(train="lora").model
    rows = trainable_table(model, parameter_groups(model, PRESET)).splitlines()
    named = {row[:24].strip(): row.split()[-3:] for row in rows[1:-1]}
    assert list(named) == list(named_parts(model))
    assert named["vision tower"] == ["0", "float32", "-"]
    assert named["newline"] == ["0", "float32", "-"]
    assert named["LoRA adapters"][1:] == ["float32", "6e-04"]
    assert named["new words"] == [str(2 * PRESET.dim), "float32", "6e-04"]
    assert named["denoiser and poolers"][1:] == ["float32", "3e-03"]
    assert rows[-1].split()[1:] == [
        f"{sum(p.numel() for p in parameters):,}"
        for parameters in (
            list(model.parameters()),
            [p for p in model.parameters() if p.requires_grad],
        )
    ]


def test_bytes_are_weights_gradients_and_two_moments() -> None:
    frozen, trained = nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False)
    model = nn.Sequential(frozen.requires_grad_(False).bfloat16(), trained)
    held = training_bytes(model, [nn.Linear(3, 3, bias=False)])
    assert held == {"weights": 32 + 32 + 36, "gradients": 32, "Adam": 64}


def test_lora_without_new_words_leaves_the_embedding_alone() -> None:
    host = make("llava_onevision").lmm.host
    before = host.get_input_embeddings()
    add_lora(host, 2)
    assert host.get_input_embeddings() is before
    merge_lora(host)
    assert type(host.model.language_model.layers[0].self_attn.q_proj) is nn.Linear


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="train must be one of full, lora, blocks; got 'all'"):
        tiny_ross3d(train="all")
