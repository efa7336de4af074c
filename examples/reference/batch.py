"""Scenes and their text, collated into one batch of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from ross3d import PosedFrames, Targets

from .data.scene import Scene
from .data.scene_points import ScenePoints
from .text import IGNORE


@dataclass(frozen=True)
class Text:
    """The text side of a batch.

    Attributes:
        input_ids: (b, t) token ids, visual placeholders included.
        attention_mask: (b, t) 1 = token, 0 = padding.
        segments: (b, t) 0 = what stands for the scene, 1, 2, ... = independent turns, -1 = padding.
        labels: (b, t) ids that are supervised, -100 elsewhere.
        coord_positions: (b, c) where ``<coord>`` tokens stand, -1 = none.
        coord_points: (b, c, 3) the world positions that they mean, metres.
        ground_positions: (b, q) where ``<ground>`` tokens stand, -1 = none.
        ground_targets: (b, q, o) True = an object that is meant; none True = no such object.
    """

    input_ids: Tensor
    attention_mask: Tensor
    segments: Tensor
    labels: Tensor
    coord_positions: Tensor
    coord_points: Tensor
    ground_positions: Tensor
    ground_targets: Tensor

    def without(self, positions: Tensor) -> Text:
        """The same text, but nothing attends to the positions that are True (b, t)."""
        return replace(
            self,
            attention_mask=self.attention_mask.masked_fill(positions, 0),
            segments=self.segments.masked_fill(positions, -1),
        )


@dataclass(frozen=True)
class Batch:
    """b scenes: what they show, which objects they hold, and what is said about them.

    Attributes:
        frames: the posed views.
        boxes: (b, o, 6) candidate objects, zero-padded, metres, world frame.
        objects: (b, o) True = an object, False = padding.
        text: None = unlabelled scenes; some rows of a text may be unlabelled, too.
        points: features of the scenes' points, for the input "points"; None = there are none.
        prepared: name -> targets of pretext tasks that are made already; the others are made in the
            training step.
    """

    frames: PosedFrames
    boxes: Tensor
    objects: Tensor
    text: Text | None = None
    points: ScenePoints | None = None
    prepared: Mapping[str, Targets] = field(default_factory=dict)

    @property
    def grounding_only(self) -> Tensor:
        """(b,) True = a scene about which nothing is asked but where things are."""
        if self.text is None:
            return torch.zeros(len(self.boxes), dtype=torch.bool, device=self.boxes.device)
        asked = (self.text.ground_positions >= 0).any(dim=1)
        return asked & (self.text.labels == IGNORE).all(dim=1)

    def to(self, device: torch.device | str) -> Batch:
        """Move every tensor."""
        text = self.text
        if text is not None:
            text = Text(*(getattr(text, each.name).to(device) for each in fields(text)))
        points = None if self.points is None else self.points.to(device)
        frames, boxes = self.frames.to(device), self.boxes.to(device)
        made = {k: each_tensor(x, lambda y: y.to(device)) for k, x in self.prepared.items()}
        return Batch(frames, boxes, self.objects.to(device), text, points, made)

    def without_text(self) -> Batch:
        """The same scenes, unlabelled."""
        return replace(self, text=None)


def stack_scenes(scenes: Sequence[Scene]) -> Batch:
    """Put scenes with equally many views into one batch, without text.

    Raises:
        ValueError: if there are no scenes.
    """
    if not scenes:
        raise ValueError("scenes must hold at least one scene; got none")
    most = max(len(scene.boxes) for scene in scenes)
    boxes = torch.stack(
        [torch.nn.functional.pad(s.boxes, (0, 0, 0, most - len(s.boxes))) for s in scenes]
    )
    counts = torch.tensor([len(scene.boxes) for scene in scenes])
    frames = PosedFrames.cat([scene.frames for scene in scenes])
    return Batch(frames, boxes, torch.arange(most) < counts[:, None])


def each_tensor(targets: Targets, change: Callable[[Tensor], Tensor]) -> Targets:
    """Targets whose tensors are changed, for example moved to a device, or of fewer scenes."""
    held = {each.name: getattr(targets, each.name) for each in fields(targets)}
    return Targets(**{k: None if value is None else change(value) for k, value in held.items()})
