from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference.data.ply import ORDERS, read_ply_vertices
from scannet_fixture import ply_bytes

POINTS = np.random.default_rng(0).normal(size=(5, 3))


@pytest.mark.parametrize("form", list(ORDERS))
def test_every_format(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(ply_bytes(POINTS, form))
    got = read_ply_vertices(path)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, POINTS.astype("f4"), rtol=1e-7)


def test_the_red_kitchen_as_open3d_reads_it(shared: Path) -> None:
    open3d = pytest.importorskip("open3d", exc_type=ImportError)
    path = shared / "red_kitchen/scannet/scans/redkitchen_00/redkitchen_00_vh_clean_2.ply"
    wanted = np.asarray(open3d.io.read_point_cloud(str(path)).points)
    np.testing.assert_array_equal(read_ply_vertices(path), wanted)


def test_doubles_and_other_orders(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    head = b"ply\r\nformat ascii 1.0\r\nelement vertex 1\r\nproperty uchar a\r\n"
    head += b"property double z\r\nproperty double x\r\nproperty double y\r\nend_header\r\n"
    path.write_bytes(head + b"7 3.25 1.5 2\r\n")
    assert read_ply_vertices(path).tolist() == [[1.5, 2.0, 3.25]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ply\n", b"plx\n", "be a PLY file; got another header"),
        (b"end_header\n", b"x\n" * 5000, "be a PLY file; got another header"),
        (b"format ascii", b"format text", "be of a format in .*; got 'text'"),
        (b"vertex 5", b"vertex many", "have the header of a PLY file; got .*many"),
        (b"property float x", b"property real x", "have the header of a PLY file; got .*real"),
        (b"property float x", b"property float u", "begin with vertices x, y, z; got vertex"),
        (b"property float x", b"property list uchar int x", "begin with vertices x, y, z"),
        (b"element vertex 5", b"element face 5", "begin with vertices x, y, z; got face"),
        (b"property uchar red", b"property uchar x", "hold vertices; got 5 of"),
        (b"vertex 5", b"vertex 0", "hold vertices; got 0"),
        (b"vertex 5", b"vertex 9", "hold (9 vertices; got 6|numbers; got)"),
        (b" 9 8 7 255\n", b" nan 8\n", None),
    ],
)
def test_damaged_headers(tmp_path: Path, old: bytes, new: bytes, message: str | None) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(ply_bytes(POINTS, "ascii").replace(old, new))
    if message is None:  # other properties are not read
        assert len(read_ply_vertices(path)) == 5
        return
    with pytest.raises(ValueError, match=rf"a\.ply must {message}"):
        read_ply_vertices(path)


def test_damaged_vertices(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(ply_bytes(POINTS)[:-40])
    with pytest.raises(ValueError, match=r"a\.ply must hold 5 vertices; got 3"):
        read_ply_vertices(path)
    path.write_bytes(ply_bytes(np.full((3, 3), np.nan)))
    with pytest.raises(ValueError, match=r"a\.ply must hold finite positions"):
        read_ply_vertices(path)
    content = ply_bytes(POINTS, "ascii")
    path.write_bytes(content.partition(b"end_header\n")[0] + b"end_header\na b c\n")
    with pytest.raises(ValueError, match=r"a\.ply must hold numbers; got"):
        read_ply_vertices(path)
    path.write_bytes(content.partition(b"end_header\n")[0] + b"end_header\n1 2 3\n")
    with pytest.raises(ValueError, match=r"a\.ply must hold 5 vertices; got 1"):
        read_ply_vertices(path)
    with pytest.raises(FileNotFoundError, match=r"b\.ply must be a PLY file; got no such file"):
        read_ply_vertices(tmp_path / "b.ply")
