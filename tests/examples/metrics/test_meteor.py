from __future__ import annotations

import io
import shutil
import sys
from types import ModuleType, SimpleNamespace

import pytest
import scored
from reference.metrics import meteor as module
from reference.metrics.meteor import meteor, meteor_available


@pytest.mark.skipif(not meteor_available(), reason="pycocoevalcap and Java are not installed")
def test_known_values() -> None:
    measured = meteor(scored.PREDICTIONS, scored.REFERENCES)
    assert measured is not None
    assert measured[0] == pytest.approx(scored.METEOR, abs=1e-9)
    assert measured[1] == pytest.approx(scored.METEORS, abs=1e-9)


def test_nothing_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not meteor_available()
    assert meteor(["a chair"], [["a chair"]]) is None


def test_the_program_reads_one_line_per_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, pipes = [], [io.StringIO(), io.StringIO()]

    class Meteor:
        meteor_p = SimpleNamespace(stdout=pipes[0], stderr=pipes[1])

        def compute_score(self, truth: object, said: object) -> tuple[float, list[float]]:
            asked.append((truth, said))
            return 0.5, [0.25, 0.75]

    stand_in = ModuleType("pycocoevalcap.meteor.meteor")
    stand_in.Meteor = Meteor  # type: ignore[attr-defined]
    for name in ("pycocoevalcap", "pycocoevalcap.meteor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setattr(module, "meteor_available", lambda: True)
    module.run_meteor.cache_clear()
    for _ in range(2):
        assert meteor(["a\nb", "c ||| d"], [["x"], ["y", "z"]]) == (0.5, [0.25, 0.75])
    assert asked == [({0: ["x"], 1: ["y", "z"]}, {0: ["a b"], 1: ["c   d"]})]
    assert all(pipe.closed for pipe in pipes)
    module.run_meteor.cache_clear()
