from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recipes import run_example
from reference.metrics import sentences

TRUE = [{"id": n, "answers": [a], "question_type": "what"} for n, a in enumerate(["a tv", "two"])]
SAID = [{"id": 0, "task": "sqa3d", "text": "TV"}, {"id": 1, "text": "three"}]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and annotations."""
    said, true = tmp_path / "said.jsonl", tmp_path / "true.json"
    said.write_text("\n".join(map(json.dumps, SAID)), encoding="utf-8")
    true.write_text(json.dumps(TRUE), encoding="utf-8")
    return said, true


def test_one_command_prints_and_writes_all_protocols(files: tuple[Path, Path]) -> None:
    said, true = files
    out = said.parent / "out" / "scores"
    options = ("--benchmark", "sqa3d", "--annotations", true)
    written = ("-o", out.with_suffix(".md"), "-o", out.with_suffix(".json"))
    printed = run_example("score_predictions.py", said, *options, *written)
    assert "|  | sqa3d/leo | sqa3d/ross3d |" in printed
    assert "| EM | 50.00 | 50.00 |" in printed
    assert "| EM/what | 50.00 | 50.00 |" in printed
    assert out.with_suffix(".md").read_text(encoding="utf-8") == printed
    leo, _ = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert leo["per_sample"]["EM"] == {"0": 1.0, "1": 0.0}


def test_one_protocol(
    files: tuple[Path, Path],
    call_main: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentences, "meteor", lambda said, true: None)
    said, true = files
    said.write_text(said.read_text(encoding="utf-8").replace("sqa3d", "scanqa"), encoding="utf-8")
    options = ("--benchmark", "scanqa", "--annotations", true, "--protocol", "raw")
    call_main("score_predictions.py", said, *options)
    printed = capsys.readouterr().out
    assert "|  | scanqa/raw |" in printed
    assert "| METEOR | n/a (install ross3d[meteor] and Java) |" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--protocol", "raw"), "protocol of sqa3d must be one of all, sqa3d/leo"),
        (("-o", "scores.txt"), r"--out must end in \.md or \.json; got scores\.txt"),
        (("--annotations", "nowhere.json"), r"nowhere\.json"),
    ],
)
def test_mistakes_end_in_one_line(
    files: tuple[Path, Path], call_main: Callable[..., None], options: tuple[str, ...], message: str
) -> None:
    said, true = files
    with pytest.raises(SystemExit, match=message):
        call_main(
            "score_predictions.py", said, "--benchmark", "sqa3d", "--annotations", true, *options
        )
