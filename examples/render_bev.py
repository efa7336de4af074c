"""Render a scan from above: the picture that the global-view task recovers.

python examples/render_bev.py furnished_room -o bev.png        the scan that ships with the examples
python examples/render_bev.py scene0000_00.sens -o bev.png     a recording
python examples/render_bev.py furnished_room --mesh            fused into a surface first (Open3D)
python examples/render_bev.py SCANNET --mesh scans/scene0000_00/scene0000_00_vh_clean_2.ply
python examples/render_bev.py rgbd_dataset_freiburg1_room -o bev.png --frames 200 --size 864
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from reference.data.recording import axis_alignment
from reference.files import replacing
from reference.frustums import bev_image
from reference.scan_options import add_scan_options, scan_of

from ross3d import BEV, BEVRenderer, MeshBEVRenderer, PosedFrames, read_mesh

FUSED = Path()


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_scan_options(parser)
    parser.add_argument("-o", "--out", type=Path, default=Path("bev.png"), help="the picture")
    parser.add_argument("--size", type=int, default=432, help="pixels of the square picture")
    parser.add_argument(
        "--mesh",
        type=Path,
        nargs="?",
        const=FUSED,
        metavar="FILE",
        help="show a surface, not points: fused from the frames, or this mesh of the scan",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def render(frames: Callable[[], PosedFrames], size: int, mesh: Path | None) -> BEV:
    """See points, the surface fused from them, or a mesh file from above.

    A file is aligned as FOLDER.txt beside it in its folder says, as ScanNet's have to be.
    """
    if mesh is None:
        return BEVRenderer(size)(frames())
    renderer = MeshBEVRenderer(size)
    if mesh == FUSED:
        return renderer(frames())
    folder = mesh.resolve().parent
    return renderer(read_mesh(mesh).moved(axis_alignment(folder / f"{folder.name}.txt")))


def main() -> None:
    """Read, render, write, and say what the picture shows."""
    args = parse()
    torch.set_num_threads(args.threads)
    try:
        scan, chosen = scan_of(args)
        bev = render(partial(scan.read_views, chosen), args.size, args.mesh)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(args.out) as temporary:
            bev_image(bev).save(temporary)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    x_min, y_min, x_max, y_max = bev.extent[0].tolist()
    centimetres, seen = (x_max - x_min) / args.size * 100, bev.observed.float().mean()
    shown = f"{len(chosen)} of {len(scan)} frames" if args.mesh in (None, FUSED) else args.mesh
    print(f"{scan.path} ({scan.layout}): {shown}")
    for name, reason in scan.skipped:
        print(f"skipped {name}: {reason}")
    for note in scan.notes:
        print(f"note: {note}")
    print(f"x {x_min:.2f} to {x_max:.2f} m to the right, y {y_min:.2f} to {y_max:.2f} m upward")
    print(f"{centimetres:.2f} cm per pixel, {seen:.0%} seen")
    print(f"{args.out} is written")


if __name__ == "__main__":
    main()
