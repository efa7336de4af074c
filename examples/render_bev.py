"""Render a scan from above: the picture that the global-view task recovers.

python examples/render_bev.py furnished_room -o bev.png        the scan that ships with the examples
python examples/render_bev.py scene0000_00.sens -o bev.png     a recording
python examples/render_bev.py rgbd_dataset_freiburg1_room -o bev.png --frames 200 --size 864
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from reference.files import replacing
from reference.frustums import bev_image
from reference.scan_options import add_scan_options, scan_of

from ross3d import BEVRenderer


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_scan_options(parser)
    parser.add_argument("-o", "--out", type=Path, default=Path("bev.png"), help="the picture")
    parser.add_argument("--size", type=int, default=432, help="pixels of the square picture")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def main() -> None:
    """Read, render, write, and say what the picture shows."""
    args = parse()
    torch.set_num_threads(args.threads)
    try:
        renderer = BEVRenderer(args.size)
        scan, chosen = scan_of(args)
        bev = renderer(scan.read_views(chosen))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(args.out) as temporary:
            bev_image(bev).save(temporary)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    x_min, y_min, x_max, y_max = bev.extent[0].tolist()
    centimetres, seen = (x_max - x_min) / args.size * 100, bev.observed.float().mean()
    print(f"{scan.path} ({scan.layout}): {len(chosen)} of {len(scan)} frames")
    for name, reason in scan.skipped:
        print(f"skipped {name}: {reason}")
    for note in scan.notes:
        print(f"note: {note}")
    print(f"x {x_min:.2f} to {x_max:.2f} m to the right, y {y_min:.2f} to {y_max:.2f} m upward")
    print(f"{centimetres:.2f} cm per pixel, {seen:.0%} seen")
    print(f"{args.out} is written")


if __name__ == "__main__":
    main()
