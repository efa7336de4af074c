"""What the teacher costs: latents from the cache against encoding, on real frames.

The teacher is FLUX's VAE with random weights at a quarter of its width, a sixteenth of its
arithmetic, so that one thread encodes eight views in two seconds; entries are as large as at full
width. It draws its latents, as in the paper: what is kept are moments, twice the latents'
bytes. The files lie in the page cache of the machine that wrote them.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from reference.build import FLUX_VAE, build_teacher
from reference.presets import PRESETS, narrow
from torch import Tensor

from benchmarks.bars import compare, judge
from benchmarks.in_turn import in_turn, seconds
from ross3d import (
    BEVRenderer,
    CachedTokenizer,
    GlobalViewTask,
    LatentCache,
    PosedFrames,
    VAETokenizer,
    VanillaTask,
    require,
)

PAPER = PRESETS["ross3d-7b"]
VIEWS, ENTRIES = 8, 1000
MOMENTS = (32, 28, 28)  # of a view of 224 pixels


@pytest.fixture(scope="module")
def teacher() -> VAETokenizer:
    """FLUX's VAE, thin."""
    torch.manual_seed(0)
    found = build_teacher(narrow(PAPER, 4))
    assert isinstance(found, VAETokenizer)
    return found


@pytest.fixture(scope="module")
def pictures(frames: PosedFrames) -> dict[str, Tensor]:
    """Eight views and the room from above, as the paper's step encodes them."""
    masked = torch.zeros(frames.images.shape[:2], dtype=torch.bool)
    views = VanillaTask(PAPER.view_size)(frames, masked).images[0, :VIEWS]
    renderer = BEVRenderer(PAPER.bev_size)
    above = GlobalViewTask(renderer, PAPER.bev_size)(frames, masked).images[0]
    return {"views": views, "above": above}


