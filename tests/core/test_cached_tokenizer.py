from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_frames
from torch import Tensor, nn

from ross3d import (
    BEVRenderer,
    CachedTokenizer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    FeatureTokenizer,
    GlobalViewTask,
    LatentCache,
    PixelTokenizer,
    ReconstructionLoss,
    Tokenizer,
    VAETokenizer,
    VanillaTask,
    from_config,
    to_config,
)

SMALL_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 8),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "shift_factor": 0.1,
}


class Counted(DCTTokenizer):
    """Remembers the batches that it was given."""

    def __init__(self, pack: int = 1) -> None:
        super().__init__(pack=pack)
        self.identity = {"pack": pack}
        self.batches: list[Tensor] = []

    def encode(self, images: Tensor) -> Tensor:
        self.batches.append(images)
        return super().encode(images)


class Released:
    """Draws latents inside, as the released model's teacher does."""

    channels, stride = 16, 4

    def __init__(self, cells: VAETokenizer) -> None:
        self.cells = cells


def vae(sample: bool, seed: int = 0) -> VAETokenizer:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(seed)
    return VAETokenizer(diffusers.AutoencoderKL(**SMALL_VAE), sample=sample)


def features(seed: int = 0) -> FeatureTokenizer:
    torch.manual_seed(seed)
    return FeatureTokenizer(nn.Conv2d(3, 5, 4, stride=4), channels=5, stride=4)


TEACHERS: dict[str, Callable[[], Tokenizer]] = {
    "pixels": lambda: PixelTokenizer(4),
    "dct": lambda: DCTTokenizer(pack=1),
    "features": features,
    "vae": lambda: vae(sample=False),
}
every_teacher = pytest.mark.parametrize("name", TEACHERS)


def cached(teacher: Tokenizer, folder: Path) -> CachedTokenizer:
    return CachedTokenizer(teacher, LatentCache(folder))


@every_teacher
@given(n=st.integers(0, 4), h=st.integers(1, 3), w=st.integers(1, 3), seed=st.integers(0, 9))
def test_gives_what_the_teacher_gives(
    tmp_path: Path, name: str, n: int, h: int, w: int, seed: int
) -> None:
    teacher = TEACHERS[name]()
    images = torch.rand(n, 3, 8 * h, 8 * w, generator=torch.Generator().manual_seed(seed))
    tokenizer: Tokenizer = cached(teacher, tmp_path)
    expected = teacher.encode(images)
    assert (tokenizer.channels, tokenizer.stride) == (teacher.channels, teacher.stride)
    for _ in range(2):
        found = tokenizer.encode(images)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    again = cached(teacher, tmp_path)
    assert again.encode(images).equal(found)
    assert (again.hits, again.misses) == (n, 0)


def test_only_what_is_missing_is_encoded_and_in_one_batch(tmp_path: Path) -> None:
    teacher, images = Counted(), torch.rand(6, 3, 16, 16)
    tokenizer = cached(teacher, tmp_path)
    tokenizer.encode(images[:2])
    mixed = images[[0, 2, 3, 2, 1]]
    latents = tokenizer.encode(mixed)
    assert [len(batch) for batch in teacher.batches] == [2, 2]
    assert teacher.batches[1].equal(images[2:4]), "each once"
    assert latents.equal(DCTTokenizer(pack=1).encode(mixed))
    assert (tokenizer.misses, tokenizer.hits) == (4, 2)
    tokenizer.encode(mixed)
    assert len(teacher.batches) == 2


