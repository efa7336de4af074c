from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference.data.sparse_masks import read_masks

MASKS = np.random.default_rng(0).random((7, 11)) < 0.4
MASKS[2] = False


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("most", [3, 50])
def test_what_scipy_writes(tmp_path: Path, form: str, most: int) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    path = tmp_path / "a.npz"
    matrix = getattr(sparse, f"{form}_matrix")(MASKS)
    sparse.save_npz(path, matrix)
    rows, width = read_masks(path, most=most)
    assert width == 11
    assert len(rows) == min(most, 7)
    for row, mask in zip(rows, MASKS, strict=False):
        np.testing.assert_array_equal(row, mask.nonzero()[0])


def test_stored_zeros_are_not_in_a_mask(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", data=np.array([1, 0, 1]))
    rows, _ = read_masks(tmp_path / "a.npz", most=9)
    assert [row.tolist() for row in rows] == [[0], [4]]


def write(path: Path, **changes: object) -> Path:
    arrays: dict[str, object] = {
        "format": np.array(b"csr"),
        "shape": np.array([2, 5]),
        "indptr": np.array([0, 2, 3]),
        "indices": np.array([0, 3, 4]),
        "data": np.ones(3, dtype=bool),
    }
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": np.array("dia")}, "be a sparse matrix of SciPy; got the format 'dia'"),
        ({"format": None}, "be a sparse matrix of SciPy; got"),
        ({"format": np.array({"a": 1}, dtype=object)}, "be a sparse matrix of SciPy; got .*pickle"),
        ({"shape": np.array([2])}, "be a sparse matrix of SciPy; got"),
        ({"indices": np.array(["a", "b", "c"])}, "be a sparse matrix of SciPy; got"),
        ({"indices": np.array([0, 3, 5])}, "hold indices inside 2 x 5"),
        ({"indices": np.array([0, 3])}, "hold 3 indices of rows and columns; got 3 and 2"),
        ({"indptr": np.array([0, 3, 2])}, "hold 2 rising pointers to 3"),
        ({"indptr": np.array([0, 3])}, "hold 2 rising pointers to 3"),
    ],
)
def test_damage_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(ValueError, match=rf"a\.npz must {message}"):
        read_masks(path, most=50)


def test_other_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a\.npz must be a sparse matrix of SciPy; got"):
        read_masks(path, most=50)
    with pytest.raises(FileNotFoundError, match=r"b\.npz must hold masks; got no such file"):
        read_masks(tmp_path / "b.npz", most=50)
