from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.data.scene_points import ScenePoints, load_scene_points
from safetensors.torch import save_file

COORDS = np.arange(12, dtype=np.float64).reshape(4, 3)
FEATURES = np.linspace(-1, 1, 20, dtype=np.float16).reshape(4, 5)


def write(path: Path, coords: np.ndarray = COORDS, features: np.ndarray = FEATURES) -> Path:
    if path.suffix == ".npz":
        np.savez(path, coords=coords, features=features)
    else:
        parts = {"coords": coords, "features": features}
        save_file({name: torch.from_numpy(x.copy()) for name, x in parts.items()}, path)
    return path


@pytest.mark.parametrize("name", ["scene.npz", "scene.safetensors"])
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    points = load_scene_points(write(tmp_path / name))
    torch.testing.assert_close(points.coords, torch.from_numpy(COORDS)[None].float())
    torch.testing.assert_close(points.features, torch.from_numpy(FEATURES)[None].float())
    assert points.coords.dtype == points.features.dtype == torch.float32
    assert points.valid.all()


def test_arrays_may_have_other_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "scene.npz", xyz=COORDS, clip=FEATURES)
    points = load_scene_points(str(tmp_path / "scene.npz"), coords="xyz", features="clip")
    assert points.features.shape == (1, 4, 5)


def test_points_that_are_not_finite_are_padding(tmp_path: Path) -> None:
    coords, features = COORDS.copy(), FEATURES.copy()
    coords[1, 2], features[3, 0] = np.nan, np.inf
    points = load_scene_points(write(tmp_path / "scene.npz", coords, features))
    assert points.valid.tolist() == [[True, False, True, False]]
    assert points.coords.isfinite().all()
    assert points.features.isfinite().all()


def test_scenes_are_padded_to_the_most_points() -> None:
    few, many = (
        ScenePoints(torch.ones(1, n, 3), torch.ones(1, n, 5), torch.ones(1, n) > 0) for n in (2, 4)
    )
    both = ScenePoints.cat([few, many]).to("cpu")
    assert both.valid.tolist() == [[True, True, False, False], [True] * 4]
    assert both.coords.sum() == 6 * 3
    assert both.features.sum() == 6 * 5


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path must end in \.npz or \.safetensors; got .*\.pt"):
        load_scene_points(tmp_path / "scene.pt")
    for name in ("scene.npz", "scene.safetensors"):
        with pytest.raises(FileNotFoundError):
            load_scene_points(tmp_path / name)
        path = write(tmp_path / name)
        with pytest.raises(ValueError, match="must hold arrays of numbers named xyz and features"):
            load_scene_points(path, coords="xyz")
        with pytest.raises(ValueError, match=r"features \(n, c\); got \(3, 3\) and \(4, 5\)"):
            load_scene_points(write(path, COORDS[:3]))
        for content in (b"", b"no such file", write(path).read_bytes()[:-60]):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=f"{name} must"):
                load_scene_points(path)
    pickled = np.array([{"a": 1}, None, 2, 3], dtype=object)
    with pytest.raises(ValueError, match=r"scene\.npz must hold arrays of numbers"):
        load_scene_points(write(tmp_path / "scene.npz", pickled))


def test_wrong_tensors() -> None:
    coords, features, valid = torch.ones(1, 2, 3), torch.ones(1, 2, 5), torch.ones(1, 2) > 0
    with pytest.raises(ValueError, match="coords must be of shape"):
        ScenePoints(coords[0], features, valid)
    with pytest.raises(ValueError, match="features must be of shape"):
        ScenePoints(coords, features[:, :1], valid)
    with pytest.raises(ValueError, match="valid must be of shape"):
        ScenePoints(coords, features, valid[:, :1])
    with pytest.raises(ValueError, match="valid must be boolean"):
        ScenePoints(coords, features, valid.float())
    with pytest.raises(ValueError, match="points must hold at least one scene; got none"):
        ScenePoints.cat([])
