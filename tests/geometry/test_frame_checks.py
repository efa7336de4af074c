from __future__ import annotations

import pytest
import torch
from strategies import make_frames

from ross3d.geometry.frame_checks import check_frame_values


def test_checked_values_pass_and_the_first_wrong_one_is_named() -> None:
    frames = make_frames()
    fields = [frames.images, frames.depths, frames.intrinsics, frames.poses]
    check_frame_values(*fields)
    check_frame_values(*(x.bfloat16() for x in fields[:2]), *fields[2:])
    fields[1][1, 2, 3, 4] = -0.5
    fields[1][1, 2, 5, 6] = torch.nan
    with pytest.raises(ValueError, match=r"depths must be .*; got -0.5 at depths\[1, 2, 3, 4\]"):
        check_frame_values(*fields)


def test_a_matrix_is_written_row_by_row() -> None:
    frames = make_frames()
    frames.poses[1, 0] = 2 * torch.eye(4)
    frames.poses[1, 0, 3, 3] = 1
    match = r"must be rigid.*; got \[2 0 0 0; 0 2 0 0; 0 0 2 0; 0 0 0 1\] at poses\[1, 0\]"
    with pytest.raises(ValueError, match=match):
        check_frame_values(frames.images, frames.depths, frames.intrinsics, frames.poses)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("field", ["images", "depths"])
def test_one_pixel_that_is_not_finite_is_found(field: str, value: float) -> None:
    frames = make_frames()
    pixels = getattr(frames, field).view(-1)
    pixels[len(pixels) // 2] = value
    with pytest.raises(ValueError, match=f"{field} must be finite"):
        check_frame_values(frames.images, frames.depths, frames.intrinsics, frames.poses)


@pytest.mark.parametrize("value", [-0.3, 1.3])
def test_one_pixel_far_outside_is_found(value: float) -> None:
    frames = make_frames()
    frames.images[1, 2, 0, 3, 4] = value
    with pytest.raises(ValueError, match=r"images must be RGB in .* at images\[1, 2, 0, 3, 4\]"):
        check_frame_values(frames.images, frames.depths, frames.intrinsics, frames.poses)
