"""What a run shows in the end: figures beside their baselines, pictures, and a page of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ross3d import BEVRenderer

from .batch import Batch
from .collate import SceneCollator
from .data.scene import Scene
from .data.sources import Source
from .evaluation import choose, evaluate
from .grounding_picture import Query, grounding_picture
from .model import Ross3D
from .pictures import bev_picture, reconstruction_picture, views_picture
from .plots import losses_picture
from .rebuilding import hide_for, nearest_views, rebuild
from .report import write_report
from .run import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image

CAPTIONS = {
    "losses.png": "Losses: training (line) and held-out (dots)",
    "views.png": "Held-out scenes; the model does not see the grey views",
    "reconstruction.png": "Hidden views, rebuilt from the language model's hidden states",
    "bev.png": "The room from above, rebuilt from the same hidden states",
    "grounding.png": "Grounding in held-out scenes: true boxes and chosen boxes",
}


def write_results(
    run: RunFolder,
    model: Ross3D,
    source: Source,
    collate: SceneCollator,
    config: Mapping[str, Any],
    *,
    scenes: int = 48,
    steps: int = 25,
) -> dict[str, float]:
    """Judge a model on held-out scenes, and write figures, pictures and ``report.html``.

    Args:
        run: where to write.
        model: to be judged.
        source: of the scenes.
        collate: of the model's tokenizer.
        config: shown on the page.
        scenes: held-out scenes that the figures are means of.
        steps: denoiser evaluations per picture.

    Returns:
        The figures.
    """
    figures, samples = evaluate(model, source, collate, scenes=scenes, steps=steps)
    run.write_json("figures.json", figures)
    names = write_pictures(run, model, source, collate, steps=steps)
    if run.rows():
        losses_picture(run.rows(), run.path / "losses.png")
        names = ["losses.png", *names]
    shown = [(name, CAPTIONS[name]) for name in names]
    write_report(run.path, config, compared(figures), shown, samples[:40])
    return figures


def write_pictures(
    run: RunFolder,
    model: Ross3D,
    source: Source,
    collate: SceneCollator,
    *,
    scenes: int = 4,
    steps: int = 25,
    method: str | None = None,
) -> list[str]:
    """Write the pictures of the first held-out scenes.

    Args:
        run: where to write.
        model: to be shown.
        source: of the scenes.
        collate: of the model's tokenizer.
        scenes: how many scenes are shown.
        steps: denoiser evaluations per picture.
        method: sampler, see ``ross3d.sample``; None = the objective's own.

    Returns:
        The names of the pictures.
    """
    model.eval()
    held_out = [source.held_out(i) for i in range(scenes)]
    batch = collate(held_out).to(next(model.parameters()).device)
    masked = hide_for(model, batch, source.hidden)
    rebuilt = rebuild(model, batch, masked, steps=steps, method=method)
    pictures: dict[str, Image] = {"views.png": views_picture(batch.frames, masked)}
    if cross := rebuilt.get("cross_view"):
        near = nearest_views(batch.frames, masked, cross.targets.images.shape[-1])
        pictures["reconstruction.png"] = reconstruction_picture(cross, near)
    if above := rebuilt.get("global_view"):
        pictures["bev.png"] = bev_picture(above)
    if batch.text is not None and batch.text.ground_positions.numel():
        pictures["grounding.png"] = ground_first(model, batch, held_out)
    for name, picture in pictures.items():
        run.save_image(name, picture)
    model.train()
    return list(pictures)


def ground_first(model: Ross3D, batch: Batch, scenes: list[Scene]) -> Image:
    """Draw what the model chose for the phrases of the first scene that has objects to find."""
    single, several = choose(model, batch)
    for row, scene in enumerate(scenes):
        turns = [turn for turn in scene.turns if turn.kind.endswith("grounding")]
        if not turns:
            continue
        queries = []
        for query, turn in enumerate(turns):
            chosen = single if turn.kind == "grounding" else several
            picked = chosen[row, query].nonzero()[:, 0].tolist()
            queries.append(Query(turn.question, turn.objects, picked))
        bev = BEVRenderer(256)(scene.frames)
        return grounding_picture(scene.frames, bev, scene.boxes, queries)
    raise ValueError("scenes must hold a grounding turn; got none")


def compared(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Put each figure beside what it should be compared with."""
    table = {name: {"model": value} for name, value in figures.items() if name.endswith("/loss")}
    for name, key, others in (
        ("question answering, exact match", "qa/accuracy", ("qa/majority", "qa/prior")),
        ("grounding of one object", "grounding/accuracy", ("grounding/chance",)),
        ("grounding of any number, F1", "grounding/f1", ()),
        (
            "hidden views, PSNR in dB",
            "cross_view/psnr",
            ("cross_view/psnr_mean", "cross_view/psnr_nearest", "cross_view/psnr_limit"),
        ),
        (
            "all views, PSNR in dB",
            "vanilla/psnr",
            ("vanilla/psnr_mean", "vanilla/psnr_limit"),
        ),
        (
            "bird's-eye view, PSNR in dB",
            "global_view/psnr",
            ("global_view/psnr_mean", "global_view/psnr_limit"),
        ),
    ):
        if key in figures:
            table[name] = {"model": figures[key]}
            table[name] |= {MEANING[o]: figures[o] for o in others if o in figures}
    return table


MEANING = {
    "qa/majority": "always the most frequent answer",
    "qa/prior": "the most frequent answer to questions that begin alike",
    "grounding/chance": "chance",
    "cross_view/psnr_mean": "the mean colour of the visible views",
    "cross_view/psnr_nearest": "the nearest visible view",
    "cross_view/psnr_limit": "the tokenizer's round trip",
    "vanilla/psnr_mean": "the mean colour of the views",
    "vanilla/psnr_limit": "the tokenizer's round trip",
    "global_view/psnr_mean": "the mean colour of the visible views",
    "global_view/psnr_limit": "the tokenizer's round trip",
}
