from __future__ import annotations

import pytest
import torch
from hosts import decoder, multimodal_decoder
from reference.lmm import DecoderLMM
from tiny_host import END, START, VISUAL, VOCAB
from torch import Tensor


def test_equals_a_run_on_embeddings_made_by_hand() -> None:
    host = decoder()
    lmm, images = host.lmm, host.images()
    word, view = torch.randint(16, VOCAB, (2, 4)), torch.full((2, 4), VISUAL)
    ids = torch.cat([word[:, :1], view, word[:, 1:2], view, word[:, 2:3], view, word[:, 3:]], 1)
    visual = lmm.encode(images)
    for b, m in ((0, 1), (1, 2)):
        torch.testing.assert_close(visual[b, m], lmm.encoder(images[b, m][None])[0])
    table = lmm.host.get_input_embeddings()
    pieces = [piece for m in range(3) for piece in (table(word[:, m : m + 1]), visual[:, m])]
    embeds = torch.cat([*pieces, table(word[:, 3:])], dim=1)
    expected = lmm.host(inputs_embeds=embeds, output_hidden_states=True)
    output, hidden = lmm.decode(visual, ids)
    torch.testing.assert_close(output.last_hidden_state, expected.hidden_states[-1])
    torch.testing.assert_close(hidden[:, 1], expected.hidden_states[-1][:, 6:10])


def test_markers_stand_around_every_view() -> None:
    host = decoder(view_start=[START], view_end=[END, END])
    assert host.lmm.scene_ids(2) == [START, *[VISUAL] * 4, END, END] * 2
    _, hidden = host.lmm.decode(host.lmm.encode(host.images()), host.ids())
    assert hidden.shape == (2, 3, 4, 32)


def test_a_module_trains_with_the_rest_and_a_function_is_called() -> None:
    names = {name.partition(".")[0] for name, _ in decoder().lmm.named_parameters()}
    assert names == {"encoder", "host"}
    assert {n.partition(".")[0] for n, _ in multimodal_decoder().lmm.named_parameters()} == {"host"}


def test_images_must_be_of_scenes() -> None:
    with pytest.raises(ValueError, match=r"images must be of shape \(b m 3 h w\)"):
        decoder().lmm.encode(torch.rand(2, 3, 24, 24))


def test_unknown_attention_is_refused() -> None:
    def nothing(images: Tensor) -> Tensor:
        return images

    host = decoder().lmm.host
    with pytest.raises(ValueError, match=r"visual_attention must be one of .*; got 'full'"):
        DecoderLMM(nothing, host, VISUAL, grid=(2, 2), visual_attention="full")
