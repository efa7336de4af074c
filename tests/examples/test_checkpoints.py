"""Released checkpoints into ours and back, on miniatures in the released layout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fabricated
import pytest
import torch
from reference.checkpoints import (
    Report,
    convert,
    load_converted,
    load_official_grounding_head,
    load_tensor_file,
    revert,
)
from torch import Tensor

from ross3d import PositionAwareEncoder

S = fabricated.Sizes()
KINDS: dict[str, Callable[[fabricated.Sizes], dict[str, Tensor]]] = {
    "ross3d": fabricated.ross3d,
    "video-3d-llm": fabricated.video_3d_llm,
    "llava-video": fabricated.llava_video,
}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [n for n in a if a[n].dtype != b[n].dtype or not torch.equal(a[n], b[n])] == []


def there_and_back(folder: Path, state: dict[str, Tensor], **options: object) -> Report:
    """Convert, revert, and hold what comes back against what went in."""
    config = options.pop("config", fabricated.config_of(S))
    source = fabricated.write(folder / "src", state, config, **options)
    report = convert(source, folder / "ours", shard_bytes=60_000)
    revert(folder / "ours", folder / "back", shard_bytes=10**6)
    equal(load_tensor_file(folder / "back"), state)
    assert json.loads((folder / "back" / "config.json").read_text()) == config
    assert (folder / "back" / "added_tokens.json").read_text() == (
        source / "added_tokens.json"
    ).read_text()
    return report


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "files",
    [
        {},
        {"shards": 3},
        {"shards": 3, "index": False},
        {"suffix": "bin"},
        {"suffix": "bin", "shards": 2},
    ],
    ids=["one", "shards", "no index", "bin", "bin shards"],
)
def test_there_and_back_is_the_identity(
    kind: str, files: dict[str, object], tmp_path: Path
) -> None:
    report = there_and_back(tmp_path, KINDS[kind](S), **files)
    assert report.kind == kind
    fresh = {name for name, _, _, what in report.rows if what == "initialised fresh"}
    own = {"mask token", "grounding head", "denoiser"}
    assert (
        fresh
        == {
            "ross3d": set(),
            "video-3d-llm": own - {"grounding head"},
            "llava-video": own,
        }[kind]
    )
    assert all(part in report.table() for part in own)


def test_a_checkpoint_with_everything_in_it(tmp_path: Path) -> None:
    state = {
        **fabricated.ross3d(replace(S, embed=97)),
        **fabricated.position_mlp(S.dim),
        **fabricated.vae_state(fabricated.tiny_vae()),
    }
    state = {
        name: value.bfloat16() if name.startswith("model.") else value
        for name, value in state.items()
    }
    config = fabricated.config_of(S, world_position_embedding_type="avg-discrete-mlp")
    report = there_and_back(tmp_path, state, config=config, shards=2)
    assert ("autoencoder", 116) in {row[:2] for row in report.rows}
    assert "97 and 97 rows in the released embeddings, 128 in ours" in report.table()
    model = load_converted(tmp_path / "ours")
    assert isinstance(model.positions, PositionAwareEncoder)
    assert model.positions.kind == "mlp"
    assert model.reconstruction.denoiser("cross_view").x_embedder.weight.dtype == torch.float32
    assert model.lmm.host.model.image_newline.dtype == torch.bfloat16
    assert model.lmm.host.lm_head.weight.shape == (97, S.dim)
    assert load_converted(tmp_path / "ours", trim=False).lmm.host.lm_head.out_features == 128


def test_loaded_model_has_the_weights_and_one_trunk(tmp_path: Path) -> None:
    state = fabricated.ross3d(S)
    source = fabricated.write(tmp_path / "src", state, fabricated.config_of(S))
    convert(source, tmp_path / "ours")
    model = load_converted(tmp_path / "ours")
    view, bev = (model.reconstruction.denoisers[name] for name in ("cross_view", "global_view"))
    assert {id(p) for p in view.blocks.parameters()} == {id(p) for p in bev.blocks.parameters()}
    assert torch.equal(model.masker.mask_token, state["model.mask_token"])
    assert torch.equal(view.pos_embed, state[f"{fabricated.DENOISER}.pos_embed_view"][0])
    assert not any(parameter.is_meta for parameter in model.parameters())
    host = model.lmm.host
    assert (host.config.image_token_id, host.config.video_token_id) == (98, 99)
    with pytest.raises(NotImplementedError, match="meta"):  # there is no autoencoder
        model.reconstruction.tokenizer.encode(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("kind", ["video-3d-llm", "llava-video"])
def test_parts_that_are_not_there_start_fresh(kind: str, tmp_path: Path) -> None:
    source = fabricated.write(tmp_path / "src", KINDS[kind](S), fabricated.config_of(S))
    convert(source, tmp_path / "ours", kind=kind)
    model = load_converted(tmp_path / "ours")
    assert not any(parameter.is_meta for parameter in model.parameters())
    assert model.reconstruction.denoiser("cross_view").pos_embed.shape == (196, 1024)


def test_a_whole_part_may_be_declared_absent(tmp_path: Path) -> None:
    state = fabricated.ross3d(S)
    kept = {n: x for n, x in state.items() if not n.startswith(fabricated.DENOISER)}
    source = fabricated.write(tmp_path / "src", kept, fabricated.config_of(S))
    with pytest.raises(ValueError, match=r"missing .*net\.pos_embed_view"):
        convert(source, tmp_path / "ours")
    convert(source, tmp_path / "ours", fresh=["denoiser"])
    revert(tmp_path / "ours", tmp_path / "back")
    equal(load_tensor_file(tmp_path / "back"), kept)


@pytest.mark.parametrize("pools", [False, True])
def test_a_denoiser_starts_from_that_of_images(pools: bool, tmp_path: Path) -> None:
    source = fabricated.write(tmp_path / "src", fabricated.video_3d_llm(S), fabricated.config_of(S))
    flat = fabricated.flat_denoiser(S, pools=pools)
    torch.save(flat, tmp_path / "mm_inv_projector.bin")
    report = convert(source, tmp_path / "ours", projector=tmp_path / "mm_inv_projector.bin")
    lacking = "z_embedder_bev.k.weight, model.mm_inv_projector.net.z_embedder_bev.linear.weight"
    assert (lacking in report.table()) != pools
    model = load_converted(tmp_path / "ours")
    blocks = model.reconstruction.denoiser("global_view").blocks
    wanted = flat[f"{fabricated.DENOISER}.blocks.1.mlp.fc2.weight"]
    assert torch.equal(blocks[1].mlp.fc2.weight, wanted)
    assert report.kind == "video-3d-llm"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": None}, r"missing model\.norm\.weight"),
        ({"model.extra": torch.zeros(1)}, r"unexpected model\.extra, in model-0000\d-of-00002"),
        (
            {"model.mask_token": torch.zeros(3)},
            r"model\.mask_token is of shape \(3,\), not \(48,\), in model-0000\d-of-00002\.safe",
        ),
        (
            {"model.layers.1.self_attn.k_proj.weight": torch.zeros(8, 48)},
            r"k_proj\.weight is of shape \(8, 48\), not \(24, 48\)",
        ),
        (
            {f"{fabricated.DENOISER}.blocks.1.attn.qkv.bias": None},
            r"missing .*blocks\.1\.attn\.qkv",
        ),
        ({f"{fabricated.DENOISER}.blocks.2.attn.qkv.bias": torch.zeros(96)}, "missing .*blocks.2"),
        ({f"{fabricated.VAE}.encoder.conv_out.bias": None}, r"missing .*encoder\.conv_out\.bias"),
        ({f"{fabricated.VAE}.extra": torch.zeros(2)}, r"unexpected .*pixel_decoder\.extra, in mod"),
        (
            {f"{fabricated.VAE}.decoder.conv_out.bias": torch.zeros(2)},
            r"conv_out\.bias is of shape \(2,\), not \(3,\)",
        ),
        (
            {f"{fabricated.VAE}.decoder.conv_in.weight": None},
            r"missing .*conv1\.weight or .*decoder\.conv_in",
        ),
    ],
)
def test_whatever_does_not_fit_is_named(
    change: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    state = {**fabricated.ross3d(S), **fabricated.vae_state(fabricated.tiny_vae()), **change}
    state = {name: value for name, value in state.items() if value is not None}
    source = fabricated.write(tmp_path / "src", state, fabricated.config_of(S), shards=2)
    with pytest.raises(ValueError, match=message) as error:
        convert(source, tmp_path / "ours")
    assert str(source) in str(error.value)
    assert not (tmp_path / "ours").exists()


def test_all_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    state = fabricated.ross3d(S)
    del state["model.norm.weight"], state["lm_head.weight"]
    state["a"], state["b"] = torch.zeros(1), torch.zeros(1)
    source = fabricated.write(tmp_path / "src", state, fabricated.config_of(S))
    with pytest.raises(ValueError, match="a whole ross3d checkpoint; got") as error:
        convert(source, tmp_path / "ours")
    for line in ("missing model.norm.weight", "missing lm_head", "unexpected a", "unexpected b"):
        assert f"\n  {line}" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "llava"}, "kind must be auto or one of"),
        ({"fresh": ["projector"]}, "fresh must name some of"),
        ({"kind": "llava-video"}, "unexpected ground_head_zero_target"),
        ({"projector": "x.bin"}, "projector must be None where the denoiser is there"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str, tmp_path: Path) -> None:
    source = fabricated.write(tmp_path / "src", fabricated.ross3d(S), fabricated.config_of(S))
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "ours", **options)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 64}, r"model\.norm\.weight is of shape \(48,\), not \(64,\)"),
        ({"num_hidden_layers": 3}, r"missing model\.layers\.2\.self_attn\.q_proj\.weight"),
        ({"num_attention_heads": 5}, "must give the heads of queries and keys; got 5 and 2"),
        ({"num_attention_heads": None}, "must give the heads of queries and keys; got 0 and 2"),
    ],
)
def test_the_config_is_believed(config: dict[str, object], message: str, tmp_path: Path) -> None:
    numbers = {k: v for k, v in fabricated.config_of(S, **config).items() if v is not None}
    source = fabricated.write(tmp_path / "src", fabricated.ross3d(S), numbers)
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "ours")


def test_without_a_config_heads_are_of_qwen2s_width(tmp_path: Path) -> None:
    sizes = replace(S, dim=256, heads=2, key_heads=1)
    source = fabricated.write(tmp_path / "src", fabricated.llava_video(sizes), None)
    convert(source, tmp_path / "ours")
    text = json.loads((tmp_path / "ours" / "config.json").read_text())["host"]["text"]
    assert (text["num_attention_heads"], text["num_key_value_heads"], text["head_dim"]) == (
        2,
        1,
        128,
    )


def test_views_must_be_square(tmp_path: Path) -> None:
    state = fabricated.llava_video(S)
    state[f"{fabricated.TOWER}.embeddings.position_embedding.weight"] = torch.zeros(8, S.vision)
    source = fabricated.write(tmp_path / "src", state, fabricated.config_of(S))
    with pytest.raises(ValueError, match="position_embedding must be of a square grid; got 8"):
        convert(source, tmp_path / "ours")


def test_projector_must_be_of_the_context(tmp_path: Path) -> None:
    source = fabricated.write(tmp_path / "src", fabricated.llava_video(S), fabricated.config_of(S))
    torch.save(fabricated.flat_denoiser(replace(S, dim=20)), tmp_path / "flat.bin")
    with pytest.raises(ValueError, match=r"flat\.bin must be of a context of width 48; got 20"):
        convert(source, tmp_path / "ours", projector=tmp_path / "flat.bin")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = fabricated.write(tmp_path / "src", fabricated.llava_video(S), fabricated.config_of(S))
    for call in (convert, revert):
        with pytest.raises((FileExistsError, ValueError), match="must"):
            call(source, source)
    assert len(load_tensor_file(source)) == len(fabricated.llava_video(S))


def test_models_without_a_released_form_are_refused(tmp_path: Path) -> None:
    source = fabricated.write(tmp_path / "src", fabricated.ross3d(S), fabricated.config_of(S))
    convert(source, tmp_path / "ours")
    path = tmp_path / "ours" / "model.safetensors"
    state = load_tensor_file(path)
    state["reconstruction.conditioners.cross_view.pooler.position.weight"] = torch.zeros(2)
    fabricated.write(tmp_path / "ours", state, tokens=None)
    with pytest.raises(ValueError, match=r"unexpected reconstruction\.\S+\.position\.weight"):
        revert(tmp_path / "ours", tmp_path / "back")
    with pytest.raises(ValueError, match=r"unexpected reconstruction\.\S+\.position\.weight"):
        load_converted(tmp_path / "ours")
    with pytest.raises(ValueError, match="must be of format ross3d-released; got None"):
        load_converted(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masker.mask_token": None}, r"missing masker\.mask_token"),
        ({"masker.mask_token": torch.zeros(2)}, r"mask_token is of shape \(2,\), not \(48,\)"),
    ],
)
def test_converted_folders_are_checked(
    change: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    source = fabricated.write(tmp_path / "src", fabricated.ross3d(S), fabricated.config_of(S))
    convert(source, tmp_path / "ours")
    state = {**load_tensor_file(tmp_path / "ours"), **change}
    kept = {name: value for name, value in state.items() if value is not None}
    fabricated.write(tmp_path / "ours", kept, tokens=None)
    with pytest.raises(ValueError, match=message):
        load_converted(tmp_path / "ours")


def test_folders_that_were_not_converted_are_refused(tmp_path: Path) -> None:
    fabricated.write(tmp_path, fabricated.llava_video(S), None)
    with pytest.raises(ValueError, match=r"must be a folder that was converted; got no config"):
        load_converted(tmp_path)


@pytest.mark.parametrize("named", ["sample9-discrete-sin3d", "avg-discrete-mlp"])
def test_other_position_codes_are_refused(named: str, tmp_path: Path) -> None:
    config = fabricated.config_of(S, world_position_embedding_type=named)
    source = fabricated.write(tmp_path / "src", fabricated.ross3d(S), config)
    convert(source, tmp_path / "ours")
    with pytest.raises(ValueError, match=f"must be avg with sin3d or mlp; got '{named}'"):
        load_converted(tmp_path / "ours")


def test_ranges_of_positions_come_from_the_config(tmp_path: Path) -> None:
    ranges = {"min_xyz_range": [-2, -2, 0], "max_xyz_range": [2, 2, 3], "voxel_size": 0.5}
    config = fabricated.config_of(S, **ranges)
    source = fabricated.write(tmp_path / "src", fabricated.ross3d(S), config)
    convert(source, tmp_path / "ours")
    positions = load_converted(tmp_path / "ours").positions
    assert (positions.bounds, positions.voxel_size) == (((-2, -2, 0), (2, 2, 3)), 0.5)


KILLED = """
import os, signal, sys
from pathlib import Path
from reference.released import sharded
from reference.checkpoints import convert
write = sharded.ShardWriter._write
def die(writer):
    write(writer)
    if len(writer.shards) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
