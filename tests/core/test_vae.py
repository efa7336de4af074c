from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ross3d.core.tokenizer import StagedTokenizer, Tokenizer
from ross3d.core.vae import VAETokenizer

diffusers = pytest.importorskip("diffusers")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def vae() -> Any:
    """FLUX's VAE in small: the same depth, latent channels, scaling and shift."""
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def test_has_the_shape_of_flux_latents(vae: Any) -> None:
    tokenizer: Tokenizer = VAETokenizer(vae)
    assert (tokenizer.channels, tokenizer.stride) == (64, 16)
    latents = tokenizer.encode(torch.rand(2, 3, 32, 48))
    assert latents.shape == (2, 64, 2, 3)
    assert tokenizer.decode(latents).shape == (2, 3, 32, 48)
    assert VAETokenizer(vae, pack=1).encode(torch.rand(1, 3, 216, 216)).shape == (1, 16, 27, 27)


def test_encodes_as_diffusers_then_scales_and_packs(vae: Any) -> None:
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        mode = vae.encode(images * 2 - 1).latent_dist.mode()
    latents = VAETokenizer(vae, sample=False).encode(images)
    for c, dy, dx in ((0, 0, 0), (3, 0, 1), (15, 1, 0), (7, 1, 1)):
        expected = (mode[:, c, dy::2, dx::2] - 0.1159) * 0.3611
        torch.testing.assert_close(latents[:, c * 4 + dy * 2 + dx], expected)


def test_decodes_as_diffusers(vae: Any) -> None:
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = vae.decode(vae.encode(images * 2 - 1).latent_dist.mode()).sample / 2 + 0.5
    tokenizer = VAETokenizer(vae, sample=False)
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(images)), expected)


def test_samples_around_the_mode(vae: Any) -> None:
    images, tokenizer = torch.rand(1, 3, 32, 32), VAETokenizer(vae)

    def run(seed: int) -> torch.Tensor:
        return tokenizer.encode(images, generator=torch.Generator().manual_seed(seed))

    torch.testing.assert_close(run(1), run(1), rtol=0, atol=0)
    assert not torch.allclose(run(1), run(2))
    mode = VAETokenizer(vae, sample=False).encode(images)
    with torch.no_grad():
        deviation = vae.encode(images * 2 - 1).latent_dist.std.mean() * 0.3611
    mean = torch.stack([run(seed) for seed in range(64)]).mean(dim=0)
    assert (mean - mode).abs().mean() < 0.2 * deviation


def test_draws_as_diffusers(vae: Any) -> None:
    images, tokenizer = torch.rand(2, 3, 32, 32), VAETokenizer(vae)
    with torch.no_grad():
        posterior = vae.encode(images * 2 - 1).latent_dist
    moments = tokenizer.moments(images)
    assert moments.shape == (2, 32, 4, 4)
    assert moments.equal(posterior.parameters)
    for wide in (moments, moments * 99):  # logarithms of variances are bounded
        seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
        drawn = tokenizer.draw(wide, generator=seeds[0])
        expected = type(posterior)(wide).sample(seeds[1])
        unpacked = torch.nn.functional.pixel_shuffle(drawn, 2)
        torch.testing.assert_close(unpacked, (expected - 0.1159) * 0.3611)


@pytest.mark.parametrize("sample", [True, False])
def test_encodes_in_two_stages(vae: Any, sample: bool) -> None:
    images, tokenizer = torch.rand(2, 3, 32, 48), VAETokenizer(vae, sample=sample)
    assert isinstance(tokenizer, StagedTokenizer)
    assert tokenizer.moments(images).shape == (2, 16 * (1 + sample), 4, 6)
    assert tokenizer.moments(images[:0]).shape == (0, 16 * (1 + sample), 4, 6)
    for count in (2, 0):
        seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
        moments = tokenizer.moments(images[:count])
        whole = tokenizer.encode(images[:count], generator=seeds[0])
        assert tokenizer.draw(moments, generator=seeds[1]).equal(whole)


