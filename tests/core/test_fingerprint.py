from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ross3d import DCTTokenizer, FeatureTokenizer, PixelTokenizer
from ross3d.core.fingerprint import digest, fingerprint

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.uint8, torch.bool)


class Encoder(nn.Module):
    def __init__(self, gain: float = 1.0, activation: Callable[..., Any] = F.relu) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2, stride=2)
        self.norm = nn.GroupNorm(2, 4)
        self.register_buffer("shift", torch.zeros(3, 1, 1), persistent=False)
        self.table = torch.ones(2)
        self.gain, self.activation = gain, activation


def encoder(**options: Any) -> FeatureTokenizer:
    torch.manual_seed(0)
    return FeatureTokenizer(Encoder(**options), channels=4, stride=2)


@given(shape=st.lists(st.integers(0, 4), max_size=4), dtype=st.sampled_from(DTYPES))
def test_a_digest_is_of_bits_not_of_places(shape: list[int], dtype: torch.dtype) -> None:
    value = (9 * torch.rand(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    same = torch.empty(*shape, 2, dtype=dtype)[..., 0].copy_(value)  # strided
    assert digest(value) == digest(same) == digest(value.requires_grad_(dtype.is_floating_point))
    assert len(digest(value)) == 32
    assert digest(value) != digest(value[None])
    others = {digest(value.detach().to(other)) for other in DTYPES}
    assert len(others) == len(DTYPES), "the same numbers in another dtype are another tensor"


def test_every_bit_and_every_border_counts() -> None:
    value = torch.zeros(5)
    changed = value.clone()
    changed.view(torch.int32)[3] = 1
    assert len({digest(x) for x in (value, changed, -value, value.view(5, 1))}) == 4
    pairs = [("ab", ""), ("a", "b"), ("", "ab"), ("ab",), ("text 1:a",)]
    assert len({digest(*pair) for pair in pairs}) == len(pairs)
    assert digest("a", value) != digest(value, "a")


def test_what_has_no_numbers_has_no_digest() -> None:
    with pytest.raises(ValueError, match="parts must hold numbers; got a tensor on the meta dev"):
        digest(torch.zeros(2, device="meta"))


PROGRAM = """
import torch
from ross3d import DCTTokenizer, FeatureTokenizer
from ross3d.core.fingerprint import fingerprint
torch.manual_seed(0)
conv = torch.nn.Conv2d(3, 4, 2, stride=2)
teacher = FeatureTokenizer(conv, channels=4, stride=2, mean=(0.5, 0.25, 0.1))
teacher.numbers = {"b": 1, "a": [2.5, None]}
names = fingerprint(teacher), fingerprint(DCTTokenizer())
"""


def test_the_same_teacher_has_the_same_fingerprint_everywhere() -> None:
    here: dict[str, Any] = {}
    exec(PROGRAM, here)
    command = [sys.executable, "-c", f"{PROGRAM}\nprint(*names)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*here["names"]]
    assert len(set(here["names"])) == 2


def change(name: str) -> FeatureTokenizer:
    teacher = encoder()
    inner = teacher.encoder
    with torch.no_grad():
        {
            "weight": lambda: inner.conv.weight[0, 0, 0, 0].add_(1e-3),
            "buffer": lambda: inner.shift.add_(1),
            "plain tensor": lambda: inner.table.add_(1),
            "dtype": lambda: inner.bfloat16(),
            "number": lambda: setattr(inner.norm, "eps", 1e-6),
            "part": lambda: setattr(inner, "norm", nn.Identity()),
            "mean": lambda: setattr(teacher, "mean", (0.5, 0.5, 0.5)),
        }[name]()
    return teacher


def test_other_weights_numbers_and_parts_are_other_teachers() -> None:
    names = ("weight", "buffer", "plain tensor", "dtype", "number", "part", "mean")
    teachers = [encoder(), *map(change, names), encoder(gain=2.0), encoder(activation=F.gelu)]
    teachers += [PixelTokenizer(16), PixelTokenizer(8), DCTTokenizer(), DCTTokenizer(0.5)]
    assert len({fingerprint(teacher) for teacher in teachers}) == len(teachers)
    assert fingerprint(encoder()) == fingerprint(encoder())
    training = encoder()
    training.encoder.train()
    assert fingerprint(training) == fingerprint(encoder())


def test_an_object_may_say_what_it_is() -> None:
    teacher = FeatureTokenizer(lambda images: images, channels=3, stride=1)
    wanted = "encoder must hold numbers, text, tensors or modules, or say what it is as `identity`"
    with pytest.raises(ValueError, match=f"FeatureTokenizer.{wanted}; got a function"):
        fingerprint(teacher)
    names = []
    for identity in ("mine", "yours", ["mine"], {"mine": torch.ones(2)}):
        teacher.identity = identity
        names.append(fingerprint(teacher))
    assert len(set(names)) == 4


@pytest.mark.parametrize("part", [print, functools.partial(print, 1), int, iter(())])
def test_what_could_be_anything_is_refused(part: object) -> None:
    with pytest.raises(ValueError, match="must hold numbers, text, tensors or modules"):
        fingerprint({"deep": [part]})
