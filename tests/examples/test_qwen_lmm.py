from __future__ import annotations

from typing import Any

import pytest
import torch
from hosts_qwen import QWEN_HOSTS, qwen3_vl, qwen25_vl, qwen35
from reference.lmm import adapt
from tiny_host import DIM, END, FIRST_WORD, GREEDY, PAD, START, VIEWS, VISUAL, VOCAB, TinyHost
from torch import Tensor

NAMES = ("qwen2_5_vl", "qwen3_vl", "qwen3_5")

on_every_qwen = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def seen_positions() -> Any:
    """A function that runs another and returns the positions that reached the decoder."""

    def record(host: TinyHost, run: Any) -> list[Tensor]:
        positions = []

        def note(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
            positions.append(kwargs["position_ids"][-3:])

        handle = host.lmm.host.model.language_model.register_forward_pre_hook(
            note, with_kwargs=True
        )
        with torch.no_grad():
            run()
        handle.remove()
        return positions

    return record


def views_of(host: TinyHost, b: int = 2) -> Tensor:
    return torch.rand(b, VIEWS, 3, *host.lmm.image_size)


def two_turns(host: TinyHost) -> tuple[Tensor, Tensor, int]:
    """Text of two turns, its segments, and the length of the scene."""
    scene = len(host.lmm.scene_ids(VIEWS))
    words = torch.randint(FIRST_WORD, VOCAB, (2, 5))
    ids = torch.cat([torch.tensor(host.lmm.scene_ids(VIEWS)).repeat(2, 1), words], dim=1)
    return ids, torch.tensor([0] * scene + [1] * 2 + [2] * 3).repeat(2, 1), scene


@on_every_qwen
def test_a_view_is_an_image_between_markers(name: str) -> None:
    lmm = QWEN_HOSTS[name]().lmm
    assert lmm.grid == (2, 2)
    assert lmm.scene_ids(2) == [START, *[VISUAL] * 4, END] * 2
    assert lmm.is_visual(2).tolist() == [True] * 8


@on_every_qwen
@torch.no_grad()
def test_views_of_any_size_reproduce_the_untouched_model(name: str) -> None:
    host = QWEN_HOSTS[name]((48, 80))
    lmm, images, ids = host.lmm, views_of(host), host.ids()
    assert lmm.grid == (3, 5)
    visual = lmm.encode(images)
    assert visual.shape == (2, VIEWS, 15, DIM * (1 + lmm.num_deep))
    stock = lmm.host(**host.stock(images, ids), output_hidden_states=True).hidden_states[-1]
    output, _ = lmm.decode(visual, ids)
    torch.testing.assert_close(output.last_hidden_state, stock, rtol=0, atol=1e-5)


@on_every_qwen
@torch.no_grad()
def test_mean_and_std_are_those_given(name: str) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    host = QWEN_HOSTS[name](mean=mean, std=std)
    images = host.images()
    pixels = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    plain = type(host.lmm)(host.lmm.host, host.size, mean=0.0, std=1.0)
    torch.testing.assert_close(host.lmm.encode(images), plain.encode(pixels))


def test_the_usual_mean_and_std_are_the_family_s() -> None:
    assert qwen25_vl().lmm.mean == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)
    assert qwen25_vl().lmm.std == pytest.approx((0.269, 0.261, 0.276), abs=1e-3)
    for maker in (qwen3_vl, qwen35):
        assert (maker().lmm.mean, maker().lmm.std) == (0.5, 0.5)


