from __future__ import annotations

import json

from reference.metrics.score import Result
from reference.metrics.table import as_json, markdown

RESULTS = [
    Result("scanqa/raw", 2, {"EM": 0.5, "METEOR": None, "CIDEr": 1.07}, {"EM": {"a": 1, "b": 0}}),
    Result("scanqa/ross3d", 2, {"EM": 1.0, "EM-R": 1.0}, {}, ("careful",)),
]


def test_protocols_stand_side_by_side() -> None:
    lines = markdown(RESULTS).splitlines()
    assert lines[:7] == [
        "|  | scanqa/raw | scanqa/ross3d |",
        "| --- | ---: | ---: |",
        "| EM | 50.00 | 100.00 |",
        "| METEOR | n/a (install ross3d[meteor] and Java) | – |",
        "| CIDEr | 107.00 | – |",
        "| EM-R | – | 100.00 |",
        "| samples | 2 | 2 |",
    ]
    assert lines[8].startswith("- `scanqa/raw`: EM literally; ")
    assert lines[-1] == "**Warning** (scanqa/ross3d): careful."


def test_what_is_true_of_all_is_said_once() -> None:
    results = [Result(one.protocol, 2, {}, {}, ("careful",)) for one in RESULTS]
    assert markdown(results).count("careful") == 1
    assert "\n**Warning**: careful.\n" in markdown(results)


def test_json_holds_the_same() -> None:
    raw, ours = json.loads(json.dumps(as_json(RESULTS)))
    assert raw["figures"] == {"EM": 50.0, "METEOR": None, "CIDEr": 107.0}
    assert raw["per_sample"] == {"EM": {"a": 1, "b": 0}}
    assert (ours["protocol"], ours["samples"], ours["warnings"]) == (
        "scanqa/ross3d",
        2,
        ["careful"],
    )
    assert ours["what"]
