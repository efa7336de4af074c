from __future__ import annotations

from dataclasses import asdict

import pytest
from reference.presets import PRESETS, ROSS3D_7B, Preset


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
        if isinstance(value, int | float) and name != "train_tower":
            assert value > 0, name


def test_the_paper_trains_on_256_scenes_per_step_with_8_devices() -> None:
    assert 8 * ROSS3D_7B.batch * ROSS3D_7B.accumulate == 256
    assert (ROSS3D_7B.views, ROSS3D_7B.mask_ratio, ROSS3D_7B.every) == (32, 0.25, 4)
    assert (ROSS3D_7B.bev_size, ROSS3D_7B.image_size) == (432, 384)


def test_presets_are_named() -> None:
    assert sorted(PRESETS) == ["ross3d-7b", "small", "tiny"]
