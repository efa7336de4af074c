from __future__ import annotations

import itertools
import math
from random import Random

import pytest
import torch
from reference.data.casting import cast
from reference.data.furniture import COLOURS, Primitive, bounds
from reference.data.render import place_cameras, render_room, render_top
from reference.data.rooms import Room, generate_room
from reference.data.scene import SceneObject
from reference.data.textures import LIGHT, Floor
from torch import Tensor
from torch.nn.functional import max_pool2d

SEEDS = [0, 1, 2, 7]


def only(*parts: Primitive) -> Room:
    """A grey room that holds one object."""
    grey = (0.5, 0.5, 0.5)
    objects = (SceneObject("thing", bounds(parts), "red"),) if parts else ()
    return Room(0, (4.0, 4.0, 2.5), objects, parts, (grey,) * 4, Floor("halves", grey, grey, 1.0))


def slow_hit(room: Room, o: list[float], d: list[float]) -> tuple[float, int]:
    """First hit of one ray, in python floats: each face and each side on its own."""
    hits = []
    width, depth, height = room.size
    sides = ((-width / 2, width / 2), (-depth / 2, depth / 2), (0.0, height))
    for face, at in enumerate(itertools.chain(*sides)):
        axis = face // 2
        if d[axis] and (at - o[axis]) / d[axis] > 0:
            hits.append(((at - o[axis]) / d[axis], -1 - face))
    for index, part in enumerate(room.primitives):
        c, half = part.box[:3], [side / 2 for side in part.box[3:]]
        q = [o[a] - c[a] for a in range(3)]
        round_hits = roots(part.shape, q, d, half[0]) if part.shape != "box" else []
        hits += [(t, index) for t in round_hits if abs(q[2] + t * d[2]) <= half[2]]
        for axis in {"box": (0, 1, 2), "cylinder": (2,), "sphere": ()}[part.shape]:
            for t in ((-half[axis] - q[axis]) / d[axis], (half[axis] - q[axis]) / d[axis]):
                at = [q[a] + t * d[a] for a in range(3)]
                in_circle = math.hypot(at[0], at[1]) <= half[0]
                in_face = all(abs(at[a]) <= half[a] for a in range(3) if a != axis)
                if in_face if part.shape == "box" else in_circle:
                    hits.append((t, index))
    return min(hit for hit in hits if hit[0] > 0)


def roots(shape: str, q: list[float], d: list[float], radius: float) -> list[float]:
    axes = range(3 if shape == "sphere" else 2)
    a, b = sum(d[i] ** 2 for i in axes), sum(q[i] * d[i] for i in axes)
    root = b * b - a * (sum(q[i] ** 2 for i in axes) - radius**2)
    return [(-b - math.sqrt(root)) / a, (-b + math.sqrt(root)) / a] if root > 0 else []


