from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from reference.batch import Batch, Text, stack_scenes
from reference.data.scene import Scene
from strategies import make_frames


def scene(objects: int, *, m: int = 3, seed: int = 0) -> Scene:
    boxes = torch.rand(objects, 6, generator=torch.Generator().manual_seed(seed)) + 0.1
    return Scene(f"scene {seed}", make_frames(1, m, (8, 8), seed=seed), boxes)


def test_stacking_pads_boxes_and_keeps_scenes() -> None:
    scenes = [scene(2, seed=1), scene(0, seed=2), scene(4, seed=3)]
    batch = stack_scenes(scenes)
    assert batch.boxes.shape == (3, 4, 6)
    assert batch.objects.sum(1).tolist() == [2, 0, 4]
    assert not batch.boxes[~batch.objects].any()
    assert batch.text is None
    for row, one in enumerate(scenes):
        assert torch.equal(batch.boxes[row, batch.objects[row]], one.boxes)
        for name in ("images", "depths", "intrinsics", "poses"):
            assert torch.equal(getattr(batch.frames, name)[row], getattr(one.frames, name)[0])


def test_scenes_without_objects_make_no_columns() -> None:
    batch = stack_scenes([scene(0), scene(0)])
    assert batch.boxes.shape == (2, 0, 6)
    assert batch.objects.shape == (2, 0)


def test_no_scenes_is_an_error() -> None:
    with pytest.raises(ValueError, match="scenes must hold at least one scene; got none"):
        stack_scenes([])


def test_scenes_with_different_numbers_of_views_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"views|equal|frames"):
        stack_scenes([scene(1, m=2), scene(1, m=3)])


def test_to_moves_every_tensor() -> None:
    shapes = ((1, 4), (1, 4), (1, 4), (1, 4), (1, 1), (1, 1, 3), (1, 1), (1, 1, 2))
    text = Text(*(torch.zeros(shape) for shape in shapes))
    batch = replace(stack_scenes([scene(2)]), text=text)
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert {moved.boxes.device.type, moved.objects.device.type} == {"meta"}
    assert {moved.frames.images.device.type, moved.frames.poses.device.type} == {"meta"}
    for field, shape in zip(fields(Text), shapes, strict=True):
        tensor = getattr(moved.text, field.name)
        assert (tensor.device.type, tensor.shape) == ("meta", shape)
    assert batch.boxes.device.type == "cpu"


def test_without_text_keeps_the_scenes() -> None:
    text = Text(*(torch.zeros(1) for _ in fields(Text)))
    batch = replace(stack_scenes([scene(1)]), text=text)
    bare = batch.without_text()
    assert bare.text is None
    assert bare.frames is batch.frames
    assert bare.to("cpu").text is None
