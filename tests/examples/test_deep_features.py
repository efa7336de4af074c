"""Features that a host's tower gives deeper layers: carried to the layers, or dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hosts_qwen import QWEN_HOSTS, qwen3_vl, qwen25_vl, qwen35
from reference.inputs import ViewTokens
from reference.model import Ross3D
from reference.representations import BEVTokens, FusedTokens, PointTokens, VoxelTokens
from tiny_host import DIM, GREEDY, VIEWS, TinyHost

MASKED = torch.tensor([[False, True, False]]).repeat(2, 1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_deep_features_stand_behind_the_tokens() -> None:
    host = qwen3_vl()
    lmm, images = host.lmm, host.images()
    visual = lmm.encode(images)
    pixels = host.stock(images, host.ids())
    features = lmm.host.model.get_image_features(
        pixels["pixel_values"], pixels["image_grid_thw"], return_dict=True
    )
    assert lmm.num_deep == 2
    layers = [features.pooler_output, *features.deepstack_features]
    for mine, theirs in zip(visual.split(DIM, dim=-1), layers, strict=True):
        torch.testing.assert_close(mine.flatten(0, 1), torch.stack(theirs))
    assert qwen25_vl().lmm.num_deep == qwen35().lmm.num_deep == 0


@torch.no_grad()
def test_deep_features_may_be_left_out() -> None:
    host = qwen3_vl()
    lmm, ids = host.lmm, host.ids()
    visual = lmm.encode(host.images())
    tokens = visual[..., :DIM]
    zeros = torch.cat([tokens, torch.zeros_like(visual[..., DIM:])], dim=-1)
    with_deep, without, with_zeros = (
        lmm.decode(v, ids)[0].last_hidden_state for v in (visual, tokens, zeros)
    )
    assert torch.equal(without, with_zeros)
    assert (with_deep - without).abs().max() > 1e-3
    for options in ({}, {"num_beams": 3}):
        words = [lmm.generate(v, ids, **GREEDY, **options) for v in (tokens, zeros)]
        assert torch.equal(*words)


@torch.no_grad()
def test_deep_features_stay_where_a_position_is_added() -> None:
    host = qwen3_vl()
    lmm, ids = host.lmm, host.ids()
    visual = lmm.encode(host.images())
    added = torch.zeros(*ids.shape, DIM)
    added[0, 1], added[1, -3] = torch.randn(DIM), torch.randn(DIM)
    with_deep, without = (lmm.decode(v, ids, added=added)[0] for v in (visual, visual[..., :DIM]))
    assert (with_deep.last_hidden_state - without.last_hidden_state).abs().max() > 1e-3
    twice = [lmm.generate(visual, ids, added=added, num_beams=3, **GREEDY) for _ in range(2)]
    assert torch.equal(*twice)
    for i in range(2):
        alone = lmm.generate(
            visual[i, None], ids[i, None], added=added[i, None], num_beams=3, **GREEDY
        )
        assert torch.equal(twice[0][i], alone[0])


@torch.no_grad()
def test_deep_features_of_a_hidden_view_are_zero() -> None:
    host = qwen3_vl()
    model, batch = host.ross3d(), host.batch()
    visual = model.see(batch, MASKED)
    assert visual.shape == (2, VIEWS, 4, 3 * DIM)
    assert not visual[:, 1, :, DIM:].any()
    assert torch.equal(visual[:, 1, :, :DIM], model.masker.mask_token.expand(2, 4, -1))
    shown = host.lmm.encode(batch.frames.images)
    assert torch.equal(visual[:, [0, 2]], shown[:, [0, 2]])
    scene = model.place(batch, visual, MASKED)
    assert torch.equal(scene.tokens[..., DIM:], visual[..., DIM:])
    assert not torch.equal(scene.tokens[..., :DIM], visual[..., :DIM])


@torch.no_grad()
def test_deep_features_of_a_hidden_view_would_leak() -> None:
    """What zeroing them is for."""
    host = qwen3_vl()
    lmm, images, ids = host.lmm, host.images(), host.ids()
    other = torch.where(MASKED[..., None, None, None], torch.rand_like(images), images)
    hidden = []
    for pixels in (images, other):
        visual = lmm.encode(pixels)
        visual[:, 1, :, :DIM] = 1
        hidden.append(lmm.decode(visual, ids)[1])
    assert (hidden[0] - hidden[1]).abs().max() > 1e-3


@torch.no_grad()
def test_objects_are_pooled_from_the_tokens_alone() -> None:
    host = qwen3_vl()
    model, batch = host.ross3d(), host.batch()
    text = replace(
        batch.text,
        ground_positions=torch.full((2, 1), batch.text.input_ids.shape[1] - 1),
        ground_targets=torch.zeros(2, 1, 1, dtype=torch.bool),
    )
    visual = model.see(batch, MASKED)
    output, _ = model.read(batch, visual, MASKED)
    logits = model.ground(batch, text, output, visual, MASKED)
    assert torch.equal(logits, model.ground(batch, text, output, visual[..., :DIM], MASKED))


def with_representation(host: TinyHost, name: str) -> Ross3D:
    model = host.ross3d()
    model.representation = {
        "views": ViewTokens(),
        "voxels": VoxelTokens(2.0, share=1.0),
        "points": PointTokens(DIM, 4, 2),
        "bev": BEVTokens(host.size, host.lmm.grid),
        "fusion": FusedTokens(DIM, 2),
    }[name]
    return model


@pytest.mark.parametrize("representation", ["views", "voxels", "points", "bev", "fusion"])
@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5"])
@torch.no_grad()
def test_every_input_representation_is_read_without_leaks(name: str, representation: str) -> None:
    host = QWEN_HOSTS[name]()
    model, batch = with_representation(host, representation), host.batch()
    frames = batch.frames
    pixels = torch.where(MASKED[..., None, None, None], 1 - frames.images, frames.images)
    other = replace(batch, frames=replace(frames, images=pixels)).without_text()
    outputs = []
    for scenes in (batch.without_text(), other):
        visual = model.see(scenes, MASKED)
        scene = model.place(scenes, visual, MASKED)
        deep = host.lmm.num_deep if representation == "views" else 0
        assert scene.tokens.shape[-1] == DIM * (1 + deep)
        outputs.append(model.read(scenes, visual, MASKED)[1])
    assert outputs[0].shape == (2, VIEWS, 4, DIM)
    assert outputs[0].isfinite().all()
    assert torch.equal(*outputs)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_5"])
@torch.no_grad()
def test_voxels_that_pad_a_scene_are_left_out_of_answers(name: str) -> None:
    host = QWEN_HOSTS[name]()
    model, batch = with_representation(host, "voxels"), host.batch()
    nothing = model.no_mask(batch)
    valid = model.place(batch, model.see(batch, nothing), nothing).valid
    assert not valid.all()
    ids = model.answer(batch, max_new_tokens=2)
    # The first word is the one that the training pass would say.
    output, _ = model.read(batch, model.see(batch, nothing), nothing)
    logits = host.lmm.host.get_output_embeddings()(output.last_hidden_state[:, -1])
    assert torch.equal(ids[:, 0], logits.argmax(-1))


@torch.no_grad()
def test_other_widths_are_refused() -> None:
    host = qwen3_vl()
    visual, ids = host.lmm.encode(host.images()), host.ids()
    with pytest.raises(
        ValueError, match=r"visual must be tokens of 32 or 32 \* \(1 \+ 2\) numbers"
    ):
        host.lmm.decode(visual[..., : 2 * DIM], ids)
    with pytest.raises(ValueError, match="got 33"):
        host.lmm.generate(visual[..., : DIM + 1], ids)
