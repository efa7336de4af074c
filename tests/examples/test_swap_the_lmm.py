from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reference.chat import build_tokenizer
from reference.data.sources import RoomSource
from swap_the_lmm import SIZE, VIEWS, options_of, released_host, supervise, tiny_host

LOSSES = {"cross_view", "global_view", "grounding", "text"}
ROOMS = RoomSource(views=VIEWS, size=SIZE, turns=2, hidden=1)


def test_three_hosts_read_a_real_scan(
    call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    call_main("swap_the_lmm.py", "--turns", 2)
    lines = capsys.readouterr().out.splitlines()
    families = ("LlavaOnevision", "Qwen3VL", "InternVL")
    assert [line.partition(":")[0] for line in lines] == [
        f"{family}ForConditionalGeneration" for family in families
    ]
    for line in lines:
        losses = dict(re.findall(r"(\w+) (\d+\.\d+)", line))
        assert set(losses) == LOSSES
        assert all(0 <= float(value) < 20 for value in losses.values())
        assert all(float(losses[name]) > 0 for name in ("cross_view", "global_view", "text"))


@pytest.mark.parametrize("name", ["llava", "qwen", "internvl"])
def test_gradients_reach_the_host(name: str) -> None:
    tokenizer = build_tokenizer(ROOMS.words())
    host = tiny_host(name, tokenizer)
    assert sum(p.numel() for p in host.parameters()) < 2_000_000
    losses = supervise(host, tokenizer, ROOMS, **options_of(host, tokenizer, SIZE))
    assert set(losses) == LOSSES
    trained = {n: p for n, p in host.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in trained.values())


def test_released_weights_are_loaded_and_get_room_for_new_words(
    tmp_path: Path, call_main: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = build_tokenizer(ROOMS.words())
    tokenizer.add_tokens(["<img>", "</img>"], special_tokens=True)
    host = tiny_host("internvl", tokenizer)
    host.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, words = released_host(str(tmp_path))
    assert torch.equal(loaded.lm_head.weight, host.lm_head.weight)
    start, end = words.convert_tokens_to_ids(["<img>", "</img>"])
    markers = {"view_start": [start], "view_end": [end]}
    assert options_of(loaded, words, SIZE) == markers
    words.add_tokens([f"word{i}" for i in range(10)])
    words.save_pretrained(tmp_path)
    wider = released_host(str(tmp_path))[0].get_input_embeddings().num_embeddings
    assert wider == len(words) > host.get_input_embeddings().num_embeddings
    call_main("swap_the_lmm.py", "--host-path", tmp_path, "--turns", 1, "--data", "rooms")
    assert "InternVLForConditionalGeneration: cross_view" in capsys.readouterr().out


def test_bad_options_end_in_one_line(call_main: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match="nowhere"):
        call_main("swap_the_lmm.py", "--data", "nowhere")
