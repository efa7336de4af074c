from __future__ import annotations

import inspect
import json
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from torch import nn

import ross3d
from ross3d import (
    BEVRenderer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    DDPMLoss,
    DepthTask,
    FeatureTokenizer,
    FlowMatchingLoss,
    GlobalViewTask,
    MeshBEVRenderer,
    PixelTokenizer,
    RegressionLoss,
    Schedule,
    VanillaTask,
    ViewMasker,
)
from ross3d.core.config import PARTS, from_config, read_config, to_config

SOURCE = "config.json"


class Holder:
    def __init__(self, part: Any, scale: float = 1.0) -> None:
        self.part, self.scale = part, scale
        self.config = {"part": part, "scale": scale}


class HoldsBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.config: dict[str, Any] = {}


PLAIN = [
    BEVRenderer(8, max_height=None, extent=(0.0, 0.0, 2.0, 2.0), fill=0, label_rule="top"),
    CrossViewTask(32, stride=8),
    DCTTokenizer(0.5, 1),
    DDPMLoss(10, "v", 2, shared_timestep=True),
    DepthTask(32, max_depth=3.0),
    FlowMatchingLoss(2, "logit_normal"),
    GlobalViewTask(BEVRenderer(32), 32),
    MeshBEVRenderer(8, voxel_size=0.1, max_height=2.0),
    PixelTokenizer(4),
    RegressionLoss("cosine"),
    Schedule(4, 1, 0.5, 7),
    VanillaTask(64),
]


@pytest.mark.parametrize("part", PLAIN, ids=lambda part: type(part).__name__)
def test_a_part_is_made_again(part: Any) -> None:
    described = json.loads(json.dumps(to_config({"part": part})))
    made = from_config(described, Holder, SOURCE).part
    assert type(made) is type(part)
    assert to_config({"part": made}) == described
    if type(part) is not Schedule:
        assert set(part.config) == set(inspect.signature(type(part)).parameters)


def test_the_table_names_exported_classes() -> None:
    for name, where in PARTS.items():
        assert where.partition(":")[2].partition(".")[0] == name
        assert getattr(ross3d, name) is resolve_name(where.removesuffix(".from_pretrained"))
    assert "from_pretrained" in PARTS["VAETokenizer"]


def test_sequences_and_mappings_keep_their_places() -> None:
    value = {"part": {"a": [1, (2.5, "x")], "b": {"c": None, "d": True}}}
    made = from_config(json.loads(json.dumps(to_config(value))), Holder, SOURCE)
    assert made.part == {"a": (1, (2.5, "x")), "b": {"c": None, "d": True}}
    modules = to_config(nn.ModuleDict({"first": ViewMasker(2)}))
    assert modules == {"first": {"class": "ViewMasker", "config": {"dim": 2}}}


def test_foreign_objects_must_be_given() -> None:
    foreign = FeatureTokenizer(nn.Identity(), channels=3, stride=1)
    described = to_config({"part": {"deep": Holder(foreign)}}, {"Holder": Holder})
    assert described["part"]["deep"]["config"]["part"] == {"given": "FeatureTokenizer"}
    with pytest.raises(
        ValueError, match=r"part\.deep\.part \(FeatureTokenizer\) must be given to load config"
    ):
        from_config(described, Holder, SOURCE, classes={"Holder": Holder})
    for key in ("part.deep.part", "deep.part"):
        made = from_config(
            described, Holder, SOURCE, parts={key: foreign}, classes={"Holder": Holder}
        )
        assert made.part["deep"].part is foreign
    made = from_config(described, Holder, SOURCE, parts={"deep": 3}, classes={"Holder": Holder})
    assert made.part == {"deep": 3}


def test_a_given_name_must_mean_one_place() -> None:
    described = to_config({"part": {"a": DCTTokenizer(), "b": {"a": DCTTokenizer()}}})
    with pytest.raises(ValueError, match=r"^a must name one of part, part\.a, .*; got 2 of them"):
        from_config(described, Holder, SOURCE, parts={"a": 1})
    with pytest.raises(ValueError, match=r"^scale must name .*; got 0 of them"):
        from_config(described, Holder, SOURCE, parts={"scale": 1})
    assert from_config(described, Holder, SOURCE, parts={"b.a": 1}).part["b"] == {"a": 1}


@pytest.mark.parametrize(
    "name", ["os.system", "builtins:eval", "Holder", "Ross3D", ["x"], None, "FeatureTokenizer"]
)
def test_other_classes_are_refused(name: object) -> None:
    described = {"part": {"class": name, "config": {}}}
    with pytest.raises(ValueError, match=r"part in config\.json must be one of BEVRenderer, "):
        from_config(described, Holder, SOURCE)


def test_a_class_of_the_same_name_is_no_part() -> None:
    fake = type("DCTTokenizer", (), {"config": {}})()
    assert to_config(fake) == {"given": "DCTTokenizer"}


@pytest.mark.parametrize(
    "config",
    [
        {"dim": 3, "depht": 1},
        {},
        {"dim": "wide"},
        {"dim": -1},
        {"dim": None},
    ],
)
def test_arguments_must_be_the_constructors(config: dict[str, Any]) -> None:
    described = {"part": {"class": "ViewMasker", "config": config}}
    with pytest.raises(ValueError, match=r"config\.json must hold arguments of ViewMasker; got"):
        from_config(described, Holder, SOURCE)
    with pytest.raises(ValueError, match=r"must be one of .*; got 'ViewMasker'"):
        from_config({"part": {"class": "ViewMasker", "config": 3}}, Holder, SOURCE)


def test_modules_are_made_without_memory_unless_a_buffer_would_be_lost() -> None:
    described = to_config({"channels": 4, "dim": 8, "depth": 1, "heads": 2})
    made = from_config(described, ConditionedDiT, SOURCE, meta=True)
    assert all(parameter.is_meta for parameter in made.parameters())
    assert not from_config(described, ConditionedDiT, SOURCE).x_embedder.weight.is_meta
    made = from_config({}, HoldsBuffer, SOURCE, meta=True)
    assert torch.equal(made.table, torch.arange(3.0))
    with torch.device("meta"):
        loss = from_config({}, DDPMLoss, SOURCE)
    assert not loss.alphas_cumprod.is_meta


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1', "must be JSON"),
        ("[1]", "format of .* must be 1; got None"),
        ('{"format": 2, "config": {}}', "format of .* must be 1; got 2"),
        ('{"format": 1, "config": 3}', "config of .* must be an object; got 3"),
        ('{"architectures": ["LlamaForCausalLM"]}', "format of .* must be 1; got None"),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_config(file, format=1)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json must be what save_pretrained wrote"):
        read_config(tmp_path / "config.json")
