"""Arithmetic of each part of the paper's step, counted on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.counted import PAPER, TEXT, CountedStep, paper_frames, paper_model, teraflops

Part = tuple[str, float, float]


def both_ways(name: str, work: Callable[[], Tensor]) -> Part:
    """Name, forward and backward teraflops."""
    forward = teraflops(work)
    return name, forward, teraflops(lambda: work().sum().backward()) - forward


def count_parts() -> Iterator[Part]:
    """Name, forward and backward teraflops of each part; nothing is recomputed."""
    counted = CountedStep(paper_model("both", recompute=False), paper_frames("meta"))
    model, preset = counted.model, PAPER
    host, m = model.lmm.host, preset.views
    with torch.device("meta"):
        pixels = torch.empty(m, 3, preset.image_size, preset.image_size, dtype=torch.bfloat16)
        patches = (preset.image_size // preset.patch_size) ** 2
        features = torch.empty(m, patches, preset.vision_dim, dtype=torch.bfloat16)
        length = TEXT + len(model.lmm.is_visual(m))
        words = torch.empty(1, length, preset.dim, dtype=torch.bfloat16, requires_grad=True)
        hidden = torch.empty(1, m, model.lmm.grid[0] * model.lmm.grid[1], preset.dim)
        hidden = hidden.to(torch.bfloat16).requires_grad_()
    yield f"vision tower, {m} views", teraflops(lambda: host.model.vision_tower(pixels)), 0.0
    yield both_ways("projector", lambda: host.model.multi_modal_projector(features))

    def language() -> Tensor:
        attends = {"attention_mask": {"full_attention": None}, "use_cache": False}
        out: Tensor = host.model.language_model(inputs_embeds=words, **attends).last_hidden_state
        return out

    yield both_ways(f"language model, {length} positions", language)
    head = host.get_output_embeddings()
    yield both_ways(f"output embedding, {TEXT} text positions", lambda: head(words[:, :TEXT]))
    yield both_ways("output embedding, every position", lambda: head(words))
    teacher = model.reconstruction.tokenizer
    view, above = preset.view_size, preset.bev_size
    teachers = {}
    for name, n, side in (("hidden views", 8, view), ("the room", 1, above), ("views", 32, view)):
        images = torch.empty(n, 3, side, side, device="meta")
        encoded = teraflops(lambda images=images: teacher.encode(images))
        yield f"teacher, {n} x {name}, {side} px", encoded, 0.0
        teachers[name] = encoded
    for name, what in (("cross_view", "hidden views"), ("global_view", "the room")):
        loss = paper_model(name, recompute=False)
        alone = CountedStep(loss, counted.frames).model.reconstruction
        forward, backward = both_ways(
            name, lambda alone=alone, name=name: alone(hidden, counted.frames, counted.masked)[name]
        )[1:]
        yield f"poolers and denoiser, {what}", forward - teachers[what], backward