def drawn(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Encode with the same draws each time."""
    torch.manual_seed(0)
    return encode(images)


def test_latents_from_the_cache(
    benchmark: Any, teacher: VAETokenizer, pictures: dict[str, Tensor], tmp_path: Path
) -> None:
    """Eight views that are all found, a digest of each picture included."""
    cache, views = LatentCache(tmp_path), pictures["views"]
    tokenizer = CachedTokenizer(teacher, cache)
    torch.testing.assert_close(
        drawn(tokenizer.encode, views), drawn(teacher.encode, views), rtol=1e-4, atol=1e-4
    )
    assert (tokenizer.misses, tokenizer.hits) == (VIEWS, 0)
    in_turn(
        benchmark,
        lambda: tokenizer.encode(views),
        lambda: teacher.encode(views),
        bar="teacher-cache",
    )
    note = f"{VIEWS} views of {PAPER.view_size} pixels, widths / 4, digests included"
    benchmark.extra_info["bars"]["teacher-cache"]["note"] = note
    assert tokenizer.misses == VIEWS, "none was encoded again"


def test_what_a_picture_costs(
    benchmark: Any, teacher: VAETokenizer, pictures: dict[str, Tensor], tmp_path: Path
) -> None:
    """Milliseconds of a hit and of a miss beside encoding, by picture; bytes of its entry."""
    figures: dict[str, dict[str, float]] = {}
    for name, images in pictures.items():
        image, folder = images[:1], tmp_path / name
        empty = CachedTokenizer(Encoded(teacher, image), LatentCache(folder / "empty"))
        tokenizer = CachedTokenizer(Encoded(teacher, image), LatentCache(folder / "full"))
        tokenizer.encode(image)

        def miss() -> None:
            for file in (folder / "empty").rglob("*.safetensors"):  # noqa: B023
                file.unlink()
            empty.encode(image)  # noqa: B023

        miss()
        figures[name] = {
            "ms of a hit": per_call(lambda: tokenizer.encode(image)),  # noqa: B023
            "ms of a miss, without encoding": per_call(miss),
            "bytes of an entry": next(folder.rglob("*.safetensors")).stat().st_size,
            "bytes of a picture": image.nbytes,
        }
    benchmark.extra_info["figures"] = figures
    benchmark.pedantic(lambda: tokenizer.encode(image), rounds=3)
    assert figures["views"]["bytes of an entry"] < 1.01 * 4 * torch.Size(MOMENTS).numel()


def test_the_teacher_is_told_from_others_once(benchmark: Any, tmp_path: Path) -> None:
    """A digest of all weights of the encoder at its full width."""
    torch.set_num_threads(1)
    with torch.device("meta"):
        vae = require("diffusers", "vae").AutoencoderKL(**FLUX_VAE)
    full = VAETokenizer(vae.to_empty(device="cpu"))
    cache = LatentCache(tmp_path)
    benchmark.pedantic(lambda: CachedTokenizer(full, cache).teacher, rounds=2)
    benchmark.extra_info["bytes"] = sum(p.nbytes for p in full.vae.encoder.parameters())


def test_processes_write_at_once(benchmark: Any, tmp_path: Path) -> None:
    """Entries per second of one process, and of two in one folder, which fills up and evicts."""
    rates = {}
    for processes in (1, 2):
        cache = LatentCache(tmp_path / str(processes), ENTRIES * 3 * torch.Size(MOMENTS).numel())
        with get_context("spawn").Pool(processes) as pool:
            pool.map(torch.set_num_threads, [1] * processes)
            jobs = [(cache, number) for number in range(processes)]
            took = pool.starmap(write_and_read, jobs, chunksize=1)
        rates[processes] = {
            "entries written per second": sum(ENTRIES / write for write, _ in took),
            "entries read per second": sum(ENTRIES / read for _, read in took),
        }
        held = sum(file.stat().st_size for file in cache.folder.rglob("*.safetensors"))
        assert held <= cache.max_bytes * (1 + (processes - 1) / 16)
    benchmark.extra_info["processes"] = rates
    benchmark.pedantic(write_and_read, args=(LatentCache(tmp_path / "here"), 0), rounds=1)
    for rate in rates.values():
        assert min(rate.values()) > 100, "a picture takes no longer than a hundredth of a second"


def test_one_batch(benchmark: Any, teacher: VAETokenizer, pictures: dict[str, Tensor]) -> None:
    """Pictures of one size in one encode, against one by one; on CPUs the allocator decides.

    Fewer calls cost less, but large activations are mapped anew by the system at each layer:
    ``MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000`` keeps them, as the allocator of a GPU
    does.
    """
    views = pictures["views"][: VIEWS // 2]
    one_by_one = list(views.split(1))
    expected = torch.cat([teacher.moments(view) for view in one_by_one])
    torch.testing.assert_close(teacher.moments(views), expected, rtol=1e-4, atol=1e-4)
    ratio = in_turn(
        benchmark,
        lambda: teacher.encode(views),
        lambda: [teacher.encode(view) for view in one_by_one],
        rounds=2,
    )
    note = "page faults of large activations; fewer calls pay on a GPU (not run here)"
    compare(benchmark, "teacher, 4 views in one batch", "one by one", ratio, note)
    benchmark.extra_info["page faults"] = {
        "one batch": page_faults(lambda: teacher.encode(views)),
        "one by one": page_faults(lambda: [teacher.encode(view) for view in one_by_one]),
    }


def test_encoder_only(benchmark: Any) -> None:
    """Bytes of weights that training holds of the paper's teacher, counted."""
    with torch.device("meta"):
        whole = require("diffusers", "vae").AutoencoderKL(**FLUX_VAE)
        held = benchmark.pedantic(build_teacher, args=(PAPER,), rounds=1).vae
    ours, everything = (sum(p.nbytes for p in vae.parameters()) for vae in (held, whole))
    beside = {"baseline": everything / 1e6, "ours": ours / 1e6, "measure": "MB"}
    judge(benchmark, "teacher-encoder", ours / everything, **beside)


class Encoded:
    """A teacher that knows one answer: what is left is the cost of the cache alone."""

    def __init__(self, teacher: VAETokenizer, image: Tensor) -> None:
        self.channels, self.stride = teacher.channels, teacher.stride
        self.identity, self.answer = "one answer", teacher.moments(image)

    def encode(self, images: Tensor) -> Tensor:
        return self.answer

    def decode(self, latents: Tensor) -> Tensor:
        raise NotImplementedError


def per_call(work: Callable[[], object], calls: int = 50) -> float:
    """Milliseconds of processor time, the median of calls."""
    return 1000 * median(seconds(work) for _ in range(calls))


def page_faults(work: Callable[[], object]) -> int:
    """Pages that the system had to provide during one call."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def write_and_read(cache: LatentCache, first: int) -> tuple[float, float]:
    """Write entries, then read as many of the newest: seconds of each."""
    value, names = torch.randn(MOMENTS), [f"{first:04x}{i:028x}" for i in range(ENTRIES)]
    names = [name[-2:] + name for name in names]
    start = time.perf_counter()
    for name in names:
        cache.put(name, value)
    middle = time.perf_counter()
    for i in range(ENTRIES):
        cache.get(names[-1 - i % 20])
    return middle - start, time.perf_counter() - middle
