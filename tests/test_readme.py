"""The README's Python blocks run, and its words about the code are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ross3d

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in BLOCKS[: number + 1]:
        exec(compile(block, f"README block {number}", "exec"), namespace)
    for printed in re.findall(r"# prints (.*)", BLOCKS[number]):
        assert printed in capsys.readouterr().out


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 2


def test_named_files_exist() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(
        r"`((?:ross3d|examples)/[\w/.]+)`", README
    )
    assert named
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_named_blocks_are_exported() -> None:
    table = [line for line in README.splitlines() if line.startswith("| `")]
    names = {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert len(names) > 15
    assert names <= set(ross3d.__all__)