@pytest.mark.parametrize("seed", SEEDS)
def test_rays_meet_what_the_slow_version_meets(seed: int) -> None:
    room = generate_room(seed)
    generator = torch.Generator().manual_seed(seed)
    origins = place_cameras(room, 4, Random(seed))[:, :3, 3].T[..., None]
    directions = torch.randn(3, 4, 150, generator=generator)
    directions[2] = -directions[2].abs() * 0.5
    distance, surface = cast(room, origins, directions)
    starts = origins.expand(3, 4, 150).flatten(1).T.tolist()
    rays = zip(starts, directions.flatten(1).T.tolist(), strict=True)
    expected = [slow_hit(room, o, d) for o, d in rays]
    torch.testing.assert_close(
        distance, torch.tensor([hit[0] for hit in expected]), rtol=1e-3, atol=1e-4
    )
    agree = surface == torch.tensor([hit[1] for hit in expected])
    assert agree.float().mean() > 0.99
    assert (surface >= 0).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_pixels_unproject_onto_the_boxes_of_their_objects(seed: int) -> None:
    room = generate_room(seed)
    frames, instances = render_room(room, views=4, size=48)
    points = frames.world_coords()[0]
    assert (frames.depths > 0).all()
    half = torch.tensor([*room.size[:2], 2 * room.size[2]]) / 2
    assert (points.abs() <= half + 1e-3).all()
    for index, item in enumerate(room.objects):
        box = torch.tensor(item.box)
        seen = points[instances == index]
        assert len(seen) > 0
        assert ((seen - box[:3]).abs() <= box[3:] / 2 + 1e-3).all()
    outside = points[instances == -1]
    on_floor, on_ceiling = outside[:, 2].abs() < 1e-3, (outside[:, 2] - room.size[2]).abs() < 1e-3
    on_wall = ((outside[:, :2].abs() - half[:2]).abs() < 1e-3).any(-1)
    assert (on_floor | on_ceiling | on_wall).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_views_agree_about_depth(seed: int) -> None:
    room = generate_room(seed)
    frames, _ = render_room(room, views=8, size=64)
    points, focal = frames.world_coords()[0, 0].flatten(0, 1), frames.intrinsics[0, 0, 0, 0]
    agreed, visible = [], []
    for view in range(1, 8):
        pose = frames.poses[0, view]
        reach = cast(room, pose[:3, 3, None, None], (points - pose[:3, 3]).T[:, None]).distance
        assert (reach < 1 + 1e-3).float().mean() > 0.999  # nothing is seen through
        x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).unbind(-1)
        column, row = (x / z * focal + 31.5).round().long(), (y / z * focal + 31.5).round().long()
        inside = (z > 0.1) & (column >= 0) & (column < 64) & (row >= 0) & (row < 64)
        seen = inside & (reach > 1 - 1e-3)
        around = frames.depths[:, view]  # the point lies between the depths of the pixels around it
        low, high = (sign * max_pool2d(sign * around, 3, 1, 1)[0] for sign in (-1, 1))
        at = (row[seen], column[seen])
        agreed.append((low[at] - 1e-3 < z[seen]) & (z[seen] < high[at] + 1e-3))
        visible.append(seen[inside])
    assert torch.cat(agreed).float().mean() > 0.98
    assert torch.cat(visible).float().mean() > 0.5


def test_cameras_stand_clear_and_look_across_the_room() -> None:
    for seed in range(30):
        room = generate_room(seed)
        poses = place_cameras(room, 8, Random(seed))
        rotation, eyes = poses[:, :3, :3], poses[:, :3, 3]
        torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand(8, 3, 3))
        torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(8))
        assert (rotation[:, 2, 0].abs() < 1e-6).all()  # level
        assert (rotation[:, 2, 1] < 0).all()  # upright: y points down
        assert ((eyes[:, 2] >= 1.4) & (eyes[:, 2] <= 1.7)).all()
        assert (eyes[:, :2].abs() < torch.tensor(room.size[:2]) / 2 - 0.2).all()
        assert ((rotation[:, :2, 2] * eyes[:, :2]).sum(-1) < 0).all()
        boxes = torch.tensor([item.box for item in room.objects])
        away = (eyes[:, None] - boxes[:, :3]).abs() - boxes[:, 3:] / 2
        assert (away.amax(-1) > 0.04).all()


def test_every_object_is_seen() -> None:
    for seed in range(12):
        room = generate_room(seed)
        _, instances = render_room(room, size=48)
        assert set(instances.unique().tolist()) == {-1, *range(len(room.objects))}


def test_pictures_show_the_colours() -> None:
    for seed in range(4):
        room = generate_room(seed)
        frames, instances = render_room(room, size=48)
        assert frames.images.min() >= 0
        assert frames.images.max() <= 1
        pixels = frames.images[0].movedim(1, -1)
        palette = torch.tensor(list(COLOURS.values()))
        for index, item in enumerate(room.objects):
            hue = torch.nn.functional.normalize(pixels[instances == index], dim=-1).median(0).values
            nearest = (torch.nn.functional.normalize(palette, dim=-1) @ hue).argmax()
            assert item.colour in ("black", list(COLOURS)[nearest])


