"""Bring your own LMM: ROSS3D's losses and gradients for any host of transformers, in ten lines.

python examples/swap_the_lmm.py                          three tiny, random hosts in turn
python examples/swap_the_lmm.py --host qwen              one of them
python examples/swap_the_lmm.py --host-path FOLDER       released weights, a folder or a name

The scan is the one that ships with the examples. ``supervise`` is all that there is to it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import torch
from reference.chat import IMAGE, add_chat_tokens, build_tokenizer
from reference.collate import SceneCollator
from reference.data.sources import Source, open_source
from reference.lmm import adapt
from reference.model import Ross3D
from reference.tiny_lmm import tiny_llava

from ross3d import (
    BEVRenderer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    GlobalViewTask,
    ReconstructionLoss,
    require,
    sample_view_mask,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VIEWS, SIZE, DIM = 4, 96, 128
ANY_SIZE = ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "video_llama_3")


def supervise(
    host: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Source, **options: Any
) -> dict[str, torch.Tensor]:
    """Teach a host 3-D: compute the losses of one scene, and every gradient."""
    lmm = adapt(host, **options)
    dim = host.get_input_embeddings().embedding_dim
    tasks = {"cross_view": CrossViewTask(96), "global_view": GlobalViewTask(BEVRenderer(96), 96)}
    denoiser = ConditionedDiT(channels=64, dim=128, depth=2, heads=4)
    reconstruction = ReconstructionLoss(
        tasks, DCTTokenizer(), denoiser, context_dim=dim, grid=lmm.grid, heads=4
    )
    model = Ross3D(lmm, reconstruction, dim)
    batch = SceneCollator(tokenizer, model.scene_ids(VIEWS))([source.train(0)])
    losses = model(batch, masked=sample_view_mask(1, VIEWS))
    sum(losses.values()).backward()
    return losses


def tiny_host(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Build a random host of a family: its classes, at a width of 128."""
    transformers, words = require("transformers", "hf"), len(tokenizer)
    view = tokenizer.convert_tokens_to_ids(IMAGE)
    if name == "llava":
        return tiny_llava(words, view, tokenizer.pad_token_id)
    # Markers of where a view begins and ends, and a placeholder of videos that goes unused.
    ids = {"vision_start_token_id": words, "vision_end_token_id": words + 1}
    text = {
        "vocab_size": words + 3,
        "hidden_size": DIM,
        "intermediate_size": 3 * DIM,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "pad_token_id": tokenizer.pad_token_id,
    }
    tower = {"hidden_size": 96, "intermediate_size": 288, "patch_size": 8}
    if name == "qwen":
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 4, 4]}
        positions = {"num_position_embeddings": (SIZE // 8) ** 2, "deepstack_visual_indexes": [0]}
        config = transformers.Qwen3VLConfig(
            text_config={**text, "head_dim": 32, "rope_parameters": rope},
            vision_config={
                **tower, **positions, "depth": 2, "num_heads": 4, "out_hidden_size": DIM,
            },
            image_token_id=view,
            video_token_id=words + 2,
            **ids,
        )  # fmt: skip
        return transformers.Qwen3VLForConditionalGeneration(config)
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config={
            **tower, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIZE,
        },
        image_token_id=view,
    )  # fmt: skip
    return transformers.InternVLForConditionalGeneration(config)


def released_host(path: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a host with its weights, and its tokenizer with the words that ROSS3D adds."""
    transformers = require("transformers", "hf")
    host = transformers.AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    add_chat_tokens(tokenizer)
    if len(tokenizer) > host.get_input_embeddings().num_embeddings:
        host.resize_token_embeddings(len(tokenizer))
    return host, tokenizer


def options_of(
    host: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, size: int
) -> dict[str, Any]:
    """Say what an adapter cannot read from its host: sizes that are free, markers."""
    if host.config.model_type in ANY_SIZE:
        return {"image_size": size}
    if host.config.model_type == "internvl" and "<img>" in tokenizer.get_vocab():
        start, end = tokenizer.convert_tokens_to_ids(["<img>", "</img>"])
        return {"view_start": [start], "view_end": [end]}
    return {}


def main() -> None:
    """Show the losses of one scene under each host."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    hosts = ("llava", "qwen", "internvl")
    parser.add_argument("--host", choices=hosts, help="a tiny, random host (default: each)")
    parser.add_argument("--host-path", help="a released host: a folder, or a name on the Hub")
    parser.add_argument("--data", default="furnished_room", help="a scan, or rooms")
    parser.add_argument("--turns", type=int, default=4, help="questions about the scene")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels, where the host takes any")
    args = parser.parse_args()

    def scenes(size: int) -> Source:
        return open_source(args.data, views=VIEWS, size=size, turns=args.turns, hidden=1)

    try:
        for name in [args.host_path] if args.host_path else [args.host] if args.host else hosts:
            torch.manual_seed(0)
            if args.host_path:
                host, tokenizer = released_host(name)
            else:
                tokenizer = build_tokenizer(scenes(SIZE).words())
                host = tiny_host(name, tokenizer)
            options = options_of(host, tokenizer, args.size)
            size = options.get("image_size", adapt(host, **options).image_size)
            losses = supervise(host, tokenizer, scenes(size), **options)
            shown = "  ".join(f"{loss} {value:.3f}" for loss, value in sorted(losses.items()))
            learned = sum(p.grad is not None for p in host.parameters())
            print(f"{type(host).__name__}: {shown}; gradients reach {learned} of its tensors")
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
