"""Whole scans from above: a real kitchen, a rendered living room, generated rooms, a long video."""

from __future__ import annotations

import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from reference.data.casting import cast
from reference.data.render import render_room, render_top
from reference.data.rooms import Room, generate_room
from strategies import make_frames, rigid
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ross3d.geometry.bev import BEVRenderer
from ross3d.geometry.frames import PosedFrames

SHIPPED = Path(__file__).resolve().parents[2] / "examples/data/furnished_room/scannet"


def read_scan(folder: Path, scene: str, align: np.ndarray) -> PosedFrames:
    views = sorted((folder / "posed_images" / scene).glob("*.jpg"))
    colours = np.stack([np.array(Image.open(view).convert("RGB")) for view in views])
    depths = np.stack([np.array(Image.open(view.with_suffix(".png"))) for view in views])
    poses = np.stack([align @ np.loadtxt(view.with_suffix(".txt")) for view in views])
    intrinsics = np.loadtxt(views[0].parent / "depth_intrinsic.txt")[:3, :3]
    return PosedFrames(
        (torch.from_numpy(colours).movedim(-1, 1).float() / 255)[None],
        torch.from_numpy(depths.astype(np.float32) / 1000)[None],
        torch.from_numpy(intrinsics).float().expand(1, len(views), 3, 3),
        torch.from_numpy(poses).float()[None],
    )


def alignment(folder: Path, scene: str) -> np.ndarray:
    lines = (folder / "scans" / scene / f"{scene}.txt").read_text().splitlines()
    line = next(line for line in lines if line.startswith("axisAlignment"))
    return np.array(line.split("=")[1].split(), dtype=float).reshape(4, 4)


def psnr(difference: Tensor) -> float:
    return float(-10 * difference.square().mean().log10())


def share_of_holes(known: Tensor, largest: int = 100) -> float:
    """Share of unknown pixels that known ones enclose in patches of up to 100; larger are hidden.

    Args:
        known: (1, s, s) bool.
        largest: pixels of a patch.
    """
    size = known.shape[-1] + 2
    left = set(F.pad(~known[0], (1,) * 4, value=True).flatten().nonzero()[:, 0].tolist())
    missing = 0
    while left:
        patch, edge = 0, [left.pop()]
        while edge:
            here = edge.pop()
            patch += 1
            for there in (here - 1, here + 1, here - size, here + size):
                if there in left:
                    left.remove(there)
                    edge.append(there)
        missing += patch if patch <= largest else 0
    return missing / (missing + int(known.sum()))


def test_a_real_kitchen_looks_like_its_fused_picture(shared: Path) -> None:
    folder = shared / "red_kitchen"
    scans = folder / "scannet"
    frames = read_scan(scans, "redkitchen_00", alignment(scans, "redkitchen_00"))
    with np.load(folder / "bev_height_480x640_f16.npz") as stored:
        expected, half = torch.from_numpy(stored["height"]).float(), float(stored["half_m"])
    wide = half * 640 / 480
    bev = BEVRenderer(640, extent=(-wide, -wide, wide, wide), max_height=1.85)(frames)
    assert bev.filled is not None
    observed, height, filled = (x[0, 80:560] for x in (bev.observed, bev.height, bev.filled))
    picture = np.array(Image.open(scans / "scans/redkitchen_00/view_0.jpg"))
    difference = bev.image[0, :, 80:560] - torch.from_numpy(picture).movedim(-1, 0) / 255
    for known, cover in ((observed, 0.95), (observed | filled, 0.965)):
        both = known & ~expected.isnan()
        assert both.sum() / (~expected.isnan()).sum() > cover
        assert both.sum() / known.sum() > 0.8
        assert (height - expected)[both].abs().median() < 0.01
        assert psnr(difference[:, both]) > 19
    assert share_of_holes(BEVRenderer()(frames).observed) < 0.03


def test_a_living_room_must_stand_upright(shared: Path) -> None:
    folder = shared / "living_room"
    with (folder / "embodiedscan/embodiedscan_infos_train.pkl").open("rb") as file:
        align = np.array(pickle.load(file)["data_list"][0]["axis_align_matrix"])
    lying = read_scan(folder / "scannet", "living_room_00", np.eye(4))
    with pytest.raises(ValueError, match="poses must be of a world whose z axis is up"):
        BEVRenderer(32)(lying)
    assert BEVRenderer(32, require_z_up=False)(lying).observed.any()
    poses = torch.from_numpy(align).float() @ lying.poses
    frames = PosedFrames(lying.images, lying.depths, lying.intrinsics, poses)
    assert share_of_holes(BEVRenderer()(frames).observed) < 0.03


def test_a_furnished_room_is_covered() -> None:
    frames = read_scan(SHIPPED, "cc0room_00", alignment(SHIPPED, "cc0room_00"))
    bev = BEVRenderer()(frames)
    assert bev.filled is not None
    assert share_of_holes(bev.observed) < 0.03
    assert share_of_holes(bev.observed | bev.filled) < 0.003
    across = bev.extent[0, 2:] - bev.extent[0, :2]
    assert (across - 6.0).abs().max() < 0.5  # 6 x 5 m, seen from above


