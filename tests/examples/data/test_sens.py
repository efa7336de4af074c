from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from layouts import assert_is_the_room, read_all, room, sens_header, write_sens
from reference.data.sens import read_sens

FRAME = 16 * 4 + 4 * 8


def starts(path: Path) -> list[int]:
    """Where each frame of the file begins."""
    content, start, found = path.read_bytes(), len(sens_header(count=0)), []
    for _ in room().jpegs:
        found.append(start)
        colour, depth = struct.unpack_from("<2Q", content, start + FRAME - 16)
        start += FRAME + colour + depth
    return found


def overwrite(path: Path, start: int, content: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes(old[:start] + content + old[start + len(content) :])


def test_raw_depth_is_read_too(tmp_path: Path) -> None:
    assert_is_the_room(read_all(read_sens(write_sens(tmp_path, raw=True))))


def test_frames_are_read_in_any_order(tmp_path: Path) -> None:
    scan = read_sens(write_sens(tmp_path))
    last, first = scan.read(4), scan.read(0)
    torch.testing.assert_close(scan.read_views([4, 0]).images[:, :1], last.images)
    assert (first.images != last.images).any()


def test_the_world_is_aligned_by_the_text_file_beside_it(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    path.with_suffix(".txt").write_text("axisAlignment = 1 0 0 5  0 1 0 0  0 0 1 0  0 0 0 1\n")
    moved = torch.stack([frame.pose for frame in read_sens(path).frames])
    torch.testing.assert_close(moved[:, 0, 3], torch.tensor(room().poses[:, 0, 3] + 5))


def test_a_frame_without_a_pose_is_skipped(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    overwrite(path, starts(path)[2], struct.pack("<16f", *[float("-inf")] * 16))
    scan = read_sens(path)
    assert [frame.name for frame in scan.frames] == ["0", "1", "3", "4"]
    assert scan.skipped == (("2", "pose is not finite"),)
    assert torch.equal(scan.read(2).images, read_sens(write_sens(tmp_path)).read(3).images)


@pytest.mark.parametrize("inside", [10, FRAME + 10, -30])
def test_a_file_that_is_cut_off_is_named(inside: int, tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    begin = starts(path)
    end = begin[3] + inside if inside > 0 else begin[4] + inside
    path.write_bytes(path.read_bytes()[:end])
    message = r"a\.sens must hold 5 whole frames; got 3, and the end of the file in the next"
    with pytest.raises(ValueError, match=message):
        read_sens(path)


@pytest.mark.parametrize("length", [0, 3, 11, 100, 300])
def test_a_cut_off_header_is_named(length: int, tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"a\.sens must be a \.sens file; got its end inside"):
        read_sens(path)


def test_lengths_that_no_file_has_are_harmless(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    overwrite(path, 4, struct.pack("<Q", 2**64 - 1))
    with pytest.raises(ValueError, match="got its end inside the header"):
        read_sens(path)
    path = write_sens(tmp_path)
    overwrite(path, starts(path)[0] + FRAME - 16, struct.pack("<2Q", 2**64 - 1, 2**63))
    with pytest.raises(ValueError, match="must hold 5 whole frames; got 0"):
        read_sens(path)
    path = write_sens(tmp_path)
    overwrite(path, len(sens_header(count=0)) - 8, struct.pack("<Q", 2**64 - 1))
    with pytest.raises(ValueError, match="must hold 18446744073709551615 whole frames; got 5"):
        read_sens(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 3}, "be a .sens file of version 4; got 3"),
        ({"depth": 2}, r"zlib or raw \(1, 0\); got 2 and 2"),
        ({"colour": 0}, r"JPEG or PNG \(2, 1\).*; got 0 and 1"),
    ],
)
def test_other_kinds_are_named(header: dict[str, int], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.sens"
    path.write_bytes(sens_header(count=0, **header))
    with pytest.raises(ValueError, match=rf"a\.sens must .*{message}"):
        read_sens(path)


def test_a_header_of_nonsense_is_named(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    matrices = 4 + 8 + 3
    overwrite(path, matrices + 2 * 64, struct.pack("<f", -1.0))
    with pytest.raises(ValueError, match=r"a\.sens must hold finite, positive intrinsics"):
        read_sens(path)
    path = write_sens(tmp_path)
    overwrite(path, matrices + 4 * 64 + 16, struct.pack("<I", 0))
    with pytest.raises(ValueError, match=r"a\.sens must say the size and steps .* got 24 x 0"):
        read_sens(path)


def test_a_file_without_frames_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.sens"
    path.write_bytes(sens_header(count=0))
    with pytest.raises(ValueError, match=r"a\.sens must hold a usable frame; got none of 0"):
        read_sens(path)


def test_damage_inside_a_frame_is_named(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    first, second, *_ = starts(path)
    overwrite(path, first + FRAME, b"x" * 200)
    overwrite(path, second + FRAME + len(room().jpegs[1]), b"x" * 20)
    scan = read_sens(path)
    with pytest.raises(ValueError, match=r"a\.sens, colour of frame 0, must be a whole picture"):
        scan.read(0)
    with pytest.raises(ValueError, match=r"a\.sens, depth of frame 1, must be zlib; got"):
        scan.read(1)
    assert scan.read(2).size == (24, 32)


def test_depth_of_another_length_is_named(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    overwrite(path, len(sens_header(count=0)) - 20, struct.pack("<II", 32, 12))
    with pytest.raises(ValueError, match=r"depth of frame 0, must be of 768 bytes; got 769 or"):
        read_sens(path).read(0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.sens"):
        read_sens(tmp_path / "b.sens")
