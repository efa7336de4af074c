from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hosts import make, on_every_host, padded, with_both_attentions
from reference import segments
from reference.text import IGNORE
from tiny_host import FIRST_WORD, PAD, VIEWS, VOCAB
from torch import Tensor
from torch.nn.functional import pad

from ross3d import PosedFrames

MASKED = torch.tensor([[False, True, False]]).repeat(2, 1)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@on_every_host
def test_is_tiny(name: str) -> None:
    assert sum(p.numel() for p in make(name).lmm.parameters()) < 200_000


@on_every_host
@torch.no_grad()
def test_reproduces_the_untouched_model(name: str) -> None:
    host = make(name)
    lmm, images, ids = host.lmm, host.images(), host.ids()
    labels = torch.where(torch.arange(ids.shape[1]) < ids.shape[1] - 3, IGNORE, ids)
    stock = lmm.host(**host.stock(images, ids), labels=labels, output_hidden_states=True)
    output, hidden = lmm.decode(lmm.encode(images), ids, labels=labels)
    close(output.loss, stock.loss)
    close(output.last_hidden_state, stock.hidden_states[-1])
    close(lmm.host.get_output_embeddings()(output.last_hidden_state), stock.logits)
    for scene, row in enumerate(ids):
        positions = (row == lmm.visual_token_id).nonzero()[lmm.is_visual(VIEWS), 0]
        close(hidden[scene].flatten(0, 1), stock.hidden_states[-1][scene, positions])


@on_every_host
@with_both_attentions
@torch.no_grad()
def test_a_hidden_view_does_not_leak(name: str, attention: str) -> None:
    host = make(name, attention)
    model, batch, masked = host.ross3d(), host.batch(), MASKED
    frames = batch.frames
    images = torch.where(
        masked[..., None, None, None], torch.rand_like(frames.images), frames.images
    )
    other = replace(
        batch, frames=PosedFrames(images, frames.depths, frames.intrinsics, frames.poses)
    )
    (seen, hidden), (same, unmoved) = (
        model.read(x, model.see(x, masked), masked) for x in (batch, other)
    )
    assert torch.equal(seen.last_hidden_state, same.last_hidden_state)
    assert torch.equal(hidden, unmoved)
    assert torch.equal(seen.loss, same.loss)
    nothing = model.no_mask(batch)
    shown, moved = (model.read(x, model.see(x, nothing), nothing)[1] for x in (batch, other))
    assert (shown - moved).abs().max() > 1e-4, "the pixels must matter where they are seen"


@on_every_host
def test_gradients_reach_every_part(name: str) -> None:
    host = make(name)
    model, batch, masked = host.ross3d(), host.batch(), MASKED
    output, hidden = model.read(batch, model.see(batch, masked), masked)
    (output.loss + hidden.square().mean()).backward()
    trained = {
        n: p for n, p in model.named_parameters() if p.requires_grad and "grounding" not in n
    }
    assert "masker.mask_token" in trained
    idle = [n for n, p in trained.items() if p.grad is None or not p.grad.any()]
    assert [n for n in idle if not _shifts_every_key(n)] == []


def _shifts_every_key(name: str) -> bool:
    """What adds the same to every key of a query changes no attention."""
    return name.endswith(("k_proj.bias", "key.bias"))


@on_every_host
@torch.no_grad()
def test_the_position_code_reaches_the_hidden_states(name: str) -> None:
    host = make(name)
    model, batch, masked = host.ross3d(), host.batch(), MASKED
    frames = batch.frames
    far = PosedFrames(frames.images, 2 * frames.depths, frames.intrinsics, frames.poses)
    hidden, moved = (
        model.read(x, model.see(x, masked), masked)[1] for x in (batch, replace(batch, frames=far))
    )
    assert ((hidden - moved).abs().amax((-1, -2)) > 1e-4).all()


@on_every_host
def test_runs_in_bfloat16(name: str) -> None:
    host = make(name)
    model, batch, masked = host.ross3d(), host.batch(), MASKED
    host.lmm.to(torch.bfloat16)
    output, hidden = model.read(batch, model.see(batch, masked), masked)
    assert hidden.dtype == torch.bfloat16
    assert hidden.isfinite().all()
    assert output.loss.isfinite()
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@on_every_host
@with_both_attentions
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_changes_nothing(name: str, side: str, attention: str) -> None:
    host = make(name, attention)
    lmm = host.lmm
    visual, short, long = lmm.encode(host.images()), host.ids(1), host.ids(1, after=9)
    ids, mask = padded(short, 4, side)
    ids, mask = torch.cat([ids, long]), torch.cat([mask, torch.ones_like(long)])
    output, hidden = lmm.decode(visual, ids, attention_mask=mask)
    for i, row in enumerate((short, long)):
        alone, alone_hidden = lmm.decode(visual[i, None], row)
        close(output.last_hidden_state[i, mask[i].bool()], alone.last_hidden_state[0])
        close(hidden[i], alone_hidden[0])


