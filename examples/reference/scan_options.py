"""The command line's way to a scan, shared by the recipes that look at one."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from ross3d import uniform_frames

from .data.open_scan import LAYOUTS, open_scan
from .data.posed_scan import PosedScan
from .data.up_axis import TURNS


def add_scan_options(parser: ArgumentParser) -> None:
    """Add the scan, and how to read it."""
    parser.add_argument("scan", help=LAYOUTS)
    parser.add_argument("--scene", help="which scan of a data folder (default: the first)")
    parser.add_argument(
        "--frames", type=int, default=100, help="how many to read, evenly spread; 0 = all"
    )
    parser.add_argument(
        "--up", choices=sorted(TURNS), help="the files' upward axis, written as --up=-y"
    )
    parser.add_argument(
        "--intrinsics", type=four_numbers, metavar="FX,FY,CX,CY", help="of a TUM RGB-D folder"
    )
    parser.add_argument(
        "--depth-unit", type=float, help="metres per step, of TUM RGB-D or transforms.json"
    )


def four_numbers(text: str) -> tuple[float, ...]:
    """Read ``FX,FY,CX,CY``.

    Raises:
        ArgumentTypeError: if the text is anything else.
    """
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4 or min(numbers[:2]) <= 0:
        raise ArgumentTypeError(f"must be four numbers FX,FY,CX,CY; got {text}")
    return numbers


def scan_of(args: Namespace) -> tuple[PosedScan, list[int]]:
    """Open the scan that the options ask for, and choose the frames to read.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the scan cannot be opened, or an option is out of range.
    """
    if args.frames < 0:
        raise ValueError(f"--frames must not be negative; got {args.frames}")
    scan = open_scan(
        args.scan,
        scene=args.scene,
        up=args.up,
        intrinsics=args.intrinsics,
        depth_unit=args.depth_unit,
    )
    return scan, uniform_frames(len(scan), args.frames or len(scan))
