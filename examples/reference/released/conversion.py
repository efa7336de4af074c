"""Released checkpoints into ours and back, a tensor at a time."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files import read_json
from .denoiser import inflate
from .folder import (
    CONFIG,
    FORMAT,
    ORIGINAL,
    copy_beside,
    new_folder,
    read_config,
    write_json,
    write_tensors,
)
from .host import config_sizes, host_sizes
from .keys import DENOISER, TEMPLATES, VAE, Layout, Shape, check_layout, expand
from .names import official_name, official_shape, our_name, to_official, to_ours
from .report import Report, report
from .sharded import TensorFiles, load_tensor_file
from .vae import FOLDER, STEM, vae_config
from .vocabulary import Vocabulary, resolve_vocabulary

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def convert(
    source: Path | str,
    out: Path | str,
    *,
    kind: str = "auto",
    fresh: Collection[str] = (),
    projector: Path | str | None = None,
    shard_bytes: int = 4 * 10**9,
) -> Report:
    """Turn a released checkpoint into ours.

    Args:
        source: its folder or file.
        out: folder to write; it must not exist.
        kind: "ross3d", "video-3d-llm" or "llava-video"; "auto" = what its tensors say.
        fresh: parts that may be absent though the kind has them; our model starts them at random.
        projector: ``mm_inv_projector.bin``, from which a denoiser that is absent starts.
        shard_bytes: size of the files that are written, and most of the memory that is needed.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        FileExistsError: if ``out`` exists.
        ValueError: naming the file and every tensor that is missing, unexpected or mis-shaped, or
            if special tokens clash.
    """
    files = TensorFiles(source)
    folder = files.path if files.path.is_dir() else files.path.parent
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    shapes = files.shapes()
    layout, problems = check_layout(shapes, kind=kind, fresh=fresh, **config_sizes(config))
    vae, vae_problems = vae_config(shapes)
    refuse(files, layout.kind, [*files.problems, *problems, *vae_problems])
    started: dict[str, Tensor] = {}
    absent = list(layout.fresh)
    if projector is not None:
        layout, started = _start(layout, projector)
        absent.remove("denoiser")
    rows = {"embed": layout.sizes["E"], "lm_head": layout.sizes["L"]}
    vocabulary = resolve_vocabulary(folder, config, **rows)
    numbers = _numbers(layout, config, vocabulary, absent, set(started))
    numbers["vae"] = vae is not None

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name, value in (*files.tensors(), *started.items()):
            if name in (EMBED, HEAD):
                value = vocabulary.grow(value)
            yield name if name.startswith(VAE) else our_name(name) or name, to_ours(name, value)

    with new_folder(out) as written:
        write_tensors(written, tensors(), shard_bytes, vae)
        write_json(written / CONFIG, numbers)
        copy_beside(folder, written)
        if config:
            shutil.copyfile(folder / CONFIG, written / ORIGINAL)
    return report(layout, shapes | {name: tuple(x.shape) for name, x in started.items()}, numbers)


def revert(source: Path | str, out: Path | str, *, shard_bytes: int = 4 * 10**9) -> Report:
    """Turn a checkpoint of ours back into a released one; vocabularies get their old rows back.

    Args:
        source: a folder that :func:`convert` wrote, or a file of our model's tensors.
        out: folder to write; it must not exist.
        shard_bytes: size of the files that are written.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        FileExistsError: if ``out`` exists.
        ValueError: naming every tensor that no released checkpoint has, is missing or mis-shaped.
    """
    files = TensorFiles(source)
    folder = files.path if files.path.is_dir() else files.path.parent
    numbers = read_config(folder)
    rows = {EMBED: numbers.get("embed"), HEAD: numbers.get("lm_head")}
    vae = TensorFiles(folder / FOLDER / f"{STEM}.safetensors") if numbers.get("vae") else None
    shapes: dict[str, Shape] = {}
    for name, shape in files.shapes().items():
        theirs = official_name(name) or name
        shapes[theirs] = official_shape(theirs, shape)
        if rows.get(theirs):
            shapes[theirs] = (rows[theirs], *shape[1:])
    fresh = numbers.get("fresh", [])
    layout, problems = check_layout(shapes, fresh=fresh)
    refuse(files, layout.kind, [*files.problems, *problems])
    shapes |= {VAE + name: shape for name, shape in (vae.shapes() if vae else {}).items()}

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name, value in files.tensors():
            theirs = official_name(name) or name
            yield theirs, to_official(theirs, value[: rows.get(theirs)])
        for name, value in vae.tensors() if vae else ():
            yield VAE + name, value

    with new_folder(out) as written:
        write_tensors(written, tensors(), shard_bytes)
        copy_beside(folder, written)
        if (folder / ORIGINAL).is_file():
            shutil.copyfile(folder / ORIGINAL, written / CONFIG)
    return report(layout, shapes, {})


def refuse(files: TensorFiles, kind: str, problems: Iterable[str]) -> None:
    """Complain about everything at once, naming the file that each tensor is in."""
    lines = []
    for problem in problems:
        name = problem.removeprefix("unexpected ").partition(" ")[0]
        where = f", in {files.stored[name].file.name}" if name in files.stored else ""
        lines.append(problem + where)
    if lines:
        listed = "\n  ".join(lines)
        raise ValueError(f"{files.path} must hold a whole {kind} checkpoint; got\n  {listed}")


def _start(layout: Layout, projector: Path | str) -> tuple[Layout, dict[str, Tensor]]:
    """Take the denoiser from the 2-D one."""
    if "denoiser" in layout.parts:
        raise ValueError(f"projector must be None where the denoiser is there; got {projector}")
    tensors, sizes = inflate(load_tensor_file(projector), source=str(projector))
    if sizes["D"] != layout.sizes["D"]:
        wanted = layout.sizes["D"]
        raise ValueError(f"{projector} must be of a context of width {wanted}; got {sizes['D']}")
    layers = {**layout.layers, "denoiser": 1 + max(_block(name) for name in tensors)}
    parts = {**layout.parts, "denoiser": list(tensors)}
    sizes = {**sizes, **layout.sizes}
    return replace(layout, parts=parts, sizes=sizes, layers=layers), tensors


def _block(name: str) -> int:
    number = name.removeprefix(f"{DENOISER}blocks.").partition(".")[0]
    return int(number) if number.isdigit() else -1


def _numbers(
    layout: Layout,
    config: Mapping[str, Any],
    vocabulary: Vocabulary,
    fresh: list[str],
    started: set[str],
) -> dict[str, Any]:
    """Everything that load_converted and revert need to know."""
    numbers: dict[str, Any] = {
        "format": FORMAT,
        "kind": layout.kind,
        "host": host_sizes(layout, config, vocabulary),
        "special_tokens": vocabulary.special,
        "embed": vocabulary.embed,
        "lm_head": vocabulary.lm_head,
        "fresh": fresh,
    }
    if "denoiser" in layout.parts:
        letters = {letter: layout.sizes[letter] for letter in "CHZDWB"}
        numbers["denoiser"] = {"sizes": letters, "depth": layout.layers["denoiser"]}
    if started:
        every = expand(TEMPLATES["denoiser"], layout.layers["denoiser"])
        numbers["fresh_tensors"] = sorted(every.keys() - started)
    if "position code" in layout.parts:
        numbers["position_hidden"] = layout.sizes["M"]
    return numbers
