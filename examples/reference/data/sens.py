"""A scan in one ``.sens`` file, ScanNet's recording format: read a frame at a time.

Little endian: version 4, the sensor's name, four 4x4 matrices (intrinsics and extrinsics of colour
and of depth), compressions, sizes, depth steps per metre, number of frames; then for each frame
its 4x4 camera-to-world, two timestamps, two lengths, and the compressed colour and depth.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .images import read_colour
from .posed_scan import Frame, Pixels, PosedScan, gather
from .recording import axis_alignment

VERSION = 4
PNG, JPEG = 1, 2
RAW, ZLIB = 0, 1
_MATRICES = struct.Struct("<64f")
_SIZES = struct.Struct("<ii4IfQ")
_FRAME = struct.Struct("<16f4Q")


class _Header(NamedTuple):
    matrices: Tensor
    jpeg: bool
    zlib: bool
    size: tuple[int, int]
    steps: float
    count: int


class _Record(NamedTuple):
    pose: Tensor
    start: int
    colour: int
    depth: int


@dataclass(frozen=True)
class SensFile:
    """The frames of a ``.sens`` file as they are stored.

    Attributes:
        path: the file.
        header: what it says of all frames.
        records: the pose of each frame, as stored: not aligned, and not always finite; and where
            its pictures are.
    """

    path: Path
    header: _Header
    records: tuple[_Record, ...]

    @property
    def colour_intrinsics(self) -> Tensor:
        """(4, 4) float64, pixels of the colour pictures."""
        return self.header.matrices[0]

    @property
    def depth_intrinsics(self) -> Tensor:
        """(4, 4) float64, pixels of the depth maps."""
        return self.header.matrices[2]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.records)

    def colour(self, index: int) -> BytesIO:
        """The colour picture of a frame, a JPEG or PNG file.

        Raises:
            OSError: if the file cannot be read.
        """
        record = self.records[index]
        with self.path.open("rb") as file:
            file.seek(record.start)
            return _Part(f"{self.path}, colour of frame {index},", file.read(record.colour))

    def depth(self, index: int) -> np.ndarray:
        """The depth map of a frame in steps, (h, w) uint16, 0 = unknown.

        Raises:
            ValueError: if it is damaged; the message names the frame.
        """
        record = self.records[index]
        with self.path.open("rb") as file:
            file.seek(record.start + record.colour)
            content = file.read(record.depth)
        height, width = self.header.size
        length = 2 * height * width
        if self.header.zlib:
            # The limit keeps a few damaged bytes from asking for gigabytes.
            try:
                content = zlib.decompressobj().decompress(content, length + 1)
            except zlib.error as error:
                place = f"{self.path}, depth of frame {index},"
                raise ValueError(f"{place} must be zlib; got {error}") from error
        if len(content) != length:
            place, got = f"{self.path}, depth of frame {index},", f"{len(content)} or more bytes"
            raise ValueError(f"{place} must be of {length} bytes; got {got}")
        return np.frombuffer(content, dtype="<u2").reshape(height, width)


def open_sens(path: Path) -> SensFile:
    """Find the frames of a ``.sens`` file; their pictures stay in it until they are read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is cut off, or is not of this format.
    """
    records = []
    with path.open("rb") as file:
        header = _header(file, path)
        end = path.stat().st_size
        for index in range(header.count):
            content = file.read(_FRAME.size)
            *pose, _, _, colour, depth = (
                _FRAME.unpack(content) if len(content) == _FRAME.size else (0, 0, end, end)
            )
            start = file.tell()
            if start + colour + depth > end:
                got = f"{index}, and the end of the file in the next"
                raise ValueError(f"{path} must hold {header.count} whole frames; got {got}")
            file.seek(colour + depth, os.SEEK_CUR)
            matrix = torch.tensor(pose, dtype=torch.float64).reshape(4, 4)
            records.append(_Record(matrix, start, colour, depth))
    return SensFile(path, header, tuple(records))


def read_sens(path: Path) -> PosedScan:
    """Find the frames of a ``.sens`` file; their pictures stay in it until they are read.

    The world is aligned if a text file of the same name beside it says how (``axisAlignment``).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is cut off, or is not of this format, or no frame is usable.
    """
    align = axis_alignment(path.with_suffix(".txt"))
    sens = open_sens(path)
    frames = [
        Frame(str(index), align @ record.pose, partial(_load, sens, index))
        for index, record in enumerate(sens.records)
    ]
    return gather(path, "ScanNet .sens", frames, up="+z")


def _header(file: BinaryIO, path: Path) -> _Header:
    (version,) = _unpack(file, path, struct.Struct("<I"))
    if version != VERSION:
        raise ValueError(f"{path} must be a .sens file of version {VERSION}; got {version}")
    (length,) = _unpack(file, path, struct.Struct("<Q"))
    file.seek(length, os.SEEK_CUR) if length < 2**20 else file.seek(0, os.SEEK_END)
    matrices = torch.tensor(_unpack(file, path, _MATRICES), dtype=torch.float64).reshape(4, 4, 4)
    colour, depth, _, _, width, height, steps, count = _unpack(file, path, _SIZES)
    intrinsics = matrices[2, :3, :3]
    if colour not in (PNG, JPEG) or depth not in (RAW, ZLIB):
        got = f"{colour} and {depth}"
        raise ValueError(f"{path} must hold JPEG or PNG (2, 1) and zlib or raw (1, 0); got {got}")
    if not (intrinsics.isfinite().all() and intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0):
        got = intrinsics.tolist()
        raise ValueError(f"{path} must hold finite, positive intrinsics; got {got}")
    if not (0 < width < 2**15 and 0 < height < 2**15 and steps > 0):
        got = f"{height} x {width}, {steps} steps per metre"
        raise ValueError(f"{path} must say the size and steps of its depth maps; got {got}")
    return _Header(matrices, colour == JPEG, depth == ZLIB, (height, width), steps, count)


def _unpack(file: BinaryIO, path: Path, layout: struct.Struct) -> tuple[Any, ...]:
    content = file.read(layout.size)
    if len(content) < layout.size:
        raise ValueError(f"{path} must be a .sens file; got its end inside the header")
    return layout.unpack(content)


def _load(sens: SensFile, index: int) -> Pixels:
    depths = torch.from_numpy(sens.depth(index).astype(np.float32)) / sens.header.steps
    return read_colour(sens.colour(index), sens.header.size), depths, sens.depth_intrinsics[:3, :3]


class _Part(BytesIO):
    """A file inside a file: it says where it is when a reader complains about it."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.place = name

    def __str__(self) -> str:
        return self.place
