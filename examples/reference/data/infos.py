"""EmbodiedScan infos: which frames a scan has, and how its axes are aligned.

The files are JSON, or pickles, and a pickle may run any code. Here only numpy arrays, numpy scalars
and plain containers are read; everything else is refused before it is even imported.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .images import read_json

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ScanInfo:
    """What the infos say about one scan.

    Attributes:
        name: for example ``"scannet/scene0000_00"``.
        split: ``"train"``, ``"val"`` or ``"test"``.
        images: paths of the colour pictures, relative to the data folder.
        axis_align: (4, 4) float64 from the scan's frame to the world's; None where not given.
        depth_cam2img: (4, 4) float64 intrinsics of the depth maps; None where not given.
    """

    name: str
    split: str
    images: tuple[str, ...]
    axis_align: Tensor | None = None
    depth_cam2img: Tensor | None = None


def read_infos(folder: Path) -> dict[str, ScanInfo]:
    """Read and merge ``embodiedscan_infos_{train,val,test}.{json,pkl}``, those that are present.

    Args:
        folder: the folder of the files; it need not exist.

    Returns:
        The ScanNet scans by name, in file order; a scan that is listed twice keeps its first entry,
        and JSON comes before a pickle.

    Raises:
        ValueError: if a file is damaged, asks for a forbidden global, or lacks a field.
    """
    infos: dict[str, ScanInfo] = {}
    for split in SPLITS:
        for path in infos_files(folder, split):
            if path.is_file():
                for info in _scans(path, split):
                    infos.setdefault(info.name, info)
    return infos


def infos_files(folder: Path, split: str) -> tuple[Path, Path]:
    """Where the infos of a split may be: as JSON, as a pickle."""
    stem = f"embodiedscan_infos_{split}"
    return folder / f"{stem}.json", folder / f"{stem}.pkl"


def load_plain_pickle(path: Path) -> Any:
    """Load a pickle of numpy arrays, numpy scalars and plain containers; never anything else.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or asks for any other global, which is not imported.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.pkl"
        >>> _ = path.write_bytes(pickle.dumps({"a": np.zeros((2, 3))}))
        >>> load_plain_pickle(path)["a"].shape
        (2, 3)
    """
    with path.open("rb") as file:
        try:
            return _PlainUnpickler(file).load()
        # A damaged pickle can raise nearly anything.
        except Exception as error:
            raise ValueError(f"{path} must be a pickle of plain data; got {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows a fixed table of globals instead of importing."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _GLOBALS[module, name]
        except KeyError:
            message = f"the forbidden global {module}.{name}"
            raise pickle.UnpicklingError(message) from None


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, with which old pickle protocols spell bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the forbidden encoding {encoding}")
    return text.encode("latin1")


def _plain_globals() -> dict[tuple[str, str], Callable[..., Any]]:
    # numpy moved these functions between modules: its own objects know where they are now.
    array = np.zeros(1)
    functions: dict[tuple[str, str], Callable[..., Any]] = {
        ("multiarray", "_reconstruct"): array.__reduce__()[0],
        ("multiarray", "scalar"): array[0].__reduce__()[0],
        ("numeric", "_frombuffer"): array.__reduce_ex__(5)[0],
    }
    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("collections", "OrderedDict"): OrderedDict,
    }
    for core in ("numpy.core", "numpy._core"):
        table |= {(f"{core}.{module}", name): f for (module, name), f in functions.items()}
    for builtins in ("builtins", "__builtin__"):
        table |= {(builtins, kind.__name__): kind for kind in (set, frozenset, bytearray)}
    return table


_GLOBALS = _plain_globals()


def _scans(path: Path, split: str) -> list[ScanInfo]:
    content = read_json(path) if path.suffix == ".json" else load_plain_pickle(path)
    if not isinstance(content, dict) or not isinstance(content.get("data_list"), list):
        raise ValueError(f"{path} must hold a dict with a list 'data_list'; got {_kind(content)}")
    scans = []
    for entry in content["data_list"]:
        if not isinstance(entry, dict) or "sample_idx" not in entry:
            raise ValueError(f"{path} must name each scan by 'sample_idx'; got {_kind(entry)}")
        name = str(entry["sample_idx"])
        if name.startswith("scannet/"):
            images = _images(path, name, entry.get("images"))
            matrices = (
                _matrix(path, name, key, entry.get(key))
                for key in ("axis_align_matrix", "depth_cam2img")
            )
            scans.append(ScanInfo(name, split, images, *matrices))
    return scans


def _images(path: Path, name: str, images: object) -> tuple[str, ...]:
    try:
        paths = tuple(str(image["img_path"]) for image in images)  # type: ignore[attr-defined]
    except (TypeError, KeyError, IndexError) as error:
        got = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} must give each 'img_path' of {name}; got {got}") from error
    for image in paths:
        if Path(image).is_absolute() or ".." in Path(image).parts:
            raise ValueError(f"{path} must give paths inside the data folder; got {image}")
    return paths


def _matrix(path: Path, name: str, key: str, value: object) -> Tensor | None:
    if value is None:
        return None
    try:
        matrix = torch.from_numpy(np.array(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} must give {key} of {name} as numbers; got {error}") from error
    if matrix.shape != (4, 4) or not matrix.isfinite().all():
        got = tuple(matrix.shape)
        raise ValueError(f"{path} must give {key} of {name} as 4 x 4 finite numbers; got {got}")
    return matrix


def _kind(value: object) -> str:
    return f"a dict of {list(value)}" if isinstance(value, dict) else type(value).__name__
