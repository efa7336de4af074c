from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from reference import rerun_export
from reference.data.rooms import room_scene
from reference.rerun_export import export_rerun

from ross3d import PosedFrames


class Archetype:
    """Keeps what it is made of."""

    def __init__(self, *values: Any, **named: Any) -> None:
        self.values, self.named = values, named

    def compress(self, jpeg_quality: int) -> Archetype:
        self.named["jpeg_quality"] = jpeg_quality
        return self


class Recording:
    """Stands in for rerun's stream: writes a file, keeps what is logged and when."""

    def __init__(self, application: str, logged: list[tuple[str, int | None, Any]]) -> None:
        self.application, self.logged = application, logged
        self.time: int | None = None
        self.path: Path | None = None

    def save(self, path: str) -> None:
        self.path = Path(path)
        self.path.write_text(self.application)

    def set_time(self, timeline: str, *, sequence: int) -> None:
        assert timeline == "frame"
        self.time = sequence

    def log(self, entity: str, what: Any, *, static: bool = False) -> None:
        assert self.path is not None, "what is logged before the file is named gets lost"
        self.logged.append((entity, None if static else self.time, what))

    def disconnect(self) -> None:
        assert self.path is not None
        self.path.write_text("whole")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None, Any]]:
    """What is logged to a stand-in for rerun."""
    logged: list[tuple[str, int | None, Any]] = []
    kinds = ("Transform3D", "Pinhole", "Image", "DepthImage", "TextLog", "Points3D", "LineStrips3D")
    module = SimpleNamespace(
        **{kind: type(kind, (Archetype,), {}) for kind in kinds},
        ViewCoordinates=SimpleNamespace(RIGHT_HAND_Z_UP="z up", RDF="right, down, forward"),
        RecordingStream=lambda name: Recording(name, logged),
    )
    monkeypatch.setitem(sys.modules, "rerun", module)
    return logged


@pytest.fixture
def frames() -> PosedFrames:
    return room_scene(0, views=3, size=16).frames


def test_everything_is_logged(
    logged: list[tuple[str, int | None, Any]], frames: PosedFrames, tmp_path: Path
) -> None:
    export_rerun(tmp_path / "scan.rrd", frames, ["a", "b", "c"])
    assert (tmp_path / "scan.rrd").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["scan.rrd"]
    found = {(entity, time): what for entity, time, what in logged}
    assert found["world", None] == "z up"
    assert found["name", 1].values == ("b",)
    placed = found["world/camera", 2].named
    torch.testing.assert_close(
        torch.tensor(placed["translation"]).float(), frames.poses[0, 2, :3, 3]
    )
    torch.testing.assert_close(torch.tensor(placed["mat3x3"]).float(), frames.poses[0, 2, :3, :3])
    pinhole = found["world/camera/picture", 0].named
    assert pinhole["resolution"] == [16, 16]
    assert pinhole["camera_xyz"] == "right, down, forward"
    corner = torch.tensor(pinhole["image_from_camera"]).float() - frames.intrinsics[0, 0]
    torch.testing.assert_close(corner, torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
    (colour,) = found["world/camera/picture/colour", 1].values
    assert (colour.shape, str(colour.dtype)) == ((16, 16, 3), "uint8")
    depth = found["world/camera/picture/depth", 1]
    metres = torch.tensor(depth.values[0].astype("float32")) / depth.named["meter"]
    torch.testing.assert_close(metres, frames.depths[0, 1], atol=6e-4, rtol=0)
    (points,) = found["world/points/2", 2].values
    torch.testing.assert_close(torch.tensor(points), frames.world_coords()[0, 2].flatten(0, 1))
    assert len(found["world/points/2", 2].named["colors"]) == len(points)


def test_points_are_thinned_and_unknown_depth_has_none(
    logged: list[tuple[str, int | None, Any]],
    frames: PosedFrames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rerun_export, "POINTS", 50)
    frames.depths[:, 1] = 0
    export_rerun(tmp_path / "scan.rrd", frames, ["a", "b", "c"])
    counts = [len(what.values[0]) for entity, _, what in logged if "points" in entity]
    assert counts[1] == 0
    assert 50 <= counts[0] < 100


def test_a_missing_package_is_named(
    frames: PosedFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ImportError, match=r"needs rerun: pip install 'ross3d\[rerun\]'"):
        export_rerun(tmp_path / "scan.rrd", frames, ["a", "b", "c"])
    assert list(tmp_path.iterdir()) == []


def test_the_real_package_writes_a_file(frames: PosedFrames, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    export_rerun(tmp_path / "scan.rrd", frames, ["a", "b", "c"])
    assert (tmp_path / "scan.rrd").read_bytes()[:3] == b"RRF"
