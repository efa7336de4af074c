from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
import torch
from reference.data.furniture import COLOURS, NOUNS, bounds, build
from reference.data.rooms import OBJECT_GAP, WALL_GAP, Rooms, generate_room, room_scene


def test_a_seed_is_one_room_on_every_machine() -> None:
    room = generate_room(3)
    assert room == generate_room(3)
    assert room != generate_room(4)
    assert room.size == pytest.approx((4.252591573, 5.800195574, 2.5))
    assert [item.phrase for item in room.objects] == [
        "cyan box",
        "blue table",
        "purple shelf",
        "orange box",
        "purple shelf",
        "blue table",
        "orange shelf",
    ]


def test_rooms_do_not_depend_on_torch_or_global_randomness() -> None:
    torch.manual_seed(1)
    first = room_scene(5, views=2, size=12)
    torch.manual_seed(2)
    second = room_scene(5, views=2, size=12)
    assert torch.equal(first.frames.images, second.frames.images)
    assert torch.equal(first.boxes, second.boxes)
    assert first.turns == second.turns
    assert not torch.equal(first.frames.images, room_scene(6, views=2, size=12).frames.images)


def test_objects_keep_their_distance() -> None:
    counts = set()
    for seed in range(120):
        room = generate_room(seed)
        counts.add(len(room.objects))
        assert all(4 <= side <= 6 for side in room.size[:2])
        for item in room.objects:
            x, y, z, dx, dy, dz = item.box
            assert z - dz / 2 == pytest.approx(0, abs=1e-9)
            assert abs(x) + dx / 2 <= room.size[0] / 2 - WALL_GAP + 1e-9
            assert abs(y) + dy / 2 <= room.size[1] / 2 - WALL_GAP + 1e-9
            assert 0.34 <= min(dx, dy) <= max(dx, dy, dz) <= 1.4 + 1e-9
        for one, two in combinations(room.objects, 2):
            a, b = one.box, two.box
            apart = [abs(a[i] - b[i]) - (a[i + 3] + b[i + 3]) / 2 for i in (0, 1)]
            assert max(apart) > OBJECT_GAP - 1e-9
    assert counts == set(range(4, 11))


def test_boxes_are_tight_around_their_primitives() -> None:
    for seed in range(20):
        room = generate_room(seed)
        for owner, item in enumerate(room.objects):
            boxes = torch.tensor([p.box for p in room.primitives if p.owner == owner])
            low = (boxes[:, :3] - boxes[:, 3:] / 2).amin(0)
            high = (boxes[:, :3] + boxes[:, 3:] / 2).amax(0)
            torch.testing.assert_close(torch.tensor(item.box[:3]), (low + high) / 2)
            torch.testing.assert_close(torch.tensor(item.box[3:]), high - low)


@pytest.mark.parametrize("noun", NOUNS)
def test_furniture_is_solid_and_stands_on_the_ground(noun: str) -> None:
    boxes = set()
    for seed in range(8):
        parts = build(noun, "red", Random(seed))
        box = bounds(parts)
        boxes.add(box)
        assert box[0] == pytest.approx(0, abs=0.02)
        assert box[2] == pytest.approx(box[5] / 2)
        for part in parts:
            assert min(part.box[3:]) > 0
            assert part.shape == "box" or part.box[3] == part.box[4]
            assert part.shape != "sphere" or part.box[3] == pytest.approx(part.box[5])
    assert len(boxes) == 8


def test_all_names_colours_and_floors_occur() -> None:
    rooms = [generate_room(seed) for seed in range(60)]
    assert {item.name for room in rooms for item in room.objects} == set(NOUNS)
    assert {item.colour for room in rooms for item in room.objects} == set(COLOURS)
    assert {room.floor.kind for room in rooms} == {"checker", "planks", "noise", "halves"}


def test_the_number_of_objects_can_be_chosen() -> None:
    assert generate_room(0, fewest=0, most=0).objects == ()
    assert len(generate_room(0, fewest=2, most=2).objects) == 2
    assert all(len(generate_room(seed, fewest=10).objects) == 10 for seed in range(40))
    with pytest.raises(ValueError, match=r"fewest and most must be .*; got 5, 4"):
        generate_room(0, fewest=5, most=4)


def test_scenes_hold_together() -> None:
    scene = room_scene(2, views=3, size=16, turns=5)
    assert scene.name == "room/000002"
    assert scene.frames.images.shape == (1, 3, 3, 16, 16)
    assert scene.boxes.tolist() == torch.tensor([o.box for o in scene.objects]).tolist()
    assert len(scene.turns) == 5
    assert scene.instances is not None
    assert scene.instances.shape == (3, 16, 16)
    assert int(scene.instances.max()) < len(scene.objects)


def test_rooms_are_a_map_from_index_to_seed() -> None:
    rooms = Rooms(7, 3, views=2, size=8, turns=2)
    assert len(rooms) == 3
    assert [scene.name for scene in rooms] == ["room/000007", "room/000008", "room/000009"]
    assert rooms[1].turns == room_scene(8, views=2, size=8, turns=2).turns
    with pytest.raises(IndexError, match=r"index must be in \[0, 3\); got 3"):
        rooms[3]
