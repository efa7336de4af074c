"""require."""

from __future__ import annotations

import json
import sys

import pytest

from ross3d.core.extras import require


def test_returns_the_module() -> None:
    assert require("json", "mesh") is json
    assert require("os.path", "mesh") is sys.modules["os.path"]


def test_names_the_command_that_installs_it() -> None:
    with pytest.raises(
        ImportError, match=r"needs no_such_package: pip install 'ross3d\[mesh\]' \(No module"
    ) as caught:
        require("no_such_package.ops", "mesh")
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_module_that_is_blocked_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json", None)
    with pytest.raises(ImportError, match=r"needs json: pip install 'ross3d\[vae\]'"):
        require("json", "vae")