def test_the_room_draws_the_cameras_unless_told_otherwise() -> None:
    room = generate_room(1)
    own, _ = render_room(room, views=2, size=8)
    same, _ = render_room(room, views=2, size=8, seed=1)
    other, _ = render_room(room, views=2, size=8, seed=2)
    assert torch.equal(own.images, same.images)
    assert not torch.equal(own.poses, other.poses)


def height_at(picture: Tensor, x: float, y: float) -> float:
    size = len(picture)
    return float(picture[int((2 - y) / 4 * size), int((x + 2) / 4 * size)])


def test_the_top_view_measures_heights() -> None:
    box = Primitive("box", (1.0, 1.0, 0.4, 0.6, 0.4, 0.8), (1.0, 0.0, 0.0))
    ball = Primitive("sphere", (-1.0, 1.0, 0.5, 1.0, 1.0, 1.0), (0.0, 1.0, 0.0))
    tube = Primitive("cylinder", (-1.0, -1.0, 0.6, 0.5, 0.5, 1.2), (0.0, 0.0, 1.0))
    image, height = render_top(only(box, ball, tube), 80)
    assert height_at(height, 1.27, 1.17) == pytest.approx(0.8)
    assert height_at(height, 1.37, 1.0) == 0
    assert height_at(height, -1.0, 1.0) == pytest.approx(1.0, abs=1e-2)
    aslant = 0.5 + math.sqrt(0.25 - 2 * 0.33**2)
    assert height_at(height, -1.33, 1.33) == pytest.approx(aslant, abs=0.05)
    assert height_at(height, -1.47, 1.47) == 0
    assert height_at(height, -1.0, -1.2) == pytest.approx(1.2)
    assert height_at(height, -0.8, -0.78) == 0
    assert image[:, 20, 60].argmax() == 0
    assert image[:, 20, 20].argmax() == 1
    assert image[:, 60, 20].argmax() == 2


def test_the_top_view_is_empty_outside() -> None:
    image, height = render_top(only(), 40, extent=(-4.0, -4.0, 4.0, 4.0))
    inside = torch.zeros(40, 40, dtype=torch.bool)
    inside[10:30, 10:30] = True
    assert (image.amax(0) > 0).equal(inside)
    assert (height == 0).all()


def test_views_and_top_view_show_the_same_floor() -> None:
    room = generate_room(5)
    frames, instances = render_room(room, views=2, size=64)
    points = frames.world_coords()[0]
    floor = (instances == -1) & (points[..., 2].abs() < 1e-4)
    half = max(room.size[:2]) / 2
    image, _ = render_top(room, 1024)
    rows = ((half - points[floor][:, 1]) / (2 * half) * 1024).long().clamp(0, 1023)
    columns = ((points[floor][:, 0] + half) / (2 * half) * 1024).long().clamp(0, 1023)
    colours = frames.images[0].movedim(1, -1)[floor]
    difference = (image[:, rows, columns].T - colours).abs().amax(-1)
    assert (difference < 0.02).float().mean() > 0.95


def test_sides_are_told_apart_by_the_light() -> None:
    box = Primitive("box", (0.0, 0.0, 0.5, 1.0, 1.0, 1.0), (0.5, 0.5, 0.5))
    directions = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0], [0, 0, -1.0]])
    room = only(box)
    origins = torch.tensor([0.0, 0.0, 0.55]) - 1.5 * directions
    hits = cast(room, origins.T[:, None], directions.T[:, None])
    torch.testing.assert_close(hits.distance, torch.tensor([1.0, 1, 1, 1, 1.05]))
    assert (hits.surface == 0).all()
    assert len(set(LIGHT)) == 3


def test_an_empty_room_is_walls_floor_and_ceiling() -> None:
    frames, instances = render_room(generate_room(0, fewest=0, most=0), views=3, size=16)
    assert (instances == -1).all()
    assert frames.images.std() > 0.01
