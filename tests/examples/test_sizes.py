from __future__ import annotations

import re

import pytest
from reference.presets import PRESETS
from reference.sizes import size_table
from tiny import PRESET, tiny_ross3d


def numbers(table: str) -> dict[str, tuple[int, int]]:
    rows = re.findall(r"^(.+?)\s{2,}([\d,]+)\s+([\d,]+)(?:  .*)?$", table, flags=re.MULTILINE)
    return {part: tuple(int(n.replace(",", "")) for n in pair) for part, *pair in rows}


@pytest.fixture(scope="module")
def paper() -> str:
    return size_table(PRESETS["ross3d-7b"])


def test_the_paper_preset_has_the_paper_sizes_and_split(paper: str) -> None:
    assert numbers(paper) == {
        "vision tower": (397_747_744, 0),
        "projector": (16_980_992, 16_980_992),
        "newline": (3_584, 3_584),
        "language model": (7_070_619_136, 7_070_619_136),
        "output embedding": (544_997_376, 544_997_376),
        "mask token": (3_584, 3_584),
        "denoiser and poolers": (75_807_808, 75_807_808),
        "place codes": (786_432, 786_432),
        "grounding head": (51_412_480, 51_412_480),
        "total": (8_158_359_136, 7_760_611_392),
        "teacher (encoder)": (34_274_208, 0),
    }


def test_the_paper_preset_has_the_paper_tokens(paper: str) -> None:
    assert "32 views x 14 x 14 = 6272; with newlines 6720 positions" in paper
    assert "latents per hidden view  14 x 14 x 64, 8 hidden views" in paper
    assert "latents of the bird's-eye view  27 x 27 x 64" in paper


def test_without_places_there_is_nothing_but_the_released_blocks() -> None:
    parts = numbers(size_table(PRESETS["ross3d-7b"], {"no_target_coords": True}))
    assert "place codes" not in parts
    assert parts["denoiser and poolers"] == (75_807_808, 75_807_808)


def held(table: str) -> float:
    """Gigabytes that training holds, apart from activations."""
    return float(re.search(r": ([\d.]+) GB", table)[1])


def test_adapters_fit_one_gpu_of_24_gb(paper: str) -> None:
    table = size_table(PRESETS["ross3d-7b"], {"train": "lora"})
    parts = numbers(table)
    # rank 16, 28 layers: (in + out) of query, key, value, output, gate, up, down
    sides = 7168 + 4096 + 4096 + 7168 + 3 * 22528
    assert parts["LoRA adapters"] == (16 * 28 * sides,) * 2
    assert parts["new words"] == (2 * 3584,) * 2
    assert parts["language model"] == (7_070_619_136, 0)
    bf16 = 397_747_744 + 7_070_619_136 + 544_997_376 + 3_584
    trained = parts["total"][1]
    expected = 2 * bf16 + 16 * trained + 4 * parts["teacher (encoder)"][0]
    assert held(table) == pytest.approx(expected / 1e9, abs=0.01)
    assert held(table) < 20, "activations need the rest of 24 GB"
    assert held(size_table(PRESETS["ross3d-7b"], {"train": "blocks"})) < held(table)
    assert held(paper) > 120


def test_the_table_adds_up() -> None:
    parts = numbers(size_table(PRESET))
    total = parts.pop("total")
    assert total == tuple(sum(column) for column in zip(*parts.values(), strict=True))
    assert total[0] == sum(parameter.numel() for parameter in tiny_ross3d().model.parameters())


def test_without_tasks_there_are_no_latents() -> None:
    table = size_table(PRESET, {"tasks": "none"})
    assert "no pretext tasks" in table
    assert "latents" not in table


@pytest.mark.parametrize("name", ["tiny", "small", "ross3d-7b-narrow"])
def test_smaller_presets_are_smaller(name: str, paper: str) -> None:
    assert numbers(size_table(PRESETS[name]))["total"][0] < numbers(paper)["total"][0]
