from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.core.dct import DCTTokenizer
from ross3d.core.tokenizer import Tokenizer

SCANS = ("furnished_room", "living_room", "red_kitchen")


def frames(root: Path, scan: str, size: int, count: int = 8) -> Tensor:
    image, numpy = pytest.importorskip("PIL.Image"), pytest.importorskip("numpy")
    files = sorted((root / scan).glob("scannet/posed_images/*/*.jpg"))
    stack = []
    for file in files[:: max(len(files) // count, 1)][:count]:
        pixels = torch.from_numpy(numpy.array(image.open(file).convert("RGB"))).permute(2, 0, 1)
        stack.append(pixels[:, :, 80:560].float() / 255)  # the central square
    return F.interpolate(torch.stack(stack), size, mode="bilinear", antialias=True)


def slow_coefficient(block: Tensor, plane: str, v: int, u: int) -> float:
    """One DCT-II coefficient of an 8x8 RGB block in [0, 1], from the textbook."""
    red, green, blue = (2 * block - 1).double()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    values = {"y": luma, "cb": (blue - luma) / 1.772, "cr": (red - luma) / 1.402}[plane]
    total = 0.0
    for y in range(8):
        for x in range(8):
            wave = math.cos((2 * y + 1) * v * math.pi / 16) * math.cos(
                (2 * x + 1) * u * math.pi / 16
            )
            total += float(values[y, x]) * wave
    return total / 4 * (2**-0.5 if v == 0 else 1) * (2**-0.5 if u == 0 else 1)


def test_equals_the_textbook() -> None:
    images = torch.rand(1, 3, 16, 16)
    latents = DCTTokenizer().encode(images)
    expected = [
        (0, "y", 0, 0, 3.84),
        (1, "y", 0, 1, 0.501),
        (2, "y", 1, 0, 0.551),
        (7, "y", 1, 2, 0.137),
        (10, "cb", 0, 0, 0.818),
        (14, "cr", 0, 1, 0.114),
    ]
    for c, plane, v, u, scale in expected:
        for dy in range(2):
            for dx in range(2):
                block = images[0, :, dy * 8 : dy * 8 + 8, dx * 8 : dx * 8 + 8]
                value = slow_coefficient(block, plane, v, u) / scale
                got = latents[0, c * 4 + dy * 2 + dx, 0, 0].item()
                assert got == pytest.approx(value, abs=1e-5)


@given(n=st.integers(0, 2), h=st.integers(1, 3), w=st.integers(1, 3))
def test_encoding_a_decoded_latent_gives_it_back(n: int, h: int, w: int) -> None:
    tokenizer: Tokenizer = DCTTokenizer()
    latents = torch.randn(n, 64, h, w)
    images = tokenizer.decode(latents)
    assert images.shape == (n, 3, 16 * h, 16 * w)
    torch.testing.assert_close(tokenizer.encode(images), latents, atol=1e-5, rtol=0)


def test_round_trip_is_a_projection() -> None:
    tokenizer = DCTTokenizer()
    once = tokenizer.decode(tokenizer.encode(torch.rand(2, 3, 32, 48)))
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(once)), once, atol=1e-5, rtol=0)


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.9, 0.2, 0.4)])
def test_plain_colours_survive(colour: tuple[float, float, float]) -> None:
    images = torch.tensor(colour)[None, :, None, None].expand(1, 3, 16, 16)
    tokenizer = DCTTokenizer()
    torch.testing.assert_close(
        tokenizer.decode(tokenizer.encode(images)), images, atol=1e-5, rtol=0
    )


def test_mid_grey_is_zero() -> None:
    assert DCTTokenizer().encode(torch.full((1, 3, 16, 16), 0.5)).abs().max() < 1e-6


@pytest.mark.parametrize("scan", SCANS)
def test_real_frames_look_right(shared: Path, scan: str) -> None:
    tokenizer, images = DCTTokenizer(), frames(shared, scan, 224)
    error = (tokenizer.decode(tokenizer.encode(images)).clamp(0, 1) - images).square()
    assert (-10 * error.mean().log10()).item() > 22


