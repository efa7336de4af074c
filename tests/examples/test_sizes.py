from __future__ import annotations

import re

import pytest
from reference.presets import PRESETS
from reference.sizes import size_table
from tiny import PRESET, tiny_ross3d


def numbers(table: str) -> dict[str, tuple[int, int]]:
    rows = re.findall(r"^(.+?)\s{2,}([\d,]+)\s+([\d,]+)$", table, flags=re.MULTILINE)
    return {part: tuple(int(n.replace(",", "")) for n in pair) for part, *pair in rows}


@pytest.fixture(scope="module")
def paper() -> str:
    return size_table(PRESETS["ross3d-7b"])


def test_the_paper_preset_has_the_paper_sizes(paper: str) -> None:
    parts = numbers(paper)
    assert parts["language model"] == (7_070_619_136, 7_070_619_136)
    assert "= 6272" in paper
    assert parts["denoiser and poolers"][1] <= 75_807_808
    assert parts["vision tower"][1] == 0


def test_the_paper_preset_has_the_paper_latents(paper: str) -> None:
    assert "latents per hidden view  14 x 14 x 64, 8 hidden views" in paper
    assert "latents of the bird's-eye view  27 x 27 x 64" in paper


def test_the_table_adds_up() -> None:
    parts = numbers(size_table(PRESET))
    total = parts.pop("total")
    assert total == tuple(sum(column) for column in zip(*parts.values(), strict=True))
    model = tiny_ross3d().model
    host = model.lmm.host
    size = sum(parameter.numel() for parameter in model.parameters())
    assert total[0] + host.model.image_newline.numel() == size


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_smaller_presets_are_smaller(name: str, paper: str) -> None:
    assert numbers(size_table(PRESETS[name]))["total"][0] < numbers(paper)["total"][0]
