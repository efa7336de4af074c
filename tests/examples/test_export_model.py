from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recipes import run_example
from reference.model import Ross3D
from reference.trained import load_run
from saving import losses


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    printed = run_example("export_model.py", finished, "-o", out, "--license", "apache-2.0")
    for name in ("ross3d.json", "blocks.safetensors", "host/model.safetensors", "README.md"):
        assert name in printed
    return out


def test_an_exported_model_is_the_runs(finished: Path, exported: Path) -> None:
    ours, theirs = load_run(finished), load_run(exported)
    assert (theirs.step, theirs.preset, theirs.options) == (ours.step, ours.preset, ours.options)
    scenes = [ours.source.held_out(i) for i in range(2)]
    mine, other = (losses(run.model, run.collate(scenes)) for run in (ours, theirs))
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    asked = ours.collate.questions(scenes), theirs.collate.questions(scenes)
    answers = [
        run.model.answer(questions, max_new_tokens=4, **run.collate.stop)
        for run, questions in zip((ours, theirs), asked, strict=True)
    ]
    assert torch.equal(*answers)
    card = (exported / "README.md").read_text()
    assert 'license: "apache-2.0"' in card
    assert "5 optimiser steps" in card


def test_it_can_be_reconstructed_from(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    options = ("--out", out, "--scenes", 1, "--steps", 2)
    printed = run_example("reconstruct.py", exported, *options)
    assert "after 5 steps, 1 held-out scenes of generated rooms" in printed
    assert (out / "reconstruction.png").is_file()


def test_a_model_without_its_recipe_is_named(
    exported: Path, tmp_path: Path, call_main: Callable[..., None]
) -> None:
    Ross3D.from_pretrained(exported).save_pretrained(tmp_path / "bare")
    with pytest.raises(SystemExit, match="RUN must have been exported with its recipe"):
        call_main("reconstruct.py", tmp_path / "bare")


def test_a_host_from_scratch_cannot_be_referred_to(
    finished: Path, tmp_path: Path, call_main: Callable[..., None]
) -> None:
    with pytest.raises(SystemExit, match="host must have been loaded to be saved by reference"):
        call_main("export_model.py", finished, "-o", tmp_path / "a", "--host", "reference")
    shutil.copy(finished / "config.json", tmp_path)
    with pytest.raises(SystemExit, match="RUN must hold a checkpoint"):
        call_main("export_model.py", tmp_path, "-o", tmp_path / "a")


def test_it_goes_to_the_hub(
    finished: Path,
    tmp_path: Path,
    call_main: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pushed: list[list[str]] = []

    def upload_folder(*, repo_id: str, folder_path: str, commit_message: str) -> str:
        files = [p for p in Path(folder_path).rglob("*") if p.is_file()]
        pushed.append(sorted(str(p.relative_to(folder_path)) for p in files))
        return f"https://hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.create_repo", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.upload_folder", upload_folder)
    call_main("export_model.py", finished, "-o", tmp_path / "a", "--push", "me/rooms")
    assert "https://hub/me/rooms" in capsys.readouterr().out
    assert {"ross3d.json", "blocks.safetensors", "host/config.json"} <= set(pushed[0])