sharded.ShardWriter._write = die
convert(sys.argv[1], sys.argv[2], shard_bytes=10_000)
"""


@pytest.mark.skipif(os.name == "nt", reason="has no SIGKILL")
def test_a_kill_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    state = fabricated.llava_video(S)
    source = fabricated.write(tmp_path / "src", state, fabricated.config_of(S))
    out = tmp_path / "ours"
    examples = Path(__file__).resolve().parents[2] / "examples"
    environment = {**os.environ, "PYTHONPATH": str(examples)}
    done = subprocess.run([sys.executable, "-c", KILLED, source, out], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert any(tmp_path.glob(".tmp-*/shard-*"))
    convert(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "src"]
    revert(out, tmp_path / "back")
    equal(load_tensor_file(tmp_path / "back"), state)


@pytest.mark.parametrize("kind", ["score", "mlp"])
def test_other_grounding_heads(kind: str) -> None:
    """Against the sums that they are described by."""
    torch.manual_seed(0)
    d, a, state = 6, 10, {}

    def linear(name: str, out: int, into: int) -> None:
        fabricated.linear(state, name, out, into)

    if kind == "mlp":
        linear("ground_head.0", d, d)
        fabricated.norm(state, "ground_head.2", d)
        linear("ground_head.3", d, d)
    else:
        for part in ("obj", "query"):
            linear(f"ground_head_{part}.0", a, d)
            fabricated.norm(state, f"ground_head_{part}.1", a)
            linear(f"ground_head_{part}.3", a, a)
        linear("ground_head_score.0", a, a)
        fabricated.norm(state, "ground_head_score.1", a)
        linear("ground_head_score.3", 1, a)
    head = load_official_grounding_head({f"x.{n}": v for n, v in state.items()} | {"y": state})
    query, objects = torch.randn(d), torch.randn(3, d)

    def run(part: str, x: Tensor) -> Tensor:
        get = state.__getitem__
        x = x @ get(f"{part}.0.weight").T + get(f"{part}.0.bias")
        n = 2 if kind == "mlp" else 1
        norm = (get(f"{part}.{n}.weight"), get(f"{part}.{n}.bias"))
        x = x.relu() if kind == "mlp" else x
        x = torch.nn.functional.layer_norm(x, x.shape[-1:], *norm)
        x = x if kind == "mlp" else x.relu()
        return x @ get(f"{part}.3.weight").T + get(f"{part}.3.bias")

    if kind == "mlp":
        expected = objects @ run("ground_head", query)
    else:
        pairs = run("ground_head_obj", objects) * run("ground_head_query", query)
        expected = run("ground_head_score", pairs)[:, 0]
    logits = head(query[None, None], objects[None])[0, 0, :-1]
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_grounding_heads_are_checked() -> None:
    state = fabricated.grounding_head(8)
    head = load_official_grounding_head({n: x.double() for n, x in state.items()}, 0.1)
    assert (head.zero_target.dtype, head.temperature) == (torch.float64, 0.1)
    with pytest.raises(ValueError, match="must hold ground_head tensors of one head; got none"):
        load_official_grounding_head({"a": torch.zeros(1)}, source="x.bin")
    with pytest.raises(ValueError, match=r"one head; got some under \['', 'm\.'\]"):
        load_official_grounding_head({**state, "m.ground_head_zero_target": torch.zeros(8)})
    state["ground_head_obj.3.bias"] = torch.zeros(3)
    del state["ground_head_zero_target"]
    message = r"(?s)x\.bin must hold a released infonce head; got.*missing ground_head_zero.*\(3,\)"
    with pytest.raises(ValueError, match=message):
        load_official_grounding_head(state, source="x.bin")
