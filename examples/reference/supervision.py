"""How much of the training data has text: a share of its scenes, and scenes without any beside.

The pretext tasks need no text. With ``--labelled 0.5`` the text of half of the training scenes is
used; ``--unlabelled rest`` lets the pretext tasks learn from the other half as well, and
``--unlabelled FOLDER`` from a folder of scans. Every batch then holds as many scenes without text
as with text: runs that differ in ``--unlabelled`` alone read the same text at the same steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from .build import TASKS
from .data.groups import Group
from .data.scene import Scene, Turn
from .data.sources import Source, open_source
from .data.unlabelled import UnlabelledScans
from .presets import Preset


def add_supervision_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to those of ``train_ross3d.py``."""
    add = parser.add_argument_group("supervision").add_argument
    add("--rooms", type=int, default=None, help="generated training rooms; default: endless")
    add("--labelled", type=float, default=1.0, help="share of the scenes whose text is used")
    add("--unlabelled", default="none", help="scenes without text: none, rest, or a scan folder")


@dataclass(frozen=True)
class Stream:
    """Some of a source's training scenes over and over, each time in another order.

    Attributes:
        scenes: which of them.
        count: how many the source has.
        seed: of the orders.
    """

    scenes: Sequence[int]
    count: int
    seed: int

    def __call__(self, number: int) -> int:
        """The source's index of scene ``number`` of the stream.

        Example:
            >>> stream = Stream([1, 4], count=5, seed=0)
            >>> sorted(stream(i) for i in range(4))
            [1, 4, 6, 9]
        """
        time, place = divmod(number, len(self.scenes))
        order = Random(f"{self.seed}/order/{time}").sample(self.scenes, len(self.scenes))
        return time * self.count + order[place]


def split_scenes(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Choose the labelled scenes; a larger share holds all scenes of a smaller one.

    Args:
        count: number of training scenes.
        share: of those that are labelled.
        seed: of the choice.

    Returns:
        The labelled scenes, and the others; both in ascending order.

    Raises:
        ValueError: if no scene would be labelled, or all of them by a share below 1.

    Example:
        >>> labelled, rest = split_scenes(10, 0.3, seed=0)
        >>> len(labelled), sorted(labelled + rest) == list(range(10))
        (3, True)
    """
    order = Random(f"{seed}/labelled").sample(range(count), count)
    chosen = round(share * count)
    if not 0 < chosen <= count or (chosen == count and share < 1):
        raise ValueError(f"labelled must be a share that parts {count} scenes; got {share}")
    return sorted(order[:chosen]), sorted(order[chosen:])


class SupervisedSource:
    """A source some of whose training scenes have text; its held-out scenes all have.

    Args:
        source: of the scenes.
        labelled: which training scenes have text; None = all, in the source's own order.
        unlabelled: scene by number, of those that are read without text; None = there are none.
    """

    def __init__(
        self,
        source: Source,
        labelled: Stream | None = None,
        unlabelled: Callable[[int], Scene] | None = None,
    ) -> None:
        self.source, self.labelled, self.unlabelled = source, labelled, unlabelled
        self.name, self.hidden, self.shares = source.name, source.hidden, source.shares
        self.num_train = source.num_train if labelled is None else len(labelled.scenes)

    def train(self, index: int, group: Group | None = None) -> Scene:
        """Scene number ``index`` of those with text, asked about a group of tasks or about all."""
        return self.source.train(self._index(index), group)

    def turns(self, index: int) -> tuple[Turn, ...]:
        """Questions and answers about scene ``index`` of those with text."""
        return self.source.turns(self._index(index))

    def held_out(self, index: int) -> Scene:
        """See Source."""
        return self.source.held_out(index)

    def words(self) -> Iterator[str]:
        """See Source."""
        return self.source.words()

    def _index(self, number: int) -> int:
        return number if self.labelled is None else self.labelled(number)


@dataclass(frozen=True)
class WithoutText:
    """Scene by number: a source's training scenes without what is said about them."""

    source: Source
    stream: Stream

    def __call__(self, number: int) -> Scene:
        """Scene ``number`` of the stream."""
        return replace(self.source.train(self.stream(number)), turns=())


def open_supervised(preset: Preset, options: Mapping[str, Any]) -> SupervisedSource:
    """Open what the options of ``train_ross3d.py`` mean.

    Args:
        preset: the numbers.
        options: ``data``, ``seed``, ``tasks``, ``rooms``, ``labelled``, ``unlabelled``, and
            ``batches`` where they are by task.

    Returns:
        The source. With the options' defaults its training scenes are those of ``--data``.

    Raises:
        ValueError: if a share of endless rooms is asked for, or one of batches by task, the share
            parts nothing, or there are unlabelled scenes without a pretext task; or as
            :func:`open_source` and UnlabelledScans.
    """
    seed, share, unlabelled = (options[name] for name in ("seed", "labelled", "unlabelled"))
    layout = {"views": preset.views, "size": preset.image_size}
    hidden = max(1, round(preset.views * preset.mask_ratio))
    more = {"turns": preset.turns, "hidden": hidden, "seed": seed, "rooms": options["rooms"]}
    source = open_source(options["data"], **layout, **more)
    if unlabelled != "none" and not TASKS[options["tasks"]]:
        raise ValueError(f"unlabelled must be none where no pretext task is; got {unlabelled}")
    if share < 1 and options.get("batches") == "by-task":
        raise ValueError(f"labelled must be 1 where batches are by task; got {share}")
    if unlabelled == "rest" and share >= 1:
        raise ValueError(f"labelled must be less than 1 where the rest is read; got {share}")
    if share == 1 and options["rooms"] is None:
        chosen = None
    elif source.num_train is None:
        raise ValueError(f"rooms must be given where a share of them is labelled; got {share}")
    else:
        parts = split_scenes(source.num_train, share, seed)
        chosen, rest = (Stream(part, source.num_train, seed) for part in parts)
    if unlabelled == "none":
        return SupervisedSource(source, chosen)
    if unlabelled == "rest":
        return SupervisedSource(source, chosen, WithoutText(source, rest))
    return SupervisedSource(source, chosen, UnlabelledScans(unlabelled, **layout, seed=seed).scene)
