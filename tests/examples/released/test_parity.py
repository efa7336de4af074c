"""The released model, built of our blocks, against a slow restatement of what it computes."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from pathlib import Path
from types import SimpleNamespace

import fabricated
import official_slow as slow
import pytest
import torch
from reference.batch import Batch, Text
from reference.checkpoints import (
    convert,
    load_converted,
    load_official_denoiser,
    load_official_grounding_head,
    official_parity,
)
from reference.released.parity import ReleasedRoss3D
from reference.released.targets import ReleasedBEV, ReleasedTokenizer, ReleasedViews
from strategies import make_frames
from torch import Tensor

from ross3d import BEV, PosedFrames, grounding_loss

S = fabricated.Sizes()
M, OBJECTS = 4, 5
PIXELS = S.side * S.patch
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
MASKED = torch.tensor([[False, True, False, False]])
BEFORE, AFTER = [3, 17, 5], [8, fabricated.TOKENS["<coord>"], 11, fabricated.TOKENS["<ground>"], 2]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs.to(ours), **TOLERANCE)


def picture(frames: PosedFrames) -> BEV:
    """A made-up room from above, black in parts."""
    size, generator = 2 * isqrt(S.bev) * 2, torch.Generator().manual_seed(7)
    image = torch.rand(len(frames), 3, size, size, generator=generator)
    image[..., : size // 2, 4:] = 0
    observed = torch.ones_like(image[:, 0], dtype=torch.bool)
    return BEV(image, observed, torch.zeros_like(image[:, 0]), torch.zeros(len(frames), 4))


def make_batch() -> Batch:
    frames = make_frames(1, M, (PIXELS, PIXELS), seed=1)
    centres = frames.world_coords().flatten(0, 3)[:: M * PIXELS * PIXELS // OBJECTS][:OBJECTS]
    boxes = torch.cat((centres, torch.linspace(0.5, 6, OBJECTS)[:, None].expand(-1, 3)), -1)
    placeholders = [S.embed - 1] * (M * 2 * 3)
    ids = torch.tensor([[*BEFORE, *placeholders, *AFTER]])
    labels = torch.full_like(ids, -100)
    labels[:, -3:] = ids[:, -3:]
    start = len(BEFORE) + len(placeholders)
    targets = torch.zeros(1, 1, OBJECTS, dtype=torch.bool)
    targets[..., [1, 3]] = True
    text = Text(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        segments=(labels >= 0).long(),
        labels=labels,
        coord_positions=torch.tensor([[start + 1]]),
        coord_points=torch.tensor([[[0.4, -1.3, 0.7]]]),
        ground_positions=torch.tensor([[start + 3]]),
        ground_targets=targets,
    )
    return Batch(frames, boxes[None], torch.ones(1, OBJECTS, dtype=torch.bool), text)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {**fabricated.ross3d(S), **fabricated.vae_state(fabricated.tiny_vae())}


@pytest.fixture(scope="module")
def model(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> ReleasedRoss3D:
    """A converted miniature."""
    folder = tmp_path_factory.mktemp("parity")
    fabricated.write(folder / "src", state, fabricated.config_of(S), shards=2)
    convert(folder / "src", folder / "ours")
    return load_converted(folder / "ours", renderer=picture).eval()


def embedded(state: dict[str, Tensor], batch: Batch, masked: Tensor) -> tuple[Tensor, Tensor]:
    """The slow input embeddings (t, d), and patches (m, side*side, d)."""
    frames = batch.frames
    patches = slow.patch_features(state, frames.images[0], heads=1)
    tokens = slow.pooled(patches)
    tokens = torch.where(masked[0, :, None, None, None], state["model.mask_token"], tokens)
    points = torch.stack([slow.mean_points(world, PIXELS, 2) for world in worlds(frames)])
    visual = slow.visual_sequence(state, tokens + slow.position_code(points, S.dim))
    words = state["model.embed_tokens.weight"]
    after = words[torch.tensor(AFTER)].clone()
    after[1] += slow.position_code(batch.text.coord_points[0, 0], S.dim)
    return torch.cat((words[torch.tensor(BEFORE)], visual, after)), patches


def worlds(frames: PosedFrames) -> Tensor:
    cameras = zip(frames.depths[0], frames.intrinsics[0], frames.poses[0], strict=True)
    return torch.stack([slow.world_points(*camera) for camera in cameras])


@pytest.mark.parametrize("masked", [MASKED, torch.zeros_like(MASKED)], ids=["masked", "whole"])
@torch.no_grad()
def test_the_whole_model_computes_what_the_released_one_does(
    model: ReleasedRoss3D, state: dict[str, Tensor], masked: Tensor
) -> None:
    batch = make_batch()
    assert (batch.frames.depths == 0).any(), "unknown depth must take part"
    torch.manual_seed(3)
    losses = model(batch, masked, generator=torch.Generator().manual_seed(5))

    x, patches = embedded(state, batch, masked)
    hidden = slow.language_model(state, x, S.heads)
    start = len(BEFORE)
    visual = hidden[start : start + M * 6].view(M, 2, 3, -1)[:, :, :2].flatten(1, 2)
    _, ours = model.read(batch, model.see(batch, masked), masked)
    close(ours[0], visual)

    logits = hidden[-4:-1] @ state["lm_head.weight"].T
    close(losses["text"], torch.nn.functional.cross_entropy(logits, torch.tensor(AFTER[-3:])))

    boxes = batch.boxes[0]
    features = [
        slow.object_feature(
            patches[~masked[0]], worlds(batch.frames)[~masked[0]], box, S.patch, S.dim
        )
        for box in boxes
    ]
    close(model.objects(batch, masked)[0], torch.stack(features))
    scores = slow.grounding_scores(state, hidden[-2], torch.stack(features))
    close(losses["grounding"], torch.tensor(slow.infonce(scores, [1, 3])))
    with_pretext(model, state, batch, masked, visual, losses)


def with_pretext(
    model: ReleasedRoss3D,
    state: dict[str, Tensor],
    batch: Batch,
    masked: Tensor,
    visual: Tensor,
    losses: dict[str, Tensor],
) -> None:
    """Both reconstruction losses, with the same draws."""
    vae = model.reconstruction.tokenizer.cells.vae
    torch.manual_seed(3)

    def encode(images: Tensor) -> Tensor:
        return (vae.encode(images).latent_dist.sample() - 0.1159) * 0.3611

    generator = torch.Generator().manual_seed(5)
    context = visual[~masked[0]].flatten(0, 1)
    if masked.any():
        z0 = slow.view_targets(batch.frames.images[masked], 6, encode)
        t = (torch.rand(4, generator=generator) * 1000).long()
        noise = torch.randn(4, *z0.shape[1:], generator=generator)
        draws = [(0, int(step), eps) for step, eps in zip(t, noise, strict=True)]
        errors = slow.squared_errors(state, z0, context, "view", 16, draws)
        close(losses["cross_view"], errors.mean())
    else:
        assert losses["cross_view"] == 0
    bev = picture(batch.frames).image
    z0 = slow.packed(encode(((bev - 0.5) / 0.5).clamp(-1, 1)))
    t = (torch.rand(1, generator=generator) * 1000).long()
    noise = torch.randn(z0.shape, generator=generator)
    errors = slow.squared_errors(state, z0, context, "bev", 16, [(0, int(t), noise[0])])
    kept = slow.bev_cells(bev[0], 3)[None, None].expand_as(errors)
    assert 0 < kept.mean() < 1
    close(losses["global_view"], (errors * kept).sum() / kept.sum())


@torch.no_grad()
def test_generation_continues_as_the_released_model_does(
    model: ReleasedRoss3D, state: dict[str, Tensor]
) -> None:
    batch = make_batch()
    x, _ = embedded(state, batch, torch.zeros_like(MASKED))
    expected = []
    for _ in range(4):
        logits = slow.language_model(state, x, S.heads)[-1] @ state["lm_head.weight"].T
        expected.append(int(logits.argmax()))
        x = torch.cat((x, state["model.embed_tokens.weight"][expected[-1:]]))
    ids = model.answer(batch, max_new_tokens=4, eos_token_id=None, pad_token_id=0)
    assert ids[0].tolist() == expected


@pytest.mark.parametrize(
    ("sizes", "heads"),
    [
        (S, 16),
        (replace(S, width=64, width_mlp=100, depth=1, channels=6, view=6, bev=10, dim=20), 16),
        (replace(S, width=24, width_mlp=30, depth=3, view=1, bev=2), 1),  # 16 does not divide it
        (replace(S, width=40, width_mlp=30, view=5, bev=6), 5),
    ],
)
@torch.no_grad()
def test_denoiser_and_poolers(sizes: fabricated.Sizes, heads: int) -> None:
    state = fabricated.denoiser(sizes)
    denoisers, poolers = load_official_denoiser(state, heads=5 if heads == 5 else None)
    context = torch.randn(2, 7, sizes.dim)
    for task, stem, cells in (
        ("cross_view", "view", sizes.view),
        ("global_view", "bev", sizes.bev),
    ):
        condition = poolers[task](context)
        z, t = torch.randn(2, sizes.channels, 1, cells), torch.tensor([0, 977])
        noise = denoisers[task](z, t, condition)
        for scene in range(2):
            expected = slow.condition(state, context[scene], stem, heads)
            close(condition[scene], expected)
            close(
                noise[scene], slow.noise_of(state, z[scene], int(t[scene]), expected, stem, heads)
            )


@torch.no_grad()
def test_grounding_head_and_its_loss(state: dict[str, Tensor]) -> None:
    head = load_official_grounding_head(state, temperature=0.05)
    query, objects = torch.randn(S.dim), torch.randn(6, S.dim)
    scores = slow.grounding_scores(state, query, objects)
    logits = head(query[None, None], objects[None])
    close(logits[0, 0], scores / 0.05)
    for targets in ([], [2], [0, 5]):
        meant = torch.zeros(1, 1, 6, dtype=torch.bool)
        meant[..., targets] = True
        close(
            grounding_loss(logits * 0.05 / 0.07, meant), torch.tensor(slow.infonce(scores, targets))
        )


def test_released_sizes_and_parameters() -> None:
    with torch.device("meta"):
        model = official_parity()
    counts = sum(p.numel() for p in model.reconstruction.parameters())
    assert counts == 75_807_808
    assert model.lmm.grid == (14, 14)
    assert len(model.lmm.scene_ids(32)) == 6720
    assert (model.side, model.covered) == (27, 378)
    tasks = model.reconstruction.tasks
    assert (tasks["cross_view"].pixels, tasks["global_view"].size) == (216, 432)


class Ramp:
    """Stands in for an autoencoder of stride 8: its latents are means of pixels."""

    config = SimpleNamespace(
        latent_channels=3, block_out_channels=(1,) * 4, scaling_factor=2.0, shift_factor=0.1
    )
    dtype = torch.float32

    def eval(self) -> Ramp:
        return self

    def requires_grad_(self, _: bool) -> Ramp:
        return self

    def to(self, _: torch.device) -> Ramp:
        return self

    def encode(self, images: Tensor) -> SimpleNamespace:
        latents = torch.nn.functional.avg_pool2d(images, 8)
        certain = torch.full_like(latents, -100.0)  # the logarithm of no variance
        posterior = SimpleNamespace(parameters=torch.cat([latents, certain], dim=1))
        return SimpleNamespace(latent_dist=posterior)


def test_targets_at_their_released_sizes() -> None:
    tokenizer, views = ReleasedTokenizer(Ramp()), ReleasedViews()
    assert (tokenizer.channels, tokenizer.stride, views.size) == (12, 16, 224)
    frames = make_frames(1, M, (384, 384))
    targets = views(frames, MASKED)
    latents = tokenizer.encode(targets.images[0])
    assert latents.shape == (1, 12, 14, 14)

    def encode(images: Tensor) -> Tensor:
        return (torch.nn.functional.avg_pool2d(images, 8) - 0.1) * 2.0

    close(latents, slow.view_targets(frames.images[MASKED], 216, encode))
    whole = tokenizer.encode(torch.rand(1, 3, 432, 432))
    assert whole.shape == (1, 12, 27, 27)
    nothing = views(frames, torch.zeros_like(MASKED))
    assert nothing.images.shape == (1, 0, 3, 224, 224)


def test_filter_of_the_room_from_above() -> None:
    """Bilinear without antialiasing looks at the middle of a cell alone."""
    image = torch.zeros(1, 3, 32, 32)
    image[..., 7:9, 7:9] = 0.5  # the middle of the first cell
    image[..., 16:22, 16:22] = 0.5  # a corner of the last
    bev = BEV(image, image[:, 0] > 0, image[:, 0], torch.zeros(1, 4))
    targets = ReleasedBEV(lambda _: bev, 32)(make_frames(), torch.zeros(1, 1).bool())
    weight = torch.nn.functional.avg_pool2d(targets.weight, 16)[0, 0]
    assert weight.tolist() == slow.bev_cells(image[0], 2).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_errors() -> None:
    with pytest.raises(ValueError, match="renderer must return 48 x 48 pixels; got"):
        ReleasedBEV(picture, 48)(make_frames(), MASKED)
    with pytest.raises(ValueError, match="denoisers and poolers must come together"):
        official_parity(denoisers={})
    denoisers, poolers = load_official_denoiser(fabricated.denoiser(S))
    condition = poolers["cross_view"](torch.zeros(1, 2, S.dim))
    with pytest.raises(ValueError, match="z_t must be of 4 cells; got 1 x 5"):
        denoisers["cross_view"].positions(1, 5, condition.device)


def test_pictures_come_back(model: ReleasedRoss3D, tmp_path: Path) -> None:
    batch = make_batch()
    with torch.no_grad():
        _, hidden = model.read(batch, model.see(batch, MASKED), MASKED)
        pictures = model.reconstruction.reconstruct(hidden, batch.frames, MASKED, steps=2)
    assert pictures["cross_view"].images.shape == (1, 1, 3, 8, 8)
    assert pictures["global_view"].images.shape == (1, 1, 3, 12, 12)
