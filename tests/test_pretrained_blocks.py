"""Every exported block with parameters is saved and loaded: a new one cannot be forgotten."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from strategies import make_frames
from torch import Tensor, nn

import ross3d
from ross3d import (
    BEVRenderer,
    ConditionedDiT,
    Conditioner,
    CrossAttentionFusion,
    CrossViewTask,
    DCTTokenizer,
    DepthTask,
    FeatureTokenizer,
    FlowMatchingLoss,
    GlobalViewTask,
    GroundingHead,
    PositionAwareEncoder,
    QueryPooler,
    RayAwareEncoder,
    ReconstructionLoss,
    Schedule,
    Targets,
    VAETokenizer,
    ViewMasker,
)
from ross3d.core.pretrained import Pretrained

B, M, P, D = 2, 3, 4, 24
WITHOUT_PARAMETERS = {"DDPMLoss", "FlowMatchingLoss", "RegressionLoss", "Pretrained"}


class Case(NamedTuple):
    """A block with options other than the defaults, and a call that uses all of it."""

    make: Callable[[], Pretrained]
    call: Callable[[Any], Tensor | Mapping[str, Tensor]]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def masked() -> Tensor:
    return torch.tensor([[False, True, False]]).repeat(B, 1)


def targets() -> Targets:
    return Targets(torch.zeros(B, 1, 3, 8, 8), torch.ones(B, 1, 8, 8), coords=drawn(B, 1, P, 3))


def tasks(*, stride: int) -> dict[str, Any]:
    return {
        "cross_view": CrossViewTask(32, stride=stride),
        "global_view": GlobalViewTask(BEVRenderer(32, fill=0), 32, stride=stride),
    }


def reconstruction(denoiser: Any = None, **options: Any) -> ReconstructionLoss:
    tokenizer = DCTTokenizer(0.5, pack=2)
    denoiser = denoiser or ConditionedDiT(tokenizer.channels, 16, depth=1, heads=2)
    options = {
        "objective": FlowMatchingLoss(draws=2),
        "weights": {"cross_view": 0.5},
        "schedules": {"global_view": Schedule(every=2)},
        "grid": (1, P),
        **options,
    }
    return ReconstructionLoss(
        tasks(stride=tokenizer.stride), tokenizer, denoiser, context_dim=D, heads=2, **options
    )


def lose(loss: ReconstructionLoss) -> Mapping[str, Tensor]:
    frames = make_frames(B, M, (32, 32), seed=1)
    noise = torch.Generator().manual_seed(0)
    losses: Mapping[str, Tensor] = loss(drawn(B, M, P, D), frames, masked(), generator=noise)
    return losses


CASES = {
    "ConditionedDiT": Case(
        lambda: ConditionedDiT(4, 16, 2, 2, mlp_ratio=2.0),
        lambda block: block(drawn(2, 4, 2, 2), torch.tensor([3, 500]), drawn(2, 4, 16)),
    ),
    "Conditioner": Case(
        lambda: Conditioner(P, D, 16, 2, context="own"),
        lambda block: block(drawn(B, M, P, D), masked(), targets()),
    ),
    "CrossAttentionFusion": Case(
        lambda: CrossAttentionFusion(D, 12, 4),
        lambda block: block(drawn(B, M, P, D), drawn(B, 5, 12)),
    ),
    "GroundingHead": Case(
        lambda: GroundingHead(D, "score", temperature=0.1, hidden_dim=8),
        lambda block: block(drawn(B, 2, D), drawn(B, 5, D)),
    ),
    "PositionAwareEncoder": Case(
        lambda: PositionAwareEncoder(
            D, None, kind="mlp", bounds=((-1, -1, -1), (1, 1, 1)), points=2, hidden_dim=8
        ),
        lambda block: block(drawn(B, M, P, D), drawn(B, M, P, 2, 3)),
    ),
    "QueryPooler": Case(
        lambda: QueryPooler(P, D, 16, 2, position_dim=12),
        lambda block: block(drawn(B, 6, D), drawn(B, P, 3)),
    ),
    "RayAwareEncoder": Case(
        lambda: RayAwareEncoder(D, kind="mlp", shortest=0.1, longest=20.0, hidden_dim=8),
        lambda block: block(drawn(B, M, P, D), drawn(B, M, P, 6)),
    ),
    "ReconstructionLoss": Case(lambda: reconstruction(context="visible"), lose),
    "ViewMasker": Case(lambda: ViewMasker(D), lambda block: block(drawn(B, M, P, D), masked())),
}
on_every_block = pytest.mark.parametrize("name", CASES)


def awake(block: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in block.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return block


def made(name: str) -> Any:
    return awake(CASES[name].make()).eval()


def assert_equal(ours: Any, theirs: Any) -> None:
    ours, theirs = ({"": x} if isinstance(x, Tensor) else x for x in (ours, theirs))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].any() and torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_exported_module_is_here() -> None:
    exported = {name: getattr(ross3d, name) for name in ross3d.__all__}
    modules = {
        name
        for name, value in exported.items()
        if isinstance(value, type) and issubclass(value, nn.Module)
    }
    assert modules - WITHOUT_PARAMETERS == set(CASES)
    for name in modules & WITHOUT_PARAMETERS - {"Pretrained"}:
        assert not list(exported[name]().parameters())


@on_every_block
def test_a_config_holds_every_argument(name: str) -> None:
    block = made(name)
    assert isinstance(block, Pretrained)
    assert set(block.config) == set(inspect.signature(type(block)).parameters)


@on_every_block
def test_a_loaded_block_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    block, case = made(name), CASES[name]
    block.save_pretrained(tmp_path)
    loaded = type(block).from_pretrained(tmp_path)
    assert_equal(case.call(block), case.call(loaded))
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / file).read_bytes() == (again / file).read_bytes()


@on_every_block
def test_bfloat16_is_kept(name: str, tmp_path: Path) -> None:
    block, case = made(name).bfloat16(), CASES[name]
    block.save_pretrained(tmp_path)
    loaded = type(block).from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert_equal(case.call(block), case.call(loaded))


@on_every_block
def test_nothing_is_left_without_numbers(name: str, tmp_path: Path) -> None:
    block = made(name)
    block.save_pretrained(tmp_path)
    with torch.device("meta"):  # whatever the device of the day
        loaded = type(block).from_pretrained(tmp_path)
    tensors = [*loaded.parameters(), *loaded.buffers()]
    tensors += [x for part in loaded.modules() for x in vars(part).values()]
    assert not any(isinstance(x, Tensor) and x.is_meta for x in tensors)


@on_every_block
def test_a_damaged_block_is_named(name: str, tmp_path: Path) -> None:
    block = made(name)
    block.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=str(file)):
        type(block).from_pretrained(tmp_path)


def test_a_denoiser_of_two_tasks_is_saved_once(tmp_path: Path) -> None:
    loss = awake(reconstruction()).eval()
    loss.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert sum(name.endswith("x_embedder.weight") for name in names) == 1
    loaded = ReconstructionLoss.from_pretrained(tmp_path)
    assert loaded.denoiser("cross_view") is loaded.denoiser("global_view")


def test_a_trunk_that_two_denoisers_share_is_saved_once_and_shared_again(tmp_path: Path) -> None:
    one, two = (ConditionedDiT(64, 16, depth=2, heads=2) for _ in range(2))
    two.blocks, two.final_layer = one.blocks, one.final_layer
    loss = awake(reconstruction({"cross_view": one, "global_view": two})).eval()
    loss.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert sum(".blocks.0.mlp.fc1.weight" in name for name in names) == 1
    assert sum(".x_embedder.weight" in name for name in names) == 2
    loaded = ReconstructionLoss.from_pretrained(tmp_path)
    assert len(list(loaded.parameters())) == len(list(loss.parameters()))
    first, second = (loaded.denoiser(name) for name in loaded.tasks)
    assert first.blocks[1].attn.qkv.weight is second.blocks[1].attn.qkv.weight
    assert first.x_embedder.weight is not second.x_embedder.weight
    assert_equal(lose(loss), lose(loaded))


def test_parts_of_ones_own_are_given_again(tmp_path: Path) -> None:
    encoder = FeatureTokenizer(nn.Conv2d(3, 8, 16, stride=16), channels=8, stride=16)
    mine = ConditionedDiT(8, 16, depth=1, heads=2)
    mine.__class__ = type("Mine", (ConditionedDiT,), {})
    loss = ReconstructionLoss({"depth": DepthTask(32)}, encoder, mine, context_dim=D, heads=2)
    awake(loss).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"tokenizer \(FeatureTokenizer\), denoiser \(Mine\) must be given"
    ):
        ReconstructionLoss.from_pretrained(tmp_path)
    fresh = ConditionedDiT(8, 16, depth=1, heads=2)
    loaded = ReconstructionLoss.from_pretrained(tmp_path, tokenizer=encoder, denoiser=fresh)
    assert loaded.denoiser("depth") is fresh
    assert_equal(lose(loss), lose(loaded))


def test_a_vae_is_named_by_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diffusers = pytest.importorskip("diffusers")
    thin = {"block_out_channels": (4, 4), "layers_per_block": 1, "norm_num_groups": 1}
    thin |= {"down_block_types": ("DownEncoderBlock2D",) * 2}
    thin |= {"up_block_types": ("UpDecoderBlock2D",) * 2, "latent_channels": 2}
    vae = diffusers.AutoencoderKL(**thin)
    vae.save_pretrained(tmp_path / "vae")
    teacher = VAETokenizer.from_pretrained(str(tmp_path), subfolder="vae", pack=2, sample=False)
    denoiser = ConditionedDiT(teacher.channels, 16, depth=1, heads=2)
    task = {"cross_view": CrossViewTask(16, stride=teacher.stride)}
    loss = awake(ReconstructionLoss(task, teacher, denoiser, context_dim=D, heads=2)).eval()
    loss.save_pretrained(tmp_path / "loss")
    loaded = ReconstructionLoss.from_pretrained(tmp_path / "loss")
    assert loaded.tokenizer.sample is False
    assert_equal(lose(loss), lose(loaded))
    loss.config["tokenizer"] = VAETokenizer(vae)
    loss.save_pretrained(tmp_path / "loss")
    with pytest.raises(ValueError, match=r"tokenizer \(VAETokenizer\) must be given"):
        ReconstructionLoss.from_pretrained(tmp_path / "loss")
    with pytest.raises(ValueError, match=r"dtype must be a torch\.dtype or the name of one"):
        VAETokenizer.from_pretrained(str(tmp_path), dtype="load")
