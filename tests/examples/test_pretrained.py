from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hosts import HOSTS, Patches, make, on_every_host
from peft import LoraConfig
from reference.host_folder import ATTENTION, describe_host
from reference.inputs import INPUTS
from reference.model import Ross3D
from reference.pretrained import LMMS, load_tokenizer
from reference.released.dit import ReleasedDiT
from safetensors.torch import load_file, save_file
from saving import assert_saves_and_loads, losses
from tiny import PRESET, Tiny, tiny_ross3d, wake
from torch import nn

from ross3d.core.card import ModelCard

pytestmark = pytest.mark.filterwarnings("ignore:.*in the base model config:UserWarning")
RECIPE = {"options": {"data": "rooms", "tasks": "both"}, "preset": asdict(PRESET), "step": 12}


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    made = tiny_ross3d()
    made.model.eval()
    return made


@pytest.fixture
def saved(tiny: Tiny, tmp_path: Path) -> Path:
    tokenizer = tiny.collate.tokenizer
    tiny.model.save_pretrained(tmp_path / "model", tokenizer=tokenizer, recipe=RECIPE)
    return tmp_path / "model"


def from_folder(tiny: Tiny, folder: Path) -> Ross3D:
    """The same model, whose host was loaded from a folder: there it can be referred to."""
    model = deepcopy(tiny.model)
    model.lmm.host.save_pretrained(folder, save_original_format=False)
    host = type(model.lmm.host).from_pretrained(folder)
    lmm = type(model.lmm)(host)
    model.lmm = lmm
    return model


def with_lora(model: Ross3D) -> None:
    host = model.lmm.host
    host.requires_grad_(False)
    words = {"model.language_model.embed_tokens": [1, 2]}
    host.add_adapter(
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"], trainable_token_indices=words)
    )
    host.model.multi_modal_projector.requires_grad_(True)
    for name, parameter in host.named_parameters():
        if "lora_B" in name or "delta" in name:
            nn.init.normal_(parameter)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@on_every_host
def test_every_host_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    tiny = make(name)
    given = {"decoder": Patches(), "multimodal_decoder": getattr(tiny.lmm, "encoder", None)}
    parts = {"encoder": given[name]} if name in given else {}
    assert_saves_and_loads(tiny.ross3d(), tiny.batch(), tmp_path, **parts)


def test_every_host_that_has_an_adapter_is_known() -> None:
    assert {type(make(name).lmm).__name__ for name in HOSTS} == set(LMMS)


