from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from reference.data.open_scan import open_scan
from reference.data.recording import axis_alignment
from reference.data.render import render_room, render_top
from reference.data.rooms import generate_room
from strategies import make_frames, one_scene

from ross3d.geometry.bev import BEVRenderer
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.mesh import Mesh, read_mesh
from ross3d.geometry.mesh_bev import MeshBEVRenderer
from ross3d.geometry.topdown import BEV
from ross3d.pretext.tasks import GlobalViewTask

pytestmark = pytest.mark.usefixtures("open3d")
COARSE = {"voxel_size": 0.1}
EXTENT = (-1.0, -1.0, 1.0, 1.0)


def rectangle(z: float, low: tuple[float, float], high: tuple[float, float], rgb: float) -> Mesh:
    x = [[low[0], low[1], z], [high[0], low[1], z], [high[0], high[1], z], [low[0], high[1], z]]
    return Mesh(torch.tensor(x), torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.full((4, 3), rgb))


def together(*meshes: Mesh) -> Mesh:
    counts = [0, *np.cumsum([len(x.vertices) for x in meshes]).tolist()]
    return Mesh(
        torch.cat([x.vertices for x in meshes]),
        torch.cat([x.triangles + n for x, n in zip(meshes, counts, strict=False)]),
        torch.cat([x.colours for x in meshes]),
    )


def room(ceiling: float = 2.5) -> Mesh:
    """A floor of 2 x 2 m, a table on it, and a ceiling."""
    floor, table = ((-1.0, -1.0), (1.0, 1.0)), ((0.0, 0.0), (0.5, 1.0))
    return together(
        rectangle(0.0, *floor, 0.2), rectangle(0.75, *table, 0.6), rectangle(ceiling, *floor, 0.9)
    )


def assert_same(one: BEV, other: BEV, b: int) -> None:
    for name in ("image", "observed", "height", "extent", "filled"):
        assert getattr(one, name)[b].equal(getattr(other, name)[0])


@pytest.mark.parametrize("size", [1, 7, 32])
def test_the_highest_surface_below_the_ceiling_is_seen(size: int) -> None:
    bev = MeshBEVRenderer(size, extent=EXTENT, fill=0)(room())
    middles = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(-middles, middles, indexing="ij")
    table = (x >= 0) & (x <= 0.5) & (y >= 0)
    assert bev.observed.all()
    torch.testing.assert_close(bev.height[0], torch.where(table, 0.75, 0.0))
    torch.testing.assert_close(bev.image[0, 1], torch.where(table, 0.6, 0.2))
    assert bev.extent.tolist() == [list(EXTENT)]


def test_the_ceiling_is_cut_off_where_asked() -> None:
    for max_height, seen in ((None, 2.5), (2.6, 2.5), (2.4, 0.75), (0.5, 0.0)):
        bev = MeshBEVRenderer(8, extent=EXTENT, max_height=max_height)(room())
        assert bev.height.max() == pytest.approx(seen, abs=1e-5)


