from __future__ import annotations

import pytest
import torch
from hosts import internvl
from reference.lmm import InternVLLMM
from tiny_host import END, GREEDY, PAD, START, VISUAL
from torch import nn
from torch.nn.functional import pad


def test_a_view_is_placeholders_between_markers() -> None:
    lmm = internvl().lmm
    assert lmm.grid == (2, 2)
    assert lmm.scene_ids(2) == [START, *[VISUAL] * 4, END] * 2
    assert InternVLLMM(lmm.host).scene_ids(1) == [VISUAL] * 4


def test_generate_equals_the_untouched_model_s() -> None:
    host = internvl()
    images, ids = host.images(), host.ids()
    ids, mask = pad(ids, (3, 0), value=PAD), pad(torch.ones_like(ids), (3, 0))
    stock = host.lmm.host.generate(**host.stock(images, ids), attention_mask=mask, **GREEDY)
    new = host.lmm.generate(host.lmm.encode(images), ids, mask, **GREEDY)
    assert torch.equal(new, stock[:, ids.shape[1] :])


@torch.no_grad()
def test_tokens_are_in_the_order_of_rows() -> None:
    """A tower that passes patches through shows which pixels a token is made of."""
    lmm = internvl().lmm
    tower = lmm.host.model.vision_tower
    tower.encoder.layer = nn.ModuleList()
    tower.layernorm = nn.Identity()
    nn.init.zeros_(tower.embeddings.position_embeddings)
    plain = torch.rand(1, 1, 3, 32, 32)
    for row in range(2):
        for column in range(2):
            images = plain.clone()
            cell = images[..., 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            cell.copy_(torch.rand_like(cell))
            moved = (lmm.encode(images) - lmm.encode(plain)).abs().amax(-1)[0, 0] > 1e-6
            assert moved.nonzero()[:, 0].tolist() == [2 * row + column]


def test_views_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be of shape \(b m 3 32 32\)"):
        internvl().lmm.encode(torch.rand(2, 3, 3, 24, 24))
