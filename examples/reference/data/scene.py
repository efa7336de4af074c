"""A scene as the recipes see it: frames, named objects, and turns of text about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

if TYPE_CHECKING:
    from ross3d import PosedFrames

Kind = Literal["sqa", "qa", "caption", "grounding", "multi_grounding"]


@dataclass(frozen=True)
class SceneObject:
    """A named object: what text is templated from.

    Attributes:
        name: the noun, for example ``"chair"``.
        box: axis-aligned (x, y, z, dx, dy, dz), centre and full size in metres, world frame.
        colour: the adjective, or an empty string where it is not known.
    """

    name: str
    box: tuple[float, float, float, float, float, float]
    colour: str = ""

    @property
    def phrase(self) -> str:
        """The colour and the noun."""
        return f"{self.colour} {self.name}".strip()


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
        kind: which of the five tasks it belongs to.
        question: the user's words; ``<coord>`` stands where ``point`` is meant.
        answer: the words to be learned; ``<ground>`` for the two grounding kinds.
        point: world position (x, y, z) of the object pointed at by ``<coord>``, metres.
        objects: indices of the scene's objects that a grounding turn means; empty = none of them.
    """

    kind: Kind
    question: str
    answer: str
    point: tuple[float, float, float] | None = None
    objects: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Posed frames of one scene, its objects, and text about it.

    Attributes:
        name: unique in its data set, for example ``"scannet/scene0000_00"``.
        frames: PosedFrames with b = 1.
        boxes: (o, 6) axis-aligned boxes of the candidate objects, metres, world frame; o may be 0.
        objects: the objects of ``boxes``, in the same order; empty where names are not known.
        turns: text about the scene; empty = an unlabelled scene.
        instances: (m, h, w) index of the object each pixel shows, -1 = none; None where not known.
    """

    name: str
    frames: PosedFrames
    boxes: Tensor
    objects: tuple[SceneObject, ...] = ()
    turns: tuple[Turn, ...] = ()
    instances: Tensor | None = None