def test_a_whole_model_gives_the_same_losses_and_answers(tiny: Tiny, saved: Path) -> None:
    files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert {"ross3d.json", "blocks.safetensors", "README.md", "host/config.json"} <= files
    assert {"host/model.safetensors", "tokenizer/tokenizer.json"} <= files
    assert not any(name.startswith("lmm.") for name in load_file(saved / "blocks.safetensors"))
    loaded, tokenizer = Ross3D.from_pretrained(saved), load_tokenizer(saved)
    assert not loaded.training
    ours, theirs = (losses(model, tiny.batch()) for model in (tiny.model, loaded))
    assert set(ours) == {"cross_view", "global_view", "text", "grounding"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    collate = type(tiny.collate)(tokenizer, loaded.scene_ids(4))
    scenes = tiny.scenes()
    assert torch.equal(collate(scenes).text.input_ids, tiny.batch().text.input_ids)
    ask = partial(Ross3D.answer, max_new_tokens=4, **tiny.collate.stop)
    asked = tiny.collate.questions(scenes)
    assert torch.equal(ask(tiny.model, asked), ask(loaded, collate.questions(scenes)))


@pytest.mark.parametrize("representation", [name for name in INPUTS if name != "views"])
def test_every_representation_is_saved_and_loaded(representation: str, tmp_path: Path) -> None:
    tiny = tiny_ross3d(representation=representation, tasks=())
    assert_saves_and_loads(tiny.model, tiny.batch(1), tmp_path)


def test_a_host_by_reference_is_not_written(tiny: Tiny, tmp_path: Path) -> None:
    model = from_folder(tiny, tmp_path / "origin")
    model.lmm.host.requires_grad_(False)
    model.lmm.host.model.multi_modal_projector.requires_grad_(True)
    nn.init.normal_(model.lmm.host.model.multi_modal_projector.linear_1.bias)
    folder = tmp_path / "model"
    loaded = assert_saves_and_loads(model, tiny.batch(), folder, host="reference")
    assert not (folder / "host").exists()
    names = [name for name in load_file(folder / "blocks.safetensors") if "lmm." in name]
    assert len(names) == 4
    assert all("multi_modal_projector" in name for name in names)
    trains = {name for name, value in loaded.lmm.named_parameters() if value.requires_grad}
    assert trains == {name for name, p in model.lmm.named_parameters() if p.requires_grad}
    again = assert_saves_and_loads(loaded, tiny.batch(), tmp_path / "again", host="reference")
    assert again.lmm.host.name_or_path == str(tmp_path / "origin")


def test_another_host_than_the_referred_one_is_noticed(tiny: Tiny, tmp_path: Path) -> None:
    model, folder = from_folder(tiny, tmp_path / "origin"), tmp_path / "model"
    model.lmm.host.requires_grad_(False)
    model.save_pretrained(folder, host="reference")
    weights = load_file(tmp_path / "origin" / "model.safetensors")
    changed = next(name for name in weights if name.endswith("layers.0.mlp.up_proj.weight"))
    weights[changed][0, 0] += 1
    save_file(weights, tmp_path / "origin" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"host must be the one of .*ross3d\.json; got other num"):
        Ross3D.from_pretrained(folder)
    host = deepcopy(model.lmm.host)
    assert Ross3D.from_pretrained(folder, host).lmm.host is host
    with pytest.raises(ValueError, match=r"host must be a Llava.*; got a Linear"):
        Ross3D.from_pretrained(folder, nn.Linear(1, 1))


def test_a_host_of_nowhere_cannot_be_referred_to(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loaded to be saved by reference; got one built here"):
        tiny.model.save_pretrained(tmp_path / "model", host="reference")
    with pytest.raises(ValueError, match="host must be 'inside' or 'reference'; got 'outside'"):
        tiny.model.save_pretrained(tmp_path / "model", host="outside")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("host", ["inside", "reference"])
def test_adapters_are_saved_as_peft_does(tiny: Tiny, tmp_path: Path, host: str) -> None:
    model, folder = from_folder(tiny, tmp_path / "origin"), tmp_path / "model"
    with_lora(model)
    loaded = assert_saves_and_loads(model, tiny.batch(), folder, host=host)
    assert (folder / "host").exists() == (host == "inside")
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    trains = {name for name, value in loaded.lmm.named_parameters() if value.requires_grad}
    assert any("lora_A" in name for name in trains)
    plain = type(loaded.lmm.host).from_pretrained(tmp_path / "origin")
    plain.load_adapter(str(folder / "adapter"))
    name = "model.language_model.layers.0.self_attn.q_proj.lora_B.default.weight"
    assert torch.equal(plain.get_parameter(name), model.lmm.host.get_parameter(name))
    model.save_pretrained(folder)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="adapter must hold an adapter of the host"):
        Ross3D.from_pretrained(folder)


def test_several_adapters_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    model = deepcopy(tiny.model)
    model.lmm.host.peft_config = {"default": LoraConfig(), "second": LoraConfig()}
    with pytest.raises(ValueError, match="host must have one adapter at most; got default, second"):
        model.save_pretrained(tmp_path)


def test_dtypes_are_kept_even_where_a_host_has_two(tiny: Tiny, tmp_path: Path) -> None:
    model = deepcopy(tiny.model)
    model.lmm.host.bfloat16()
    model.lmm.host.model.multi_modal_projector.float()
    nn.init.normal_(model.lmm.host.model.multi_modal_projector.linear_1.bias)
    model.save_pretrained(tmp_path)
    loaded = Ross3D.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == value.dtype
        assert torch.equal(loaded.state_dict()[name], value)
    assert loaded.lmm.host.dtype == torch.bfloat16


def test_released_denoisers_share_their_trunk_again(tmp_path: Path) -> None:
    tiny = tiny_ross3d()
    loss = tiny.model.reconstruction
    one = ReleasedDiT(16, 16, 32, 1, 2)
    two = ReleasedDiT(16, 16, 32, 0, 2)
    two.share_trunk(one)
    denoisers = {"cross_view": one, "global_view": two}
    loss.config["denoiser"] = denoisers
    loss.denoisers = nn.ModuleDict(denoisers)
    wake(tiny.model)
    loaded = assert_saves_and_loads(tiny.model, tiny.batch(), tmp_path)
    first, second = loaded.reconstruction.denoisers.values()
    assert first.blocks[0].mlp.fc1.weight is second.blocks[0].mlp.fc1.weight
    assert isinstance(first, ReleasedDiT)


def test_an_adapter_of_ones_own_is_given_again(tiny: Tiny, tmp_path: Path) -> None:
    model = deepcopy(tiny.model)
    mine = type("MyLMM", (type(model.lmm),), {})
    model.lmm.__class__ = mine
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "host").exists()
    with pytest.raises(ValueError, match=r"lmm \(MyLMM\) must be given to load .*ross3d\.json"):
        Ross3D.from_pretrained(tmp_path)
    fresh = mine(tiny_ross3d(seed=1).model.lmm.host)
    loaded = Ross3D.from_pretrained(tmp_path, lmm=fresh)
    assert loaded.lmm is fresh
    batch = tiny.batch()
    assert torch.equal(losses(loaded, batch)["text"], losses(model, batch)["text"])


