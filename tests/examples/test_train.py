from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from recipes import SHORT, command, run_example
from reference.data.sources import open_source
from reference.presets import PRESETS
from reference.run import RunFolder
from reference.trained import load_run

PICTURES = ("losses.png", "views.png", "reconstruction.png", "bev.png", "grounding.png")


def test_a_run_writes_its_folder(finished: Path) -> None:
    run = RunFolder(finished, resume=True)
    rows = run.rows()
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    for row in rows:
        assert {"text", "grounding", "cross_view", "global_view"} <= set(row)
        assert all(value == value for value in row.values())
    assert any(name.startswith("heldout/") for name in rows[-1])
    for name in (*PICTURES, "report.html", "figures.json", "config.json"):
        assert (finished / name).stat().st_size > 100, name
    page = (finished / "report.html").read_text()
    assert all(name in page for name in PICTURES)
    assert [path.name for path in run.checkpoints()] == ["checkpoint-000004", "checkpoint-000005"]
    for checkpoint in run.checkpoints():
        assert (checkpoint / "model.safetensors").stat().st_size > 1e6
    config = json.loads((finished / "config.json").read_text())
    assert config["options"]["data"] == "rooms"
    assert config["preset"]["steps"] == 5


def test_a_killed_run_resumes_to_the_same_weights(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command("train_ross3d.py", *SHORT, "--out", out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (out / "checkpoint-000002").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "checkpoint-000005").exists()

    run_example("train_ross3d.py", "--out", out, "--resume", "--save-every", 1, "--evaluate", 1)
    name = "checkpoint-000005/model.safetensors"
    assert (out / name).read_bytes() == (finished / name).read_bytes()
    resumed, straight = (RunFolder(path, resume=True).rows() for path in (out, finished))
    assert resumed == straight


def test_a_folder_with_a_run_is_not_overwritten(
    finished: Path, call_main: Callable[..., None]
) -> None:
    with pytest.raises(FileExistsError, match=r"must hold no run, .*; got .*metrics\.jsonl"):
        call_main("train_ross3d.py", *SHORT, "--out", finished)


def test_a_checkpoint_of_another_config_is_refused(
    finished: Path, tmp_path: Path, call_main: Callable[..., None]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "config.json").unlink()
    named = r"(?s)checkpoint-000005.*options\.seed: 0 was saved, 7 is wanted"
    with pytest.raises(ValueError, match=named):
        call_main("train_ross3d.py", *SHORT, "--seed", 7, "--out", out, "--resume")
    kept = "checkpoint-000005/model.safetensors"
    assert (out / kept).read_bytes() == (finished / kept).read_bytes()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("--steps", 7), "--steps must be 5, as saved in {config}; got 7"),
        (("--seed", 1), "--seed must be 0, as saved in {config}; got 1"),
        (("--preset", "small"), "--preset must be tiny, as saved in {config}; got small"),
        (("--labelled", 0.5), "--labelled must be 1.0, as saved in {config}; got 0.5"),
        (("--unlabelled", "rest"), "--unlabelled must be none, as saved in {config}; got rest"),
        (("--rooms", 8), "--rooms must be None, as saved in {config}; got 8"),
        (("--train", "lora"), "--train must be full, as saved in {config}; got lora"),
        (("--labels", "released"), "--labels must be answer, as saved in {config}; got released"),
        (("--batches", "by-task"), "--batches must be mixed, as saved in {config}; got by-task"),
        (("--several", "each"), "--several must be any, as saved in {config}; got each"),
        (("--instruction", "both"), "--instruction must be none, as saved in {config}; got both"),
        (("--grounding-pretext", "off"), "--grounding-pretext must be on, as saved in {config}"),
        (("--no-target-coords",), "--no-target-coords must be False, as saved in {config}; got"),
        (("--data", "furnished_room"), "--data must be rooms, as saved in {config}; got furnish"),
    ],
)
def test_a_resumed_run_refuses_other_options(
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    call_main: Callable[..., None],
    given: tuple[object, ...],
    complaint: str,
) -> None:
    with pytest.raises(SystemExit):
        call_main("train_ross3d.py", "--out", finished, "--resume", *given)
    assert complaint.format(config=finished / "config.json") in capsys.readouterr().err


