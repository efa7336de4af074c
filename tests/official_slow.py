"""What the released model computes, once more: from its description, slowly, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]
TOWER = "model.vision_tower.vision_tower.vision_model."
NET = "model.mm_inv_projector.net."


def affine(state: State, name: str, x: Tensor) -> Tensor:
    out = x @ state[f"{name}.weight"].flatten(1).T
    return out + state[f"{name}.bias"] if f"{name}.bias" in state else out


def standardise(x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def layer_norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    return standardise(x, eps) * state[f"{name}.weight"] + state[f"{name}.bias"]


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    """q (l, d), k and v (s, d); k and v may have fewer heads, each for several of q."""
    d = q.shape[1] // heads
    share = heads // (k.shape[1] // d)
    out = []
    for head in range(heads):
        mine, theirs = slice(head * d, head * d + d), head // share
        keys, values = (x[:, theirs * d : theirs * d + d] for x in (k, v))
        scores = q[:, mine] @ keys.T / math.sqrt(d)
        if causal:
            scores = scores + torch.full_like(scores, -torch.inf).triu(1)
        out.append(scores.softmax(-1) @ values)
    return torch.cat(out, dim=1)


# ---- vision tower, projector, positions --------------------------------------------------------


def patch_features(state: State, images: Tensor, heads: int) -> Tensor:
    """Images (m, 3, h, w) in [0, 1] -> projected patches (m, side*side, d)."""
    x = (images - 0.5) / 0.5
    weight = state[f"{TOWER}embeddings.patch_embedding.weight"]
    bias = state[f"{TOWER}embeddings.patch_embedding.bias"]
    x = F.conv2d(x, weight, bias, stride=weight.shape[-1]).flatten(2).mT
    x = x + state[f"{TOWER}embeddings.position_embedding.weight"]
    views = []
    for view in x:
        n = 0
        while f"{TOWER}encoder.layers.{n}.mlp.fc1.weight" in state:
            name = f"{TOWER}encoder.layers.{n}."
            y = layer_norm(state, f"{name}layer_norm1", view, 1e-6)
            q, k, v = (affine(state, f"{name}self_attn.{part}_proj", y) for part in "qkv")
            view = view + affine(state, f"{name}self_attn.out_proj", attend(q, k, v, heads))
            y = layer_norm(state, f"{name}layer_norm2", view, 1e-6)
            y = F.gelu(affine(state, f"{name}mlp.fc1", y), approximate="tanh")
            view = view + affine(state, f"{name}mlp.fc2", y)
            n += 1
        y = F.gelu(affine(state, "model.mm_projector.0", view))
        views.append(affine(state, "model.mm_projector.2", y))
    return torch.stack(views)


def pooled(patches: Tensor) -> Tensor:
    """(m, side*side, d) -> (m, grid, grid, d), grid = side / 2 rounded up."""
    side = math.isqrt(patches.shape[1])
    grid = patches.unflatten(1, (side, side)).movedim(-1, 1)
    out = F.interpolate(grid, (-(-side // 2),) * 2, mode="bilinear", align_corners=False)
    return out.movedim(1, -1)


def world_points(depth: Tensor, intrinsic: Tensor, pose: Tensor) -> Tensor:
    """(h, w, 3): pixels of unknown depth fall on the camera centre."""
    h, w = depth.shape
    v, u = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    x = (u - intrinsic[0, 2]) * depth / intrinsic[0, 0]
    y = (v - intrinsic[1, 2]) * depth / intrinsic[1, 1]
    return torch.stack((x, y, depth, torch.ones_like(depth)), -1) @ pose.T[:, :3]


def position_code(points: Tensor, dim: int) -> Tensor:
    """(..., 3) metres -> (..., dim): bins of 0.1 m, then sines and cosines per axis."""
    low, high = torch.tensor([-15.0, -15.0, -5.0]), torch.tensor([15.0, 15.0, 5.0])
    bins = ((points.clamp(low, high) - low) / 0.1).round()
    code, m = torch.zeros(*points.shape[:-1], dim), dim // 3
    for axis in range(3):
        for i in range(m):
            angle = bins[..., axis] / 10000 ** (2 * (i // 2) / m)
            code[..., axis * m + i] = angle.sin() if i % 2 == 0 else angle.cos()
    return code


def mean_points(world: Tensor, covered: int, grid: int) -> Tensor:
    """(h, w, 3) -> (grid, grid, 3): means over square cells of the covered pixels."""
    cut = world[:covered, :covered].movedim(-1, 0)[None]
    return F.avg_pool2d(cut, covered // grid)[0].movedim(0, -1)


def object_feature(patches: Tensor, worlds: Tensor, box: Tensor, patch: int, dim: int) -> Tensor:
    """The mean of the patches (m, side*side, d) of which half is in the box, and its code."""
    side, low, high = math.isqrt(patches.shape[1]), box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
    chosen = []
    for view in range(len(patches)):
        for row in range(side):
            for column in range(side):
                cell = worlds[view, row * patch :, column * patch :][:patch, :patch]
                inside = ((cell >= low) & (cell <= high)).all(-1).sum()
                if inside >= int(patch * patch * 0.5):
                    chosen.append(patches[view, row * side + column])
    mean = torch.stack(chosen).mean(0) if chosen else torch.zeros(dim)
    return mean + position_code(box[:3], dim)


# ---- language model -----------------------------------------------------------------------------


def root_norm(state: State, name: str, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{name}.weight"]


def rotated(x: Tensor, width: int) -> Tensor:
    """Rotary positions of (t, heads * width), base 1e6."""
    out, half = x.clone(), width // 2
    where = torch.arange(len(x))[:, None]
    angles = where / 1e6 ** (torch.arange(half) * 2 / width)
    for start in range(0, x.shape[1], width):
        a, b = x[:, start : start + half], x[:, start + half : start + width]
        out[:, start : start + half] = a * angles.cos() - b * angles.sin()
        out[:, start + half : start + width] = b * angles.cos() + a * angles.sin()
    return out


def language_model(state: State, x: Tensor, heads: int) -> Tensor:
    """Embeddings (t, d) -> hidden states (t, d) after the final norm."""
    width, n = x.shape[1] // heads, 0
    while f"model.layers.{n}.mlp.up_proj.weight" in state:
        name = f"model.layers.{n}."
        y = root_norm(state, f"{name}input_layernorm", x)
        q, k, v = (affine(state, f"{name}self_attn.{part}_proj", y) for part in "qkv")
        read = attend(rotated(q, width), rotated(k, width), v, heads, causal=True)
        x = x + affine(state, f"{name}self_attn.o_proj", read)
        y = root_norm(state, f"{name}post_attention_layernorm", x)
        gate = F.silu(affine(state, f"{name}mlp.gate_proj", y))
        x = x + affine(state, f"{name}mlp.down_proj", gate * affine(state, f"{name}mlp.up_proj", y))
        n += 1
    return root_norm(state, "model.norm", x)


def visual_sequence(state: State, tokens: Tensor) -> Tensor:
    """Tokens (m, r, c, d) -> (m * r * (c + 1), d): a newline behind every row."""
    newline = state["model.image_newline"].expand(*tokens.shape[:2], 1, -1)
    return torch.cat((tokens, newline), dim=2).flatten(0, 2)


# ---- denoiser -----------------------------------------------------------------------------------


def condition(state: State, context: Tensor, stem: str, heads: int) -> Tensor:
    """Hidden states (s, D) of all visible views -> (cells, C)."""
    name = f"{NET}z_embedder_{stem}."
    x = affine(state, f"{name}proj.1", F.silu(standardise(context, 1e-5)))
    k, v = affine(state, f"{name}k", x), affine(state, f"{name}v", x)
    return affine(state, f"{name}linear", attend(state[f"{name}cls_token"][0], k, v, heads))


def noise_of(state: State, z: Tensor, t: int, c: Tensor, stem: str, heads: int) -> Tensor:
    """One noisy latent (Z, h, w) at step t under (cells, C) -> the predicted noise."""
    frequencies = 10000 ** (-torch.arange(128) / 128)
    code = torch.cat(((t * frequencies).cos(), (t * frequencies).sin()))
    code = F.silu(affine(state, f"{NET}t_embedder.mlp.0", code))
    c = F.silu(c + affine(state, f"{NET}t_embedder.mlp.2", code))
    x = affine(state, f"{NET}x_embedder_{stem}.proj", z.flatten(1).T)
    x = x + state[f"{NET}pos_embed_{stem}"][0]
    n = 0
    while f"{NET}blocks.{n}.attn.qkv.weight" in state:
        name = f"{NET}blocks.{n}."
        six = affine(state, f"{name}adaLN_modulation.1", c).chunk(6, -1)
        y = standardise(x, 1e-6) * (1 + six[1]) + six[0]
        q, k, v = affine(state, f"{name}attn.qkv", y).chunk(3, -1)
        x = x + six[2] * affine(state, f"{name}attn.proj", attend(q, k, v, heads))
        y = standardise(x, 1e-6) * (1 + six[4]) + six[3]
        y = F.gelu(affine(state, f"{name}mlp.fc1", y), approximate="tanh")
        x = x + six[5] * affine(state, f"{name}mlp.fc2", y)
        n += 1
    shift, scale = affine(state, f"{NET}final_layer.adaLN_modulation.1", c).chunk(2, -1)
    y = affine(state, f"{NET}final_layer.linear", standardise(x, 1e-6) * (1 + scale) + shift)
    return y.T.view(z.shape)


def signal_kept(t: int) -> float:
    """The cosine schedule's product of 1 - beta up to step t."""
    f = [math.cos((s / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for s in range(t + 2)]
    return math.prod(1 - min(1 - after / before, 0.999) for before, after in pairwise(f))


def packed(latents: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, 4c, h/2, w/2), channel c * 4 + dy * 2 + dx; odd sizes resized first."""
    h, w = latents.shape[-2:]
    if w % 2:
        latents = F.interpolate(latents, (h + 1, w + 1), mode="bilinear", align_corners=False)
    cells = [latents[:, :, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
    return torch.stack(cells, dim=2).flatten(1, 2)


def squared_errors(
    state: State,
    z0: Tensor,
    context: Tensor,
    stem: str,
    heads: int,
    draws: Sequence[tuple[int, int, Tensor]],
) -> Tensor:
    """Element-wise errors of draws of (which target, step, noise)."""
    c, errors = condition(state, context, stem, heads), []
    for target, t, noise in draws:
        kept = signal_kept(t)
        z = math.sqrt(kept) * z0[target] + math.sqrt(1 - kept) * noise
        errors.append((noise_of(state, z, t, c, stem, heads) - noise).square())
    return torch.stack(errors)


def view_targets(images: Tensor, pixels: int, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Hidden views (k, 3, h, w) in [0, 1] -> packed latents; ``encode`` takes [-1, 1]."""
    x = (((images - 0.5) / 0.5 * 0.5 + 0.5 - 0.5) / 0.5).clamp(-1, 1)
    return packed(encode(F.interpolate(x, (pixels, pixels), mode="bilinear")))


def bev_cells(picture: Tensor, cells: int) -> Tensor:
    """(3, s, s) -> (cells, cells): 1 where the resized picture is not black."""
    small = F.interpolate(picture[None], (cells, cells), mode="bilinear", align_corners=False)
    return (small[0].mean(0) > 0).float()


# ---- grounding ----------------------------------------------------------------------------------


def grounding_scores(state: State, query: Tensor, objects: Tensor) -> Tensor:
    """Cosines (o + 1) of a query (d) with the objects (o, d), and with "no such object" last."""

    def mlp(part: str, x: Tensor) -> Tensor:
        x = F.relu(affine(state, f"ground_head_{part}.0", x))
        return affine(
            state, f"ground_head_{part}.3", layer_norm(state, f"ground_head_{part}.2", x, 1e-5)
        )

    objects = mlp("obj", torch.cat((objects, state["ground_head_zero_target"][None])))
    query = mlp("query", query)
    return objects @ query / (objects.norm(dim=-1) * query.norm())


def infonce(scores: Tensor, targets: Sequence[int]) -> float:
    odds = (scores / 0.07).double().exp()
    chosen = odds[list(targets)] if targets else odds[-1:]
    return float(-(chosen.sum() / odds.sum()).log())
