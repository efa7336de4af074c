"""The released annotations that several tests score against."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference.metrics.annotations import read_references
from reference.metrics.records import Reference


@pytest.fixture(scope="session")
def sqa3d(shared: Path) -> dict[str, Reference]:
    """The test questions of SQA3D."""
    path = shared / "annotations" / "v1_balanced_sqa_annotations_test_scannetv2.json"
    if not path.is_file():
        pytest.skip(f"no annotations at {path}")
    return read_references(path, "sqa3d")
