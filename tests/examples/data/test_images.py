from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference.data.images import (
    picture_size,
    read_colour,
    read_depth,
    read_intrinsics,
    read_json,
    read_labels,
    read_matrix,
)


@pytest.fixture
def colour(tmp_path: Path) -> Path:
    path = tmp_path / "00000.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((64, 48)).save(path, quality=95)
    return path


@pytest.fixture
def depth(tmp_path: Path) -> Path:
    path = tmp_path / "00000.png"
    millimetres = np.random.default_rng(0).integers(0, 65536, (48, 64), dtype=np.uint16)
    millimetres[0, 0] = 0
    millimetres[1, 2] = 1234
    Image.fromarray(millimetres).save(path)
    return path


def test_colour(colour: Path) -> None:
    image = read_colour(colour)
    assert image.shape == (3, 48, 64)
    assert image.dtype == torch.float32
    expected = np.asarray(Image.open(colour)) / 255
    np.testing.assert_allclose(image.permute(1, 2, 0), expected, atol=1e-6)
    assert read_colour(colour, (24, 32)).shape == (3, 24, 32)
    torch.testing.assert_close(read_colour(colour, (48, 64)), image)


def test_grey_colour_becomes_rgb(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 51).save(tmp_path / "a.jpg")
    torch.testing.assert_close(
        read_colour(tmp_path / "a.jpg"), torch.full((3, 4, 4), 0.2), atol=0.01, rtol=0
    )


def test_colour_of_other_aspect_is_refused(colour: Path) -> None:
    with pytest.raises(ValueError, match=r"00000\.jpg must have the aspect of .*; got 48 x 64"):
        read_colour(colour, (48, 48))


def test_depth_is_metres(depth: Path) -> None:
    metres = read_depth(depth, (48, 64))
    assert metres.dtype == torch.float32
    assert metres[0, 0] == 0
    torch.testing.assert_close(metres[1, 2], torch.tensor(1.234))
    assert metres.max() > 60


def test_labels(tmp_path: Path) -> None:
    ids = np.array([[0, 3], [254, 255]], dtype=np.uint8)
    Image.fromarray(ids).save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png", (2, 2)).tolist() == ids.tolist()


def test_picture_size(colour: Path) -> None:
    assert picture_size(colour) == (48, 64)


def test_kinds_of_png_are_told_apart(depth: Path, colour: Path) -> None:
    eight = depth.with_name("eight.png")
    Image.new("L", (64, 48)).save(eight)
    with pytest.raises(ValueError, match=r"eight\.png must be a 16-bit PNG .*; got mode L"):
        read_depth(eight)
    with pytest.raises(ValueError, match=r"00000\.png must be an 8-bit PNG .*; got mode I"):
        read_labels(depth)


def test_other_size_is_named(depth: Path) -> None:
    with pytest.raises(ValueError, match=r"00000\.png must be of size \(24, 32\)"):
        read_depth(depth, (24, 32))
    Image.new("L", (3, 2)).save(depth)
    with pytest.raises(ValueError, match=r"00000\.png must be of size \(24, 32\).*got \(2, 3\)"):
        read_labels(depth, (24, 32))


@pytest.mark.parametrize("read", [read_colour, read_depth, read_labels, picture_size])
def test_missing_picture_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "a.png"))):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_colour, read_depth, read_labels, picture_size])
@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_no_picture_is_named(tmp_path: Path, read: object, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png must be a (whole|readable) picture; got"):
        read(path)


@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["colour", "depth"])
def test_truncated_picture_is_named(request: pytest.FixtureRequest, kind: str, part: float) -> None:
    path = request.getfixturevalue(kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    read = {"colour": read_colour, "depth": read_depth}[kind]
    with pytest.raises(ValueError, match=re.escape(str(path)) + " must be a whole picture; got"):
        read(path)


def test_depth_with_flipped_bytes_is_refused(depth: Path) -> None:
    content = bytearray(depth.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    depth.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"00000\.png must be a whole picture"):
        read_depth(depth)


def test_matrix(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 2 3 4\n5 6 7 8\n9 10 11 -inf\n0 0 0 1\n")
    assert read_matrix(path)[1].tolist() == [5, 6, 7, 8]
    assert not read_matrix(path).isfinite().all()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "got 0"),
        (b"1 2 3", "got 3"),
        (b"1 " * 17, "got 17"),
        (b"x " * 16, "could not convert"),
        (b"\xff\xfe\x00", "can't decode"),
    ],
)
def test_damaged_matrix_is_named(tmp_path: Path, content: bytes, got: str) -> None:
    path = tmp_path / "00010.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"00010\.txt must hold 16 numbers; .*{got}"):
        read_matrix(path)


def test_missing_matrix_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"00010\.txt"):
        read_matrix(tmp_path / "00010.txt")


def test_intrinsics(tmp_path: Path) -> None:
    path = tmp_path / "depth_intrinsic.txt"
    path.write_text("5 0 3 0  0 6 2 0  0 0 1 0  0 0 0 1")
    assert read_intrinsics(path).tolist() == [[5, 0, 3], [0, 6, 2], [0, 0, 1]]
    for focal in ("0", "-5", "nan", "inf"):
        path.write_text(f"{focal} 0 3 0  0 6 2 0  0 0 1 0  0 0 0 1")
        with pytest.raises(ValueError, match=r"depth_intrinsic\.txt must hold finite, positive"):
            read_intrinsics(path)


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1]}')
    assert read_json(path) == {"a": [1]}
    for content, message in [
        (b"", "must be a json file; got"),
        (b'{"a": [1', "must be a json file; got"),
        (b"\xff\xfe\x00", "must be a json file; got"),
        (b"[1]", "must hold a json object; got list"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"a\.json {message}"):
            read_json(path)
