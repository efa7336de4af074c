from __future__ import annotations

from typing import Any

import pytest
import torch
from reference.decoder_lmm import DecoderLMM
from reference.llava_lmm import LlavaOnevisionLMM
from reference.lmm import LMMOutput
from reference.text import text_loss
from reference.tiny_lmm import paper_llava, tiny_llava
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

VOCAB, VISUAL, PAD, DIM, SIZE = 64, 4, 0, 32, 24
VIEWS, TOKENS = 3, 4
GREEDY = {"do_sample": False, "max_new_tokens": 5}


@pytest.fixture
def lmm() -> LlavaOnevisionLMM:
    host = tiny_llava(
        VOCAB,
        VISUAL,
        PAD,
        dim=DIM,
        layers=2,
        heads=2,
        image_size=SIZE,
        patch_size=8,
        vision_dim=16,
        vision_layers=2,
    )
    host.generation_config.eos_token_id = None
    return LlavaOnevisionLMM(host)


@pytest.fixture
def decoder_lmm() -> DecoderLMM:
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=DIM,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    return DecoderLMM(PatchEncoder(), Qwen2ForCausalLM(config), VISUAL, grid=(2, 2))


class PatchEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, SIZE // 2, SIZE // 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.patches(images).flatten(2).mT


def text(b: int = 2, before: int = 2, after: int = 6, extra: int = 1) -> Tensor:
    placeholders = torch.full((b, VIEWS * TOKENS + extra), VISUAL)
    words = torch.randint(5, VOCAB, (b, before + after))
    return torch.cat([words[:, :before], placeholders, words[:, before:]], dim=1)


def views(b: int = 2) -> Tensor:
    return torch.rand(b, VIEWS, 3, SIZE, SIZE)


def supervised_tail(input_ids: Tensor, count: int = 3) -> Tensor:
    return torch.where(
        torch.arange(input_ids.shape[1]) < input_ids.shape[1] - count, -100, input_ids
    )


def pad_row(input_ids: Tensor, count: int, side: str) -> tuple[Tensor, Tensor]:
    amounts = (count, 0) if side == "left" else (0, count)
    padded = torch.nn.functional.pad(input_ids, amounts, value=PAD)
    return padded, torch.nn.functional.pad(torch.ones_like(input_ids), amounts)


def greedy_loop(lmm: Any, visual: Tensor, input_ids: Tensor, **kwargs: Tensor) -> Tensor:
    """No cache, no generate(): one full forward per token."""
    ids, added = input_ids, kwargs.get("added")
    for _ in range(GREEDY["max_new_tokens"]):
        output, _ = lmm.decode(visual, ids, added=added)
        word = lmm.host.get_output_embeddings()(output.last_hidden_state[:, -1]).argmax(-1)
        ids = torch.cat([ids, word[:, None]], dim=1)
        if added is not None:
            added = torch.nn.functional.pad(added, (0, 0, 0, 1))
    return ids[:, input_ids.shape[1] :]


def test_llava_reproduces_the_untouched_model(lmm: LlavaOnevisionLMM) -> None:
    images, ids = views(), text()
    labels = supervised_tail(ids)
    stock = lmm.host(
        input_ids=ids,
        pixel_values_videos=(images - 0.5) / 0.5,
        labels=labels,
        output_hidden_states=True,
    )
    output, hidden = lmm.decode(lmm.encode(images), ids, labels=labels)
    assert isinstance(output, LMMOutput)
    torch.testing.assert_close(output.last_hidden_state, stock.hidden_states[-1], rtol=0, atol=1e-5)
    logits = lmm.host.get_output_embeddings()(output.last_hidden_state)
    torch.testing.assert_close(logits, stock.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.loss, stock.loss, rtol=0, atol=1e-5)
    expected = stock.hidden_states[-1][:, 2 : 2 + VIEWS * TOKENS].unflatten(1, (VIEWS, TOKENS))
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-5)


def test_llava_uses_the_mean_and_std_it_is_given(lmm: LlavaOnevisionLMM) -> None:
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    images = views()
    pixels = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    stock = lmm.host.model.get_video_features(pixels, return_dict=True).pooler_output[:, :-1]
    visual = LlavaOnevisionLMM(lmm.host, mean=mean, std=std).encode(images)
    torch.testing.assert_close(visual.flatten(1, 2), stock)