def test_blocks_of_other_options_come_back(tiny: Tiny, tmp_path: Path) -> None:
    model = deepcopy(tiny.model)
    kind = type(model.positions)
    model.positions = kind(32, 0.3, kind="mlp", hidden_dim=8)
    assert_saves_and_loads(model, tiny.batch(), tmp_path)


def test_a_save_replaces_an_earlier_one_and_a_failed_one_does_not(
    tiny: Tiny, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    monkeypatch.setattr("reference.pretrained.save_host", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny_ross3d(seed=1).model.save_pretrained(saved)
    assert {p: p.read_bytes() for p in saved.rglob("*") if p.is_file()} == before
    monkeypatch.undo()
    other = tiny_ross3d(seed=1).model
    other.save_pretrained(saved, card=ModelCard("Mine"))
    assert not (saved / "tokenizer").exists()
    assert (saved / "README.md").read_text().count("# Mine") == 1
    loaded = Ross3D.from_pretrained(saved)
    assert torch.equal(loaded.masker.mask_token, other.masker.mask_token)
    with pytest.raises(ValueError, match="must hold a tokenizer; got no folder tokenizer"):
        load_tokenizer(saved)


def test_the_card_states_teacher_data_protocol_and_licences(tiny: Tiny, saved: Path) -> None:
    card = (saved / "README.md").read_text()
    for part in (
        'library_name: "ross3d"',
        "**Teacher**: DCTTokenizer (whiten 0.3, pack 1)",
        "**Data**: rooms that ross3d generates",
        "**Protocol**: 12 optimiser steps of 2 scenes (per device) of 4 views",
        "objective x0",
        "- these weights: not stated",
        "- host (LlavaOnevisionForConditionalGeneration, inside): as these weights",
        "- teacher: none: it has no weights",
        "- data: Apache-2.0",
    ):
        assert part in card
    tiny.model.save_pretrained(saved, license="apache-2.0")
    card = (saved / "README.md").read_text()
    assert 'license: "apache-2.0"' in card
    assert "**Data**: not stated" in card
    bare = tiny_ross3d(tasks=()).model
    bare.save_pretrained(saved)
    assert "**Teacher**: none: no pretext tasks" in (saved / "README.md").read_text()


def test_a_card_names_the_repository_of_the_host(tiny: Tiny, tmp_path: Path) -> None:
    model = deepcopy(tiny.model)
    model.lmm.host.name_or_path = "owner/host"
    model.lmm.host.config._commit_hash = "abc"
    described = describe_host(model.lmm.host, "reference")
    assert (described["id"], described["revision"]) == ("owner/host", "abc")
    model.reconstruction.__class__ = type("MyLoss", (type(model.reconstruction),), {})
    model.save_pretrained(tmp_path, host="reference")
    card = (tmp_path / "README.md").read_text()
    assert 'base_model: "owner/host"' in card
    assert "- host (owner/host): not stated" in card
    assert "**Teacher**: not stated" in card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=2), r"format of .* must be 1; got 2"),
        (lambda c: c.update({"class": "Other"}), "class of .* must be 'Ross3D'; got 'Other'"),
        (lambda c: c["config"].pop("masker"), "config of .* must hold lmm, masker, "),
        (lambda c: c["host"].pop("own"), "host of .* must hold own, place, checksums"),
        (lambda c: c.update(host=[1]), "host of .* must hold own, place, checksums"),
        (lambda c: c["host"].update({"class": "logging"}), "class of host must be a model of tran"),
        (lambda c: c["host"].update({"class": "pipeline"}), "class of host must be a model of tra"),
        (lambda c: c["host"].update(dtype="load"), "dtype and attention of host must be known"),
        (lambda c: c["host"].update(attention="evil/kernel"), "dtype and attention of host must"),
        (
            lambda c: c["config"]["lmm"].update({"class": "subprocess.Popen"}),
            r"lmm in .* must be one of .*; got 'subprocess\.Popen'",
        ),
        (
            lambda c: c["config"]["grounding"]["config"].update(dim=16),
            r"blocks\.safetensors must fit.*\n  grounding\.zero_target is of shape \(32,\), not",
        ),
        (lambda c: c["config"].update(lmm={}), r"lmm of .* must take the host; got \{\}"),
    ],
)
def test_a_damaged_description_is_named(
    saved: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(saved / "ross3d.json", change)
    with pytest.raises(ValueError, match=message):
        Ross3D.from_pretrained(saved)


@pytest.mark.parametrize(
    "name", ["blocks.safetensors", "host/model.safetensors", "host/config.json", "ross3d.json"]
)
def test_a_truncated_or_missing_file_is_named(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=str(saved / name).removesuffix("/" + Path(name).name)):
        Ross3D.from_pretrained(saved)
    (saved / name).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=str(saved)):
        Ross3D.from_pretrained(saved)