def sampled(room: Room, frames: PosedFrames, height: Tensor, cell: float) -> Tensor:
    """(s, s) True where a view sees the room's top surface with at least one pixel per cell."""
    size, side = len(height), frames.size[0]
    x = (torch.arange(size) + 0.5) * cell - size * cell / 2
    points = torch.stack([x.expand(size, size), -x[:, None].expand(size, size), height]).flatten(1)
    down, across = torch.gradient(height, spacing=cell)
    normals = torch.stack([-across, down, torch.ones_like(across)]).flatten(1)
    seen = torch.zeros(size**2, dtype=torch.bool)
    for view in range(frames.views):
        centre, rotation = frames.poses[0, view, :3, 3], frames.poses[0, view, :3, :3]
        rays = points - centre[:, None]
        u, v, depth = frames.intrinsics[0, view] @ (rotation.T @ rays)
        inside = (depth > 0.05) & torch.stack([u / depth, v / depth]).abs().lt(side - 0.5).all(0)
        inside &= (u > -0.5) & (v > -0.5)
        slant = -(F.normalize(rays, dim=0) * F.normalize(normals, dim=0)).sum(0)
        fine = depth / frames.intrinsics[0, view, 0, 0] < cell * slant
        hits = cast(room, centre[:, None, None], rays[:, None])
        seen |= inside & fine & (hits.distance > 0.998)
    return seen.view(size, size)


def test_generated_rooms_look_as_they_are() -> None:
    errors, size = [], 256
    for seed in range(3):
        room = generate_room(seed)
        frames, _ = render_room(room, views=24, size=384)
        half = max(room.size[:2]) / 2
        extent, cell = (-half, -half, half, half), 2 * half / size
        bev = BEVRenderer(size, extent=extent)(frames)
        image, height = render_top(room, size, extent)
        x = (torch.arange(size) + 0.5) * cell - half
        # The outermost pixels show the walls, which the ray-cast picture does not have.
        inside = (x.abs() < room.size[0] / 2 - cell) & (x.abs() < room.size[1] / 2 - cell)[:, None]
        plain = sampled(room, frames, height, cell) & inside
        assert bev.observed[0][plain].float().mean() > 0.999
        around = F.max_pool2d(height[None], 3, 1, 1) + F.max_pool2d(-height[None], 3, 1, 1)
        smooth = plain & (around[0] < 0.05)  # no outline within a pixel
        assert smooth.sum() > 0.4 * inside.sum()
        error = bev.height[0] - height
        assert error[smooth].square().mean().sqrt() < 0.01
        known = bev.observed[0] & inside
        assert (error[known].abs() < 0.01).float().mean() > 0.95
        errors.append((bev.image[0] - image)[:, known].flatten())
    assert psnr(torch.cat(errors)) > 28


def test_instances_are_where_they_are() -> None:
    room = generate_room(0)
    frames, instances = render_room(room, views=16, size=192)
    half = max(room.size[:2]) / 2
    bev = BEVRenderer(128, extent=(-half, -half, half, half))(frames, instances[None])
    assert bev.labels is not None
    x = (torch.arange(128) + 0.5) * (2 * half / 128) - half
    for index, item in enumerate(room.objects):
        cx, cy, _, dx, dy, _ = item.box
        box = ((x - cx).abs() < dx / 2 + 0.05) & ((-x - cy).abs() < dy / 2 + 0.05)[:, None]
        own = bev.labels[0] == index
        assert own.any()
        assert (own & box).sum() > 0.97 * own.sum()


class PeakBytes(TorchDispatchMode):
    """Within this context, the most bytes that tensors made in it have held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = {storage._cdata for storage in storages((args, kwargs))}
        result = func(*args, **kwargs)
        for storage in storages(result):
            if storage._cdata not in given | self.known:
                self.known.add(storage._cdata)
                self.alive += storage.nbytes()
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())
        return result

    def free(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.alive -= size


def storages(tree: Any) -> list[torch.UntypedStorage]:
    return [x.untyped_storage() for x in tree_leaves(tree) if isinstance(x, Tensor)]


def peak_of(views: int, size: tuple[int, int]) -> int:
    """Peak bytes of a rendering of many views, which share the memory of one."""
    one = make_frames(1, 1, size)
    fields = {name: x.expand(-1, views, *x.shape[2:]) for name, x in vars(one).items()}
    frames = object.__new__(PosedFrames)
    frames.__dict__.update(fields | {"poses": rigid(1, views)})
    with PeakBytes() as bytes_:
        BEVRenderer(432)(frames)
    return bytes_.peak


def test_peak_bytes_are_counted() -> None:
    with PeakBytes() as kept:
        tensors = [torch.zeros(1000) for _ in range(10)]
    with PeakBytes() as dropped:
        for _ in range(10):
            tensors[0] = torch.zeros(1000) + 1
    assert (kept.peak, dropped.peak) == (40_000, 12_000)


def test_views_cost_no_memory() -> None:
    few, many = (peak_of(views, (480, 640)) for views in (2, 12))
    assert many < 1.1 * few < 2**28
    # What each view adds, times 1,000, stays far from a gigabyte.
    assert few + 1000 * max(many - few, 0) / 10 < 2**30


@pytest.mark.slow
def test_a_thousand_views_need_less_than_a_gigabyte() -> None:
    assert peak_of(1000, (480, 640)) < 2**30
