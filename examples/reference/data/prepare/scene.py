"""One raw scan, made into posed images and a picture from above: whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ross3d import BEVRenderer, uniform_frames

from ...files import flush, remove, replacing
from ..posed_images import read_posed_images
from ..recording import POSED_IMAGES, axis_alignment
from .manifest import (
    MANIFEST,
    VERSION,
    described,
    differences,
    fingerprint,
    read_manifest,
    write_manifest,
)
from .objects import ScanBoxes, read_scan_boxes
from .raw_frames import matrix_text, open_frames
from .raw_scan import RawScan

SCANS = Path("scannet", "scans")
STAGE = ".preparing"
PICTURE = "view_0.png"


@dataclass(frozen=True)
class Options:
    """How scans are prepared.

    Attributes:
        frame_skip: takes the frames whose number it divides.
        bev: pixels of the square picture from above; 0 = none.
        bev_frames: frames that it is rendered from, evenly spread; 0 = all.
    """

    frame_skip: int = 10
    bev: int = 432
    bev_frames: int = 100


@dataclass(frozen=True)
class Outcome:
    """What became of a scan.

    Attributes:
        scene: its name.
        status: ``"prepared"``, ``"kept"`` as it was whole already, or ``"failed"``.
        reason: why it was prepared again, or why it failed.
        frames: number of its frames.
        skipped: frames that were left out, by reason.
        notes: what was not as usual.
    """

    scene: str
    status: str
    reason: str = ""
    frames: int = 0
    skipped: dict[str, int] | None = None
    notes: tuple[str, ...] = ()


def prepare_scan(
    scan: RawScan, root: Path, split: str | None, options: Options, *, verify: bool = False
) -> Outcome:
    """Prepare one scan, unless it is whole already.

    Args:
        scan: the raw files; they are not changed.
        root: the data folder that is written.
        split: of the scan; None = not known.
        options: how.
        verify: compare checksums to tell whether it is whole, and not only sizes.

    Returns:
        What became of it. Damaged files are no exception but an outcome.
    """
    try:
        wanted = {"options": asdict(options), "inputs": fingerprint(scan.inputs)}
        manifest, reason = read_manifest(root, scan.scene), ""
        if manifest is not None:
            reason = differences(root, manifest, wanted, verify=verify)
            if not reason:
                if manifest["split"] != split:
                    write_manifest(root, manifest | {"split": split})
                return _outcome("kept", manifest)
        elif (place := root / POSED_IMAGES / scan.scene).exists():
            raise ValueError(f"{place} must be absent, or prepared by this recipe; got a folder")
        manifest = _write(scan, root, wanted | {"split": split}, options)
        return _outcome("prepared", manifest, reason)
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        return Outcome(scan.scene, "failed", str(error))


def _outcome(status: str, manifest: dict[str, Any], reason: str = "") -> Outcome:
    frames, notes = len(manifest["frames"]), tuple(manifest["notes"])
    return Outcome(manifest["scene"], status, reason, frames, manifest["skipped"], notes)


def _write(scan: RawScan, root: Path, wanted: dict[str, Any], options: Options) -> dict[str, Any]:
    """Write everything beside its place, then move it there, the frames with the manifest last."""
    stage = root / STAGE / scan.scene
    remove(stage)
    frames, extra = stage / POSED_IMAGES / scan.scene, stage / SCANS / scan.scene
    frames.mkdir(parents=True)
    extra.mkdir(parents=True)
    try:
        align = _alignment(scan)
        boxes = read_scan_boxes(scan, align)
        skipped, matrices = _write_frames(scan, frames, options.frame_skip)
        if scan.text is not None:
            shutil.copyfile(scan.text, extra / f"{scan.scene}.txt")
        if options.bev:
            _write_picture(stage, extra / PICTURE, options)
        names = sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file())
        stems = [path.stem for path in sorted(frames.glob("*.jpg"))]
        manifest = {
            "version": VERSION,
            "scene": scan.scene,
            **wanted,
            "outputs": described(stage, names, Path()),
            "frames": stems,
            "axis_align_matrix": align.tolist(),
            **matrices,
            **_boxes(boxes),
            "skipped": dict(skipped),
            "notes": list(boxes.notes),
        }
        text = json.dumps(manifest, indent=1)
        (frames / MANIFEST).write_text(text, encoding="utf-8")
        _publish(scan, root, frames, extra)
        return json.loads(text)
    finally:
        remove(stage)


def _alignment(scan: RawScan) -> Tensor:
    """From the scan's frame to the world's; the identity where it is not said."""
    path = scan.folder / f"{scan.scene}.txt"
    align = axis_alignment(path)
    if not align.isfinite().all():
        raise ValueError(f"{path} must give axisAlignment as finite numbers; got {align.tolist()}")
    return align


def _write_frames(
    scan: RawScan, folder: Path, every: int
) -> tuple[Counter[str], dict[str, list[list[float]]]]:
    """Write posed images; what was left out, and the intrinsics."""
    raw = open_frames(scan, every=every)
    count = 0
    for frame in raw.frames:
        stem = folder / f"{frame.number:05d}"
        stem.with_suffix(".jpg").write_bytes(frame.colour)
        stem.with_suffix(".png").write_bytes(frame.depth)
        stem.with_suffix(".txt").write_text(matrix_text(frame.pose), encoding="utf-8")
        count += 1
    if not count:
        got = ", ".join(f"{n} whose {why}" for why, n in raw.skipped.items()) or "no frames at all"
        raise ValueError(f"{scan.folder} must hold a whole frame; got {got}")
    matrices = {"cam2img": raw.colour_intrinsics, "depth_cam2img": raw.depth_intrinsics}
    for name, matrix in zip(("intrinsic", "depth_intrinsic"), matrices.values(), strict=True):
        (folder / f"{name}.txt").write_text(matrix_text(matrix), encoding="utf-8")
    return raw.skipped, {name: matrix.tolist() for name, matrix in matrices.items()}


def _write_picture(stage: Path, path: Path, options: Options) -> None:
    """Render the staged scan from above."""
    from ...frustums import bev_image

    posed = read_posed_images(stage)
    chosen = uniform_frames(len(posed), options.bev_frames or len(posed))
    with torch.no_grad():
        bev = BEVRenderer(options.bev)(posed.read_whole_views(chosen)[0])
    bev_image(bev).save(path)


def _boxes(boxes: ScanBoxes) -> dict[str, Any]:
    return {
        "boxes": boxes.true,
        "names": {str(number): name for number, name in sorted(boxes.names.items())},
        "proposals": boxes.proposals,
    }


def _publish(scan: RawScan, root: Path, frames: Path, extra: Path) -> None:
    """Move staged files to where they belong; a kill in between leaves no scan that looks whole."""
    final = root / SCANS / scan.scene
    final.mkdir(parents=True, exist_ok=True)
    for path in extra.iterdir():
        # The raw scan may lie in the data folder itself.
        to = final / path.name
        if not (scan.text is not None and to.exists() and scan.text.samefile(to)):
            with replacing(to) as temporary:
                shutil.copyfile(path, temporary)
    for path in (*frames.iterdir(), frames):
        flush(path)
    place = root / POSED_IMAGES / scan.scene
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(frames.parent / f"old-{scan.scene}")
    os.replace(frames, place)
    flush(place.parent)
