"""What is compared: the arms of the ablations, with the paper's figures where it has such a row."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .build import TASKS
from .inputs import INPUTS

Paper = tuple[float, float, float]

PAPER_FIGURES = ("SQA3D EM", "ScanQA CIDEr", "ScanRefer Acc@0.25")
"""What the paper's ablations show."""

PICTURES = ("cross_view/loss", "cross_view/psnr", "global_view/loss", "global_view/psnr")
QUESTIONS = ("qa/accuracy", "text/loss", "grounding/accuracy", "grounding/f1", "grounding/loss")
WITHOUT_L3D, WITH_L3D = (58.6, 102.1, 58.1), (63.0, 107.0, 61.1)


@dataclass(frozen=True)
class Arm:
    """One variant of the training job.

    Attributes:
        name: unique in its grid.
        options: of ``train_ross3d.py``.
        paper: the paper's PAPER_FIGURES; None = it has no such row.
    """

    name: str
    options: tuple[str, ...]
    paper: Paper | None = None


@dataclass(frozen=True)
class Grid:
    """Arms that one table compares.

    Attributes:
        about: what the arms differ in: head of the table's first column.
        arms: the variants.
        figures: of ``figures.json``, the table's columns.
        rooms: how many generated rooms to train on; None = endless.
    """

    about: str
    arms: tuple[Arm, ...]
    figures: tuple[str, ...] = QUESTIONS
    rooms: int | None = None


def contexts() -> Grid:
    """What the conditions are read from, and whether they know places."""
    arms = [
        Arm(f"{context}, {places}", (f"--context={context}", *options))
        for context in ("visible", "all", "own")
        for places, options in (("with places", ()), ("without", ("--no-target-coords",)))
    ]
    last = Arm("all, with places of targets only", ("--context=all", "--no-context-coords"))
    return Grid("context", (*arms, last), PICTURES)


def tasks() -> Grid:
    """No pretext task, each, and both (the paper's Table 4)."""
    paper: dict[str, Paper] = {
        "none": WITHOUT_L3D,
        "vanilla": (58.8, 103.5, 58.2),
        "cross_view": (60.0, 103.6, 60.3),
        "global_view": (61.6, 105.6, 58.8),
        "both": WITH_L3D,
    }
    names = ("none", *(name for name in TASKS if name not in ("none", "both")), "both")
    return Grid("tasks", tuple(Arm(n, (f"--tasks={n}",), paper.get(n)) for n in names))


def inputs() -> Grid:
    """What the language model reads, without pretext tasks and with them (Tables 4 and 5)."""
    paper = {("views", "none"): WITHOUT_L3D, ("views", "both"): WITH_L3D}
    arms = [
        Arm(f"{name}, {task}", (f"--input={name}", f"--tasks={task}"), paper.get((name, task)))
        for task in ("none", "both")
        for name in INPUTS
    ]
    return Grid("input, tasks", tuple(arms))


def semi_supervised(share: float = 0.5, unlabelled: str = "rest", rooms: int | None = 64) -> Grid:
    """Text on a share of the scenes, with and without L_3D, there and elsewhere (Table 6).

    Args:
        share: of the training scenes that are labelled.
        unlabelled: what L_3D sees besides: "rest", or a folder of scans.
        rooms: how many generated rooms there are for training, labelled or not.
    """
    some, labelled = f"{share:.0%} of the text", f"--labelled={share}"
    besides = "the other scenes" if unlabelled == "rest" else unlabelled
    arms = (
        Arm(some, ("--tasks=none", labelled), (55.1, 100.3, 57.0)),
        Arm(f"{some}, L_3D there", (labelled,), (56.4, 101.7, 57.4)),
        Arm(
            f"{some}, L_3D there and on {besides}",
            (labelled, f"--unlabelled={unlabelled}"),
            (57.7, 103.2, 57.9),
        ),
        Arm("all of the text", ("--tasks=none",), WITHOUT_L3D),
    )
    if share != 0.5 or unlabelled != "rest":
        arms = tuple(replace(arm, paper=None) for arm in arms)
    return Grid("text", arms, rooms=rooms)


def vary(choices: Sequence[str]) -> Grid:
    """Every combination of options' values.

    Args:
        choices: of ``train_ross3d.py``, for example ``["tasks=none,both", "input=views,voxels"]``.

    Raises:
        ValueError: if a choice is not written so, or an option is given twice.

    Example:
        >>> [arm.name for arm in vary(["tasks=none,both", "seed=3"]).arms]
        ['none, 3', 'both, 3']
    """
    names = [choice.partition("=")[0] for choice in choices]
    values = [choice.partition("=")[2].split(",") for choice in choices]
    if not choices or len(set(names)) < len(names) or not all(map(all, [names, *values])):
        raise ValueError(f"vary must be options such as tasks=none,both; got {list(choices)}")
    arms = [
        Arm(
            ", ".join(chosen),
            tuple(f"--{name}={value}" for name, value in zip(names, chosen, strict=True)),
        )
        for chosen in itertools.product(*values)
    ]
    return Grid(", ".join(names), tuple(arms), (*QUESTIONS, *PICTURES[1::2]))


GRIDS = {"contexts": contexts, "tasks": tasks, "inputs": inputs, "semi": semi_supervised}
"""What ``--grid`` of the ablations can be."""
