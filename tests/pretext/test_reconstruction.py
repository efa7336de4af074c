from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_frames, one_scene
from torch import Tensor

from ross3d import (
    BEVRenderer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    DDPMLoss,
    FlowMatchingLoss,
    GlobalViewTask,
    PosedFrames,
    ReconstructionLoss,
    RegressionLoss,
    Schedule,
    Targets,
    VanillaTask,
    ViewMasker,
    patch_coords,
    sample_view_mask,
)

SIZE = (32, 32)
CONTEXTS = ("visible", "all", "own")


def tasks() -> dict[str, Callable[[PosedFrames, Tensor], Targets]]:
    return {
        "cross_view": CrossViewTask(32, stride=16),
        "global_view": GlobalViewTask(BEVRenderer(32), 32, stride=16),
    }


def make(**options: object) -> ReconstructionLoss:
    denoiser = ConditionedDiT(64, 32, 2, 4)
    return ReconstructionLoss(
        options.pop("tasks", tasks()), DCTTokenizer(), options.pop("denoiser", denoiser),
        context_dim=24, grid=(2, 3), heads=4, **options,
    )  # fmt: skip


def inputs(b: int = 2, m: int = 4, ratio: float = 0.5) -> tuple[Tensor, PosedFrames, Tensor]:
    return torch.randn(b, m, 6, 24), make_frames(b, m, SIZE), sample_view_mask(b, m, ratio)


@given(b=st.integers(1, 3), m=st.integers(2, 5), context=st.sampled_from(CONTEXTS))
def test_any_batch_and_any_number_of_views(b: int, m: int, context: str) -> None:
    losses = make(context=context)(*inputs(b, m))
    assert set(losses) == {"cross_view", "global_view"}
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("draws", [1, 4])
def test_loss_at_initialisation_is_mean_of_eps_squared(draws: int) -> None:
    loss = make(tasks={"cross_view": tasks()["cross_view"]}, objective=DDPMLoss(draws=draws))
    hidden, frames, masked = inputs(8, 8)
    value = loss(hidden, frames, masked, generator=torch.Generator().manual_seed(0))["cross_view"]
    assert abs(value.item() - 1.0) < 0.03


def test_autocast_leaves_geometry_schedule_and_losses_in_float32() -> None:
    """Noisy latents and timesteps reach the denoiser bit for bit, whatever autocast says."""
    loss, (hidden, frames, masked) = make(), inputs()
    for parameter in loss.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    read: list[tuple[Tensor, ...]] = []
    loss.denoiser("cross_view").register_forward_pre_hook(lambda _, given: read.append(given[:2]))
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            generator = torch.Generator().manual_seed(0)
            found.append(loss(hidden, frames, masked, generator=generator))
            places = loss.places(hidden, frames)
        assert places is not None
        assert torch.equal(places[0], make().places(hidden, frames)[0])
    for (z_t, t), (cast_z_t, cast_t) in zip(read[:2], read[2:], strict=True):
        assert z_t.dtype == cast_z_t.dtype == torch.float32
        assert torch.equal(z_t, cast_z_t)
        assert torch.equal(t, cast_t)
    for name, value in found[0].items():
        assert found[1][name].dtype == torch.float32
        torch.testing.assert_close(found[1][name], value, rtol=2e-2, atol=0)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("coords", [True, False])
def test_empty_mask_step_is_zero_and_reaches_every_parameter(context: str, coords: bool) -> None:
    loss = make(tasks={"cross_view": tasks()["cross_view"]}, context=context, target_coords=coords)
    hidden, frames, masked = inputs()
    hidden.requires_grad_()
    value = loss(hidden, frames, torch.zeros_like(masked))["cross_view"]
    assert value.item() == 0.0
    value.backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in loss.parameters())
    assert hidden.grad is not None


