"""Where the files of a raw scan are.

RAW/[scans/]SCENE/SCENE.sens, or color/ depth/ pose/ intrinsic/ as the exporter writes them
RAW/[scans/]SCENE/SCENE.txt                                  axisAlignment (optional)
RAW/[scans/]SCENE/SCENE_vh_clean_2.ply                       vertices (optional)
RAW/[scans/]SCENE/SCENE_vh_clean_2.0.010000.segs.json        segment of each vertex (optional)
RAW/[scans/]SCENE/SCENE.aggregation.json                     objects of segments (optional)
RAW/mask/SCENE.mask.npz                                      proposals (optional)
RAW/scannetv2_{train,val,test}.txt                           splits (optional)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..exported import FOLDERS
from ..infos import SPLITS

SCANS = ("scans", "scans_test", ".")
MASKS = "mask"


@dataclass(frozen=True)
class RawScan:
    """The files of one scan; those that are not there are None.

    Attributes:
        scene: its name, for example ``"scene0000_00"``.
        folder: where it is.
        mask: the file of its proposals.
    """

    scene: str
    folder: Path
    mask: Path | None = None

    @property
    def sens(self) -> Path | None:
        """The recording."""
        return self._file(".sens")

    @property
    def text(self) -> Path | None:
        """The file that says how the scan is aligned."""
        return self._file(".txt")

    @property
    def vertices(self) -> Path | None:
        """The mesh, of which the vertices are needed."""
        return self._file("_vh_clean_2.ply")

    @property
    def segments(self) -> Path | None:
        """The segment of each vertex."""
        return self._file("_vh_clean_2.0.010000.segs.json")

    @property
    def aggregation(self) -> Path | None:
        """The objects that segments make."""
        return self._file(".aggregation.json")

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file that is there; of exported frames the folders."""
        files = (self.sens, self.text, self.vertices, self.segments, self.aggregation, self.mask)
        folders = (self.folder / name for name in (*FOLDERS, "intrinsic"))
        return (*(x for x in files if x), *(x for x in folders if x.is_dir()))

    def _file(self, ending: str) -> Path | None:
        path = self.folder / f"{self.scene}{ending}"
        return path if path.is_file() else None


def find_raw_scans(raw: Path, masks: Path | None = None) -> list[RawScan]:
    """Find the scans of a folder, in the order of their names.

    Args:
        raw: the folder.
        masks: where the proposals are; None = ``RAW/mask``.

    Raises:
        ValueError: if it holds no scan.
    """
    masks = raw / MASKS if masks is None else masks
    scans: dict[str, RawScan] = {}
    for folder in (path for name in SCANS for path in sorted((raw / name).glob("*/"))):
        mask = masks / f"{folder.name}.mask.npz"
        scan = RawScan(folder.name, folder, mask if mask.is_file() else None)
        if scan.sens is not None or all((folder / name).is_dir() for name in FOLDERS):
            scans.setdefault(scan.scene, scan)
    if not scans:
        wanted = f"scans/SCENE/SCENE.sens, or {', '.join(FOLDERS)} in scans/SCENE"
        raise ValueError(f"RAW must be a folder with {wanted}; got none in {raw}")
    return [scans[name] for name in sorted(scans)]


def read_splits(folder: Path) -> dict[str, str]:
    """Read ``scannetv2_{train,val,test}.txt``: the split of each scan; empty where there are none.

    Raises:
        ValueError: if a scan is in two splits.
    """
    found: dict[str, str] = {}
    for split in SPLITS:
        path = folder / f"scannetv2_{split}.txt"
        for scene in path.read_text(encoding="utf-8").split() if path.is_file() else ():
            if found.setdefault(scene, split) != split:
                raise ValueError(f"{path} must list scans of one split; got {scene} again")
    return found
