"""Vertices of a PLY file, ASCII or binary, without a mesh library."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
LONGEST = 4096
"""Lines of a header, at most: a damaged file may be one endless line."""


class _Element(NamedTuple):
    name: str
    count: int
    properties: list[tuple[str, str]]


def read_ply_vertices(path: Path) -> np.ndarray:
    """Read where the vertices are.

    Args:
        path: a PLY file whose first element is ``vertex``, such as ScanNet's
            ``*_vh_clean_2.ply``; other elements and properties are not read.

    Returns:
        (n, 3) float64 x, y, z, metres.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, is cut off, or a position is not finite; the message
            names it.
    """
    try:
        with path.open("rb") as file:
            order, vertex = _header(file, path)
            points = (_binary if order else _ascii)(file, path, vertex, order)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} must be a PLY file; got no such file") from error
    if not np.isfinite(points).all():
        raise ValueError(f"{path} must hold finite positions; got others")
    return points


def _header(file: BinaryIO, path: Path) -> tuple[str, _Element]:
    """Byte order, empty for ASCII, and the element of vertices."""
    lines = [line.decode("latin1").split() for line in _lines(file)]
    if lines[:1] != [["ply"]] or lines[-1] != ["end_header"]:
        raise ValueError(f"{path} must be a PLY file; got another header")
    form, elements = "", list[_Element]()
    try:
        for words in lines[1:-1]:
            if words[:1] == ["format"]:
                form = words[1]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2]), []))
            elif words[:1] == ["property"]:
                kind = "list" if words[1] == "list" else TYPES[words[1]]
                elements[-1].properties.append((words[-1], kind))
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{path} must have the header of a PLY file; got {words}") from error
    if form not in ORDERS:
        raise ValueError(f"{path} must be of a format in {list(ORDERS)}; got {form!r}")
    vertex = elements[0] if elements else _Element("", 0, [])
    names = [name for name, _ in vertex.properties]
    lists = any(kind == "list" for _, kind in vertex.properties)
    if vertex.name != "vertex" or not {"x", "y", "z"} <= set(names) or lists:
        raise ValueError(f"{path} must begin with vertices x, y, z; got {vertex.name} {names}")
    if vertex.count < 1 or len(set(names)) < len(names):
        raise ValueError(f"{path} must hold vertices; got {vertex.count} of {names}")
    return ORDERS[form], vertex


def _lines(file: BinaryIO) -> list[bytes]:
    """The lines of a header; without its end where it has none."""
    lines = [b""]
    while lines[-1].strip() != b"end_header" and len(lines) < LONGEST:
        lines.append(file.readline(LONGEST))
        if not lines[-1]:
            break
    return lines[1:]


def _binary(file: BinaryIO, path: Path, vertex: _Element, order: str) -> np.ndarray:
    layout = np.dtype([(name, order + kind) for name, kind in vertex.properties])
    content = file.read(vertex.count * layout.itemsize)
    whole = len(content) // layout.itemsize
    if whole < vertex.count:
        raise ValueError(f"{path} must hold {vertex.count} vertices; got {whole}")
    rows = np.frombuffer(content, dtype=layout)
    return np.stack([rows[axis].astype(np.float64) for axis in "xyz"], axis=-1)


def _ascii(file: BinaryIO, path: Path, vertex: _Element, order: str) -> np.ndarray:
    names = [name for name, _ in vertex.properties]
    columns = [names.index(axis) for axis in "xyz"]
    lines = list(islice(file, vertex.count))
    try:
        rows = [[float(words[i]) for i in columns] for words in map(bytes.split, lines)]
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} must hold numbers; got {error}") from error
    if len(rows) < vertex.count:
        raise ValueError(f"{path} must hold {vertex.count} vertices; got {len(rows)}")
    return np.array(rows, dtype=np.float64).reshape(-1, 3)
