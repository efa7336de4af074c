"""Open3D, where it is installed."""

from __future__ import annotations

from types import ModuleType

import pytest

from ross3d.geometry.mesh import load_open3d


@pytest.fixture(scope="session")
def open3d() -> ModuleType:
    """The module; tests that ask for it are skipped where it cannot be imported."""
    try:
        return load_open3d()
    except ImportError as error:
        pytest.skip(str(error))