def test_real_latents_have_about_unit_variance(shared: Path) -> None:
    images = torch.cat([frames(shared, scan, 224) for scan in SCANS])
    power = DCTTokenizer().encode(images).square().mean(dim=(0, 2, 3)).sqrt()
    assert power.min() > 0.6
    assert power.max() < 1.4
    assert power.mean().item() == pytest.approx(1, abs=0.15)


def test_computes_in_float32_or_wider_even_under_meta_defaults() -> None:
    images = torch.rand(1, 3, 16, 16)
    with torch.device("meta"):
        tokenizer = DCTTokenizer()
    assert tokenizer.encode(images.bfloat16()).dtype == torch.float32
    assert tokenizer.encode(images.double()).dtype == torch.float64
    assert tokenizer.decode(tokenizer.encode(images).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [1, 2, 4])
def test_packing_only_arranges_the_blocks(size: int) -> None:
    images = torch.rand(2, 3, 32, 64)
    tokenizer, blocks = DCTTokenizer(pack=size), DCTTokenizer(pack=1).encode(images)
    assert (tokenizer.channels, tokenizer.stride) == (16 * size**2, 8 * size)
    latents = tokenizer.encode(images)
    assert latents.shape == (2, tokenizer.channels, 32 // tokenizer.stride, 64 // tokenizer.stride)
    torch.testing.assert_close(latents, F.pixel_unshuffle(blocks, size))
    torch.testing.assert_close(tokenizer.decode(latents), DCTTokenizer(pack=1).decode(blocks))


def test_gradcheck() -> None:
    tokenizer = DCTTokenizer()
    images = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tokenizer.encode, (images,))
    latents = torch.rand(1, 64, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tokenizer.decode, (latents,))


def test_compiles() -> None:
    tokenizer, images = DCTTokenizer(), torch.rand(2, 3, 16, 16)
    compiled = torch.compile(tokenizer.encode, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), tokenizer.encode(images))


def test_names_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="images must have sides divisible by the stride 16"):
        DCTTokenizer().encode(torch.zeros(1, 3, 216, 216))
    with pytest.raises(ValueError, match="latents must be of shape"):
        DCTTokenizer().decode(torch.zeros(1, 16, 2, 2))
    with pytest.raises(ValueError, match="pack must be at least 1; got 0"):
        DCTTokenizer(pack=0)


@pytest.mark.parametrize("whiten", [0.0, 0.5, 1.0])
def test_whitening_changes_the_sizes_of_channels_only(whiten: float) -> None:
    images = torch.rand(2, 3, 32, 48)
    tokenizer, full = DCTTokenizer(whiten), DCTTokenizer()
    torch.testing.assert_close(
        tokenizer.decode(tokenizer.encode(images)), full.decode(full.encode(images))
    )
    ratio = tokenizer.encode(images) / full.encode(images)
    torch.testing.assert_close(ratio, ratio[:1, :, :1, :1].expand_as(ratio), rtol=1e-3, atol=1e-4)


def test_without_whitening_errors_count_as_in_pixels() -> None:
    tokenizer = DCTTokenizer(0.0)
    one, other = (tokenizer.decode(torch.randn(1, 64, 2, 2)) for _ in range(2))
    grey = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    pixels = ((one - other) * grey).sum(1).square().sum()
    latents = (tokenizer.encode(one) - tokenizer.encode(other))[:, :40].square().sum()
    ratio = latents / pixels
    again = (
        tokenizer.encode(other)[:, :40].square().sum()
        / ((other - 0.5) * grey).sum(1).square().sum()
    )
    torch.testing.assert_close(ratio, again, rtol=1e-3, atol=0)


def test_whitening_is_checked() -> None:
    with pytest.raises(ValueError, match=r"whiten must be in \[0, 1\]; got 2"):
        DCTTokenizer(2.0)


def test_autocast_leaves_latents_and_pictures_in_float32() -> None:
    tokenizer, images = DCTTokenizer(), torch.rand(1, 3, 32, 32)
    latents = tokenizer.encode(images)
    pictures = tokenizer.decode(latents)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(images), latents)
        assert torch.equal(tokenizer.decode(latents), pictures)
