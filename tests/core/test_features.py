from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ross3d.core.features import FeatureTokenizer
from ross3d.core.regression import RegressionLoss
from ross3d.core.tokenizer import Tokenizer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_maps_and_tokens_are_the_same_features() -> None:
    patches = nn.Conv2d(3, 8, 4, stride=4)
    images = torch.rand(2, 3, 8, 12)
    as_map: Tokenizer = FeatureTokenizer(patches, channels=8, stride=4)
    as_tokens = FeatureTokenizer(lambda x: patches(x).flatten(2).mT, channels=8, stride=4)
    features = as_map.encode(images)
    assert features.shape == (2, 8, 2, 3)
    torch.testing.assert_close(as_tokens.encode(images), features)


def test_normalises_images() -> None:
    tokenizer = FeatureTokenizer(lambda x: x, channels=3, stride=1, mean=MEAN, std=STD)
    images = torch.rand(1, 3, 2, 2)
    features = tokenizer.encode(images)
    for c in range(3):
        torch.testing.assert_close(features[:, c], (images[:, c] - MEAN[c]) / STD[c])


def test_drops_the_prefix_tokens_of_dinov2() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    encoder = transformers.Dinov2Model(config).train()
    tokenizer = FeatureTokenizer(
        encoder, channels=16, stride=14, mean=MEAN, std=STD, prefix_tokens=1
    )
    images = torch.rand(2, 3, 28, 42)
    features = tokenizer.encode(images)
    assert features.shape == (2, 16, 2, 3)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        tokens = encoder((images - mean) / std).last_hidden_state
    assert tokens.shape[1] == 7
    torch.testing.assert_close(features[:, :, 1, 2], tokens[:, 6])
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_takes_siglip_and_half_weights() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    encoder = transformers.SiglipVisionModel(config)
    images = torch.rand(2, 3, 28, 28)
    features = FeatureTokenizer(encoder, channels=16, stride=14).encode(images)
    assert features.shape == (2, 16, 2, 2)
    half = FeatureTokenizer(encoder.bfloat16(), channels=16, stride=14).encode(images)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, features, atol=0.1, rtol=0.1)


def test_is_no_part_of_its_owner_and_keeps_no_history() -> None:
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = FeatureTokenizer(nn.Conv2d(3, 8, 4, 4), channels=8, stride=4)

    owner = Owner()
    assert not list(owner.parameters())
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    assert not owner.tokenizer.encode(images).requires_grad


def test_features_are_targets_of_a_regression() -> None:
    tokenizer = FeatureTokenizer(nn.Conv2d(3, 8, 4, 4), channels=8, stride=4)
    z0 = tokenizer.encode(torch.rand(2, 3, 8, 8))

    def denoiser(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return condition.mT.reshape(z_t.shape)

    exact = RegressionLoss("cosine")(denoiser, z0, z0.flatten(2).mT)
    assert exact.item() == pytest.approx(0, abs=1e-2)


def test_takes_empty_batches() -> None:
    tokenizer = FeatureTokenizer(nn.Conv2d(3, 8, 4, 4), channels=8, stride=4)
    assert tokenizer.encode(torch.zeros(0, 3, 8, 12)).shape == (0, 8, 2, 3)


def test_has_no_decoder() -> None:
    tokenizer = FeatureTokenizer(lambda x: x, channels=3, stride=1)
    with pytest.raises(TypeError, match="FeatureTokenizer cannot decode features to pictures"):
        tokenizer.decode(torch.zeros(1, 3, 2, 2))


def test_names_what_does_not_fit() -> None:
    def build(encoder, **options) -> FeatureTokenizer:
        return FeatureTokenizer(encoder, **{"channels": 3, "stride": 2, **options})

    images = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="mean must be three numbers; got 1"):
        build(lambda x: x, mean=(0.5,))
    with pytest.raises(ValueError, match="std must be three numbers; got 4"):
        build(lambda x: x, std=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="images must have sides divisible by the stride 2"):
        build(lambda x: x).encode(images[..., :3])
    with pytest.raises(ValueError, match="features must be of shape"):
        build(lambda x: x).encode(images)
    with pytest.raises(ValueError, match="features must be of shape"):
        build(lambda x: torch.zeros(1, 5, 3)).encode(images)
