from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ross3d import DCTTokenizer, FeatureTokenizer, PixelTokenizer, Tokenizer, VAETokenizer
from ross3d.pretext.latents import decode_pictures, encode_pictures


class Counted(DCTTokenizer):
    """Remembers the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def encode(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape))
        return super().encode(images)


@cache
def teachers() -> dict[str, Tokenizer]:
    torch.manual_seed(0)
    found: dict[str, Tokenizer] = {"dct": DCTTokenizer(), "pixels": PixelTokenizer(16)}
    found["features"] = FeatureTokenizer(nn.Conv2d(3, 5, 16, stride=16), channels=5, stride=16)
    diffusers = pytest.importorskip("diffusers")
    sizes = {"down_block_types": ("DownEncoderBlock2D",) * 4, "block_out_channels": (8, 8, 16, 16)}
    sizes |= {"up_block_types": ("UpDecoderBlock2D",) * 4, "norm_num_groups": 4}
    found["vae"] = VAETokenizer(diffusers.AutoencoderKL(**sizes), sample=False)
    return found


@pytest.mark.parametrize("name", ["dct", "pixels", "features", "vae"])
@given(
    tasks=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 3), st.sampled_from([16, 32, 48])), max_size=4
    )
)
def test_equals_task_by_task(name: str, tasks: list[tuple[int, int, int]]) -> None:
    tokenizer = teachers()[name]
    pictures = [torch.rand(b, k, 3, size, size) for b, k, size in tasks]
    for images, latents in zip(pictures, encode_pictures(tokenizer, pictures), strict=True):
        b, k, _, size, _ = images.shape
        assert latents.shape == (b * k, tokenizer.channels, size // 16, size // 16)
        assert latents.dtype == torch.float32
        if k:
            expected = tokenizer.encode(images.flatten(0, 1))
            if name != "vae":  # whose convolutions and attention round by the size of the batch
                assert latents.equal(expected)
            torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-6)


def test_one_batch_per_size_and_none_for_nothing() -> None:
    tokenizer = Counted()
    sizes = [(2, 32), (0, 32), (1, 48), (3, 32), (0, 64)]
    pictures = [torch.rand(2, k, 3, size, size) for k, size in sizes]
    encode_pictures(tokenizer, pictures)
    assert tokenizer.shapes == [(10, 3, 32, 32), (2, 3, 48, 48)]
    encode_pictures(tokenizer, pictures[1::3])
    assert encode_pictures(tokenizer, []) == []
    assert len(tokenizer.shapes) == 2


def test_pictures_of_several_dtypes_stay_what_they_are() -> None:
    tokenizer = Counted()
    pictures = [torch.rand(1, 2, 3, 32, 32).to(dtype) for dtype in (torch.float32, torch.bfloat16)]
    for images, latents in zip(pictures, encode_pictures(tokenizer, pictures), strict=True):
        assert latents.equal(DCTTokenizer().encode(images[0]))
    assert len(tokenizer.shapes) == 2


def test_no_history() -> None:
    images = torch.rand(1, 1, 3, 32, 32, requires_grad=True)
    assert not encode_pictures(DCTTokenizer(), [images])[0].requires_grad


@pytest.mark.parametrize("k", [0, 2])
def test_pictures_come_back_between_0_and_1(k: int) -> None:
    tokenizer, images = PixelTokenizer(16), torch.rand(3, k, 3, 32, 32)
    (latents,) = encode_pictures(tokenizer, [images])
    torch.testing.assert_close(decode_pictures(tokenizer, latents, images), images)
    bright = decode_pictures(tokenizer, latents + 9, images)
    assert bright.shape == images.shape
    assert (bright == 1).all()
