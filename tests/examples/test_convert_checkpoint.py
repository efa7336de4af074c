"""The recipe that converts checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fabricated
import pytest
import torch
from recipes import run_example
from reference.checkpoints import load_tensor_file

S = fabricated.Sizes()


def test_there_and_back(tmp_path: Path) -> None:
    state = fabricated.ross3d(S)
    source = fabricated.write(tmp_path / "src", state, fabricated.config_of(S), shards=2)
    printed = run_example("convert_checkpoint.py", source, "-o", tmp_path / "ours")
    assert "denoiser" in printed
    assert "placeholders 98 and 99" in printed
    shards = ("--shard-gb", 1e-4, "--reverse")
    run_example("convert_checkpoint.py", tmp_path / "ours", "-o", tmp_path / "back", *shards)
    back = load_tensor_file(tmp_path / "back")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kind", "llava-video"), "error: .*unexpected ground_head"),
        (("--reverse", "--fresh", "denoiser"), "2"),
        (("--shard-gb", 0), "2"),
    ],
)
def test_errors(
    options: tuple[object, ...],
    message: str,
    call_main: Callable[..., None],
    tmp_path: Path,
) -> None:
    source = fabricated.write(tmp_path / "src", fabricated.video_3d_llm(S), fabricated.config_of(S))
    with pytest.raises(SystemExit, match=f"(?s){message}"):
        call_main("convert_checkpoint.py", source, "-o", tmp_path / "ours", *options)
    assert not (tmp_path / "ours").exists()
