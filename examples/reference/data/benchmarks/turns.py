"""Turns about scans, drawn from the annotations of a data folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from ..scannet import ScanNetScans
from ..scene import Turn
from .annotations import find_annotations, read_benchmarks
from .sample import TASKS, Sample
from .scenes import BenchmarkScenes
from .skips import Skips


class BenchmarkTurns:
    """What annotations ask about scans.

    Args:
        scans: the scans.
        train: annotations to learn from.
        held_out: annotations to be judged by; a scan without any is judged by those to learn from.
        skips: counts the annotations that cannot be used; None raises at the first.

    Attributes:
        skips: what was left out.

    Raises:
        AnnotationError: if an annotation cannot be used and ``skips`` is None.
    """

    def __init__(
        self,
        scans: ScanNetScans,
        train: Sequence[Sample],
        held_out: Sequence[Sample] = (),
        skips: Skips | None = None,
    ) -> None:
        self.skips = skips
        self._train, self._held_out = (
            {
                scans.names[item.scan]: item.samples
                for item in BenchmarkScenes(scans, given, together="scene", skips=skips).items
            }
            for given in (train, held_out)
        )

    def of(self, scan: str, held_out: bool = False) -> tuple[Sample, ...]:
        """What is asked about a scan."""
        train = self._train.get(scan, ())
        return self._held_out.get(scan, train) if held_out else train

    def draw(self, scan: str, *, count: int, seed: int, held_out: bool = False) -> tuple[Turn, ...]:
        """Draw some of a scan's turns, none twice, in random order; fewer where it has fewer."""
        samples = self.of(scan, held_out)
        chosen = Random(f"turns/{seed}").sample(samples, min(count, len(samples)))
        return tuple(sample.turn for sample in chosen)

    def words(self) -> Iterator[str]:
        """Text that holds every word that the questions and answers use."""
        for samples in (*self._train.values(), *self._held_out.values()):
            for sample in samples:
                yield sample.turn.question
                yield sample.turn.answer
                yield from sample.answers


def open_turns(scans: ScanNetScans) -> BenchmarkTurns | None:
    """Read the annotations beside scans, those of train and val; None where there are none.

    Annotations that cannot be used are counted (``skips``).

    Raises:
        ValueError: if a file is no list in JSON, or there are two of a kind.
    """
    root = scans.root
    if not any(find_annotations(root, task, split) for task in TASKS for split in ("train", "val")):
        return None
    skips = Skips()
    train, held_out = (read_benchmarks(root, split, skips=skips) for split in ("train", "val"))
    return BenchmarkTurns(scans, train, held_out, skips)
