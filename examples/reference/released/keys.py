"""What released checkpoints hold: the tensors of each part, and their shapes in letters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["ross3d", "video-3d-llm", "llava-video"]
Shape = tuple[int, ...]

TOWER = "model.vision_tower.vision_tower.vision_model."
DENOISER = "model.mm_inv_projector.net."
VAE = "model.mm_pixel_decoder.pixel_decoder."

# D width of the language model, E and L rows of its two vocabularies, Q and K widths of queries and
# keys, I of its MLP; V, F, P, R, S: width, MLP, positions, colours and patch of the vision tower;
# C, H, Z: width, MLP and latent channels of the denoiser; W and B: cells of a view, of the BEV.
TEMPLATES = {
    "language model": """
        model.embed_tokens.weight                             E D
        model.layers.{n}.self_attn.q_proj.weight              Q D
        model.layers.{n}.self_attn.q_proj.bias                Q
        model.layers.{n}.self_attn.k_proj.weight              K D
        model.layers.{n}.self_attn.k_proj.bias                K
        model.layers.{n}.self_attn.v_proj.weight              K D
        model.layers.{n}.self_attn.v_proj.bias                K
        model.layers.{n}.self_attn.o_proj.weight              D Q
        model.layers.{n}.mlp.gate_proj.weight                 I D
        model.layers.{n}.mlp.up_proj.weight                   I D
        model.layers.{n}.mlp.down_proj.weight                 D I
        model.layers.{n}.input_layernorm.weight               D
        model.layers.{n}.post_attention_layernorm.weight      D
        model.norm.weight                                     D
        lm_head.weight                                        L D""",
    "vision tower": """
        {T}embeddings.patch_embedding.weight                  V R S S
        {T}embeddings.patch_embedding.bias                    V
        {T}embeddings.position_embedding.weight               P V
        {T}encoder.layers.{n}.{layer_norm1,layer_norm2}.{weight,bias}                   V
        {T}encoder.layers.{n}.self_attn.{q_proj,k_proj,v_proj,out_proj}.weight          V V
        {T}encoder.layers.{n}.self_attn.{q_proj,k_proj,v_proj,out_proj}.bias            V
        {T}encoder.layers.{n}.mlp.fc1.weight                  F V
        {T}encoder.layers.{n}.mlp.fc1.bias                    F
        {T}encoder.layers.{n}.mlp.fc2.weight                  V F
        {T}encoder.layers.{n}.mlp.fc2.bias                    V
        {T}post_layernorm.{weight,bias}                       V""",
    "projector": """
        model.mm_projector.0.weight                           D V
        model.mm_projector.2.weight                           D D
        model.mm_projector.{0,2}.bias                         D""",
    "newline token": "model.image_newline D",
    "mask token": "model.mask_token D",
    "position code": """
        model.world_position_embedding.mlp.0.weight           M 3
        model.world_position_embedding.mlp.{0,1}.bias         M
        model.world_position_embedding.mlp.1.weight           M
        model.world_position_embedding.mlp.3.weight           D M
        model.world_position_embedding.mlp.3.bias             D""",
    "grounding head": """
        ground_head_zero_target                               D
        ground_head_{obj,query}.{0,3}.weight                  D D
        ground_head_{obj,query}.{0,2,3}.bias                  D
        ground_head_{obj,query}.2.weight                      D""",
    "denoiser": """
        {N}pos_embed_view                                     1 W C
        {N}pos_embed_bev                                      1 B C
        {N}x_embedder_{view,bev}.proj.weight                  C Z 1 1
        {N}x_embedder_{view,bev}.proj.bias                    C
        {N}z_embedder_view.cls_token                          1 W C
        {N}z_embedder_bev.cls_token                           1 B C
        {N}z_embedder_{view,bev}.proj.1.weight                C D
        {N}z_embedder_{view,bev}.proj.1.bias                  C
        {N}z_embedder_{view,bev}.{k,v,linear}.weight          C C
        {trunk}""",
}
# The denoiser of images alone, from which the training of the released model started.
FLAT_DENOISER = """
        pos_embed                                             1 B C
        x_embedder.proj.weight                                C Z 1 1
        x_embedder.proj.bias                                  C
        {trunk}"""
FLAT_EMBEDDER = "z_embedder.1.weight C D\nz_embedder.1.bias C"
FLAT_POOLER = """
        z_embedder.cls_token                                  1 B C
        z_embedder.proj.1.weight                              C D
        z_embedder.proj.1.bias                                C
        z_embedder.{k,v,linear}.weight                        C C"""
TRUNK = """{N}t_embedder.mlp.0.weight                         C 256
        {N}t_embedder.mlp.2.weight                            C C
        {N}t_embedder.mlp.{0,2}.bias                          C
        {N}blocks.{n}.attn.qkv.weight                         3C C
        {N}blocks.{n}.attn.qkv.bias                           3C
        {N}blocks.{n}.attn.proj.weight                        C C
        {N}blocks.{n}.attn.proj.bias                          C
        {N}blocks.{n}.mlp.fc1.weight                          H C
        {N}blocks.{n}.mlp.fc1.bias                            H
        {N}blocks.{n}.mlp.fc2.weight                          C H
        {N}blocks.{n}.mlp.fc2.bias                            C
        {N}blocks.{n}.adaLN_modulation.1.weight               6C C
        {N}blocks.{n}.adaLN_modulation.1.bias                 6C
        {N}final_layer.linear.weight                          Z C
        {N}final_layer.linear.bias                            Z
        {N}final_layer.adaLN_modulation.1.weight              2C C
        {N}final_layer.adaLN_modulation.1.bias                2C"""

HOST = ("language model", "vision tower", "projector", "newline token")
OWN = ("mask token", "grounding head", "denoiser")
REQUIRED: dict[str, tuple[str, ...]] = {
    "ross3d": (*HOST, *OWN),
    "video-3d-llm": (*HOST, "grounding head"),
    "llava-video": HOST,
}
OPTIONAL = {"ross3d": ("position code",), "video-3d-llm": ("position code",), "llava-video": ()}


@dataclass(frozen=True)
class Layout:
    """What a checkpoint turned out to hold.

    Attributes:
        kind: whose it is.
        parts: part -> its keys.
        sizes: letter of the templates -> size.
        layers: part -> number of its layers.
        fresh: parts of our model that the checkpoint does not hold.
    """

    kind: str
    parts: dict[str, list[str]]
    sizes: dict[str, int]
    layers: dict[str, int]
    fresh: tuple[str, ...]


def expand(template: str, layers: int, net: str = DENOISER) -> dict[str, list[str]]:
    """Write a template out: key -> the letters of its shape."""
    template = template.replace("{trunk}", TRUNK).replace("{T}", TOWER).replace("{N}", net)
    keys: dict[str, list[str]] = {}
    for line in filter(str.strip, template.splitlines()):
        pattern, *letters = line.split()
        for n in range(layers) if "{n}" in pattern else [0]:
            keys |= dict.fromkeys(_choices(pattern.replace("{n}", str(n))), letters)
    return keys


def _choices(pattern: str) -> list[str]:
    found = re.search(r"{([^}]*)}", pattern)
    if found is None:
        return [pattern]
    start, end = pattern[: found.start()], pattern[found.end() :]
    return [key for choice in found[1].split(",") for key in _choices(start + choice + end)]


def count_layers(names: Iterable[str], prefix: str) -> int:
    """One more than the highest number behind a prefix."""
    numbers = (re.match(rf"{re.escape(prefix)}(\d+)\.", name) for name in names)
    return max((int(number[1]) + 1 for number in numbers if number), default=0)


def fit(
    keys: Mapping[str, Sequence[str]],
    found: Mapping[str, Shape],
    known: Mapping[str, int] | None = None,
) -> tuple[dict[str, int], list[str]]:
    """Find the size of each letter, and every key that is missing, unexpected or mis-shaped.

    A letter's size is the one that most tensors agree on, unless it is ``known``.
    """
    votes: dict[str, Counter[int]] = {}
    for name, letters in keys.items():
        if len(found.get(name, ())) == len(letters):
            for letter, size in zip(letters, found[name], strict=True):
                factor = int(letter[:-1] or 1)
                if letter.isalpha() or (not letter.isdigit() and size % factor == 0):
                    votes.setdefault(letter[-1], Counter())[size // factor] += 1
    sizes = {letter: count.most_common(1)[0][0] for letter, count in votes.items()}
    sizes |= dict(known or {})
    problems = [f"missing {name}" for name in keys if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in keys]
    for name, letters in keys.items():
        wanted = tuple(_size(letter, sizes) for letter in letters)
        if name in found and found[name] != wanted:
            problems.append(f"{name} is of shape {found[name]}, not {wanted}")
    return sizes, problems


def _size(letter: str, sizes: Mapping[str, int]) -> int:
    if letter.isdigit():
        return int(letter)
    return int(letter[:-1] or 1) * sizes.get(letter[-1], 0)


def kind_of(names: Collection[str]) -> Kind:
    """Tell whose checkpoint it is from its keys."""
    if any(name.startswith(DENOISER) or name == "model.mask_token" for name in names):
        return "ross3d"
    grounds = any(name.startswith("ground_head") for name in names)
    return "video-3d-llm" if grounds else "llava-video"


def check_layout(
    found: Mapping[str, Shape],
    *,
    kind: str = "auto",
    fresh: Collection[str] = (),
    known: Mapping[str, int] | None = None,
    layers: Mapping[str, int] | None = None,
) -> tuple[Layout, list[str]]:
    """Compare a checkpoint's tensors, but for its VAE, with what its kind must hold.

    Args:
        found: key -> shape.
        kind: whose checkpoint it is, or "auto".
        fresh: parts that may be absent although the kind has them.
        known: letters whose size a config gives.
        layers: parts whose number of layers a config gives.

    Raises:
        ValueError: if ``kind`` or a name of ``fresh`` is unknown.
    """
    if kind not in ("auto", *get_args(Kind)):
        raise ValueError(f"kind must be auto or one of {get_args(Kind)}; got {kind!r}")
    if unknown := sorted(set(fresh) - set(OWN)):
        raise ValueError(f"fresh must name some of {OWN}; got {unknown}")
    found = {name: shape for name, shape in found.items() if not name.startswith(VAE)}
    kind = kind_of(found) if kind == "auto" else kind
    counts = {
        "language model": count_layers(found, "model.layers."),
        "vision tower": count_layers(found, f"{TOWER}encoder.layers."),
        "denoiser": count_layers(found, f"{DENOISER}blocks."),
    } | dict(layers or {})
    parts: dict[str, dict[str, list[str]]] = {}
    for part in (*REQUIRED[kind], *OPTIONAL[kind]):
        keys = expand(TEMPLATES[part], counts.get(part, 0))
        may_lack = part in fresh or part in OPTIONAL[kind]
        if not may_lack or any(name in found for name in keys):
            parts[part] = keys
    every = {name: letters for keys in parts.values() for name, letters in keys.items()}
    sizes, problems = fit(every, found, known)
    lacking = tuple(part for part in REQUIRED["ross3d"] if part not in parts)
    listed = {part: list(keys) for part, keys in parts.items()}
    return Layout(kind, listed, sizes, counts, lacking), problems
