"""Open a scan of any known layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .exported import FOLDERS, read_exported
from .posed_images import read_posed_images
from .posed_scan import PosedScan
from .recording import POSED_IMAGES
from .scannet import SHIPPED
from .sens import read_sens
from .transforms import read_transforms
from .tum import LISTS, read_tum
from .up_axis import turn_up

LAYOUTS = """a data folder with scannet/posed_images, or one of its scans; a folder with color,
depth, pose and intrinsic; a .sens file; a transforms.json; or a TUM RGB-D folder"""


def open_scan(
    path: str | Path,
    *,
    scene: str | None = None,
    up: str | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    depth_unit: float | None = None,
) -> PosedScan:
    """Open a scan; its world is turned so that z is up, and none of its pictures is read.

    Args:
        path: file or folder, or the name of a scan that is shipped with the examples.
        scene: which scan of a data folder; None = the first.
        up: the axis that points up in the files' world, for example ``"-y"``; None = what the
            layout says, else what the cameras say.
        intrinsics: fx, fy, cx, cy in pixels, of a TUM RGB-D folder.
        depth_unit: metres per step of the depth maps of a TUM RGB-D folder or transforms.json.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the path is no scan, a file is damaged (the message names it), or an option
            does not belong to the layout.
    """
    place = Path(path)
    if not place.exists() and (SHIPPED / path).exists():
        place = SHIPPED / path
    given = {"scene": scene, "intrinsics": intrinsics, "depth_unit": depth_unit}
    return turn_up(_read(place, {k: v for k, v in given.items() if v is not None}), up)


def _read(place: Path, given: dict[str, Any]) -> PosedScan:
    """Read a scan by the reader of its layout."""
    recordings = list(place.glob("*.sens")) if place.is_dir() else []
    if place.suffix == ".sens" or len(recordings) == 1:
        return read_sens(*recordings or [place], **_only(place, given))
    if place.suffix == ".json" or (place / "transforms.json").is_file():
        file = place if place.suffix == ".json" else place / "transforms.json"
        return read_transforms(file, **_only(place, given, "depth_unit"))
    if all((place / name).is_file() for name in LISTS[:2]):
        return read_tum(place, **_only(place, given, "intrinsics", "depth_unit"))
    if all((place / name).is_dir() for name in FOLDERS):
        return read_exported(place, **_only(place, given))
    if (place / POSED_IMAGES).is_dir():
        return read_posed_images(place, **_only(place, given, "scene"))
    scan = place.resolve()
    if scan.is_dir() and scan.parent.parts[-2:] == POSED_IMAGES.parts:
        return read_posed_images(scan.parents[2], scan.name, **_only(place, given))
    raise ValueError(f"SCAN must be {' '.join(LAYOUTS.split())}; got {place}")


def _only(place: Path, given: dict[str, Any], *names: str) -> dict[str, Any]:
    """The options that were given, if the layout knows them all."""
    if strange := [name for name in given if name not in names]:
        known = ", ".join(names) or "no such options"
        raise ValueError(f"{place} must be opened with {known}; got {', '.join(strange)}")
    return given
