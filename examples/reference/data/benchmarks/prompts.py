"""The words around a benchmark's own: the same for training and for evaluation.

They are ours. Files in the llava style bring their own wording, which is used as it stands, without
the image token. A released checkpoint expects the wording that it was trained with.
"""

from __future__ import annotations

from .sample import Task

WORDING: dict[Task, str] = {
    "sqa3d": "{} Answer with a single word or a short phrase.",
    "scanqa": "{} Answer briefly.",
    "scan2cap": "Describe the object at <coord> in detail.",
    "scanrefer": "Find the object that is described: {}",
    "multi3drefer": "Find every object that is described, none, one or several: {}",
}


def prompt(task: Task, words: str = "") -> str:
    """Ask in our wording.

    Args:
        task: the benchmark.
        words: situation and question, or description; a caption is asked for without words.

    Example:
        >>> prompt("scanqa", "What colour is the chair?")
        'What colour is the chair? Answer briefly.'
    """
    return WORDING[task].format(words)
