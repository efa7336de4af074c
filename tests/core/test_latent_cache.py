from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.core.fingerprint import digest
from ross3d.core.latent_cache import SHARE, STALE, LatentCache

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.int64)
SIZE = 1000  # bytes of a file of this file's tensors, roughly


def key_of(number: int) -> str:
    return digest(str(number))


def value_of(number: int, size: int = 200) -> Tensor:
    return torch.full((size,), float(number))


def fill(cache: LatentCache, numbers: range) -> None:
    for number in numbers:
        cache.put(key_of(number), value_of(number))


def held(cache: LatentCache, numbers: range) -> list[int]:
    return [number for number in numbers if cache.path(key_of(number)).exists()]


def total(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def entry_bytes(tmp_path: Path) -> int:
    fill(LatentCache(tmp_path / "one"), range(1))
    return total(tmp_path / "one")


@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 100),
)
def test_what_was_put_comes_back_bit_for_bit(
    tmp_path: Path, shape: list[int], dtype: torch.dtype, seed: int
) -> None:
    cache, key = LatentCache(tmp_path), digest(str((shape, dtype, seed)))
    value = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(99).to(dtype)
    assert cache.get(key) is None
    cache.put(key, value)
    for reader in (cache, LatentCache(tmp_path), pickle.loads(pickle.dumps(cache))):
        found = reader.get(key)
        assert found is not None
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert found.reshape(-1).view(torch.uint8).equal(value.reshape(-1).view(torch.uint8))


def test_bits_that_compare_equal_or_to_nothing_are_kept(tmp_path: Path) -> None:
    cache, value = LatentCache(tmp_path), torch.tensor([float("nan"), -0.0, 0.0, 1e-45])
    part = torch.stack([torch.zeros(4), value]).requires_grad_()[1]
    cache.put("aaaa", part)
    found = cache.get("aaaa")
    assert found.view(torch.int32).equal(value.view(torch.int32))
    assert not found.requires_grad
    cache.put("aaaa", torch.ones(2))
    assert cache.get("aaaa").equal(torch.ones(2))


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    room = 10 * entry_bytes(tmp_path)
    cache = LatentCache(tmp_path / "cache", room)
    fill(cache, range(8))
    for number in (0, 3):
        assert cache.get(key_of(number)) is not None
    fill(cache, range(8, 12))
    kept = held(cache, range(12))
    assert {0, 3, 8, 9, 10, 11} <= set(kept), "used or new ones stay"
    assert 1 not in kept
    dropped = [number for number in (1, 2, 4, 5, 6, 7) if number not in kept]
    assert dropped == [1, 2, 4, 5, 6, 7][: len(dropped)], "the oldest first"
    assert len(kept) >= 9, "no more than need be"


@pytest.mark.parametrize("entries", [1, 2, 7, 40])
def test_one_writer_never_exceeds_the_bound(tmp_path: Path, entries: int) -> None:
    room = entries * entry_bytes(tmp_path) + 1
    cache = LatentCache(tmp_path / "cache", room)
    for number in range(3 * entries + 20):
        fill(cache, range(number, number + 1))
        assert total(tmp_path / "cache") <= room
        assert cache.get(key_of(number)).equal(value_of(number))
    assert total(tmp_path / "cache") >= room * (1 - 1 / SHARE) - entry_bytes(tmp_path)


def test_several_writers_exceed_the_bound_by_their_shares(tmp_path: Path) -> None:
    writers, room = 4, 64 * entry_bytes(tmp_path)
    caches = [LatentCache(tmp_path / "cache", room) for _ in range(writers)]
    highest = 0
    for number in range(400):
        fill(caches[number % writers], range(number, number + 1))
        highest = max(highest, total(tmp_path / "cache"))
    assert highest <= room * (1 + (writers - 1) / SHARE)
    assert highest > 0.9 * room


def test_the_folder_is_not_read_for_every_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.setattr(LatentCache, "_held", lambda cache: looks.append(1) or [])
    cache = LatentCache(tmp_path / "cache", SHARE * 50 * SIZE)
    fill(cache, range(200))
    written = total(tmp_path / "cache")
    assert 2 <= len(looks) <= 1 + written / (49 * SIZE)
    for number in range(200):
        assert cache.get(key_of(number)) is not None
    assert len(looks) <= 1 + written / (49 * SIZE)


def test_an_entry_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_bytes must be at least 1; got 0"):
        LatentCache(tmp_path, 0)
    with pytest.raises(ValueError, match=r"max_bytes must hold \d+ of an entry; got 500"):
        LatentCache(tmp_path, 500).put("aaaa", torch.zeros(200))
    for key in ("", "ab", "../../x", "ABCD", "aaaa\n"):
        for call in (
            LatentCache(tmp_path).get,
            lambda k: LatentCache(tmp_path).put(k, value_of(1)),
        ):
            with pytest.raises(ValueError, match="key must be of hexadecimal digits"):
                call(key)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "torn":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "a bit":
        data[-1] ^= 1
    elif how == "header":
        data[20] ^= 0xFF
    elif how == "text":
        data = bytearray(b"no such format")
    elif how == "another's":
        data = bytearray((path.parent / "aaff.safetensors").read_bytes())
    path.unlink()
    path.mkdir() if how == "folder" else path.write_bytes(data)