def test_colours_are_interpolated_between_vertices() -> None:
    flat = rectangle(0.0, (-1.0, -1.0), (1.0, 1.0), 0.0)
    x, y = flat.vertices[:, 0], flat.vertices[:, 1]
    colours = torch.stack([(x + 1) / 2, (y + 1) / 2, torch.full((4,), 0.5)], -1)
    bev = MeshBEVRenderer(16, extent=EXTENT)(Mesh(flat.vertices, flat.triangles, colours))
    middles = (torch.arange(16) + 0.5) / 16
    torch.testing.assert_close(bev.image[0, 0], middles.expand(16, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(bev.image[0, 1], middles.flip(0)[:, None].expand(16, 16))
    assert (bev.image[0, 2] - 0.5).abs().max() < 1e-6


def test_the_extent_is_found_and_outliers_are_not() -> None:
    stray = rectangle(0.1, (9.0, 9.0), (9.01, 9.01), 1.0)
    bev = MeshBEVRenderer(8, margin=0.0)(together(room(), stray))
    torch.testing.assert_close(bev.extent, torch.tensor([EXTENT]), atol=0.03, rtol=0)
    moved = torch.eye(4)
    moved[:2, 3] = torch.tensor([500.0, -300.0])
    far = MeshBEVRenderer(8, margin=0.0)(room().moved(moved))
    expected = torch.tensor([[499.0, -301.0, 501.0, -299.0]])
    torch.testing.assert_close(far.extent, expected, atol=0.03, rtol=0)
    assert far.observed.all()


def test_small_holes_are_filled_and_marked() -> None:
    parts = [rectangle(0.0, (-1.0, -1.0), (-0.1, 1.0), 0.4), rectangle(0.0, (0, -1), (1, 1), 0.4)]
    renderer = MeshBEVRenderer(64, extent=EXTENT)
    bev = renderer(together(*parts))
    assert bev.filled is not None
    assert bev.filled.any()
    assert not (bev.filled & bev.observed).any()
    assert (bev.filled | bev.observed).all()
    torch.testing.assert_close(bev.image, torch.full((1, 3, 64, 64), 0.4))
    counted = MeshBEVRenderer(64, extent=EXTENT, count_filled=True)(together(*parts))
    assert counted.observed.all()


def test_meshes_files_and_lists_are_rendered_alike(tmp_path: Path, open3d: object) -> None:
    meshes = [room(), rectangle(0.3, (0.0, 0.0), (1.0, 2.0), 0.5)]
    lines = [
        "ply\nformat ascii 1.0\nelement vertex 4",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        "element face 2\nproperty list uchar int vertex_indices\nend_header",
        *(f"{x} {y} {z} 128 128 128" for x, y, z in meshes[1].vertices.tolist()),
        "3 0 1 2\n3 0 2 3\n",
    ]
    path = tmp_path / "a.ply"
    path.write_text("\n".join(lines))
    renderer = MeshBEVRenderer(16)
    both = renderer([meshes[0], path])
    assert both.image.shape == (2, 3, 16, 16)
    assert_same(both, renderer(meshes[0]), 0)
    assert_same(both, renderer(str(path)), 1)
    assert (both.height[1][both.observed[1]] - 0.3).abs().max() < 1e-5


def test_degenerate_meshes_are_not_observed() -> None:
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3).long(), torch.zeros(0, 3))
    point = Mesh(torch.full((3, 3), 4.0), torch.arange(3)[None], torch.zeros(3, 3))
    bev = MeshBEVRenderer(8)([empty, point])
    assert not bev.observed.any()
    assert (bev.image == 0).all()
    assert bev.extent.isfinite().all()
    assert (bev.extent[:, 2] > bev.extent[:, 0]).all()


def test_frames_without_depth_are_not_observed() -> None:
    frames = make_frames(1, 2)
    blind = PosedFrames(frames.images, frames.depths * 0, frames.intrinsics, frames.poses)
    bev = MeshBEVRenderer(8)(blind)
    assert not bev.observed.any()
    assert bev.extent.isfinite().all()


def test_a_single_frame_is_seen() -> None:
    generated, _ = render_room(generate_room(0), views=1, size=48)
    assert MeshBEVRenderer(32, voxel_size=0.05)(generated).observed.float().mean() > 0.1


def test_a_batch_of_two_is_two_batches_of_one_in_any_order_of_views() -> None:
    frames = make_frames(2, 3)
    renderer = MeshBEVRenderer(16, **COARSE)  # type: ignore[arg-type]
    both = renderer(frames)
    assert both.observed.any()
    assert both.extent.equal(BEVRenderer(16)(frames).extent)
    backwards = frames.select(torch.arange(2, -1, -1))
    for b in range(2):
        assert_same(both, renderer(one_scene(backwards, b)), b)


def test_low_precision_images_stay_so() -> None:
    frames = make_frames(1, 2)
    low = PosedFrames(frames.images.bfloat16(), frames.depths, frames.intrinsics, frames.poses)
    bev = MeshBEVRenderer(8, **COARSE)(low)  # type: ignore[arg-type]
    assert (bev.image.dtype, bev.height.dtype) == (torch.bfloat16, torch.float32)


def test_it_is_a_renderer_of_the_global_view_task() -> None:
    task = GlobalViewTask(MeshBEVRenderer(16, **COARSE), 16, stride=8)  # type: ignore[arg-type]
    targets = task(make_frames(2, 2), torch.zeros(2, 2, dtype=torch.bool))
    assert targets.images.shape == (2, 1, 3, 16, 16)


