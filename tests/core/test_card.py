from __future__ import annotations

import json

from ross3d.core.card import ModelCard


def front(text: str) -> list[str]:
    _, matter, _ = text.split("---\n", 2)
    return matter.splitlines()


def test_a_card_says_what_is_not_stated() -> None:
    text = ModelCard("A block").text()
    assert "# A block\n" in text
    for name in ("Teacher", "Data", "Protocol"):
        assert f"**{name}**: {ModelCard.UNSTATED}" in text
    assert f"- these weights: {ModelCard.UNSTATED}" in text
    assert front(text) == [
        'library_name: "ross3d"',
        "tags:",
        '- "ross3d"',
        '- "3d"',
        '- "vision-language"',
    ]
    assert "```" not in text


def test_a_card_states_teacher_data_protocol_and_licences() -> None:
    card = ModelCard(
        "A model",
        teacher="FLUX.1-schnell VAE",
        data="ScanNet train",
        protocol="871 steps; SQA3D test, EM@1",
        licences={"host": "apache-2.0", "data": "ScanNet terms of use"},
        license="apache-2.0",
        base_model="Qwen/Qwen2-7B",
        usage="model = load()",
        tags=("3d-vqa",),
    )
    text = card.text()
    assert front(text)[-2:] == ['license: "apache-2.0"', 'base_model: "Qwen/Qwen2-7B"']
    assert '- "3d-vqa"' in front(text)
    for part in (
        "**Teacher**: FLUX.1-schnell VAE",
        "**Data**: ScanNet train",
        "**Protocol**: 871 steps; SQA3D test, EM@1",
        "- these weights: apache-2.0",
        "- host: apache-2.0",
        "- data: ScanNet terms of use",
        "```python\nmodel = load()\n```",
    ):
        assert part in text


def test_nothing_breaks_out_of_the_front_matter() -> None:
    evil = 'mit"\nlicense: other\n---'
    (line,) = (x for x in front(ModelCard("A", license=evil).text()) if x.startswith("license:"))
    assert json.loads(line.removeprefix("license: ")) == evil