@pytest.mark.parametrize("how", ["torn", "empty", "a bit", "header", "text", "another's", "folder"])
def test_a_damaged_entry_is_named_and_never_returned(tmp_path: Path, how: str) -> None:
    cache = LatentCache(tmp_path)
    cache.put("aaaa", value_of(1))
    cache.put("aaff", value_of(2))
    path = cache.path("aaaa")
    damage(path, how)
    with pytest.warns(UserWarning, match=f"{path} is damaged and is made again"):
        assert cache.get("aaaa") is None
    if how == "folder":
        path.rmdir()
    cache.put("aaaa", value_of(3))
    assert cache.get("aaaa").equal(value_of(3))
    assert cache.get("aaff").equal(value_of(2))


def test_a_disk_that_fails_is_named_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = LatentCache(tmp_path)
    cache.put("aaaa", value_of(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match=r"aaff\.safetensors could not be written: .*No space"):
        cache.put("aaff", value_of(2))
    monkeypatch.setattr(os, "utime", full)
    assert cache.get("aaaa").equal(value_of(1)), "who may not write may read"
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["aaaa.safetensors"]


def test_temporary_files_of_the_dead_are_removed(tmp_path: Path) -> None:
    cache = LatentCache(tmp_path)
    cache.put("aaaa", value_of(1))
    old, new = (tmp_path / "aa" / f".tmp-{name}" for name in ("old", "new"))
    for file in (old, new):
        file.write_bytes(b"half")
    long_ago = time.time() - 2 * STALE
    os.utime(old, (long_ago, long_ago))
    LatentCache(tmp_path).put("bbbb", value_of(2))
    assert not old.exists()
    assert new.exists(), "somebody may still be writing"
    assert cache.get("aaaa") is not None


TORN = """
import os, signal, sys, torch
from pathlib import Path
from ross3d.core.latent_cache import LatentCache
cache, real = LatentCache(sys.argv[1]), Path.write_bytes
cache.put("aaaa", torch.zeros(1000))
def die(path, data):
    real(path, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = die
cache.put(sys.argv[2], torch.ones(1000))
"""


@pytest.mark.parametrize("key", ["aaaa", "aaff"])
def test_a_kill_in_the_middle_of_writing_leaves_what_was_there(tmp_path: Path, key: str) -> None:
    done = subprocess.run([sys.executable, "-c", TORN, str(tmp_path), key], check=False)
    assert done.returncode == -signal.SIGKILL
    left = [file for file in (tmp_path / "aa").iterdir() if file.name != "aaaa.safetensors"]
    assert [file.name[:5] for file in left] == [".tmp-"]
    cache = LatentCache(tmp_path)
    assert cache.get("aaaa").equal(torch.zeros(1000))
    assert cache.get("aaff") is None
    cache.put(key, torch.ones(1000))
    assert cache.get(key).equal(torch.ones(1000))


WRITER = """
import sys, torch
from ross3d.core.fingerprint import digest
from ross3d.core.latent_cache import LatentCache
cache = LatentCache(sys.argv[1], 60_000_000)
print("ready", flush=True)
for number in range(10**6):
    cache.put(digest(str(number % 9)), torch.full((1_000_000,), float(number % 9)))
"""


def test_a_kill_at_any_moment_leaves_whole_entries(tmp_path: Path) -> None:
    for delay in (0.013, 0.029, 0.061):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.safetensors")):
            assert time.monotonic() < deadline
        time.sleep(delay)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        cache, found = LatentCache(tmp_path), 0
        for number in range(9):
            value = cache.get(digest(str(number)))  # a damaged one would warn: an error here
            assert value is None or value.equal(torch.full((1_000_000,), float(number)))
            found += value is not None
        assert found


def hammer(cache: LatentCache, seed: int, rounds: int) -> tuple[int, int, list[str]]:
    """Read or write random entries: how many were found, made, and what was wrong."""
    torch.set_num_threads(1)
    draw, hits, misses, wrong = torch.Generator().manual_seed(seed), 0, 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(rounds):
            number = int(torch.randint(40, (), generator=draw))
            try:
                found = cache.get(key_of(number))
                if found is None:
                    misses += 1
                    cache.put(key_of(number), value_of(number))
                else:
                    hits += 1
                    wrong += [] if found.equal(value_of(number)) else [f"{number} was {found[0]}"]
            except Warning as warning:
                wrong.append(str(warning))
    return hits, misses, wrong


def test_processes_hammer_one_small_cache(tmp_path: Path) -> None:
    """Entries come and go all the time, under the hands of whoever reads them."""
    size, processes = entry_bytes(tmp_path), 2
    cache = LatentCache(tmp_path / "cache", 20 * size)
    with get_context("spawn").Pool(processes) as pool:
        jobs = pool.starmap_async(hammer, [(cache, seed, 1500) for seed in range(processes)])
        highest = 0
        while not jobs.ready():
            sizes = []
            for file in (tmp_path / "cache").rglob("*.safetensors"):
                try:
                    sizes.append(file.stat().st_size)
                except FileNotFoundError:
                    continue
            highest = max(highest, sum(sizes))
            time.sleep(0.01)
    for hits, misses, wrong in jobs.get():
        assert wrong == []
        assert hits > 100
        assert misses > 100
    assert total(tmp_path / "cache") <= 20 * size * (1 + (processes - 1) / SHARE) + size
    assert highest > 0
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        with pytest.raises(ValueError, match=r"folder must be a folder; got .*file.*, a file"):
            LatentCache(folder)
    assert file.read_bytes() == b""
