"""What was made of a scan, from what, and how to tell whether it is still whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...files import replacing
from ..images import read_json
from ..recording import POSED_IMAGES

VERSION = 1
MANIFEST = "manifest.json"


def manifest_path(root: Path, scene: str) -> Path:
    """Where the manifest of a prepared scan is: with its frames, which appear together."""
    return root / POSED_IMAGES / scene / MANIFEST


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Size and time of change of files; of folders the number of their files and the latest."""
    found = {}
    for path in paths:
        stats = [x.stat() for x in sorted(path.iterdir())] if path.is_dir() else [path.stat()]
        size = len(stats) if path.is_dir() else stats[0].st_size
        found[path.name] = [size, max((x.st_mtime_ns for x in stats), default=0)]
    return found


def described(folder: Path, names: Iterable[Path], root: Path) -> dict[str, dict[str, object]]:
    """Size and SHA-256 of files, by their path in the data folder.

    Args:
        folder: where the files are now.
        names: their paths inside that.
        root: the path, inside the data folder, at which they will be.
    """
    return {
        (root / name).as_posix(): {
            "bytes": (folder / name).stat().st_size,
            "sha256": checksum(folder / name),
        }
        for name in names
    }


def read_manifest(root: Path, scene: str) -> dict[str, Any] | None:
    """The manifest of a prepared scan; None where there is none that can be read."""
    path = manifest_path(root, scene)
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if content.get("version") == VERSION else None


def write_manifest(root: Path, manifest: Mapping[str, Any]) -> None:
    """Write another manifest of a prepared scan."""
    with replacing(manifest_path(root, manifest["scene"])) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def differences(
    root: Path, manifest: Mapping[str, Any], wanted: Mapping[str, Any], *, verify: bool
) -> str:
    """Why a scan has to be prepared again; empty if it has not.

    Args:
        root: the data folder.
        manifest: of the scan.
        wanted: options and inputs, as a manifest holds them.
        verify: compare the files' checksums, and not only their sizes.
    """
    for name, value in wanted.items():
        if manifest.get(name) != value:
            return f"other {name}"
    for name, file in manifest["outputs"].items():
        path = root / name
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            return f"{name} is missing or cut off"
        if verify and checksum(path) != file["sha256"]:
            return f"{name} has another checksum"
    return ""
