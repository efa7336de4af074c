from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from reference.batch import Batch
from reference.build import TASKS
from reference.data.scene import Scene
from reference.data.scene_points import ScenePoints
from reference.evaluation import choose, held_out_losses
from reference.inputs import INPUTS, SceneTokens, Seen, ViewTokens
from reference.model import Ross3D
from reference.rebuilding import rebuild
from reference.representations import (
    BEVTokens,
    FusedTokens,
    PointTokens,
    VoxelTokens,
    build_representation,
)
from reference.run import generator_for
from reference.sizes import size_table
from tiny import PRESET, Tiny, hide, tiny_ross3d
from torch import Tensor

PAINTED = torch.tensor([[False, True, False, True], [True, False, False, False]])
every_input = pytest.mark.parametrize("name", INPUTS)


def setup(name: str, **options: object) -> Tiny:
    return tiny_ross3d(turns=4, representation=name, **options)


@cache
def shared(name: str) -> Tiny:
    """The model of a representation, and its rooms, for tests that change neither."""
    return setup(name)


@cache
def rooms() -> list[Scene]:
    return shared("views").scenes()


def collated(tiny: Tiny, count: int = 2) -> Batch:
    return tiny.collate(rooms()[:count])


def repaint(batch: Batch, masked: Tensor) -> Batch:
    """Other pixels in the chosen views."""
    frames = batch.frames
    other = torch.where(
        masked[..., None, None, None], torch.rand_like(frames.images), frames.images
    )
    return replace(batch, frames=replace(frames, images=other))


def without_depth(batch: Batch) -> Batch:
    frames = batch.frames
    return replace(batch, frames=replace(frames, depths=torch.zeros_like(frames.depths)))


def placed(model: Ross3D, batch: Batch, masked: Tensor) -> SceneTokens:
    return model.place(batch, model.see(batch, masked), masked)


