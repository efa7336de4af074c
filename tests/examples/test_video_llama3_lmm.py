from __future__ import annotations

import pytest
import torch
from hosts_qwen import PATCH, patches, video_llama3
from reference.lmm import VideoLlama3LMM, adapt
from tiny_host import DIM, END, VIEWS, VISUAL


@pytest.mark.parametrize(
    ("size", "merge", "grid"), [(32, 2, (2, 2)), ((24, 40), 1, (3, 5)), ((48, 24), 3, (2, 1))]
)
@torch.no_grad()
def test_views_of_any_size_and_merge_reproduce_the_untouched_model(
    size: int | tuple[int, int], merge: int, grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    host = video_llama3(size, merge_size=merge, view_end=[END])
    lmm = host.lmm
    images, ids = torch.rand(2, VIEWS, 3, *lmm.image_size), host.ids()
    assert lmm.grid == grid
    assert lmm.scene_ids(1) == [VISUAL] * (grid[0] * grid[1]) + [END]
    visual = lmm.encode(images)
    assert visual.shape == (2, VIEWS, grid[0] * grid[1], DIM)
    stock = lmm.host(**host.stock(images, ids), output_hidden_states=True).hidden_states[-1]
    output, _ = lmm.decode(visual, ids)
    torch.testing.assert_close(output.last_hidden_state, stock, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_token_is_the_mean_of_its_patches() -> None:
    torch.manual_seed(0)
    host = video_llama3(merge_size=2, mean=0.0, std=1.0)
    tower, images = host.lmm.host.model, host.images()
    grids = torch.tensor([[1, 4, 4]] * 2 * VIEWS)
    apart = tower.vision_model(
        patches(images.flatten(0, 1), 1, 1), grids, torch.ones(2 * VIEWS, dtype=torch.long)
    ).last_hidden_state
    means = apart.view(2, VIEWS, 2, 2, 2, 2, -1).mean(dim=(3, 5)).flatten(2, 3)
    expected = tower.projector(means)
    torch.testing.assert_close(host.lmm.encode(images), expected, rtol=0, atol=1e-5)


def test_adapt_picks_it() -> None:
    host = video_llama3().lmm.host
    lmm = adapt(host, image_size=64, merge_size=4)
    assert isinstance(lmm, VideoLlama3LMM)
    assert lmm.grid == (2, 2)
    assert lmm.num_deep == 0


def test_image_sizes_that_no_patches_fill_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image_size must be multiples of 16; got \(32, 40\)"):
        video_llama3((32, 5 * PATCH))
    with pytest.raises(ValueError, match=r"images must be of shape \(b m 3 32 32\)"):
        video_llama3().lmm.encode(torch.rand(1, 2, 3, 40, 40))