def test_llava_embeddings_route_equals_the_encoder_outputs_route(lmm: LlavaOnevisionLMM) -> None:
    visual, ids = lmm.encode(views()), text()
    zeros = torch.zeros(*ids.shape, DIM)
    plain, plain_hidden = lmm.decode(visual, ids)
    embeds, embeds_hidden = lmm.decode(visual, ids, added=zeros)
    torch.testing.assert_close(embeds.last_hidden_state, plain.last_hidden_state)
    torch.testing.assert_close(embeds_hidden, plain_hidden)
    generated = lmm.generate(visual, ids, **GREEDY)
    assert torch.equal(lmm.generate(visual, ids, added=zeros, **GREEDY), generated)


def test_llava_generate_equals_stock_generate(lmm: LlavaOnevisionLMM) -> None:
    images, ids = views(), text()
    ids = torch.cat([torch.full((2, 3), PAD), ids], dim=1)
    attention_mask = torch.ones_like(ids)
    attention_mask[:, :3] = 0
    stock = lmm.host.generate(
        input_ids=ids,
        attention_mask=attention_mask,
        pixel_values_videos=(images - 0.5) / 0.5,
        **GREEDY,
    )
    new = lmm.generate(lmm.encode(images), ids, attention_mask, **GREEDY)
    assert new.shape == (2, 5)
    assert torch.equal(new, stock[:, ids.shape[1] :])


def test_a_replaced_view_does_not_leak(lmm: LlavaOnevisionLMM) -> None:
    images, ids = views(), text()
    changed = images.clone()
    changed[:, 1] = torch.rand(2, 3, SIZE, SIZE)
    visuals = [lmm.encode(pixels) for pixels in (images, changed)]
    assert not torch.allclose(visuals[0][:, 1], visuals[1][:, 1])
    masked = torch.tensor([False, True, False])[None, :, None, None]
    hidden = [lmm.decode(torch.where(masked, 0.5, visual), ids) for visual in visuals]
    assert torch.equal(hidden[0][0].last_hidden_state, hidden[1][0].last_hidden_state)
    assert torch.equal(hidden[0][1], hidden[1][1])


def test_gradients_reach_every_trainable_parameter(lmm: LlavaOnevisionLMM) -> None:
    ids = text()
    visual = lmm.encode(views())
    visual.retain_grad()
    output, hidden = lmm.decode(visual, ids, labels=supervised_tail(ids))
    (output.loss + hidden.square().mean()).backward()
    assert visual.grad.abs().amin(dim=(0, 3)).gt(0).all()
    for name, parameter in lmm.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0 or "k_proj.bias" in name, name
    frozen = [name for name, parameter in lmm.named_parameters() if not parameter.requires_grad]
    assert all("post_layernorm" in name for name in frozen)
    assert len(frozen) == 2


@pytest.mark.parametrize("position_code", [False, True])
@pytest.mark.parametrize("family", ["lmm", "decoder_lmm"])
def test_generate_equals_an_uncached_greedy_loop(
    family: str, position_code: bool, request: pytest.FixtureRequest
) -> None:
    lmm = request.getfixturevalue(family)
    ids = text(extra=lmm.num_extra)
    visual = lmm.encode(views())
    added = torch.zeros(*ids.shape, DIM)
    added[:, -2] = 3 * torch.randn(DIM)
    kwargs = {"added": added} if position_code else {}
    new = lmm.generate(visual, ids, **kwargs, **GREEDY)
    assert torch.equal(new, greedy_loop(lmm, visual, ids, **kwargs))


@pytest.mark.parametrize("family", ["lmm", "decoder_lmm"])
def test_beams_can_run_twice_on_the_same_visual(
    family: str, request: pytest.FixtureRequest
) -> None:
    lmm = request.getfixturevalue(family)
    visual, ids = lmm.encode(views()), text(extra=lmm.num_extra)
    before = visual.clone()
    first, second = (lmm.generate(visual, ids, num_beams=3, **GREEDY) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(visual, before)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["lmm", "decoder_lmm"])
