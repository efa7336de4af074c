"""The published rows of the papers' Tables 1 to 3, and the protocol behind each column.

All figures are times 100. A figure is missing where we have no source for it. Ross3D's are those
of its paper (Tables 1 to 3); its baseline Video-3D-LLM's are those that the paper compares with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..data.benchmarks.sample import Task


@dataclass(frozen=True)
class Columns:
    """Columns of a table: figures of one benchmark under one protocol.

    Attributes:
        task: the benchmark.
        title: its name in the head of the table.
        plain: what it is called where the data are not the benchmark's.
        protocol: a name of ``PROTOCOLS``.
        metrics: names of figures of that protocol.
        split: the split that papers report.
        samples: how many samples that split has.
    """

    task: Task
    title: str
    plain: str
    protocol: str
    metrics: tuple[str, ...]
    split: str
    samples: int


@dataclass(frozen=True)
class Table:
    """A table of the paper, and what it is about."""

    number: int
    title: str
    columns: tuple[Columns, ...]


SENTENCES = ("CIDEr", "BLEU-4", "METEOR", "ROUGE-L")
ACCURACIES, F1 = ("Acc@0.25", "Acc@0.5"), ("F1@0.25", "F1@0.5")
SQA3D = Columns("sqa3d", "SQA3D", "From a place", "sqa3d/leo", ("EM", "EM-R"), "test", 3519)
SCANQA = Columns("scanqa", "ScanQA", "Questions", "scanqa/raw", (*SENTENCES, "EM"), "val", 4675)
SCAN2CAP = Columns(
    "scan2cap", "Scan2Cap@0.5", "Captions", "scan2cap/video3dllm@0.5", SENTENCES, "val", 2068
)
SCANREFER = Columns(
    "scanrefer", "ScanRefer", "One object", "scanrefer/top1", ACCURACIES, "val", 9508
)
MULTI3DREFER = Columns(
    "multi3drefer", "Multi3DRefer", "Any number", "multi3drefer/f1", F1, "val", 11120
)
TABLES = (
    Table(1, "Answering questions", (SQA3D, SCANQA)),
    Table(2, "Describing objects", (SCAN2CAP,)),
    Table(3, "Finding objects", (SCANREFER, MULTI3DREFER)),
)
PUBLISHED: Mapping[str, Mapping[Task, Mapping[str, float]]] = MappingProxyType(
    {
        "Ross3D, published": {
            "sqa3d": {"EM": 63.0, "EM-R": 65.7},
            "scanqa": {
                "CIDEr": 107.0,
                "BLEU-4": 17.9,
                "METEOR": 20.9,
                "ROUGE-L": 50.7,
                "EM": 30.8,
            },
            "scan2cap": {"CIDEr": 81.3, "BLEU-4": 43.4, "METEOR": 30.3, "ROUGE-L": 66.9},
            "scanrefer": {"Acc@0.25": 61.1, "Acc@0.5": 54.4},
            "multi3drefer": {"F1@0.25": 59.6, "F1@0.5": 54.3},
        },
        "Video-3D-LLM, published": {
            "sqa3d": {"EM": 58.6},
            "scanqa": {"CIDEr": 102.1},
            "scan2cap": {"CIDEr": 83.8, "ROUGE-L": 62.3},
            "scanrefer": {"Acc@0.25": 58.1, "Acc@0.5": 51.7},
            "multi3drefer": {"F1@0.25": 58.0, "F1@0.5": 52.7},
        },
    }
)
NOTES = (
    "SQA3D: 58.6 of Video-3D-LLM could not be had again from its released weights and script by a "
    "user, who found 55.5.",
    "Scan2Cap: the released Ross3D script writes captions for objects that no box shows; here they "
    "are empty, as in Video-3D-LLM's.",
)
"""What a reader of the published rows must know."""


def title_of(columns: Columns, comparable: bool) -> str:
    """What the head of a table calls a benchmark, or data that are not the benchmark's."""
    return columns.title if comparable else columns.plain


def title_of_table(table: Table, comparable: bool) -> str:
    """The heading of a table; the paper's number where the data are the paper's."""
    return f"Table {table.number}: {table.title.lower()}" if comparable else table.title