def test_a_resumed_run_keeps_its_options_and_takes_the_free_ones(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reference.options import parse_options

    saved = json.loads((finished / "config.json").read_text())["options"]
    free = {"threads": 3, "workers": 2, "evaluate": 4, "save_every": 1}
    free |= {"latent_cache": "elsewhere", "latent_cache_gb": 0.5}
    changed = [x for k, v in free.items() for x in (f"--{k.replace('_', '-')}", str(v))]
    for given, expected in (([], saved), (["--seed", "0", *changed], {**saved, **free})):
        command_line = ["train_ross3d.py", "--out", str(finished), "--resume", *given]
        monkeypatch.setattr(sys, "argv", command_line)
        options = vars(parse_options(""))
        assert options == {**expected, "out": str(finished), "resume": True, "sizes": False}


def test_every_option_of_the_tasks_together(tmp_path: Path, call_main: Callable[..., None]) -> None:
    options = ("--batches", "by-task", "--labels", "released", "--instruction", "train")
    options += ("--grounding-pretext", "off", "--several", "each", "--out", tmp_path)
    call_main("train_ross3d.py", *SHORT, *options, "--steps", 8, "--evaluate", 1)
    rows = RunFolder(tmp_path, resume=True).rows()
    caption, grounding = ([row for row in rows if not row[x]] for x in ("grounding", "text"))
    assert len(caption) + len(grounding) == len(rows) == 8, "a step is about words or about places"
    assert all(row["cross_view"] > 0 for row in caption)
    assert grounding
    assert not any(row["cross_view"] or row["global_view"] for row in grounding)
    assert load_run(tmp_path).model.grounding.several == "each"


def test_half_of_the_rooms_have_text(tmp_path: Path, call_main: Callable[..., None]) -> None:
    out, given = tmp_path / "run", ("--rooms", 4, "--labelled", 0.5, "--unlabelled", "rest")
    short = (*SHORT, "--steps", 2, "--evaluate", 1)
    call_main("train_ross3d.py", *short, *given, "--tasks", "vanilla", "--out", out)
    rows = RunFolder(out, resume=True).rows()
    for row in rows:
        assert {"vanilla", "text", "grounding"} <= set(row)
        assert all(row[name] > 0 for name in ("vanilla", "text", "grounding"))
    assert {"vanilla/psnr", "vanilla/psnr_mean"} <= set(
        json.loads((out / "figures.json").read_text())
    )
    call_main("reconstruct.py", out, "--scenes", 1, "--device", "cpu")
    assert (out / "reconstruction" / "views.png").exists()


def test_a_run_with_kept_latents_learns_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], call_main: Callable[..., None]
) -> None:
    kept, few = tmp_path / "kept", (*SHORT, "--rooms", 4, "--evaluate", 1, "--out")
    call_main("train_ross3d.py", *few, tmp_path / "plain")
    given = ("--latent-cache", kept, "--latent-cache-gb", 0.01)
    call_main("train_ross3d.py", *few, tmp_path / "cached", *given)
    call_main("train_ross3d.py", *few, tmp_path / "again", *given)
    said = re.findall(r"latents: (\d+) found and (\d+) made, in", capsys.readouterr().out)
    (first, made), (found, none) = ((int(hits), int(misses)) for hits, misses in said)
    assert first > 0
    assert made > 0
    assert (found, none) == (first + made, 0)
    runs = [RunFolder(tmp_path / name, resume=True) for name in ("plain", "cached", "again")]
    assert runs[0].rows() == runs[1].rows() == runs[2].rows()
    weights = {(run.latest_checkpoint() / "model.safetensors").read_bytes() for run in runs}
    assert len(weights) == 1
    shutil.rmtree(kept)
    call_main("reconstruct.py", tmp_path / "cached", "--scenes", 1, "--device", "cpu")
    assert not kept.exists()


def test_sizes_are_counted_without_a_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call_main: Callable[..., None],
) -> None:
    monkeypatch.chdir(tmp_path)
    call_main("train_ross3d.py", "--preset", "ross3d-7b", "--sizes", "--latent-cache", "kept")
    assert "7,070,619,136" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_the_shipped_scan_has_frames_enough(name: str) -> None:
    views, ratio = PRESETS[name].views, PRESETS[name].mask_ratio
    hidden = max(1, round(views * ratio))
    source = open_source("furnished_room", views=views, size=16, turns=2, hidden=hidden)
    for scene in (source.train(0), source.held_out(0)):
        places = {tuple(pose.flatten().tolist()) for pose in scene.frames.poses[0]}
        assert len(places) == views, "no frame is shown twice, or hidden and shown"


@pytest.mark.slow
def test_the_shipped_scan_trains(tmp_path: Path) -> None:
    options = (*SHORT, "--steps", 2, "--data", "furnished_room")
    printed = run_example("train_ross3d.py", *options, cwd=tmp_path)
    assert "furnished_room" in printed
    for name in (*PICTURES, "report.html", "checkpoint-000002/model.safetensors"):
        assert (tmp_path / "runs" / "furnished_room" / name).exists(), name
