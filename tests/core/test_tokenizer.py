from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ross3d.core.tokenizer import PixelTokenizer, Tokenizer, latent_size, pack, unpack


@given(
    n=st.integers(0, 2), h=st.integers(1, 3), w=st.integers(1, 3), stride=st.sampled_from([1, 4, 7])
)
def test_pixels_come_back_exactly(n: int, h: int, w: int, stride: int) -> None:
    tokenizer: Tokenizer = PixelTokenizer(stride)
    images = torch.rand(n, 3, h * stride, w * stride)
    latents = tokenizer.encode(images)
    assert latents.shape == (n, tokenizer.channels, h, w)
    assert latents.abs().le(1).all()
    torch.testing.assert_close(tokenizer.decode(latents), images, atol=1e-6, rtol=0)


def test_packs_in_pixel_unshuffle_order() -> None:
    ramp = torch.arange(48.0).reshape(1, 3, 4, 4) / 64
    latents = PixelTokenizer(2).encode(ramp)
    first = (latents[0, :, 0, 0] + 1) * 32
    assert first.tolist() == [0, 1, 4, 5, 16, 17, 20, 21, 32, 33, 36, 37]


def test_packing_equals_torch_and_is_undone() -> None:
    cells = torch.rand(2, 3, 4, 6)
    torch.testing.assert_close(pack(cells, 2), F.pixel_unshuffle(cells, 2), rtol=0, atol=0)
    torch.testing.assert_close(unpack(pack(cells, 2), 2), cells, rtol=0, atol=0)


def test_computes_in_float32_or_wider() -> None:
    images = torch.rand(1, 3, 16, 16)
    assert PixelTokenizer().encode(images.bfloat16()).dtype == torch.float32
    assert PixelTokenizer().encode(images.double()).dtype == torch.float64


def test_gradcheck() -> None:
    tokenizer = PixelTokenizer(2)
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tokenizer.encode, (images,))
    latents = torch.rand(1, 12, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tokenizer.decode, (latents,))


def test_compiles() -> None:
    tokenizer, images = PixelTokenizer(4), torch.rand(2, 3, 8, 8)
    compiled = torch.compile(tokenizer.encode, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), tokenizer.encode(images))


def test_names_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="stride must be at least 1; got 0"):
        PixelTokenizer(0)
    with pytest.raises(ValueError, match="images must have sides divisible by the stride 16"):
        PixelTokenizer().encode(torch.zeros(1, 3, 32, 24))
    with pytest.raises(ValueError, match="images must be of shape"):
        latent_size(torch.zeros(3, 32, 32), 16)
    with pytest.raises(ValueError, match="latents must be of shape"):
        PixelTokenizer(2).decode(torch.zeros(1, 11, 2, 2))
