"""From raw ScanNet scans over training to the papers' tables, as a user does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from recipes import run_example
from reference.data.benchmarks.sample import TASKS
from reference.judging import asking
from reference.judging.scans import JudgedScans
from reference.metrics import sentences
from scannet_fixture import raw_rooms, write_raw_scans, write_releases

TRAIN = ("--steps", 2, "--evaluate", 0, "--threads", 1, "--workers", 0)
QUICK = ("--longest", 4, "--limit", 4, "--shown", 1, "--threads", 1)
WRITTEN = {"evaluation.json", "predictions.jsonl", "report.html", "tables.json", "tables.md"}
PICTURES = {f"{task}.png" for task in TASKS}


@pytest.fixture(autouse=True)
def _no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "meteor", lambda said, true: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data folder made of raw scans and releases, and a run trained on it."""
    folder = tmp_path_factory.mktemp("benchmarks")
    rooms = write_raw_scans(folder / "raw", raw_rooms(views=10))
    write_releases(folder / "releases", rooms)
    root, run = folder / "root", folder / "run"
    options = ("--frame-skip", 1, "--bev", 0, "--benchmarks", folder / "releases")
    run_example("prepare_scannet.py", folder / "raw", "-o", root, *options)
    run_example("train_ross3d.py", "--data", root, "--out", run, *TRAIN)
    return root, run


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "predictions.jsonl").read_text().splitlines()]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def forbid(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Stop, as a kill does, when more than so many batches are asked."""
    left = [after]

    def stopping(chunks: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return chunks(*args)

        return call

    monkeypatch.setattr(asking, "ground", stopping(asking.ground))
    monkeypatch.setattr(asking.SeenScene, "answer", stopping(asking.SeenScene.answer))


def test_benchmarks_end_to_end(
    made: tuple[Path, Path],
    tmp_path: Path,
    call_main: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, run = made
    options = (run, "--data", root, "-o", tmp_path, *QUICK)
    with monkeypatch.context() as stopped:
        forbid(stopped, after=2)
        with pytest.raises(KeyboardInterrupt):
            call_main("evaluate_ross3d.py", *options)
    before = (tmp_path / "predictions.jsonl").read_bytes()
    assert before.endswith(b"\n")
    assert names_in(tmp_path) == {"evaluation.json", "predictions.jsonl"}

    call_main("evaluate_ross3d.py", *options)
    whole = (tmp_path / "predictions.jsonl").read_bytes()
    assert whole.startswith(before)
    assert len(whole) > len(before)
    with monkeypatch.context() as stopped:
        forbid(stopped)
        call_main("evaluate_ross3d.py", *options)
    assert (tmp_path / "predictions.jsonl").read_bytes() == whole

    assert names_in(tmp_path) == WRITTEN | PICTURES
    rows = rows_of(tmp_path)
    assert len({(row["task"], row["id"]) for row in rows}) == len(rows)
    found = json.loads((tmp_path / "tables.json").read_text())
    assert {row["task"] for row in rows} == set(found["samples"]) == set(TASKS)
    assert sum(found["samples"].values()) == len(rows)
    assert found["comparable_with_published"]
    table = capsys.readouterr().out
    for head in ("Table 1", "Table 2", "Table 3", "| Ross3D, published | 63.0 | 65.7 |"):
        assert head in table
    assert "published rows are of 3519 samples of test, ours of 4 of val" in table
    page = (tmp_path / "report.html").read_text()
    for name in PICTURES:
        assert name in page
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 600


def test_captions_of_objects_that_no_box_shows(
    made: tuple[Path, Path], tmp_path: Path, call_main: Callable[..., None]
) -> None:
    root, run = made
    options = ("--data", root, "--benchmarks", "scan2cap", "--longest", 4, "--threads", 1)
    call_main("evaluate_ross3d.py", run, *options, "-o", tmp_path)
    unmatched = [row for row in rows_of(tmp_path) if "boxes" not in row]
    judged = JudgedScans(str(root), views=8, size=32, tasks=["scan2cap"])
    wanted = [x for i in range(len(judged)) for x in judged.samples(i) if not x.matched]
    assert wanted
    assert [row["id"] for row in unmatched] == [x.id for x in wanted]
    assert {row["text"] for row in unmatched} == {""}


def test_predictions_can_be_scored_again(
    made: tuple[Path, Path],
    tmp_path: Path,
    call_main: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, run = made
    options = ("--data", root, "--benchmarks", "sqa3d", "--longest", 4, "--threads", 1)
    call_main("evaluate_ross3d.py", run, *options, "-o", tmp_path)
    tasks = root / "tasks" / "sqa3d_val.json"
    scored = ("--benchmark", "sqa3d", "--annotations", tasks, "--protocol", "leo")
    call_main("score_predictions.py", tmp_path / "predictions.jsonl", *scored)
    printed = capsys.readouterr().out
    em = json.loads((tmp_path / "tables.json").read_text())["results"]["sqa3d"][0]["figures"]["EM"]
    assert f"| EM | {em:.2f} |" in printed


def test_rooms(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    printed = run_example("evaluate_ross3d.py", run, *QUICK)
    assert names_in(run / "evaluation" / "rooms") == WRITTEN | PICTURES
    assert "## Not the published benchmarks: generated rooms" in printed
    assert "published |" not in printed
    assert len(rows_of(run / "evaluation" / "rooms")) == 4 * len(TASKS)


def test_plain_questions_of_others_are_not_the_benchmarks(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(made[0], tmp_path / "root")
    assert JudgedScans(str(root), views=8, size=32).benchmarks
    (root / "prepare_report.json").unlink()
    assert not JudgedScans(str(root), views=8, size=32).benchmarks


def test_a_real_scan_with_annotations(
    shared: Path,
    finished: Path,
    tmp_path: Path,
    call_main: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = shared / "living_room"
    if not (root / "processed").is_dir():
        pytest.skip(f"no annotations at {root}")
    options = ("--data", root, "--split", "train", "-o", tmp_path, *QUICK)
    call_main("evaluate_ross3d.py", finished, *options)
    printed = capsys.readouterr().out
    assert names_in(tmp_path) == WRITTEN | PICTURES
    assert "Not the published benchmarks" in printed
    assert "the guesses know the answers" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "furnished_room"), "must hold annotations of the split val; got none"),
        (
            ("--data", "furnished_room", "--benchmarks", "scanqa", "--split", "test"),
            "must hold annotations of scanqa, split test; got none",
        ),
        (("--data", "nowhere"), "DATA must be a folder with scannet/posed_images; got nowhere"),
        (("--benchmarks", "vqa"), "2"),
        (("--limit", "0"), "2"),
    ],
)
def test_mistakes_end_in_one_line(
    finished: Path, call_main: Callable[..., None], options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        call_main("evaluate_ross3d.py", finished, *options)


def test_a_foreign_run_is_named(tmp_path: Path, call_main: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match=r"RUN must be a folder that train_ross3d\.py wrote"):
        call_main("evaluate_ross3d.py", tmp_path)


def test_predictions_of_another_run_are_refused(
    finished: Path, tmp_path: Path, call_main: Callable[..., None]
) -> None:
    (tmp_path / "predictions.jsonl").touch()
    (tmp_path / "evaluation.json").write_text('{"run": "other"}')
    with pytest.raises(SystemExit, match="must hold predictions with data 'rooms'; got None"):
        call_main("evaluate_ross3d.py", finished, "-o", tmp_path, *QUICK)
