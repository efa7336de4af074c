"""Masks of instances as SciPy writes sparse matrices, read with NumPy alone."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

FIELDS = {
    "csr": ("indptr", "indices"),
    "csc": ("indptr", "indices"),
    "coo": ("row", "col"),
}


def read_masks(path: Path, *, most: int) -> tuple[list[np.ndarray], int]:
    """Read the first rows of a sparse matrix of instances x vertices.

    Args:
        path: from ``scipy.sparse.save_npz``: rows compressed, columns compressed, or coordinates.
            It is never unpickled.
        most: number of rows wanted.

    Returns:
        The vertices of each row, ascending, and the number of all vertices.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or something else; the message names it.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            form = arrays["format"].item()
            form = form.decode() if isinstance(form, bytes) else str(form)
            if form not in FIELDS:
                raise ValueError(f"the format {form!r}")
            height, width = (int(x) for x in arrays["shape"])
            first, second = (arrays[name].astype(np.int64) for name in FIELDS[form])
            data = arrays["data"]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} must hold masks; got no such file") from error
    except (OSError, KeyError, TypeError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} must be a sparse matrix of SciPy; got {error}") from error
    rows, columns = _coordinates(path, form, (height, width), first, second, len(data))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if not inside.all():
        raise ValueError(f"{path} must hold indices inside {height} x {width}; got others")
    true = data.astype(bool)
    rows, columns = rows[true], columns[true]
    return [np.unique(columns[rows == i]) for i in range(min(height, most))], width


def _coordinates(
    path: Path,
    form: str,
    shape: tuple[int, int],
    first: np.ndarray,
    second: np.ndarray,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each entry."""
    if form != "coo":
        length = shape[0] if form == "csr" else shape[1]
        whole = len(first) == length + 1 and first[0] == 0 and (np.diff(first) >= 0).all()
        if not whole or first[-1] != count:
            raise ValueError(f"{path} must hold {length} rising pointers to {count}; got others")
        first = np.repeat(np.arange(length), np.diff(first))
    if len(first) != count or len(second) != count:
        got = f"{len(first)} and {len(second)}"
        raise ValueError(f"{path} must hold {count} indices of rows and columns; got {got}")
    return (second, first) if form == "csc" else (first, second)