def test_without_a_shift_or_in_other_depths(vae: Any) -> None:
    config = {**vae.config, "shift_factor": None, "block_out_channels": (8, 16)}
    config |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "latent_channels": 4}
    config |= {"up_block_types": ("UpDecoderBlock2D",) * 2}
    small = diffusers.AutoencoderKL.from_config(config)
    tokenizer, images = VAETokenizer(small, sample=False), torch.rand(1, 3, 8, 8)
    assert (tokenizer.channels, tokenizer.stride) == (16, 4)
    with torch.no_grad():
        mode = small.encode(images * 2 - 1).latent_dist.mode()
    unpacked = torch.nn.functional.pixel_shuffle(tokenizer.encode(images), 2)
    torch.testing.assert_close(unpacked, mode * 0.3611)


def test_is_no_part_of_its_owner(vae: Any) -> None:
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = VAETokenizer(copy.deepcopy(vae).train())

    owner = Owner().train().bfloat16()
    assert not list(owner.parameters())
    assert not owner.state_dict()
    teacher = owner.tokenizer.vae
    assert not teacher.training
    assert teacher.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert not owner.tokenizer.encode(images).requires_grad


def test_follows_neither_autocast_nor_half_inputs(vae: Any) -> None:
    tokenizer, images = VAETokenizer(vae, sample=False), torch.rand(1, 3, 32, 32)
    expected = tokenizer.encode(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(tokenizer.encode(images), expected, rtol=0, atol=0)
        pictures = tokenizer.decode(expected)
    torch.testing.assert_close(pictures, tokenizer.decode(expected), rtol=0, atol=0)
    half = VAETokenizer(copy.deepcopy(vae).bfloat16(), sample=False)
    assert half.encode(images).dtype == half.decode(expected).dtype == torch.float32


def test_takes_empty_batches(vae: Any) -> None:
    tokenizer = VAETokenizer(vae)
    latents = tokenizer.encode(torch.zeros(0, 3, 32, 48))
    assert latents.shape == (0, 64, 2, 3)
    assert tokenizer.decode(latents).shape == (0, 3, 32, 48)


@pytest.mark.parametrize("subfolder", [None, "vae"])
def test_loads_the_decoder_when_a_picture_is_asked_for(
    vae: Any, tmp_path: Path, subfolder: str | None
) -> None:
    vae.save_pretrained(tmp_path if subfolder is None else tmp_path / subfolder)
    tokenizer = VAETokenizer.from_pretrained(str(tmp_path), subfolder=subfolder, sample=False)
    assert tokenizer.vae.decoder is None
    whole, images = VAETokenizer(vae, sample=False), torch.rand(1, 3, 32, 32)
    latents = tokenizer.encode(images)
    torch.testing.assert_close(latents, whole.encode(images))
    assert tokenizer.vae.decoder is None
    torch.testing.assert_close(tokenizer.decode(latents), whole.decode(latents))
    decoder = tokenizer.vae.decoder
    assert not any(parameter.requires_grad for parameter in decoder.parameters())
    tokenizer.decode(latents)
    assert tokenizer.vae.decoder is decoder


def test_a_vae_that_can_be_had_again_keeps_no_decoder(vae: Any) -> None:
    whole, made = copy.deepcopy(vae), []

    def again() -> Any:
        made.append(1)
        return copy.deepcopy(whole)

    tokenizer = VAETokenizer(copy.deepcopy(vae), sample=False, again=again)
    latents = tokenizer.encode(torch.rand(1, 3, 32, 32))
    assert tokenizer.vae.decoder is None
    assert not made
    for _ in range(2):
        pictures = tokenizer.decode(latents)
    torch.testing.assert_close(pictures, VAETokenizer(whole).decode(latents))
    assert len(made) == 1


def test_names_what_does_not_fit(vae: Any) -> None:
    tokenizer = VAETokenizer(vae)
    with pytest.raises(ValueError, match="images must have sides divisible by the stride 16; got"):
        tokenizer.encode(torch.zeros(1, 3, 216, 216))
    with pytest.raises(ValueError, match="latents must be of shape"):
        tokenizer.decode(torch.zeros(1, 16, 2, 2))
    with pytest.raises(ValueError, match="pack must be at least 1; got 0"):
        VAETokenizer(vae, pack=0)
    encoder_only = copy.deepcopy(vae)
    encoder_only.decoder = None
    with pytest.raises(ValueError, match="vae must have its decoder to give pictures"):
        VAETokenizer(encoder_only).decode(torch.zeros(1, 64, 2, 2))