def test_padding_changes_nothing(family: str, side: str, request: pytest.FixtureRequest) -> None:
    lmm = request.getfixturevalue(family)
    visual, ids = lmm.encode(views()), text(extra=lmm.num_extra)
    padded, attention_mask = pad_row(ids, 4, side)
    # A second, longer row makes the padding a matter of this row alone.
    batch = torch.cat([padded[:1], text(1, after=10, extra=lmm.num_extra)])
    mask = torch.cat([attention_mask[:1], torch.ones_like(batch[1:])])
    labels = torch.full_like(batch, -100)
    labels[0, mask[0].bool()] = supervised_tail(ids)[0]
    alone, alone_hidden = lmm.decode(visual[:1], ids[:1], labels=supervised_tail(ids)[:1])
    output, hidden = lmm.decode(visual, batch, labels=labels, attention_mask=mask)
    torch.testing.assert_close(hidden[:1], alone_hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.loss, alone.loss, rtol=0, atol=1e-5)
    kept = output.last_hidden_state[0, mask[0].bool()]
    torch.testing.assert_close(kept, alone.last_hidden_state[0], rtol=0, atol=1e-5)
    if side == "left":
        new = lmm.generate(visual, batch, mask, **GREEDY)
        assert torch.equal(new[:1], lmm.generate(visual[:1], ids[:1], **GREEDY))


@pytest.mark.parametrize("family", ["lmm", "decoder_lmm"])
def test_added_reaches_exactly_its_tokens(family: str, request: pytest.FixtureRequest) -> None:
    lmm = request.getfixturevalue(family)
    visual, ids = lmm.encode(views()), text(extra=lmm.num_extra)
    at = ids.shape[1] - 3
    # Adding the difference of two embeddings is the same as writing the other word.
    other = (ids[:, at] - 5 + 7) % (VOCAB - 5) + 5
    table = lmm.host.get_input_embeddings().weight
    added = torch.zeros(*ids.shape, DIM)
    added[:, at] = (table[other] - table[ids[:, at]]).detach()
    replaced = ids.clone()
    replaced[:, at] = other
    expected, _ = lmm.decode(visual, replaced)
    output, _ = lmm.decode(visual, ids, added=added)
    plain, _ = lmm.decode(visual, ids)
    torch.testing.assert_close(output.last_hidden_state, expected.last_hidden_state)
    moved = (output.last_hidden_state - plain.last_hidden_state).abs().amax(-1) > 1e-4
    assert not moved[:, :at].any()
    assert moved[:, at:].all()


def test_added_at_placeholders_does_not_reach_the_visual_tokens(lmm: LlavaOnevisionLMM) -> None:
    visual, ids = lmm.encode(views()), text()
    added = torch.where((ids == VISUAL)[..., None], torch.randn(*ids.shape, DIM), 0.0)
    plain, _ = lmm.decode(visual, ids)
    output, _ = lmm.decode(visual, ids, added=added)
    torch.testing.assert_close(output.last_hidden_state, plain.last_hidden_state)


def test_activation_checkpointing_changes_no_gradient(lmm: LlavaOnevisionLMM) -> None:
    images, ids = views(), text()

    def gradient() -> Tensor:
        lmm.zero_grad()
        lmm.decode(lmm.encode(images), ids)[1].square().mean().backward()
        return lmm.host.model.multi_modal_projector.linear_1.weight.grad.clone()

    plain = gradient()
    lmm.train()
    lmm.activation_checkpointing_enable()
    assert lmm.host.is_activation_checkpointing
    torch.testing.assert_close(gradient(), plain)


def test_llava_runs_in_bfloat16(lmm: LlavaOnevisionLMM) -> None:
    lmm.to(torch.bfloat16)
    ids = text()
    visual = lmm.encode(views())
    output, hidden = lmm.decode(visual.float(), ids, labels=supervised_tail(ids))
    assert visual.dtype == hidden.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32


def test_decoder_equals_a_run_on_embeddings_made_by_hand(decoder_lmm: DecoderLMM) -> None:
    images = views()
    word, view = torch.randint(5, VOCAB, (2, 4)), torch.full((2, TOKENS), VISUAL)
    ids = torch.cat([word[:, :1], view, word[:, 1:2], view, word[:, 2:3], view, word[:, 3:]], 1)
    visual = decoder_lmm.encode(images)
    for b, m in ((0, 1), (1, 2)):
        torch.testing.assert_close(visual[b, m], decoder_lmm.encoder(images[b, m][None])[0])
    table = decoder_lmm.host.get_input_embeddings()
    pieces = [piece for m in range(3) for piece in (table(word[:, m : m + 1]), visual[:, m])]
    embeds = torch.cat([*pieces, table(word[:, 3:])], dim=1)
    labels = supervised_tail(ids, 2)
    expected = decoder_lmm.host(inputs_embeds=embeds, labels=labels, output_hidden_states=True)
    output, hidden = decoder_lmm.decode(visual, ids, labels=labels)
    torch.testing.assert_close(output.last_hidden_state, expected.hidden_states[-1])
    torch.testing.assert_close(output.loss, expected.loss)
    torch.testing.assert_close(hidden[:, 1], expected.hidden_states[-1][:, 6:10])