def test_a_host_that_lacks_weights_is_refused(saved: Path) -> None:
    file = saved / "host" / "model.safetensors"
    weights = load_file(file)
    gone = next(name for name in weights if "up_proj" in name)
    del weights[gone]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"host must hold a whole Llava.*\n  missing .*up_proj"):
        Ross3D.from_pretrained(saved)


def test_hosts_come_without_code(tiny: Tiny, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pickles, no attention from the Hub, no auto_map."""
    calls: list[dict[str, Any]] = []
    kind = type(tiny.model.lmm.host)
    load = kind.from_pretrained

    def spy(source: Path, **options: Any) -> Any:
        calls.append(options)
        return load(source, **options)

    edit(saved / "host" / "config.json", lambda c: c.update(auto_map={"AutoModel": "evil.Model"}))
    monkeypatch.setattr(kind, "from_pretrained", spy)
    Ross3D.from_pretrained(saved)
    assert calls[0]["use_safetensors"] is True
    assert "trust_remote_code" not in calls[0]
    assert calls[0]["attn_implementation"] in ATTENTION
    weights = load_file(saved / "host" / "model.safetensors")
    torch.save(weights, saved / "host" / "pytorch_model.bin")
    (saved / "host" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="host must hold a LlavaOnevision"):
        Ross3D.from_pretrained(saved)