@on_every_host
@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(name: str) -> None:
    host = make(name)
    lmm, images, ids = host.lmm, host.images(), host.ids()
    visual = lmm.encode(images)
    output, hidden = lmm.decode(visual, ids)
    for i in range(2):
        close(lmm.encode(images[i, None])[0], visual[i])
        alone, alone_hidden = lmm.decode(visual[i, None], ids[i, None])
        close(output.last_hidden_state[i], alone.last_hidden_state[0])
        close(hidden[i], alone_hidden[0])


@on_every_host
@pytest.mark.parametrize("apart", [False, True])
def test_activation_checkpointing_changes_no_gradient(
    name: str, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SHORTEST", 4)
    host = make(name)
    lmm, images, ids = host.lmm, host.images(), host.ids()
    turns = torch.zeros_like(ids) if apart and host.masks else None

    def gradients() -> list[Tensor | None]:
        lmm.zero_grad()
        lmm.decode(lmm.encode(images), ids, segments=turns)[1].square().mean().backward()
        return [None if p.grad is None else p.grad.clone() for p in lmm.parameters()]

    plain = gradients()
    lmm.train()
    lmm.activation_checkpointing_enable()
    assert lmm.host.is_activation_checkpointing
    for again, before in zip(gradients(), plain, strict=True):
        assert (again is None) == (before is None)
        if before is not None:
            torch.testing.assert_close(again, before)


@on_every_host
@pytest.mark.parametrize("shortest", [segments.SHORTEST, 4])
@torch.no_grad()
def test_turns_are_independent(name: str, shortest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SHORTEST", shortest)
    host = make(name)
    if not host.masks:
        pytest.skip("takes no mask of which token sees which")
    lmm, ids = host.lmm, host.ids(before=0, after=3)
    visual = lmm.encode(host.images())
    second = torch.randint(FIRST_WORD, VOCAB, (2, 4))
    scene = len(lmm.scene_ids(VIEWS))
    turns = torch.tensor([0] * scene + [1] * 3 + [2] * 4 + [-1] * 2).repeat(2, 1)
    both = pad(torch.cat([ids, second], dim=1), (0, 2), value=PAD)
    output, hidden = lmm.decode(visual, both, segments=turns)
    for turn, words in ((1, ids[:, scene:]), (2, second)):
        alone, alone_hidden = lmm.decode(visual, torch.cat([ids[:, :scene], words], dim=1))
        said = output.last_hidden_state[turns == turn].unflatten(0, (2, -1))
        close(said, alone.last_hidden_state[:, scene:])
        close(hidden, alone_hidden)


@on_every_host
@torch.no_grad()
def test_what_is_added_reaches_its_tokens(name: str) -> None:
    host = make(name)
    lmm, ids = host.lmm, host.ids()
    visual, table = lmm.encode(host.images()), lmm.host.get_input_embeddings().weight
    # Adding the difference of two embeddings is the same as writing the other word.
    other = ids.clone()
    other[:, -3] = FIRST_WORD + (ids[:, -3] + 1) % (VOCAB - FIRST_WORD)
    output, hidden = lmm.decode(visual, ids, added=table[other] - table[ids])
    expected, expected_hidden = lmm.decode(visual, other)
    close(output.last_hidden_state, expected.last_hidden_state)
    close(hidden, expected_hidden)


@on_every_host
@torch.no_grad()
def test_early_views_see_later_ones_if_asked(name: str) -> None:
    def moved(attention: str) -> tuple[Tensor, Tensor, Tensor]:
        """How far the last view's tokens and the last word move what stands before them."""
        host = make(name, attention)
        lmm, ids = host.lmm, host.ids()
        visual = lmm.encode(host.images())
        other = visual.clone()
        other[:, -1] = torch.randn_like(visual[0, -1])
        (before, hidden), (_, changed) = (lmm.decode(v, ids) for v in (visual, other))
        words = ids.clone()
        words[:, -1] = FIRST_WORD + (ids[:, -1] + 1) % (VOCAB - FIRST_WORD)
        after = lmm.decode(visual, words)[0]
        spoken = (before.last_hidden_state - after.last_hidden_state)[:, :-1]
        view = (hidden - changed)[:, 0].abs().amax(-1)
        first = before.last_hidden_state[:, :2]
        return view, spoken.abs().max(), first - lmm.decode(other, ids)[0].last_hidden_state[:, :2]

    view, text, front = moved("causal")
    assert not view.any()
    assert text < 1e-6
    view, text, front = moved("bidirectional")
    assert (view > 1e-5).all()
    assert text < 1e-6, "text stays causal"
    assert front.abs().max() < 1e-6, "text before the scene does not see it"


@on_every_host
@torch.no_grad()
def test_other_numbers_of_placeholders_are_refused(name: str) -> None:
    host = make(name)
    visual, ids = host.lmm.encode(host.images()), host.ids()
    count = r"input_ids must be rows with \d+ visual placeholders"
    with pytest.raises(ValueError, match=count):
        host.lmm.decode(visual[:, 1:], ids)
    with pytest.raises(ValueError, match=count):
        host.lmm.generate(visual[:, 1:], ids)
    with pytest.raises(ValueError, match="visual must be of shape"):
        host.lmm.decode(visual[:, :, 1:], ids)
