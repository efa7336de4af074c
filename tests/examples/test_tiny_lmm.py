from __future__ import annotations

import pytest
import torch
from reference.lmm import LlavaOnevisionLMM
from reference.tiny_lmm import paper_llava, tiny_llava

VISUAL, PAD = 4, 0


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