def test_a_damaged_entry_is_encoded_again(tmp_path: Path) -> None:
    teacher, images = Counted(), torch.rand(3, 3, 16, 16)
    tokenizer = cached(teacher, tmp_path)
    expected = tokenizer.encode(images)
    broken = next(tmp_path.rglob("*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=f"{broken} is damaged and is made again"):
        assert tokenizer.encode(images).equal(expected)
    assert [len(batch) for batch in teacher.batches] == [3, 1]
    assert tokenizer.encode(images).equal(expected)
    assert len(teacher.batches) == 2


def test_a_small_cache_forgets_but_never_errs(tmp_path: Path) -> None:
    teacher, images = Counted(), torch.rand(8, 3, 16, 16)
    tokenizer = CachedTokenizer(teacher, LatentCache(tmp_path, 1500))
    expected = DCTTokenizer(pack=1).encode(images)
    for order in (range(8), range(7, -1, -1)):
        for i in order:
            assert tokenizer.encode(images[i : i + 2]).equal(expected[i : i + 2])


def misses(teacher: Tokenizer, images: Tensor, folder: Path) -> int:
    tokenizer = cached(teacher, folder)
    tokenizer.encode(images)
    return tokenizer.misses


def test_other_teachers_and_pictures_share_no_entries(tmp_path: Path) -> None:
    images = torch.rand(1, 3, 16, 16)
    changed = images.clone()
    changed.view(torch.int32)[0, 2, 3, 4] += 1
    teachers = [vae(False), vae(True), vae(False, seed=1), features(), features(seed=1)]
    teachers += [DCTTokenizer(pack=1), DCTTokenizer(0.5, pack=1), PixelTokenizer(4)]
    pictures = [images, changed, images.flip(-1), images[..., :8], images.double()]
    pictures += [images.bfloat16(), images.bfloat16().float()]
    for teacher in teachers:
        for picture in pictures:
            assert misses(teacher, picture, tmp_path) == 1
            assert misses(teacher, picture, tmp_path) == 0


def test_autocast_is_part_of_what_is_asked(tmp_path: Path) -> None:
    teacher, images = features(), torch.rand(1, 3, 16, 16)
    tokenizer = cached(teacher, tmp_path)
    full = tokenizer.encode(images)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert tokenizer.encode(images).equal(teacher.encode(images))
            assert not tokenizer.encode(images).equal(full)
        assert tokenizer.encode(images).equal(full)
    assert tokenizer.misses == 2


def test_where_a_vae_lies_and_whether_it_can_decode_does_not_matter(tmp_path: Path) -> None:
    teacher, images = vae(False), torch.rand(1, 3, 16, 16)
    for name in ("one", "two"):
        teacher.vae.save_pretrained(tmp_path / name)
    loaded = [VAETokenizer.from_pretrained(str(tmp_path / n), sample=False) for n in ("one", "two")]
    loaded[1].decode(loaded[1].encode(images))
    for number, tokenizer in enumerate([*loaded, teacher]):
        assert misses(tokenizer, images, tmp_path / "cache") == (number == 0)


def test_a_vae_that_samples_draws_anew_from_what_is_kept(tmp_path: Path) -> None:
    teacher, images = vae(True), torch.rand(2, 3, 16, 16)
    tokenizer = cached(teacher, tmp_path)
    draws = []
    for encode in (teacher.encode, tokenizer.encode, tokenizer.encode):
        torch.manual_seed(7)
        draws.append(encode(images))
        draws.append(encode(images))
    assert not draws[0].equal(draws[1])
    assert draws[0].equal(draws[2])
    assert draws[1].equal(draws[3])
    assert draws[0].equal(draws[4])
    assert tokenizer.misses == 2
    kept = next(tmp_path.rglob("*.safetensors")).stat().st_size
    assert misses(vae(False), images, tmp_path / "mode") == 2
    assert kept > 1.8 * next((tmp_path / "mode").rglob("*.safetensors")).stat().st_size - 200


def test_a_teacher_that_draws_in_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"tokenizer must give the same latents .* sample=False; got Released"
    ):
        cached(Released(vae(True)), tmp_path)
    cached(Released(vae(False)), tmp_path)
    unknown = cached(FeatureTokenizer(lambda x: x, channels=3, stride=1), tmp_path)
    with pytest.raises(ValueError, match=r"encoder must hold numbers, text, tensors or modules"):
        unknown.encode(torch.rand(1, 3, 4, 4))


def test_passes_on_what_the_teacher_refuses(tmp_path: Path) -> None:
    tokenizer = cached(DCTTokenizer(), tmp_path)
    with pytest.raises(ValueError, match="images must have sides divisible by the stride 16"):
        tokenizer.encode(torch.zeros(1, 3, 24, 24))
    with pytest.raises(ValueError, match="latents must be of shape"):
        tokenizer.decode(torch.zeros(1, 3, 2, 2))
    latents = tokenizer.encode(torch.rand(1, 3, 32, 32))
    assert tokenizer.decode(latents).equal(DCTTokenizer().decode(latents))
    assert not list(tmp_path.rglob(".tmp-*"))


def encode(tokenizer: CachedTokenizer, images: Tensor) -> tuple[Tensor, int]:
    torch.set_num_threads(1)
    return tokenizer.encode(images).numpy(), tokenizer.misses


def test_goes_to_other_processes(tmp_path: Path) -> None:
    images = torch.rand(4, 3, 16, 16)
    tokenizer = cached(features(), tmp_path)
    expected = tokenizer.encode(images).numpy()
    with get_context("spawn").Pool(1) as pool:
        latents, missed = pool.apply(encode, (tokenizer, images))
    assert missed == tokenizer.misses == 4, "counted before it was sent"
    assert (latents == expected).all()
    assert pickle.loads(pickle.dumps(tokenizer)).teacher == tokenizer.teacher


def reconstruction(tokenizer: Tokenizer) -> ReconstructionLoss:
    torch.manual_seed(0)
    tasks = {
        "vanilla": VanillaTask(32, stride=tokenizer.stride),
        "cross_view": CrossViewTask(32, stride=tokenizer.stride),
        "global_view": GlobalViewTask(BEVRenderer(48), 48, stride=tokenizer.stride),
    }
    denoiser = ConditionedDiT(tokenizer.channels, 16, 1, 2)
    nn.init.normal_(denoiser.final_layer.linear.weight)
    return ReconstructionLoss(tasks, tokenizer, denoiser, context_dim=12, grid=(2, 3), heads=2)


@pytest.mark.parametrize("name", ["dct", "vae", "sampling vae"])
def test_losses_and_gradients_are_those_without_a_cache(tmp_path: Path, name: str) -> None:
    teacher = vae(True) if name == "sampling vae" else TEACHERS[name]()
    hidden, masked = torch.randn(2, 4, 6, 12), torch.tensor([[1, 0, 0, 1], [0, 0, 0, 1]]).bool()
    frames = make_frames(2, 4, (32, 32))
    runs = []
    for tokenizer in (teacher, *(cached(teacher, tmp_path) for _ in range(2))):
        loss, inputs = reconstruction(tokenizer), hidden.clone().requires_grad_()
        torch.manual_seed(1)
        losses = loss(inputs, frames, masked, generator=torch.Generator().manual_seed(2))
        sum(losses.values()).backward()
        runs.append([*losses.values(), inputs.grad, *(p.grad for p in loss.parameters())])
    assert all(value.equal(other) for value, other in zip(runs[1], runs[2], strict=True))
    for value, other in zip(runs[0], runs[1], strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)
    assert tokenizer.misses == 0
    assert tokenizer.hits == 8 + 2 + 1, "of hidden views, only the one that pads is new"


def test_a_saved_model_loads_without_the_cache(tmp_path: Path) -> None:
    loss = reconstruction(cached(DCTTokenizer(0.5), tmp_path / "cache"))
    loss.save_pretrained(tmp_path / "saved")
    described = json.loads((tmp_path / "saved/config.json").read_text())["config"]["tokenizer"]
    assert described == {"class": "DCTTokenizer", "config": {"whiten": 0.5, "pack": 2}}
    (tmp_path / "cache").rmdir()
    assert isinstance(
        ReconstructionLoss.from_pretrained(tmp_path / "saved").tokenizer, DCTTokenizer
    )
    mine = cached(DCTTokenizer(0.5), tmp_path / "other")
    loaded = ReconstructionLoss.from_pretrained(tmp_path / "saved", tokenizer=mine)
    assert loaded.tokenizer is mine


def test_of_a_foreign_teacher_the_teacher_must_be_given(tmp_path: Path) -> None:
    described = to_config({"tokenizer": cached(features(), tmp_path)})
    assert described == {"tokenizer": {"given": "FeatureTokenizer"}}
    with pytest.raises(ValueError, match=r"tokenizer \(FeatureTokenizer\) must be given"):
        from_config(described, dict[str, Any], "config.json")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_latents_are_where_the_images_are(tmp_path: Path) -> None:
    tokenizer, images = cached(features(), tmp_path), torch.rand(2, 3, 16, 16)
    for device in ("cuda", "cpu"):
        assert tokenizer.encode(images.to(device)).device.type == device
    assert tokenizer.misses == 2, "the same picture, wherever it lies"