def test_every_parameter_learns_from_a_full_step() -> None:
    loss = make()
    torch.nn.init.normal_(loss.denoiser("cross_view").final_layer.linear.weight)
    for block in loss.denoiser("cross_view").blocks:
        torch.nn.init.normal_(block.adaLN_modulation[1].weight)
    sum(loss(*inputs()).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())


def test_masked_views_do_not_leak_into_any_condition() -> None:
    masker, frames, masked = ViewMasker(24), make_frames(2, 4, SIZE), sample_view_mask(2, 4, 0.5)
    others = make_frames(2, 4, SIZE, seed=9)
    changed = PosedFrames(
        torch.where(masked[..., None, None, None], others.images, frames.images),
        frames.depths,
        frames.intrinsics,
        frames.poses,
    )
    encode = torch.nn.Linear(3 * 8 * 8, 24)
    loss, conditions = make(), []
    for seen in (frames, changed):
        cells = F.unfold(F.avg_pool2d(seen.images.flatten(0, 1), 2), 8, stride=8)
        visual = masker(encode(cells.transpose(1, 2)).unflatten(0, (2, 4)), masked)
        targets = loss.tasks["cross_view"](frames, masked)
        conditions.append((visual, loss.conditioners["cross_view"](visual, masked, targets)))
    for before, after in zip(*conditions, strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(frames.images, changed.images)


def test_batch_of_two_equals_two_batches_of_one() -> None:
    loss = make(objective=RegressionLoss(), tasks={"vanilla": VanillaTask(32, stride=16)})
    torch.nn.init.normal_(loss.denoiser("vanilla").final_layer.linear.weight)
    hidden, frames, masked = inputs()
    both = loss(hidden, frames, masked)["vanilla"]
    parts = [
        loss(hidden[i : i + 1], one_scene(frames, i), masked[i : i + 1])["vanilla"]
        for i in range(2)
    ]
    torch.testing.assert_close(both, sum(parts) / 2)


def test_gradient_is_zero_where_weight_is_zero() -> None:
    class Half:
        size = 32

        def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
            targets = VanillaTask(32, stride=16)(frames, masked)
            weight = targets.weight.clone()
            weight[..., 16:] = 0
            return Targets(targets.images, weight, targets.coords)

    loss = make(tasks={"left": Half()})
    conditioner, kept = loss.conditioners["left"], []
    conditioner.register_forward_hook(
        lambda *call: (call[2].retain_grad(), kept.append(call[2]))[0]
    )
    # Without self-attention a cell sees nothing but itself.
    loss.denoiser("left").blocks = torch.nn.ModuleList()
    torch.nn.init.normal_(loss.denoiser("left").final_layer.linear.weight)
    torch.nn.init.normal_(loss.denoiser("left").final_layer.adaLN_modulation[1].weight)
    loss(*inputs())["left"].backward()
    grads = kept[0].grad.abs().sum(dim=(0, 2)).view(2, 2)
    assert (grads[:, 1] == 0).all()
    assert (grads[:, 0] > 0).all()


def test_weights_scale_and_schedules_switch() -> None:
    plain, weighted = (
        make(),
        make(weights={"global_view": 3.0}, schedules={"cross_view": Schedule(4)}),
    )
    weighted.load_state_dict(plain.state_dict())
    data = inputs()
    draws = [torch.Generator().manual_seed(1) for _ in range(3)]
    before, at_four, at_five = (
        plain(*data, generator=draws[0]),
        weighted(*data, step=4, generator=draws[1]),
        weighted(*data, step=5, generator=draws[2]),
    )
    torch.testing.assert_close(at_four["global_view"], 3 * before["global_view"])
    torch.testing.assert_close(at_four["cross_view"], before["cross_view"])
    assert at_five["cross_view"].item() == 0.0
    assert at_five["global_view"].item() > 0.0


def test_the_same_generator_gives_the_same_loss() -> None:
    loss, data = make(objective=FlowMatchingLoss(draws=2)), inputs()
    values = [
        sum(loss(*data, generator=torch.Generator().manual_seed(s)).values()).item()
        for s in (3, 3, 4)
    ]
    assert values[0] == values[1]
    assert values[0] != values[2]


@pytest.mark.parametrize("step", [0, 1])
def test_one_encode_of_all_tasks_gives_the_losses_of_one_each(
    monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    all_tasks = {**tasks(), "vanilla": VanillaTask(32, stride=16), "large": VanillaTask(48)}
    loss = make(tasks=all_tasks, schedules={"vanilla": Schedule(2)})
    (hidden, frames, masked), batches = inputs(), []
    encode = loss.tokenizer.encode
    loss.tokenizer.encode = lambda images: (batches.append(images.shape[2]), encode(images))[1]

    def run() -> list[Tensor]:
        given = hidden.clone().requires_grad_()
        loss.zero_grad()
        losses = loss(given, frames, masked, step=step, generator=torch.Generator().manual_seed(0))
        sum(losses.values()).backward()
        return [*losses.values(), given.grad, *(p.grad for p in loss.parameters())]

    together = run()
    assert sorted(batches) == [32, 48]
    monkeypatch.setattr(
        "ross3d.pretext.reconstruction.encode_pictures",
        lambda tokenizer, pictures: [
            tokenizer.encode(images.flatten(0, 1)).float() for images in pictures
        ],
    )
    for ours, each in zip(together, run(), strict=True):
        assert ours.equal(each)
    assert len(batches) == 2 + len(all_tasks)
    batches.clear()
    monkeypatch.undo()
    loss.reconstruct(hidden, frames, masked, steps=1)
    assert sorted(batches) == [32, 48]


def test_one_denoiser_per_task() -> None:
    denoisers = {name: ConditionedDiT(64, 32, 1, 4) for name in tasks()}
    loss = make(denoiser=denoisers)
    assert loss.denoiser("global_view") is denoisers["global_view"]
    assert all(value.isfinite() for value in loss(*inputs()).values())


@pytest.mark.parametrize("objective", [DDPMLoss(), FlowMatchingLoss(), RegressionLoss()])
def test_reconstruct_samples_pictures(objective: torch.nn.Module) -> None:
    loss = make(objective=objective)
    hidden, frames, masked = inputs()
    pictures = loss.reconstruct(
        hidden, frames, masked, steps=3, generator=torch.Generator().manual_seed(0)
    )
    assert pictures["cross_view"].images.shape == (2, 2, 3, 32, 32)
    assert pictures["global_view"].round_trip.shape == (2, 1, 3, 32, 32)
    for picture in pictures.values():
        assert picture.images.min() >= 0
        assert picture.images.max() <= 1
    none = loss.reconstruct(hidden, frames, torch.zeros_like(masked), steps=2)
    assert none["cross_view"].images.shape == (2, 0, 3, 32, 32)


def test_each_task_may_have_its_own_objective() -> None:
    """As the released model, which draws four noises for a view and one for the room."""
    own = {"cross_view": DDPMLoss(draws=4), "global_view": RegressionLoss()}
    loss, data = make(objective=own), inputs()
    both = loss(*data, generator=torch.Generator().manual_seed(0))
    for name, objective in own.items():
        alone = make(objective=objective, tasks={name: tasks()[name]})
        alone.denoisers.load_state_dict(loss.denoisers.state_dict())
        alone.conditioners[name].load_state_dict(loss.conditioners[name].state_dict())
        single = alone(*data, generator=torch.Generator().manual_seed(0))[name]
        assert torch.equal(single, both[name])
    assert set(loss.reconstruct(*data, steps=2)) == set(own)


@pytest.mark.parametrize(
    "objective",
    [  # two targets a step: with one timestep each, the loss would be too noisy for a short run
        DDPMLoss(draws=8, target="v", shared_timestep=False),
        FlowMatchingLoss(draws=8, shared_timestep=False),
        RegressionLoss(),
    ],
)
def test_training_then_sampling_gives_the_picture_back(objective: torch.nn.Module) -> None:
    """One scene, learned by heart: the whole loop from hidden states to pixels is right."""
    loss = make(
        tasks={"cross_view": tasks()["cross_view"]},
        denoiser=ConditionedDiT(64, 128, 2, 4),
        objective=objective,
    )
    hidden, frames, masked = inputs(1, 4)
    smooth = F.interpolate(frames.images[0, :, :, :2, :2], 32, mode="bilinear")[None]
    frames = PosedFrames(smooth, frames.depths, frames.intrinsics, frames.poses)
    optimizer = torch.optim.Adam(loss.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        optimizer.zero_grad()
        loss(hidden, frames, masked, generator=generator)["cross_view"].backward()
        optimizer.step()
    rebuilt = loss.reconstruct(hidden, frames, masked, steps=30, generator=generator)["cross_view"]
    truth = rebuilt.targets.images
    error = (rebuilt.images - truth).square().mean()
    assert error < truth.var() / 8
    swapped = (rebuilt.images - truth.flip(1)).square().mean()
    assert error < swapped / 8, "each hidden view must be rebuilt as itself"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": {}}, "tasks must name at least one pretext task; got none"),
        ({"context": "none"}, "context must be 'visible', 'all' or 'own'"),
        ({"weights": {"depth": 1.0}}, "weights must use the names"),
        ({"schedules": {"depth": Schedule()}}, "schedules must use the names"),
        ({"denoiser": {"cross_view": torch.nn.Identity()}}, "denoiser must have the names"),
        ({"objective": {"cross_view": DDPMLoss()}}, "objective must have the names"),
        ({"tasks": {"odd": CrossViewTask(24, stride=8)}}, "size of odd must be a multiple of"),
    ],
)
def test_arguments_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_inputs_are_checked() -> None:
    loss, (hidden, frames, masked) = make(), inputs()
    for call in (loss, loss.reconstruct):
        with pytest.raises(ValueError, match="hidden must be of shape"):
            call(hidden[0], frames, masked)
        with pytest.raises(ValueError, match="masked must be boolean"):
            call(hidden, frames, masked.float())
    with pytest.raises(ValueError, match="masked must leave a view of every scene visible"):
        make(context="visible")(hidden, frames, torch.ones_like(masked))
    finer = make(tasks={"cross_view": CrossViewTask(32, stride=8)})
    with pytest.raises(ValueError, match=r"coords must be of shape .* g = 4; got \(2, 2, 16, 3\)"):
        finer(hidden, frames, masked)


def test_tokens_lie_where_the_grid_says() -> None:
    loss, (hidden, frames, _) = make(), inputs()
    coords, known = loss.places(hidden, frames)
    expected, valid = patch_coords(frames.world_coords(), frames.valid, (2, 3))
    torch.testing.assert_close(coords, expected, atol=1e-5, rtol=0)
    assert torch.equal(known, valid)
    assert make(context_coords=False).places(hidden, frames) is None
    with pytest.raises(ValueError, match="grid must be given as rows and columns of 7 tokens"):
        loss.places(torch.zeros(2, 4, 7, 24), frames)


def test_prepared_targets_take_the_place_of_the_tasks_own() -> None:
    loss, (hidden, frames, masked) = make(), inputs()
    made = {"global_view": loss.tasks["global_view"](frames, masked)}
    loss.tasks["global_view"].renderer = None  # not called
    drawn = {"generator": torch.Generator().manual_seed(0)}
    assert loss(hidden, frames, masked, prepared=made, **drawn)["global_view"] > 0


def test_prepared_targets_of_another_task_are_an_error() -> None:
    loss, (hidden, frames, masked) = make(), inputs()
    with pytest.raises(ValueError, match=r"prepared must use the names .*; got \['depth'\]"):
        loss(hidden, frames, masked, prepared={"depth": CrossViewTask(32)(frames, masked)})