def read(model: Ross3D, batch: Batch, masked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states of the whole sequence and of the views, and grounding logits."""
    visual = model.see(batch, masked)
    output, hidden = model.read(batch, visual, masked)
    return output.last_hidden_state, hidden, model.ground(batch, batch.text, output, visual, masked)


@every_input
@torch.no_grad()
def test_pixels_of_hidden_views_change_no_output(name: str) -> None:
    tiny = shared(name)
    model, before = tiny.model, collated(tiny)
    after = repaint(before, PAINTED)
    for old, new in zip(read(model, before, PAINTED), read(model, after, PAINTED), strict=True):
        assert torch.equal(old, new)
    old, new = (model(b, PAINTED, generator=generator_for(0, "noise")) for b in (before, after))
    assert torch.equal(old["text"], new["text"])
    assert torch.equal(old["grounding"], new["grounding"])
    assert not torch.equal(old["cross_view"], new["cross_view"]), "the target is what is hidden"
    for task, conditioner in model.reconstruction.conditioners.items():
        targets = model.reconstruction.tasks[task](before.frames, PAINTED)
        places = model.reconstruction.places(read(model, before, PAINTED)[1], before.frames)
        old, new = (
            conditioner(read(model, b, PAINTED)[1], PAINTED, targets, places)
            for b in (before, after)
        )
        assert torch.equal(old, new)


@every_input
@torch.no_grad()
def test_pixels_matter_where_they_are_seen(name: str) -> None:
    tiny = shared(name)
    before, masked = collated(tiny), torch.zeros_like(PAINTED)
    after = repaint(before, PAINTED)
    for old, new in zip(
        read(tiny.model, before, masked), read(tiny.model, after, masked), strict=True
    ):
        assert not torch.equal(old, new)


@every_input
@pytest.mark.parametrize("tasks", ["both", "none"])
def test_gradients_reach_every_trainable_parameter(name: str, tasks: str) -> None:
    tiny = setup(name, tasks=TASKS[tasks])
    losses = tiny.model(collated(tiny), hide(2, 4, 1), generator=generator_for(0, "noise"))
    assert set(losses) == {*TASKS[tasks], "text", "grounding"}
    sum(losses.values()).backward()
    trained = [(n, p) for n, p in tiny.model.named_parameters() if p.requires_grad]
    assert [n for n, p in trained if p.grad is None or not p.grad.isfinite().all()] == []
    idle = {n for n, p in trained if not p.grad.any()}
    # The points of a hidden view are not read, so nothing stands in for them.
    assert idle - {"masker.mask_token"} == set()
    assert ("masker.mask_token" in idle) == (name == "points")


@every_input
@torch.no_grad()
def test_a_batch_of_two_equals_two_batches_of_one(name: str) -> None:
    tiny = shared(name)
    scenes, masked = rooms(), PAINTED
    states, hidden, _ = read(tiny.model, tiny.collate(scenes), masked)
    for row, scene in enumerate(scenes):
        one = tiny.collate([scene])
        alone, own, _ = read(tiny.model, one, masked[row : row + 1])
        torch.testing.assert_close(hidden[row], own[0], rtol=0, atol=1e-5)
        said = one.text.segments[0] > 0
        torch.testing.assert_close(
            states[row, : alone.shape[1]][said], alone[0][said], rtol=0, atol=1e-5
        )


@every_input
@torch.no_grad()
def test_the_prompt_has_as_many_placeholders_as_there_are_tokens(name: str) -> None:
    tiny = shared(name)
    model, batch = tiny.model, collated(tiny)
    scene = placed(model, batch, hide(2, 4, 1))
    count = int((batch.text.input_ids[0] == model.lmm.visual_token_id).sum())
    assert count == len(model.scene_ids(4)) == scene.tokens[0].numel() // PRESET.dim + 1
    assert scene.per_view(scene.tokens).shape == (2, 4, 4, PRESET.dim)
    assert scene.valid is None or scene.valid.shape == scene.tokens.shape[:-1]


@every_input
@torch.no_grad()
def test_scenes_of_unknown_depth_are_read(name: str) -> None:
    tiny = shared(name)
    losses = tiny.model(without_depth(collated(tiny)), hide(2, 4, 1))
    assert all(loss.isfinite() for loss in losses.values())


@every_input
@torch.no_grad()
def test_questions_are_answered_and_pictures_rebuilt(name: str) -> None:
    tiny = shared(name)
    scenes = [replace(s, turns=s.turns[:1]) for s in rooms()]
    options = {"max_new_tokens": 3, **tiny.collate.stop}
    both = tiny.model.answer(tiny.collate.questions(scenes), **options)
    for row, scene in enumerate(scenes):
        alone = tiny.model.answer(tiny.collate.questions([scene]), **options)[0]
        assert both[row, : len(alone)].tolist() == alone.tolist()
    rebuilt = rebuild(tiny.model, collated(tiny), hide(2, 4, 3), steps=1)
    assert {task: r.images.shape[1] for task, r in rebuilt.items()} == dict.fromkeys(
        ("cross_view", "global_view"), 1
    )
    assert choose(tiny.model, collated(tiny))[0].any()


@every_input
def test_other_parts_start_with_the_same_weights(name: str) -> None:
    default = tiny_ross3d(awake=False, turns=1).model.state_dict()
    state = setup(name, awake=False).model.state_dict()
    assert {n for n in state if n not in default} == {
        n for n in state if n.startswith("representation")
    }
    assert all(torch.equal(value, state[n]) for n, value in default.items())


@torch.no_grad()
def test_fusion_starts_as_the_views() -> None:
    views, fused = (setup(name, awake=False) for name in ("views", "fusion"))
    batch, masked = collated(views), hide(2, 4, 1)
    for old, new in zip(
        read(views.model, batch, masked), read(fused.model, batch, masked), strict=True
    ):
        assert torch.equal(old, new)


@torch.no_grad()
def test_padding_of_voxels_does_not_matter() -> None:
    tiny = setup("voxels")
    model, batch, masked = tiny.model, collated(tiny), hide(2, 4, 1)
    model.representation.voxel_size = 1.5
    scene = placed(model, batch, masked)
    assert not scene.valid.all(), "scenes must be padded, or this shows nothing"
    assert scene.valid.flatten(1).any(dim=1).all()
    _, hidden, logits = read(model, batch, masked)
    model.representation.share = 2.0
    wider = replace(tiny, collate=type(tiny.collate)(tiny.collate.tokenizer, model.scene_ids(4)))
    _, padded, same = read(model, collated(wider), masked)
    torch.testing.assert_close(hidden, padded, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits, same, rtol=0, atol=1e-5)
    asked = [[replace(s, turns=s.turns[:1]) for s in rooms()] for _ in range(2)]
    options = {"max_new_tokens": 4, **tiny.collate.stop}
    more = model.answer(wider.collate.questions(asked[0]), **options)
    model.representation.share = PRESET.voxel_share
    assert model.answer(tiny.collate.questions(asked[1]), **options).tolist() == more.tolist()


@pytest.mark.parametrize("newline", ["video", "row"])
@torch.no_grad()
def test_exactly_the_placeholders_of_padding_are_left_out(newline: str) -> None:
    tiny = setup("voxels")
    tiny.model.representation.voxel_size = 1.5
    tiny.model.lmm.newline = newline
    tiny.collate.scene_ids = tiny.model.scene_ids(4)
    batch = collated(tiny)
    for text in (batch.text, tiny.collate.questions(rooms()).text):
        scene = placed(tiny.model, batch, hide(2, 4, 1))
        left = tiny.model.without_padding(text, scene)
        placeholder = text.input_ids == tiny.model.lmm.visual_token_id
        for row, valid in enumerate(scene.valid.flatten(1)):
            expected = [*valid.tolist(), True]  # the newline after the tokens
            if newline == "row":
                expected = [kept for pair in valid.view(-1, 2).tolist() for kept in (*pair, True)]
            assert left.attention_mask[row][placeholder[row]].bool().tolist() == expected
            assert (left.segments[row][placeholder[row]] == 0).tolist() == expected
        for name in ("attention_mask", "segments"):
            same = getattr(left, name)[~placeholder]
            assert torch.equal(same, getattr(text, name)[~placeholder])


@torch.no_grad()
def test_voxels_hold_what_visible_views_show_and_the_mask_token_elsewhere() -> None:
    tiny = setup("voxels")
    model, batch, masked = tiny.model, collated(tiny, 1), hide(1, 4, 1, 2)
    seen = given_to(model, batch, masked)
    visual = model.see(batch, masked)
    coords = seen.coords[0].flatten(0, 1)
    cells = (coords / PRESET.voxel_size).floor().long().tolist()
    hidden = model.representation(seen, no_code, model.lmm.encode)
    spread = hidden.per_view(hidden.tokens)[0].flatten(0, 1)
    shown, flat = seen.shown[0].flatten(), visual[0].flatten(0, 1)
    found = set()
    for i, cell in enumerate(cells):
        if not seen.known.flatten()[i]:
            continue
        there = [j for j, other in enumerate(cells) if other == cell and seen.known.flatten()[j]]
        visible = [j for j in there if shown[j]]
        expected = flat[visible].mean(0) if visible else model.masker.mask_token
        if spread[i].any():  # the emptiest are dropped where there are too many
            torch.testing.assert_close(spread[i], expected, rtol=0, atol=1e-5)
            found.add(bool(visible))
    assert found == {True, False}


def given_to(model: Ross3D, batch: Batch, masked: Tensor) -> Seen:
    """What the model gives to its representation."""
    caught = []
    inner = model.representation.forward
    model.representation.forward = lambda seen, place, encode: (
        caught.append(seen) or inner(seen, place, encode)
    )
    placed(model, batch, masked)
    model.representation.forward = inner
    return caught[0]


def no_code(visual: Tensor, coords: Tensor, valid: Tensor | None = None) -> Tensor:
    return visual


@torch.no_grad()
def test_the_bird_s_eye_view_comes_first_and_shows_visible_views_alone() -> None:
    tiny = shared("bev")
    model, batch = tiny.model, collated(tiny, 1)
    scene = placed(model, batch, hide(1, 4, 1))
    views = ViewTokens()(given_to(model, batch, hide(1, 4, 1)), model.positions, None)
    assert scene.tokens.shape[1] == 5
    assert torch.equal(scene.per_view(scene.tokens), views.tokens)
    frames = repaint(batch, hide(1, 4, 1)).frames
    depths = frames.depths.clone()
    depths[:, 1] *= 0.5
    other = replace(batch, frames=replace(frames, depths=depths))
    hidden, shown = hide(1, 4, 1), hide(1, 4)
    assert torch.equal(placed(model, other, hidden).tokens[:, 0], scene.tokens[:, 0])
    before, after = (placed(model, b, shown).tokens[:, 0] for b in (batch, other))
    assert not torch.equal(before, after)
    assert not torch.equal(before, scene.tokens[:, 0])


@torch.no_grad()
def test_points_may_come_with_the_batch() -> None:
    tiny = setup("points")
    model, batch, masked = tiny.model, collated(tiny), torch.zeros(2, 4, dtype=torch.bool)
    model.representation = PointTokens(PRESET.dim, 4, 2, features_dim=7)
    points = ScenePoints(torch.randn(2, 9, 3), torch.randn(2, 9, 7), torch.rand(2, 9) > 0.3)
    given = replace(batch, points=points).to("cpu")
    tokens = placed(model, given, masked).tokens
    shuffle = torch.randperm(9)
    parts = (points.coords, points.features, points.valid)
    shuffled = replace(batch, points=ScenePoints(*(x[:, shuffle] for x in parts)))
    torch.testing.assert_close(placed(model, shuffled, masked).tokens, tokens)
    with pytest.raises(ValueError, match="masked must hide no view where points come with"):
        placed(model, given, hide(2, 4, 1))


def test_tasks_may_be_left_out() -> None:
    one = setup("views", tasks=["global_view"]).model
    assert set(one.reconstruction.tasks) == {"global_view"}
    none = setup("views", tasks=[])
    assert dict(none.model.reconstruction.tasks) == {}
    assert list(none.model.reconstruction.parameters()) == []
    assert rebuild(none.model, collated(none), hide(2, 4, 1)) == {}
    visible, hidden = (held_out_losses(none.model, [collated(none)], n) for n in (0, 2))
    assert visible == hidden, "nothing is hidden from a model that never saw a hidden view"
    with pytest.raises(ValueError, match="text of batch must be given where no pretext task is"):
        none.model(collated(none).without_text())


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"representation must be one of .*; got 'voxel'"):
        setup("voxel")
    with pytest.raises(ValueError, match=r"tasks must be some of .*; got \['depth'\]"):
        setup("views", tasks=["depth"])


def test_every_name_has_its_representation() -> None:
    kinds = [type(build_representation(name, PRESET, (2, 2))) for name in INPUTS]
    assert kinds == [ViewTokens, VoxelTokens, PointTokens, BEVTokens, FusedTokens]
    assert "input representation" not in size_table(PRESET)
