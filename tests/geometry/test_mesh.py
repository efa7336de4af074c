from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from strategies import rigid

from ross3d.geometry.mesh import Mesh, load_open3d, read_mesh

HEADER = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
end_header
"""
VERTICES = "0 0 0 255 0 0\n2 0 0 0 255 0\n2 1 0 0 0 255\n0 1 0.5 51 102 153\n"
FACES = "3 0 1 2\n3 0 2 3\n"
QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]])


def quad(width: float = 2.0, depth: float = 1.0) -> Mesh:
    corners = [[0.0, 0.0, 0.0], [width, 0.0, 0.0], [width, depth, 0.0], [0.0, depth, 0.0]]
    return Mesh(torch.tensor(corners), QUAD, torch.rand(4, 3))


@pytest.mark.usefixtures("open3d")
def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    path.write_text(HEADER + VERTICES + FACES)
    mesh = read_mesh(path)
    assert mesh.vertices.tolist() == [[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0.5]]
    assert mesh.triangles.equal(QUAD)
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.4, 0.6]])
    torch.testing.assert_close(mesh.colours, expected)


@pytest.mark.usefixtures("open3d")
@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "whole file with triangles; got none in .*a.ply"),
        ("no mesh at all", "whole file with triangles; got none in .*a.ply"),
        (HEADER + VERTICES[:20], "whole file with triangles; got none in .*a.ply"),
        (HEADER + VERTICES + FACES[:8], "whole file; got 1 of 2 faces in .*a.ply"),
        (HEADER + VERTICES + "3 0 1 2\n3 0 2 9\n", "of the 4 vertices; got 0 to 9 in .*a.ply"),
        (HEADER + "nan" + VERTICES[1:] + FACES, "vertices must be finite; .* in .*a.ply"),
        (
            HEADER.replace("red", "a").replace("green", "b").replace("blue", "c")
            + VERTICES
            + FACES,
            "a colour at every vertex; got none in .*a.ply",
        ),
    ],
)
def test_a_damaged_file_is_named(content: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text(content)
    with pytest.raises(ValueError, match=match):
        read_mesh(tmp_path / "a.ply")


@pytest.mark.usefixtures("open3d")
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mesh must be a file; got .*none\.ply"):
        read_mesh(tmp_path / "none.ply")


def test_moving_a_mesh_moves_its_vertices() -> None:
    mesh, transform = quad(), rigid()
    moved = mesh.moved(transform.double())
    expected = mesh.vertices @ transform[:3, :3].T + transform[:3, 3]
    torch.testing.assert_close(moved.vertices, expected)
    assert moved.triangles is mesh.triangles
    assert mesh.to("cpu").vertices.equal(mesh.vertices)
    with pytest.raises(ValueError, match="transform must be of shape"):
        mesh.moved(torch.eye(3))


def test_samples_are_spread_evenly_over_the_surface() -> None:
    mesh = quad()
    points = mesh.sample(4000)
    assert points.equal(mesh.sample(4000))
    assert (points[:, 2] == 0).all()
    places = (points[:, :2] * 4).floor().long()  # 8 x 4 cells
    counts = (places[:, 0] * 4 + places[:, 1]).bincount(minlength=32)
    assert counts.shape == (32,)
    assert counts.min() > 110
    assert counts.max() < 140


def test_large_triangles_get_more_samples() -> None:
    small = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, 1, 1]])
    vertices = torch.cat([small, small * torch.tensor([3.0, 3.0, 0.0])])
    mesh = Mesh(vertices, torch.arange(6).view(2, 3), torch.zeros(6, 3))
    assert abs((mesh.sample(1000)[:, 2] == 1).sum() - 100) <= 1


def test_without_area_there_are_no_samples() -> None:
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3).long(), torch.zeros(0, 3))
    assert empty.sample(5).shape == (0, 3)
    assert Mesh(torch.zeros(3, 3), torch.arange(3)[None], torch.zeros(3, 3)).sample(5).numel() == 0


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"vertices": torch.zeros(4, 2)}, "vertices must be of shape"),
        ({"colours": torch.zeros(3, 3)}, "colours must be of shape"),
        ({"triangles": torch.zeros(2, 4).long()}, "triangles must be of shape"),
        ({"triangles": torch.zeros(2, 3)}, "triangles must be long; got torch.float32"),
        ({"triangles": QUAD + 1}, "triangles must be of the 4 vertices; got 1 to 4"),
        ({"triangles": QUAD - 1}, "triangles must be of the 4 vertices; got -1 to 2"),
        ({"vertices": torch.full((4, 3), torch.nan)}, "vertices must be finite"),
        ({"colours": torch.full((4, 3), torch.inf)}, "colours must be finite"),
    ],
)
def test_mesh_complains(fields: dict[str, torch.Tensor], match: str) -> None:
    whole = {"vertices": torch.zeros(4, 3), "triangles": QUAD, "colours": torch.zeros(4, 3)}
    with pytest.raises(ValueError, match=match):
        Mesh(**{**whole, **fields})


def test_without_open3d_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ImportError, match=r"needs open3d: pip install 'ross3d\[mesh\]'"):
        load_open3d()
    with pytest.raises(ImportError, match=r"needs open3d: pip install 'ross3d\[mesh\]'"):
        read_mesh("any.ply")


@pytest.mark.parametrize("kind", ["ImportError", "OSError"])
def test_without_system_libraries_the_error_says_how_to_install_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open3d").mkdir()
    reason = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "open3d" / "__init__.py").write_text(f"raise {kind}({reason!r})")
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ImportError, match=r"\(libGL\.so\.1: cannot .*\); .*apt-get install .*libgl1"
    ):
        load_open3d()
