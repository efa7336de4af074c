from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from reference.batch import Batch
from reference.data.scene import Scene, Turn
from reference.run import generator_for
from reference.text import IGNORE
from tiny import Tiny, hide, tiny_ross3d
from torch import Tensor

from ross3d import PosedFrames


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_ross3d(turns=8)


def read(tiny: Tiny, batch: Batch, masked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states of the whole sequence and of the views, and grounding logits."""
    model = tiny.model
    visual = model.see(batch, masked)
    output, hidden = model.read(batch, visual, masked)
    logits = model.ground(batch, batch.text, output, visual, masked)
    return output.last_hidden_state, hidden, logits


def losses(tiny: Tiny, batch: Batch, masked: Tensor | None = None) -> dict[str, Tensor]:
    return tiny.model(batch, masked, generator=generator_for(0, "noise"))


def repaint(batch: Batch, masked: Tensor) -> Batch:
    """Other pixels in the hidden views."""
    noise = torch.rand_like(batch.frames.images)
    frames = batch.frames
    images = torch.where(masked[..., None, None, None], noise, frames.images)
    frames = PosedFrames(images, frames.depths, frames.intrinsics, frames.poses)
    return replace(batch, frames=frames)


def uneven(tiny: Tiny) -> list[Scene]:
    """Two scenes with different numbers of turns and of objects, all five kinds of turns."""
    first, second = tiny.scenes()
    assert len(first.boxes) != len(second.boxes)
    pointed = Turn("sqa", "what is at <coord> ?", "chair", point=(0.4, -0.6, 0.5))
    several = Turn("multi_grounding", "the chairs", "<ground>", objects=(0, 2))
    none = Turn("multi_grounding", "the pianos", "<ground>")
    return [
        replace(first, turns=(pointed, several, *first.turns, pointed)),
        replace(second, turns=(*second.turns[:3], none)),
    ]


@torch.no_grad()
def test_turns_are_independent(tiny: Tiny) -> None:
    scenes, masked = uneven(tiny), hide(2, 4, 3)
    together = tiny.collate(scenes)
    assert (together.text.segments == -1).any(), "one row must be padded"
    states, hidden, logits = read(tiny, together, masked)
    whole = losses(tiny, together, masked)
    text, words, grounding, queries = 0.0, 0, 0.0, 0
    for row, scene in enumerate(scenes):
        query = 0
        for number, turn in enumerate(scene.turns, 1):
            alone = tiny.collate([replace(scene, turns=(turn,))])
            one_states, one_hidden, one_logits = read(tiny, alone, masked[row : row + 1])
            said = alone.text.segments[0] == 1
            meant = together.text.segments[row] == number
            close(states[row, meant], one_states[0, said])
            close(hidden[row], one_hidden[0])
            one = losses(tiny, alone, masked[row : row + 1])
            count = int((alone.text.labels != IGNORE).sum())
            text, words = text + float(one["text"]) * count, words + count
            if turn.kind.endswith("grounding"):
                objects = [*range(len(scene.boxes)), -1]
                close(logits[row, query, objects], one_logits[0, 0])
                grounding, queries, query = (
                    grounding + float(one["grounding"]),
                    queries + 1,
                    query + 1,
                )
    assert float(whole["text"]) == pytest.approx(text / words, abs=1e-5)
    assert float(whole["grounding"]) == pytest.approx(grounding / queries, abs=1e-5)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_turns_would_see_each_other_without_segments(tiny: Tiny) -> None:
    batch, masked = tiny.batch(), hide(2, 4, 3)
    blurred = replace(batch, text=replace(batch.text, segments=batch.text.segments.clamp(max=1)))
    apart, mixed = read(tiny, batch, masked)[0], read(tiny, blurred, masked)[0]
    first = (batch.text.segments == 0) | (batch.text.segments == 1)
    close(apart[first], mixed[first])
    assert (apart - mixed)[batch.text.segments > 1].abs().max() > 1e-2


@pytest.mark.parametrize("context", ["visible", "all", "own"])
@torch.no_grad()
def test_no_leak(context: str) -> None:
    tiny = tiny_ross3d(turns=8, context=context)
    masked = torch.tensor([[False, True, False, True], [True, False, False, False]])
    before = tiny.batch()
    after = repaint(before, masked)
    assert not torch.equal(before.frames.images, after.frames.images)
    model = tiny.model
    assert torch.equal(model.see(before, masked), model.see(after, masked))
    for old, new in zip(read(tiny, before, masked), read(tiny, after, masked), strict=True):
        assert torch.equal(old, new)
    old, new = losses(tiny, before, masked), losses(tiny, after, masked)
    assert torch.equal(old["text"], new["text"])
    assert torch.equal(old["grounding"], new["grounding"])
    assert not torch.equal(old["cross_view"], new["cross_view"]), "the target is what is hidden"
    for name, task in model.reconstruction.tasks.items():
        conditions = [
            model.reconstruction.conditioners[name](
                read(tiny, batch, masked)[1], masked, task(batch.frames, masked)
            )
            for batch in (before, after)
        ]
        assert torch.equal(*conditions)
    unmasked = [model.see(batch, model.no_mask(batch)) for batch in (before, after)]
    assert not torch.equal(*unmasked), "the pixels must matter where they are seen"


@pytest.mark.parametrize("step", ["full", "without masks", "unlabelled", "half labelled"])
def test_gradients_reach_every_trainable_parameter(step: str) -> None:
    tiny = tiny_ross3d(turns=8)
    batch = tiny.batch()
    masked = None if step == "without masks" else hide(2, 4, 1)
    if step == "unlabelled":
        batch = batch.without_text()
    if step == "half labelled":
        scenes = tiny.scenes()
        batch = tiny.collate([scenes[0], replace(scenes[1], turns=())])
    computed = losses(tiny, batch, masked)
    assert (float(computed["cross_view"].detach()) == 0.0) == (step == "without masks")
    assert computed["cross_view"].requires_grad
    sum(computed.values()).backward()
    trained = [(n, p) for n, p in tiny.model.named_parameters() if p.requires_grad]
    tasks = {"cross_view", "global_view"}
    assert set(computed) == tasks | (set() if step == "unlabelled" else {"text", "grounding"})
    assert [n for n, p in trained if p.grad is None or not p.grad.isfinite().all()] == []
    idle = {n for n, p in trained if not p.grad.any()}
    without = {n for n, _ in trained if "cross_view" in n or n.startswith("masker")}
    words = {n for n, _ in trained if not reads_pictures(n)}
    others = {"without masks": without, "unlabelled": words}
    assert idle == others.get(step, set())


def reads_pictures(name: str) -> bool:
    """Whether a parameter takes part in the pretext losses: that of words and objects does not."""
    words = ("grounding", "lm_head", "embed_tokens", "image_newline")
    return not any(part in name for part in words)


def test_losses_are_scalars_and_repeat(tiny: Tiny) -> None:
    first, second = (losses(tiny, tiny.batch(), hide(2, 4, 0)) for _ in range(2))
    for name, loss in first.items():
        assert loss.shape == ()
        assert torch.equal(loss, second[name])


@torch.no_grad()
def test_batch_of_two_equals_two_batches_of_one(tiny: Tiny) -> None:
    scenes = uneven(tiny)
    masked = torch.tensor([[False, True, False, False], [True, False, False, True]])
    states, hidden, logits = read(tiny, tiny.collate(scenes), masked)
    for row, scene in enumerate(scenes):
        alone = tiny.collate([scene])
        one_states, one_hidden, one_logits = read(tiny, alone, masked[row : row + 1])
        close(states[row, : one_states.shape[1]], one_states[0])
        close(hidden[row], one_hidden[0])
        objects = [*range(len(scene.boxes)), -1]
        close(logits[row, : one_logits.shape[1]][:, objects], one_logits[0])


@torch.no_grad()
def test_unlabelled_scenes_have_the_hidden_states_of_labelled_ones(tiny: Tiny) -> None:
    batch, masked = tiny.batch(), hide(2, 4, 2)
    visual = tiny.model.see(batch, masked)
    _, with_text = tiny.model.read(batch, visual, masked)
    _, without = tiny.model.read(batch.without_text(), visual, masked)
    close(with_text, without)


@torch.no_grad()
def test_unlabelled_scenes_have_the_pretext_losses_of_labelled_ones(tiny: Tiny) -> None:
    batch, masked = tiny.batch(), hide(2, 4, 2)
    with_text, without = (losses(tiny, b, masked) for b in (batch, batch.without_text()))
    for name, loss in without.items():
        close(loss, with_text[name])


@pytest.mark.parametrize("representation", ["views", "voxels"])
@torch.no_grad()
def test_a_batch_of_both_kinds_equals_batches_of_each(representation: str) -> None:
    tiny = tiny_ross3d(representation=representation)
    labelled, other = uneven(tiny)
    bare, masked = replace(other, turns=()), hide(2, 4, 2)
    mixed, alone = losses(tiny, tiny.collate([bare, labelled]), masked), {}
    _, hidden, _ = read(tiny, tiny.collate([bare, labelled]), masked)
    for row, scene in enumerate([bare, labelled]):
        batch = tiny.collate([scene])
        _, one = tiny.model.read(batch, tiny.model.see(batch, masked[:1]), masked[:1])
        close(hidden[row], one[0])
        alone |= losses(tiny, batch, masked[:1])
    close(mixed["text"], alone["text"])
    close(mixed["grounding"], alone["grounding"])
    # The noise is drawn for all targets of a batch at once: compare batches of the same scenes.
    without = losses(tiny, tiny.collate([other, labelled]).without_text(), masked)
    for name, loss in without.items():
        close(mixed[name], loss)
        assert float(loss) > 0


def test_the_text_of_one_scene_does_not_teach_another() -> None:
    tiny = tiny_ross3d(tasks=())
    labelled, other = uneven(tiny)
    batch = tiny.collate([replace(other, turns=()), labelled])
    batch.frames.images.requires_grad_()
    sum(losses(tiny, batch).values()).backward()
    assert not batch.frames.images.grad[0].any()
    assert batch.frames.images.grad[1].any()


@torch.no_grad()
def test_depth_and_pose_reach_the_hidden_states(tiny: Tiny) -> None:
    batch, masked = tiny.batch(), hide(2, 4, 2)
    frames = batch.frames
    deeper = PosedFrames(frames.images, 1.5 * frames.depths, frames.intrinsics, frames.poses)
    moved = replace(batch, frames=deeper)
    assert torch.equal(tiny.model.see(batch, masked), tiny.model.see(moved, masked))
    assert not torch.equal(read(tiny, batch, masked)[1], read(tiny, moved, masked)[1])


@torch.no_grad()
def test_pointing_writes_the_code_of_the_point(tiny: Tiny) -> None:
    scene, pointed = tiny.scenes(1)[0], uneven(tiny)[0].turns[0]
    pair = [replace(scene, turns=(pointed,) * count) for count in (2, 1)]
    text = tiny.collate(pair).text
    codes = tiny.model.pointed_at(text)
    at = text.coord_positions[0]
    assert (at >= 0).all()
    assert (text.coord_positions[1] == -1).sum() == 1
    expected = tiny.model.positions.code(torch.tensor([[0.4, -0.6, 0.5]])).expand(2, -1)
    close(codes[0, at], expected)
    others = torch.ones(codes.shape[:2], dtype=torch.bool)
    others[0, at] = False
    others[1, at[0]] = False
    assert not codes[others].any()
    none = replace(text, coord_positions=text.coord_positions[:, :0])
    assert tiny.model.pointed_at(none) is None


def test_answer_is_greedy_and_ignores_padding(tiny: Tiny) -> None:
    scenes = [replace(s, turns=(s.turns[i],)) for i, s in enumerate(tiny.scenes())]
    options = {"max_new_tokens": 4, **tiny.collate.stop}
    both = tiny.model.answer(tiny.collate.questions(scenes), **options)
    for row, scene in enumerate(scenes):
        alone = tiny.model.answer(tiny.collate.questions([scene]), **options)[0]
        assert both[row, : len(alone)].tolist() == alone.tolist()
        assert (both[row, len(alone) :] == options["pad_token_id"]).all()


@pytest.mark.parametrize("masked", [[], [0, 2]])
def test_hidden_views_do_not_feed_objects(tiny: Tiny, masked: Sequence[int]) -> None:
    batch, mask = tiny.batch(), hide(2, 4, *masked)
    visual = tiny.model.see(batch, mask).detach().requires_grad_()
    output, _ = tiny.model.read(batch, visual.detach(), mask)
    logits = tiny.model.ground(batch, batch.text, output, visual, mask)
    logits[logits.isfinite()].square().sum().backward()
    assert visual.grad[~mask].any()
    assert not visual.grad[mask].any()


def test_a_batch_without_questions_cannot_be_answered(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="text of batch must hold the questions; got None"):
        tiny.model.answer(tiny.batch().without_text())


def test_a_scene_is_placeholders_and_a_newline(tiny: Tiny) -> None:
    assert tiny.model.scene_ids(4) == [tiny.model.lmm.visual_token_id] * (4 * 2 * 2 + 1)
    assert not tiny.model.no_mask(tiny.batch()).any()
