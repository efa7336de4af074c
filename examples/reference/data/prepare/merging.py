"""Prepared scans as one data folder: the files that list all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...files import replacing
from ..images import read_json
from ..infos import SPLITS
from ..recording import POSED_IMAGES
from .manifest import MANIFEST, read_manifest

USUAL = "train"
"""The split of scans of which none is known."""


def merge_scans(root: Path) -> list[str]:
    """Write the lists of a data folder from the manifests of its scans.

    ``embodiedscan/embodiedscan_infos_SPLIT.json``, ``metadata/scannet_SPLIT_{gt,pred}_box.json``
    and, of scans that are trained on, ``objects/SCENE.json``. What the lists say about scans that
    were not prepared here stays.

    Returns:
        The names of the prepared scans.

    Raises:
        ValueError: if a list that is there is damaged.
    """
    found = sorted(path.parent.name for path in (root / POSED_IMAGES).glob(f"*/{MANIFEST}"))
    manifests = [m for scene in found if (m := read_manifest(root, scene)) is not None]
    names = {f"scannet/{m['scene']}" for m in manifests}
    for split in SPLITS:
        own = [m for m in manifests if (m["split"] or USUAL) == split]
        infos = [_info(m) for m in own]
        _merge_infos(root / "embodiedscan" / f"embodiedscan_infos_{split}.json", infos, names)
        for kind, field in (("gt", "boxes"), ("pred", "proposals")):
            boxes = {f"scannet/{m['scene']}": m[field] for m in own if m[field] is not None}
            _merge(root / "metadata" / f"scannet_{split}_{kind}_box.json", boxes, names)
    for manifest in manifests:
        path = root / "objects" / f"{manifest['scene']}.json"
        if manifest["boxes"] is None:
            continue
        if (manifest["split"] or USUAL) == USUAL:
            _write(path, _named(manifest))
        elif path.is_file() and read_json(path) == _named(manifest):
            path.unlink()  # it was trained on before
    return sorted(names)


def _info(manifest: dict[str, Any]) -> dict[str, Any]:
    """What EmbodiedScan's infos say of a scan, as far as it is read."""
    folder = POSED_IMAGES / manifest["scene"]
    return {
        "sample_idx": f"scannet/{manifest['scene']}",
        "axis_align_matrix": manifest["axis_align_matrix"],
        "cam2img": manifest["cam2img"],
        "depth_cam2img": manifest["depth_cam2img"],
        "images": [{"img_path": f"{folder.as_posix()}/{x}.jpg"} for x in manifest["frames"]],
    }


def _named(manifest: dict[str, Any]) -> dict[str, Any]:
    """The named objects of a scan: those that have a box."""
    objects = [
        {"object_id": int(number), "name": name, "box": box}
        for number, name in manifest["names"].items()
        if any(box := manifest["boxes"][int(number)])
    ]
    return {"scene": f"scannet/{manifest['scene']}", "objects": objects}


def _merge_infos(path: Path, infos: list[dict[str, Any]], names: set[str]) -> None:
    listed = read_json(path).get("data_list") if path.is_file() else []
    if not isinstance(listed, list):
        raise ValueError(f"{path} must hold a list 'data_list'; got {type(listed).__name__}")
    kept = [x for x in listed if isinstance(x, dict) and x.get("sample_idx") not in names]
    if kept or infos or path.is_file():
        _write(path, {"metainfo": {}, "data_list": kept + infos})


def _merge(path: Path, rows: dict[str, Any], names: set[str]) -> None:
    listed = read_json(path) if path.is_file() else {}
    kept = {name: value for name, value in listed.items() if name not in names}
    if kept or rows or path.is_file():
        _write(path, kept | rows)


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
