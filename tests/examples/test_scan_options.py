from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
from layouts import write_sens
from reference.scan_options import add_scan_options, scan_of


def parse(*options: object) -> Namespace:
    parser = ArgumentParser()
    add_scan_options(parser)
    return parser.parse_args([str(option) for option in options])


def test_frames_are_spread_evenly(tmp_path: Path) -> None:
    path = write_sens(tmp_path)
    assert scan_of(parse(path))[1] == [0, 1, 2, 3, 4]
    assert scan_of(parse(path, "--frames", 3))[1] == [0, 2, 4]
    assert scan_of(parse(path, "--frames", 0))[1] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="--frames must not be negative; got -1"):
        scan_of(parse(path, "--frames", -1))


def test_options_reach_the_reader(tmp_path: Path) -> None:
    scan, _ = scan_of(parse(write_sens(tmp_path), "--up=-y"))
    assert scan.up == "-y"
    with pytest.raises(ValueError, match="got scene, intrinsics, depth_unit"):
        scan_of(parse(tmp_path, "--scene", "a", "--intrinsics", "1,2,3,4", "--depth-unit", "0.1"))


def test_intrinsics_are_four_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("x", "--intrinsics", "525,525,319.5,-1").intrinsics == (525, 525, 319.5, -1)
    for text in ("1,2,3", "a,b,c,d", "0,1,2,3", ""):
        with pytest.raises(SystemExit):
            parse("x", "--intrinsics", text)
        assert f"must be four numbers FX,FY,CX,CY; got {text}" in capsys.readouterr().err
