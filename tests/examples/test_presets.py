from __future__ import annotations

from dataclasses import asdict

import pytest
from reference.presets import PRESETS, ROSS3D_7B, ROSS3D_7B_NARROW, Preset, narrow


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_sizes_fit_together(preset: Preset) -> None:
    assert preset.dim % (2 * preset.heads) == 0
    assert preset.denoiser_dim % preset.denoiser_heads == 0
    stride = {"dct": 16, "flux": 16}[preset.teacher]
    assert preset.view_size % stride == 0
    assert preset.bev_size % stride == 0
    if preset.host == "scratch":
        assert preset.image_size % preset.patch_size == 0
        assert preset.vision_dim % preset.heads == 0
    hidden = round(preset.views * preset.mask_ratio)
    assert 1 <= hidden < preset.views
    for name, value in asdict(preset).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert value > 0, name


def test_the_paper_trains_on_256_scenes_per_step_with_8_devices() -> None:
    assert 8 * ROSS3D_7B.batch * ROSS3D_7B.accumulate == 256
    assert (ROSS3D_7B.views, ROSS3D_7B.mask_ratio, ROSS3D_7B.every) == (32, 0.25, 4)
    assert (ROSS3D_7B.bev_size, ROSS3D_7B.image_size) == (432, 384)


def test_presets_are_named() -> None:
    assert sorted(PRESETS) == ["ross3d-7b", "ross3d-7b-narrow", "small", "tiny"]


def test_narrowing_changes_widths_alone() -> None:
    wide, thin = asdict(ROSS3D_7B), asdict(ROSS3D_7B_NARROW)
    assert {name: wide[name] // thin[name] for name in wide if "dim" in name} == dict.fromkeys(
        ("vision_dim", "dim", "denoiser_dim"), 16
    )
    assert (thin["heads"], thin["denoiser_heads"]) == (7, 4)
    assert thin["dim"] // thin["heads"] == wide["dim"] // wide["heads"] // 4
    others = {name for name in wide if wide[name] != thin[name]} - {"heads", "denoiser_heads"}
    assert {name for name in others if "dim" not in name} == {
        "narrow",
        "accumulate",
        "frozen_dtype",
    }
    assert narrow(ROSS3D_7B, 4).heads == 14


def test_other_factors_are_refused() -> None:
    with pytest.raises(ValueError, match="factor must be 1, 4 or 16; got 8"):
        narrow(ROSS3D_7B, 8)
