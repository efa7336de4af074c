from __future__ import annotations

import pytest
import torch
from hosts import llava_next_video, llava_onevision, llava_video
from reference.lmm import LlavaNextVideoLMM, LlavaOnevisionLMM
from reference.tiny_lmm import paper_llava
from tiny_host import DIM, GREEDY, PAD, VIEWS, VISUAL
from torch.nn.functional import pad


def test_the_means_and_deviations_are_those_given() -> None:
    host = llava_onevision()
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    images = host.images()
    pixels = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    stock = host.lmm.host.model.get_video_features(pixels, return_dict=True).pooler_output[:, :-1]
    visual = LlavaOnevisionLMM(host.lmm.host, mean=mean, std=std).encode(images)
    torch.testing.assert_close(visual.flatten(1, 2), stock)


@pytest.mark.parametrize("make", [llava_onevision, llava_next_video])
def test_generate_equals_the_untouched_model_s(make: type) -> None:
    host = make()
    images, ids = host.images(), host.ids()
    ids, mask = pad(ids, (3, 0), value=PAD), pad(torch.ones_like(ids), (3, 0))
    stock = host.lmm.host.generate(**host.stock(images, ids), attention_mask=mask, **GREEDY)
    new = host.lmm.generate(host.lmm.encode(images), ids, mask, **GREEDY)
    assert new.shape == (2, 4)
    assert torch.equal(new, stock[:, ids.shape[1] :])


@pytest.mark.parametrize("make", [llava_onevision, llava_video])
def test_what_is_added_at_placeholders_does_not_reach_the_visual_tokens(make: type) -> None:
    host = make()
    visual, ids = host.lmm.encode(host.images()), host.ids()
    added = torch.where((ids == VISUAL)[..., None], torch.randn(*ids.shape, DIM), 0.0)
    plain, _ = host.lmm.decode(visual, ids)
    output, _ = host.lmm.decode(visual, ids, added=added)
    torch.testing.assert_close(output.last_hidden_state, plain.last_hidden_state)


def test_only_what_no_feature_passes_is_frozen() -> None:
    frozen = {
        "llava_onevision": ("vision_tower.post_layernorm.",),
        "llava_next_video": (
            "vision_tower.post_layernorm.",
            "vision_tower.encoder.layers.1.",
            "image_newline",
        ),
    }
    for make in (llava_onevision, llava_next_video):
        for name, parameter in make().lmm.host.model.named_parameters():
            assert parameter.requires_grad != name.startswith(frozen[make.__name__]), name


def test_a_newline_ends_the_video_or_every_row() -> None:
    ends = {"video": [*[True] * 12, False], "row": [True, True, False] * 6}
    for newline, expected in ends.items():
        lmm = LlavaOnevisionLMM(llava_onevision().lmm.host, newline=newline)
        lmm.grid = (2, 2)
        assert lmm.is_visual(VIEWS).tolist() == expected
        assert lmm.scene_ids(VIEWS) == [VISUAL] * len(expected)


def test_rows_with_newlines_are_laid_out_as_released() -> None:
    """Frame f, row r, column c at f * 210 + r * 15 + c; the newline is at c = 14."""
    with torch.device("meta"):
        lmm = LlavaOnevisionLMM(paper_llava(), newline="row")
    assert len(lmm.scene_ids(views=32)) == 6720
    places = lmm.is_visual(views=32).nonzero()[:, 0].unflatten(0, (32, 14, 14))
    f, r, c = torch.meshgrid(torch.arange(32), torch.arange(14), torch.arange(14), indexing="ij")
    assert torch.equal(places, f * 210 + r * 15 + c)


@torch.no_grad()
def test_the_newline_after_rows_is_the_host_s_and_carries_no_position_code() -> None:
    host = llava_video()
    visual = host.lmm.encode(host.images())
    tokens = host.lmm._features(visual)
    ends = tokens[:, ~host.lmm.is_visual(VIEWS)]
    assert torch.equal(ends, host.lmm.host.model.image_newline.expand_as(ends))
    assert torch.equal(tokens[:, host.lmm.is_visual(VIEWS)], visual.flatten(1, 2))


def test_other_newlines_are_refused() -> None:
    with pytest.raises(ValueError, match=r"newline must be one of \('video', 'row'\); got 'view'"):
        LlavaOnevisionLMM(llava_onevision().lmm.host, newline="view")


@pytest.mark.parametrize("layer", [-2, 1, -1])
def test_features_may_leave_the_tower_at_any_layer(layer: int) -> None:
    host = llava_next_video().lmm.host
    host.requires_grad_(True)
    host.config.vision_feature_layer = layer
    lmm = LlavaNextVideoLMM(host)
    lmm.encode(torch.rand(1, 2, 3, 32, 32)).sum().backward()
    tower = host.model.vision_tower.named_parameters()
    assert [n for n, p in tower if p.requires_grad != (p.grad is not None)] == []


def test_views_of_another_size_are_refused() -> None:
    for host in (llava_onevision(), llava_next_video()):
        with pytest.raises(ValueError, match=r"images must be of shape \(b m 3 32 32\)"):
            host.lmm.encode(torch.rand(2, 3, 3, 24, 24))
