"""Files of a scan, read one at a time: every complaint names the path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

NO_INSTANCE = 255
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I")


def read_colour(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a colour picture.

    Args:
        path: a JPEG or PNG file.
        size: height and width to resize to (bicubic, antialiased); None keeps the picture's own.

    Returns:
        (3, h, w) RGB in [0, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no picture, is cut off, or has another aspect than ``size``.
    """
    from PIL import Image

    picture = _decode(path)
    if size is not None and size != (picture.height, picture.width):
        height, width = size
        aspect = picture.width * height / (picture.height * width)
        if not 0.95 < aspect < 1.05:
            got = f"{picture.height} x {picture.width}"
            raise ValueError(f"{path} must have the aspect of its depth {size}; got {got}")
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    return pixels.movedim(-1, 0).float() / 255


def read_depth(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a depth map.

    Args:
        path: a 16-bit PNG in millimetres.
        size: height and width that the map must have; None allows any.

    Returns:
        (h, w) depth along the optical axis in metres, 0 = unknown.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no 16-bit picture, is cut off, or is not of that size.
    """
    picture = _decode(path)
    if picture.mode not in _SIXTEEN_BIT:
        raise ValueError(f"{path} must be a 16-bit PNG in millimetres; got mode {picture.mode}")
    _check_size(path, picture, size)
    return torch.from_numpy(np.array(picture).astype(np.float32)) / 1000


def read_labels(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a picture of object ids.

    Args:
        path: an 8-bit grey PNG; 255 = no object.
        size: height and width that the picture must have; None allows any.

    Returns:
        (h, w) long object ids, 255 = no object.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no 8-bit grey picture, is cut off, or is not of that size.
    """
    picture = _decode(path)
    if picture.mode not in ("L", "P"):
        raise ValueError(f"{path} must be an 8-bit PNG of object ids; got mode {picture.mode}")
    _check_size(path, picture, size)
    return torch.from_numpy(np.array(picture)).long()


def picture_size(path: Path) -> tuple[int, int]:
    """Read a picture's height and width from its header.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} must be a picture; got no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} must be a readable picture; got {error}") from error


def read_matrix(path: Path) -> Tensor:
    """Read a 4x4 matrix from a text file of 16 numbers.

    Returns:
        (4, 4) float64; its values may be infinite or not a number.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold exactly 16 numbers.
    """
    try:
        numbers = [float(word) for word in path.read_text(encoding="utf-8").split()]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} must hold 16 numbers; got no such file") from error
    except ValueError as error:
        raise ValueError(f"{path} must hold 16 numbers; got {error}") from error
    if len(numbers) != 16:
        raise ValueError(f"{path} must hold 16 numbers; got {len(numbers)}")
    return torch.tensor(numbers, dtype=torch.float64).reshape(4, 4)


def read_intrinsics(path: Path) -> Tensor:
    """Read pinhole intrinsics from the 4x4 matrix in a text file.

    Returns:
        (3, 3) float64, pixels.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold those of a pinhole camera.
    """
    return check_pinhole(read_matrix(path)[:3, :3], str(path))


def check_pinhole(matrix: Tensor, source: str) -> Tensor:
    """Check that a (3, 3) matrix is what a pinhole camera has, and hand it back.

    Raises:
        ValueError: naming the source, if it is not [fx s cx; 0 fy cy; 0 0 1] with fx, fy > 0.
    """
    fixed = torch.stack([matrix[1, 0], matrix[2, 0], matrix[2, 1], matrix[2, 2] - 1])
    if not (matrix.isfinite().all() and matrix.diagonal().min() > 0 and fixed.abs().max() < 1e-4):
        wanted = "finite, positive intrinsics fx s cx, 0 fy cy, 0 0 1"
        raise ValueError(f"{source} must hold {wanted}; got {matrix.tolist()}")
    return matrix


def read_json(path: Path) -> dict[str, Any]:
    """Read a json file that holds an object.

    Raises:
        ValueError: if the file is not json, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a json file; got {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a json object; got {type(content).__name__}")
    return content


def _decode(path: Path) -> Image:
    """Open and decode a picture, whatever its decoder calls the damage."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.copy()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} must be a picture; got no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} must be a whole picture; got {error}") from error


def _check_size(path: Path, picture: Image, size: tuple[int, int] | None) -> None:
    got = (picture.height, picture.width)
    if size is not None and got != size:
        raise ValueError(f"{path} must be of size {size}, as the scan's depth maps; got {got}")
