from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_frames, one_scene, posed_frames

from benchmarks.baselines_sampling import cover_sets, voxel_sets
from ross3d.geometry.coverage import greedy_cover, max_coverage_frames, view_voxels
from ross3d.geometry.frames import PosedFrames

key_sets = st.lists(st.lists(st.integers(0, 12), max_size=8), min_size=1, max_size=6)


def chosen_frames(frames: PosedFrames, count: int = 32, **options: float) -> list[list[int]]:
    cameras = frames.depths, frames.intrinsics, frames.poses
    return max_coverage_frames(*cameras, count, **options)  # type: ignore[arg-type]


@given(key_sets, st.integers(1, 6), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_greedy_cover_is_the_slow_one(keys: list[list[int]], count: int, ratio: float) -> None:
    chosen = greedy_cover([torch.tensor(x, dtype=torch.long) for x in keys], count, ratio=ratio)
    assert chosen == cover_sets([{(key,) for key in x} for x in keys], count, ratio)
    assert len(set(chosen)) == len(chosen) <= count
    union, seen = set().union(*keys), set().union(*(keys[i] for i in chosen))
    assert len(chosen) == count or len(seen) >= ratio * len(union) - 1e-9


def test_the_first_of_equals_is_chosen_and_a_ratio_stops() -> None:
    sets = [torch.tensor(x) for x in ([1, 2], [3, 4], [1, 2], [5], [6, 7, 8])]
    assert greedy_cover(sets) == [4, 0, 1, 3]
    assert greedy_cover(sets, ratio=5 / 8) == [4, 0]
    assert greedy_cover(sets, 1) == [4]
    assert greedy_cover([]) == []


@given(posed_frames(unknown=0.5), st.sampled_from([0.1, 0.5, 2.0]))
def test_view_voxels_are_the_rounded_places(frames: PosedFrames, voxel_size: float) -> None:
    views = view_voxels(frames.depths, frames.intrinsics, frames.poses, voxel_size)
    expected = [
        voxel_sets(points.flatten(1, 2), valid.flatten(1), voxel_size)
        for points, valid in zip(frames.world_coords(), frames.valid, strict=True)
    ]
    assert [[len(keys) for keys in scene] for scene in views] == [
        [len(voxels) for voxels in scene] for scene in expected
    ]
    for scene, voxels in zip(views, expected, strict=True):
        assert len(torch.cat(scene).unique()) == len(set().union(*voxels))
        assert all(keys.equal(keys.unique()) for keys in scene)


def test_keys_mean_the_same_place_in_every_call() -> None:
    frames = make_frames(2, 3)
    cameras = frames.depths, frames.intrinsics, frames.poses
    together = view_voxels(*cameras)
    for m in range(3):
        alone = view_voxels(*(x[:, m : m + 1] for x in cameras))
        assert all(alone[b][0].equal(together[b][m]) for b in range(2))


@given(posed_frames(unknown=0.5), st.integers(1, 6), st.sampled_from([0.5, 1.0]))
def test_scenes_do_not_depend_on_each_other(frames: PosedFrames, count: int, ratio: float) -> None:
    chosen = chosen_frames(frames, count, ratio=ratio, voxel_size=0.5)
    assert len(chosen) == len(frames)
    for b, indices in enumerate(chosen):
        assert indices == sorted(set(indices))
        assert 1 <= len(indices) <= min(count, frames.views)
        assert 0 <= indices[0] <= indices[-1] < frames.views
        alone = one_scene(frames, b)
        assert chosen_frames(alone, count, ratio=ratio, voxel_size=0.5) == [indices]


def test_a_repeated_view_is_not_chosen_twice() -> None:
    frames = make_frames(1, 3).select(torch.tensor([0, 0, 1, 1, 2]))
    assert chosen_frames(frames) == [[0, 2, 4]]


@pytest.mark.parametrize(("m", "count", "expected"), [(1, 32, [0]), (5, 3, [0, 2, 4])])
def test_frames_without_any_depth_are_spread_evenly(
    m: int, count: int, expected: list[int]
) -> None:
    frames = make_frames(2, m, unknown=1.1)
    assert not frames.valid.any()
    assert chosen_frames(frames, count) == [expected] * 2


def test_a_view_without_depth_is_not_chosen() -> None:
    frames = make_frames(1, 3)
    frames.depths[:, 1] = 0
    assert chosen_frames(frames) == [[0, 2]]


def test_double_and_half_precision() -> None:
    frames = make_frames(1, 2)
    cameras = frames.depths, frames.intrinsics, frames.poses
    assert max_coverage_frames(*(x.double() for x in cameras)) == [[0, 1]]
    assert max_coverage_frames(*(x.bfloat16() for x in cameras)) == [[0, 1]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"count": 0}, "count must be positive; got 0"),
        ({"ratio": 0.0}, r"ratio must be in \(0, 1\]; got 0.0"),
        ({"ratio": 1.5}, r"ratio must be in \(0, 1\]; got 1.5"),
        ({"voxel_size": 0.0}, "voxel_size must be positive; got 0.0"),
    ],
)
def test_complains_about_numbers(options: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        chosen_frames(make_frames(1, 2), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["depths", "intrinsics", "poses"])
def test_complains_about_shapes(name: str) -> None:
    frames = make_frames(1, 2)
    cameras = {x: getattr(frames, x) for x in ("depths", "intrinsics", "poses")}
    cameras[name] = cameras[name][0]
    with pytest.raises(ValueError, match=f"{name} must be of shape"):
        view_voxels(**cameras)
