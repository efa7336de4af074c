from __future__ import annotations

import torch
from hosts import make, on_every_host, padded, with_both_attentions
from tiny_host import FIRST_WORD, GREEDY, VOCAB


@on_every_host
@with_both_attentions
@torch.no_grad()
def test_generate_equals_an_uncached_greedy_loop(name: str, attention: str) -> None:
    host = make(name, attention)
    lmm = host.lmm
    visual, start = lmm.encode(host.images()), host.ids()
    ids = start
    for _ in range(GREEDY["max_new_tokens"]):
        output, _ = lmm.decode(visual, ids)
        logits = lmm.host.get_output_embeddings()(output.last_hidden_state[:, -1])
        words = FIRST_WORD + logits[:, FIRST_WORD:].argmax(-1)
        ids = torch.cat([ids, words[:, None]], dim=1)
    assert torch.equal(lmm.generate(visual, start, **GREEDY), ids[:, start.shape[1] :])


@on_every_host
@with_both_attentions
@torch.no_grad()
def test_beams_of_a_batch_are_those_of_its_scenes(name: str, attention: str) -> None:
    host = make(name, attention)
    lmm = host.lmm
    visual, ids = lmm.encode(host.images()), host.ids()
    both = lmm.generate(visual, ids, num_beams=3, **GREEDY)
    for i in range(2):
        alone = lmm.generate(visual[i, None], ids[i, None], num_beams=3, **GREEDY)
        assert torch.equal(both[i], alone[0])


@on_every_host
@with_both_attentions
@torch.no_grad()
def test_padding_changes_no_answer(name: str, attention: str) -> None:
    host = make(name, attention)
    lmm = host.lmm
    visual, short, long = lmm.encode(host.images()), host.ids(1), host.ids(1, after=9)
    ids, mask = padded(short, 4, "left")
    ids, mask = torch.cat([ids, long]), torch.cat([mask, torch.ones_like(long)])
    both = lmm.generate(visual, ids, mask, **GREEDY)
    for i, row in enumerate((short, long)):
        assert torch.equal(both[i], lmm.generate(visual[i, None], row, **GREEDY)[0])


@on_every_host
@torch.no_grad()
def test_what_is_added_is_answered(name: str) -> None:
    host = make(name)
    lmm, ids = host.lmm, host.ids()
    visual, table = lmm.encode(host.images()), lmm.host.get_input_embeddings().weight
    other = ids.clone()
    other[:, -3] = FIRST_WORD + (ids[:, -3] + 1) % (VOCAB - FIRST_WORD)
    new = lmm.generate(visual, ids, added=table[other] - table[ids], **GREEDY)
    assert torch.equal(new, lmm.generate(visual, other, **GREEDY))