def test_generated_rooms_have_their_exact_heights() -> None:
    generated = generate_room(3)
    frames, _ = render_room(generated, views=8, size=200)
    half = max(generated.size[:2]) / 2
    extent = (-half, -half, half, half)
    renderer = MeshBEVRenderer(96, extent=extent, fill=0)
    bev = renderer(frames)
    picture, height = render_top(generated, 96, extent)
    planes = height[None, None]
    spread = F.max_pool2d(planes, 5, 1, 2) + F.max_pool2d(-planes, 5, 1, 2)
    inside = picture.sum(0) > 0
    seen = bev.observed[0] & inside
    assert seen.sum() / inside.sum() > 0.8
    # Cameras stand between 1.45 and 1.7 m: nobody saw the tops of higher furniture.
    flat = seen & (spread[0, 0] < 0.01) & (height < 1.3)
    error = (bev.height[0] - height)[flat]
    assert flat.sum() / seen.sum() > 0.7
    assert error.square().mean().sqrt() < renderer.voxel_size
    assert error.abs().median() < 0.001
    colours = (bev.image[0] - picture)[:, flat].square().mean()
    assert -10 * colours.log10() > 25


@pytest.fixture(scope="session")
def kitchen(shared: Path) -> Path:
    return shared / "red_kitchen"


def compare(bev: BEV, kitchen: Path) -> tuple[float, float, float]:
    """Share of the reference that is seen; PSNR (dB) and median height error (m) there."""
    with np.load(kitchen / "bev_height_480x640_f16.npz") as stored:
        expected = torch.from_numpy(stored["height"]).float()
    with Image.open(kitchen / "scannet/scans/redkitchen_00/view_0.jpg") as picture:
        colours = torch.from_numpy(np.array(picture)).movedim(-1, 0) / 255
    both = bev.observed[0, 80:560] & ~expected.isnan()
    error = (bev.image[0, :, 80:560] - colours)[:, both].square().mean()
    heights = (bev.height[0, 80:560] - expected)[both].abs().median()
    share = both.sum() / (~expected.isnan()).sum()
    return share.item(), -10 * error.log10().item(), heights.item()


def kitchen_renderer() -> MeshBEVRenderer:
    wide = 2.75 * 640 / 480
    return MeshBEVRenderer(640, extent=(-wide, -wide, wide, wide), max_height=1.85)


def test_a_real_kitchen_looks_like_its_fused_picture(kitchen: Path) -> None:
    scan = open_scan(kitchen)
    share, psnr, error = compare(kitchen_renderer()(scan.read_views(range(len(scan)))), kitchen)
    assert share > 0.85
    assert psnr > 21
    assert error < 0.005


def test_a_ready_mesh_looks_like_the_fused_picture(kitchen: Path) -> None:
    folder = kitchen / "scannet/scans/redkitchen_00"
    mesh = read_mesh(folder / "redkitchen_00_vh_clean_2.ply")
    aligned = mesh.moved(axis_alignment(folder / "redkitchen_00.txt"))
    share, psnr, error = compare(kitchen_renderer()(aligned), kitchen)
    assert share > 0.9
    assert psnr > 21
    assert error < 0.005


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"size": 0}, "size must be positive; got 0"),
        ({"fill": -1}, "fill and margin must not be negative; got -1 and 0.02"),
        ({"margin": -0.1}, "fill and margin must not be negative; got 3 and -0.1"),
        ({"quantile": 0.5}, r"quantile must be in \[0, 0.5\); got 0.5"),
        ({"extent": (0, 0, 1, 2)}, "extent must be a square of positive size"),
        ({"extent": (1, 1, 1, 1)}, "extent must be a square of positive size"),
    ],
)
def test_renderer_complains(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MeshBEVRenderer(**arguments)  # type: ignore[arg-type]


def test_rendering_complains(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="meshes must be of at least one scene; got none"):
        MeshBEVRenderer(8)([])
    with pytest.raises(FileNotFoundError, match=r"mesh must be a file; got none\.ply"):
        MeshBEVRenderer(8)("none.ply")
    (tmp_path / "empty.ply").touch()
    with pytest.raises(ValueError, match=r"got none in .*empty\.ply"):
        MeshBEVRenderer(8)(tmp_path / "empty.ply")


def test_a_world_that_is_not_z_up_is_refused() -> None:
    frames, _ = render_room(generate_room(0), views=12, size=4)
    turn = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    blind = torch.zeros_like(frames.depths)
    turned = PosedFrames(frames.images, blind, frames.intrinsics, turn @ frames.poses)
    with pytest.raises(ValueError, match="poses must be of a world whose z axis is up"):
        MeshBEVRenderer(8)(turned)
    assert not MeshBEVRenderer(8, require_z_up=False)(turned).observed.any()


def test_without_open3d_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    for scenes in (make_frames(1, 1), room(), "a.ply"):
        with pytest.raises(ImportError, match=r"pip install 'ross3d\[mesh\]'"):
            MeshBEVRenderer(8)(scenes)
