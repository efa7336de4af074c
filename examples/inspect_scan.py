"""Look at a scan before training on it: is it whole, where is up, and how few frames would do?

python examples/inspect_scan.py furnished_room               the scan that ships with them
python examples/inspect_scan.py scene0000_00.sens            a recording
python examples/inspect_scan.py PHONE/transforms.json --rerun scan.rrd   also for the Rerun viewer
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from reference.contact_sheet import contact_sheet
from reference.coverage import coverage_curve, coverage_picture, seen_cells
from reference.frustums import bev_image, frustums_picture
from reference.rerun_export import export_rerun
from reference.run import RunFolder
from reference.scan_options import add_scan_options, scan_of
from reference.scan_report import scan_report

from ross3d import BEVRenderer, require


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_scan_options(parser)
    parser.add_argument("--out", type=Path, default=None, help="default: runs/inspect/SCAN")
    parser.add_argument("--size", type=int, default=432, help="pixels of the view from above")
    parser.add_argument("--rerun", type=Path, default=None, help="also write this .rrd file")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def main() -> None:
    """Read, describe, draw."""
    args = parse()
    torch.set_num_threads(args.threads)
    try:
        inspect(args)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


def inspect(args: argparse.Namespace) -> None:
    """Look at the scan that the options name."""
    renderer = BEVRenderer(args.size)
    if args.rerun:
        require("rerun", "rerun")
    scan, chosen = scan_of(args)
    frames, names, damaged = scan.read_whole_views(chosen)
    bev = renderer(frames)
    curve = coverage_curve(seen_cells(frames, bev))
    print(*scan_report(scan, frames, bev, curve, damaged), sep="\n")

    out = RunFolder(args.out or Path("runs", "inspect", scan.name), resume=True)
    out.save_image("bev.png", bev_image(bev))
    out.save_image("cameras.png", frustums_picture(frames, bev))
    out.save_image("contact_sheet.png", contact_sheet(frames, names))
    coverage_picture(curve, out.path / "coverage.png")
    print(f"bev.png, cameras.png, contact_sheet.png, coverage.png are in {out.path}")
    if args.rerun:
        export_rerun(args.rerun, frames, names)
        print(f"{args.rerun} is for the Rerun viewer")


if __name__ == "__main__":
    main()
