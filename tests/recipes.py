"""Run the examples as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHORT = ("--steps", "5", "--save-every", "2", "--evaluate", "2", "--threads", "1", "--workers", "0")


def command(script: str, *options: object) -> list[str]:
    """What a user types."""
    return [sys.executable, str(EXAMPLES / script), *map(str, options)]


def run_example(script: str, *options: object, cwd: Path | None = None) -> str:
    """Run a recipe, as a process of its own: what it prints."""
    done = subprocess.run(
        command(script, *options),
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