def test_no_labels_no_loss(lmm: LlavaOnevisionLMM) -> None:
    assert lmm.decode(lmm.encode(views()), text())[0].loss is None


def test_text_loss_equals_cross_entropy_over_all_logits() -> None:
    hidden, head = torch.randn(3, 9, 8, requires_grad=True), nn.Linear(8, 20)
    labels = torch.randint(0, 20, (3, 9))
    labels[torch.rand(3, 9) < 0.6] = -100
    logits = head(hidden)[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten())
    torch.testing.assert_close(text_loss(hidden, labels, head), expected)


def test_text_loss_of_nothing_is_zero_in_the_graph() -> None:
    hidden, head = torch.randn(2, 4, 8, requires_grad=True), nn.Linear(8, 20)
    loss = text_loss(hidden, torch.full((2, 4), -100), head)
    loss.backward()
    assert loss.item() == 0
    assert not hidden.grad.any()
    assert not head.weight.grad.any()


def test_wrong_inputs(lmm: LlavaOnevisionLMM, decoder_lmm: DecoderLMM) -> None:
    visual, ids = lmm.encode(views()), text()
    with pytest.raises(ValueError, match=r"images must be of shape \(b m 3 24 24\)"):
        lmm.encode(torch.rand(2, 3, 3, 32, 32))
    with pytest.raises(ValueError, match=r"images must be of shape \(b m 3 h w\)"):
        decoder_lmm.encode(torch.rand(2, 3, 24, 24))
    with pytest.raises(ValueError, match=r"rows with 13 visual placeholders; got \[12, 12\]"):
        lmm.decode(visual, text(extra=0))
    with pytest.raises(ValueError, match=r"rows with 12 visual placeholders; got \[13, 13\]"):
        decoder_lmm.generate(visual, ids)
    with pytest.raises(ValueError, match="visual must be of shape"):
        lmm.decode(visual[:, :, :3], ids)
    with pytest.raises(ValueError, match="input_ids must be of shape"):
        lmm.decode(visual, ids[:1])
    with pytest.raises(ValueError, match="added must be of shape"):
        lmm.decode(visual, ids, added=torch.zeros(2, 3, DIM))


def test_tiny_llava_is_what_was_asked_for() -> None:
    lmm = LlavaOnevisionLMM(tiny_llava(50, VISUAL, PAD, image_size=64, layers=3))
    assert lmm.grid == (4, 4)
    assert lmm.visual_token_id == VISUAL
    assert len(lmm.host.model.language_model.layers) == 3
    head, embeddings = lmm.host.get_output_embeddings(), lmm.host.get_input_embeddings()
    assert head.weight is not embeddings.weight
    assert lmm.host.config.text_config.pad_token_id == PAD
    assert lmm.encode(torch.rand(1, 2, 3, 64, 64)).shape == (1, 2, 16, 128)


def test_tiny_llava_refuses_sizes_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="heads must be a divisor of 128 / 2"):
        tiny_llava(50, VISUAL, heads=3)
    with pytest.raises(ValueError, match="patch_size must be a divisor of 96; got 7"):
        tiny_llava(50, VISUAL, patch_size=7)


def test_paper_llava_has_the_paper_s_numbers() -> None:
    with torch.device("meta"):
        host = paper_llava()
        lmm = LlavaOnevisionLMM(host)
        visual = lmm.encode(torch.rand(1, 2, 3, 384, 384))
    assert lmm.grid == (14, 14)
    assert visual.shape == (1, 2, 196, 3584)
    # With the output embedding, the 7.616 billion of Qwen2-7B.
    assert sum(p.numel() for p in host.model.language_model.parameters()) == 7_070_619_136
    assert host.get_output_embeddings().weight.shape == (152064, 3584)
    assert host.get_output_embeddings().weight is not host.get_input_embeddings().weight
    assert host.model.language_model.config.rope_parameters["rope_theta"] == 1e6
    assert len(host.model.vision_tower.encoder.layers) == 26
    assert len(host.state_dict()) == 765
