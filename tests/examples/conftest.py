"""One finished run of the main job, for the tests that look at it or load it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from recipes import SHORT, run_example


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of five steps on generated rooms."""
    out = tmp_path_factory.mktemp("runs") / "rooms"
    run_example("train_ross3d.py", *SHORT, "--out", out)
    return out


@pytest.fixture
def call_main(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call a recipe's ``main()`` in this process, with options: quick where it stops at once."""

    def call(script: str, *options: object) -> None:
        monkeypatch.setattr(sys, "argv", [script, *map(str, options)])
        import_module(script.removesuffix(".py")).main()

    return call
