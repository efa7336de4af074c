"""Names of tensors in released checkpoints, and in our model: one to one, both ways."""

from __future__ import annotations

from torch import Tensor

from .keys import DENOISER, TOWER

STEMS = {"cross_view": "view", "global_view": "bev"}
"""Our pretext tasks, and what the released denoiser calls them."""

HOST = "lmm.host."
RULES = [
    ("model.embed_tokens.", f"{HOST}model.language_model.embed_tokens."),
    ("model.layers.", f"{HOST}model.language_model.layers."),
    ("model.norm.", f"{HOST}model.language_model.norm."),
    ("lm_head.", f"{HOST}lm_head."),
    (TOWER, f"{HOST}model.vision_tower."),
    ("model.mm_projector.0.", f"{HOST}model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", f"{HOST}model.multi_modal_projector.linear_2."),
    ("model.image_newline", f"{HOST}model.image_newline"),
    ("model.mask_token", "masker.mask_token"),
    ("model.world_position_embedding.mlp.0.", "positions.first."),
    ("model.world_position_embedding.mlp.1.", "positions.rest.0."),
    ("model.world_position_embedding.mlp.3.", "positions.rest.2."),
    ("ground_head_zero_target", "grounding.zero_target"),
    ("ground_head_obj.", "grounding.object_mlp."),
    ("ground_head_query.", "grounding.query_mlp."),
]
# The trunk is shared; it is stored once, under the first task.
RULES += [
    (f"{DENOISER}{part}", f"reconstruction.denoisers.cross_view.{part}")
    for part in ("t_embedder.", "blocks.", "final_layer.")
]
for task, stem in STEMS.items():
    denoiser, pooler = f"reconstruction.denoisers.{task}.", f"reconstruction.conditioners.{task}."
    RULES += [
        (f"{DENOISER}pos_embed_{stem}", f"{denoiser}pos_embed"),
        (f"{DENOISER}x_embedder_{stem}.proj.", f"{denoiser}x_embedder."),
        (f"{DENOISER}z_embedder_{stem}.cls_token", f"{pooler}pooler.queries"),
        (f"{DENOISER}z_embedder_{stem}.proj.1.", f"{pooler}pooler.proj."),
        (f"{DENOISER}z_embedder_{stem}.k.", f"{pooler}pooler.key."),
        (f"{DENOISER}z_embedder_{stem}.v.", f"{pooler}pooler.value."),
        (f"{DENOISER}z_embedder_{stem}.linear.", f"{pooler}pooler.out."),
    ]


def our_name(official: str) -> str | None:
    """Our name of a released tensor; None = it has none."""
    return _replaced(official, RULES)


def official_name(ours: str) -> str | None:
    """The released name of our tensor; None = it has none."""
    return _replaced(ours, [(ours_, official) for official, ours_ in RULES])


def _replaced(name: str, rules: list[tuple[str, str]]) -> str | None:
    for old, new in rules:
        whole = not old.endswith(".")
        if name == old or (not whole and name.startswith(old)):
            return new + name.removeprefix(old)
    return None


def to_ours(official: str, value: Tensor) -> Tensor:
    """Drop the axes of size 1: 1x1 convolutions are linear layers, tables have no batch."""
    if _is_stem(official):
        return value[..., 0, 0]
    return value[0] if _is_table(official) else value


def to_official(official: str, value: Tensor) -> Tensor:
    """Put the axes of size 1 back, by the released name."""
    return value.view(official_shape(official, tuple(value.shape)))


def official_shape(official: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The released shape of a tensor of ours, by its released name."""
    if _is_stem(official):
        return (*shape, 1, 1)
    return (1, *shape) if _is_table(official) else shape


def _is_stem(official: str) -> bool:
    return official.startswith(f"{DENOISER}x_embedder_") and official.endswith(".weight")


def _is_table(official: str) -> bool:
    return official.startswith(f"{DENOISER}pos_embed_") or official.endswith(".cls_token")