@on_every_qwen
def test_positions_are_the_host_s(name: str, seen_positions: Any) -> None:
    host = QWEN_HOSTS[name]((32, 48))
    lmm, images, ids = host.lmm, views_of(host), host.ids()
    ids = torch.cat([torch.full((2, 3), PAD), ids], dim=1)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    visual, stock = lmm.encode(images).detach(), host.stock(images, ids)
    (own,) = seen_positions(host, lambda: lmm.host(**stock, attention_mask=mask))
    (ours,) = seen_positions(host, lambda: lmm.decode(visual, ids, attention_mask=mask))
    pointed = torch.zeros(*ids.shape, DIM)
    pointed[:, -2] = 1
    (added,) = seen_positions(
        host, lambda: lmm.decode(visual, ids, attention_mask=mask, added=pointed)
    )
    segments = mask.long() - 1
    (apart,) = seen_positions(host, lambda: lmm.decode(visual, ids, segments=segments))
    spoken, *_ = seen_positions(host, lambda: lmm.generate(visual, ids, mask, **GREEDY))
    for positions in (ours, added, apart, spoken):
        assert torch.equal(positions, own)
    # Text, a marker, then two rows of three: the text after a view stands behind its larger side.
    view = own[:, 1, 3 + 2 + 1 : 3 + 2 + 1 + 6] - own[:, 1, 3 + 2 + 1, None]
    assert view.tolist() == [[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    assert (own[:, 1, 3 + 2 + 7] - own[:, 1, 3 + 2 + 1]).tolist() == [3, 3, 3]


@on_every_qwen
def test_new_words_follow_the_text(name: str, seen_positions: Any) -> None:
    host = QWEN_HOSTS[name]()
    visual, ids = host.lmm.encode(host.images()).detach(), host.ids()
    prompt, *words = seen_positions(host, lambda: host.lmm.generate(visual, ids, **GREEDY))
    last = prompt[..., -1:]
    for step, positions in enumerate(words, start=1):
        assert torch.equal(positions, last + step)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_turns_follow_the_scene(name: str, seen_positions: Any) -> None:
    host = QWEN_HOSTS[name]((32, 64))
    lmm, visual = host.lmm, host.lmm.encode(views_of(host)).detach()
    ids, segments, scene = two_turns(host)
    (both,) = seen_positions(host, lambda: lmm.decode(visual, ids, segments=segments))
    for turn in (1, 2):
        alone = torch.cat([ids[:, :scene], ids[segments == turn].view(2, -1)], dim=1)
        (expected,) = seen_positions(host, lambda alone=alone: lmm.decode(visual, alone))
        assert torch.equal(both[:, segments == turn].view(3, 2, -1), expected[..., scene:])
        assert torch.equal(both[..., :scene], expected[..., :scene])


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
@torch.no_grad()
def test_turns_apart_equal_one_pass_each_beside_padding(name: str) -> None:
    host = QWEN_HOSTS[name]()
    lmm, visual = host.lmm, host.lmm.encode(host.images())
    ids, segments, scene = two_turns(host)
    hidden_token = (ids == VISUAL) & ((ids == VISUAL).cumsum(1) == 6)
    segments = segments.masked_fill(hidden_token, -1)
    output, _ = lmm.decode(visual, ids, segments=segments)
    for turn in (1, 2):
        alone = torch.cat([ids[:, :scene], ids[segments == turn].view(2, -1)], dim=1)
        one = torch.cat([segments[:, :scene], torch.ones_like(alone[:, scene:])], dim=1)
        expected, _ = lmm.decode(visual, alone, segments=one)
        said = output.last_hidden_state[segments == turn].view(2, -1, DIM)
        torch.testing.assert_close(said, expected.last_hidden_state[:, scene:], rtol=0, atol=1e-5)
    moved = visual.clone()
    moved[:, 1, 1] += 1
    other, _ = lmm.decode(moved, ids, segments=segments)
    counted = segments >= 0
    assert torch.equal(other.last_hidden_state[counted], output.last_hidden_state[counted])


@on_every_qwen
def test_adapt_picks_it(name: str) -> None:
    host = QWEN_HOSTS[name]()
    assert type(adapt(host.lmm.host, image_size=64)) is type(host.lmm)
    assert adapt(host.lmm.host, image_size=(64, 32)).grid == (4, 2)


@on_every_qwen
def test_image_sizes_that_no_patches_fill_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"image_size must be multiples of 16; got 40"):
        QWEN_HOSTS[name](40)
    with pytest.raises(ValueError, match=r"image_size must be multiples of 16; got \(32, 24\)"):
        QWEN_HOSTS[name]((32, 24))
    with pytest.raises(ValueError, match=r"image_size must be multiples of 16; got 0"):
        QWEN_HOSTS[name](0)
    lmm = QWEN_HOSTS[name]((32, 48)).lmm
    with pytest.raises(ValueError, match=r"images must be of shape \(b m 3 32 48\)"):
        lmm.encode(torch.rand(1, 2, 3, 48, 32))


@on_every_qwen
@torch.no_grad()
def test_views_that_touch_are_refused(name: str) -> None:
    host = QWEN_HOSTS[name]()
    visual, ids = host.lmm.encode(host.images()), host.ids()
    touching = ids[0][(ids[0] != START) & (ids[0] != END)].repeat(2, 1)
    with pytest.raises(ValueError, match=r"placeholders in runs of 4; got runs of \[12\]"):
        host.lmm.decode(visual, touching)
    broken = ids.clone()
    at = (ids[1] == VISUAL).nonzero()[0, 0]
    broken[1, at - 1], broken[1, at] = VISUAL, START
    with pytest.raises(ValueError, match=r"in runs of 4; got runs of \[1, 3, 4, 4\]"):
        host.lmm.generate(visual, broken)


@torch.no_grad()
def test_linear_attention_takes_no_mask_of_which_token_sees_which() -> None:
    host = qwen35()
    lmm, visual = host.lmm, host.lmm.encode(host.images())
    ids, segments, _ = two_turns(host)
    with pytest.raises(ValueError, match=r"segments must be of one turn .* got 2 turns"):
        lmm.decode(visual, ids, segments=segments)
    one, _ = lmm.decode(visual, ids, segments=segments.clamp(max=1))
    plain, _ = lmm.decode(visual, ids)
    torch.testing.assert_close(one.last_hidden_state, plain.last_hidden_state)
    with pytest.raises(ValueError, match=r"visual_attention must be 'causal' .* 'bidirectional'"):
        qwen35(visual_attention="bidirectional")
    with pytest.raises(ValueError, match="visual_attention must be one of"):
        qwen35(visual_attention="none")
