"""Released checkpoints: Ross3D, Video-3D-LLM, LLaVA-Video, and the 2-D denoiser.

``convert`` and ``revert`` turn whole checkpoints into ours and back, ``load_converted`` builds the
model; ``load_official_denoiser``, ``load_flat_denoiser`` and ``load_official_grounding_head`` take
single blocks out of a state dict; ``official_parity`` builds the released model without weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ross3d import GroundingHead

from .released.conversion import convert, revert
from .released.converted import load_converted
from .released.denoiser import load_flat_denoiser, load_official_denoiser
from .released.dit import DenoiserSizes, ReleasedDiT, released_blocks
from .released.keys import expand, fit
from .released.parity import ReleasedRoss3D, official_parity
from .released.report import Report
from .released.sharded import TensorFiles, load_tensor_file

__all__ = [
    "DenoiserSizes",
    "ReleasedDiT",
    "ReleasedRoss3D",
    "Report",
    "TensorFiles",
    "convert",
    "load_converted",
    "load_flat_denoiser",
    "load_official_denoiser",
    "load_official_grounding_head",
    "load_tensor_file",
    "official_parity",
    "released_blocks",
    "revert",
]

# D width of the language model, A width within "score".
HEADS = {
    "infonce": """
        ground_head_zero_target                     D
        ground_head_{obj,query}.{0,3}.weight        D D
        ground_head_{obj,query}.{0,2,3}.bias        D
        ground_head_{obj,query}.2.weight            D""",
    "score": """
        ground_head_{obj,query}.0.weight            A D
        ground_head_{obj,query}.3.weight            A A
        ground_head_{obj,query}.{0,1,3}.bias        A
        ground_head_{obj,query,score}.1.weight      A
        ground_head_score.0.weight                  A A
        ground_head_score.{0,1}.bias                A
        ground_head_score.3.weight                  1 A
        ground_head_score.3.bias                    1""",
    "mlp": """
        ground_head.{0,3}.weight                    D D
        ground_head.{0,2,3}.bias                    D
        ground_head.2.weight                        D""",
}
OURS = {"obj": "object_mlp", "query": "query_mlp", "score": "score_mlp"}


def load_official_grounding_head(
    state_dict: Mapping[str, Tensor], temperature: float = 0.07, *, source: str = "state_dict"
) -> GroundingHead:
    """Turn the grounding head of a released checkpoint into ours, in the dtype of its weights.

    Its kind is what its tensors say. The released "score" and "mlp" heads have no "no such
    object": that column of ours is then untrained.

    Args:
        state_dict: the head's tensors under their released names, behind any prefix; other tensors
            are left alone.
        temperature: divides the cosines of "infonce"; ``ground_head_temperature`` of config.json.
        source: what messages call it.

    Returns:
        The head: its logits are the released scores over the temperature.

    Raises:
        ValueError: naming every tensor that is missing, unexpected or mis-shaped.
    """
    found: dict[str, Tensor] = {}
    prefixes = set()
    for name, value in state_dict.items():
        prefix, mark, rest = name.partition("ground_head")
        if mark and (not prefix or prefix.endswith(".")):
            prefixes.add(prefix)
            found[mark + rest] = value
    if len(prefixes) != 1:
        got = f"some under {sorted(prefixes)}" if prefixes else "none"
        raise ValueError(f"{source} must hold ground_head tensors of one head; got {got}")
    kind = "infonce"
    if any(name.startswith("ground_head_score.") for name in found):
        kind = "score"
    elif any(name.startswith("ground_head.") for name in found):
        kind = "mlp"
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    sizes, problems = fit(expand(HEADS[kind], 0), shapes)
    if problems:
        listed = "\n  ".join(problems)
        raise ValueError(f"{source} must hold a released {kind} head; got\n  {listed}")
    head = GroundingHead(sizes["D"], kind, temperature=temperature, hidden_dim=sizes.get("A", 1024))
    state = {_our_key(name): value.detach().clone() for name, value in found.items()}
    head.to(next(iter(state.values())).dtype)
    head.load_state_dict(state, strict=kind == "infonce")
    return head


def _our_key(name: str) -> str:
    part, _, rest = name.removeprefix("ground_head").partition(".")
    if part == "_zero_target":
        return "zero_target"
    return f"{OURS[part.removeprefix('_') or 'query']}.{rest}"
