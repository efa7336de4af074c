"""Make raw ScanNet scans into the data folder that the other recipes read.

python examples/prepare_scannet.py SCANNET -o ROOT               .sens files or exported frames
python examples/prepare_scannet.py SCANNET -o ROOT --jobs 8      eight scans at once
python examples/prepare_scannet.py SCANNET -o ROOT --benchmarks ANNOTATIONS    and questions

A run that was stopped goes on: scans that are whole already are not done again.
"""

from __future__ import annotations

import argparse
from fnmatch import fnmatch
from pathlib import Path

from reference.data.benchmarks.skips import Skips
from reference.data.prepare.annotations import write_annotations
from reference.data.prepare.merging import merge_scans
from reference.data.prepare.raw_scan import find_raw_scans, read_splits
from reference.data.prepare.report import report_lines, write_report
from reference.data.prepare.scene import Options
from reference.data.prepare.workers import prepare_scans


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path, help="holds scans/SCENE/SCENE.sens and its siblings")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the data folder to write")
    parser.add_argument(
        "--splits", type=Path, help="folder of scannetv2_{train,val,test}.txt (default: RAW)"
    )
    parser.add_argument("--masks", type=Path, help="folder of SCENE.mask.npz (default: RAW/mask)")
    parser.add_argument("--benchmarks", type=Path, help="released annotations, in any folders")
    parser.add_argument("--scenes", default="*", help="pattern of names, for example 'scene00*'")
    parser.add_argument("--frame-skip", type=int, default=10, help="takes every so many frames")
    parser.add_argument("--bev", type=int, default=432, help="pixels from above; 0 = no picture")
    parser.add_argument("--bev-frames", type=int, default=100, help="it is seen from; 0 = all")
    parser.add_argument("--jobs", type=int, default=1, help="scans at once")
    parser.add_argument("--verify", action="store_true", help="compare checksums, not only sizes")
    args = parser.parse_args()
    for name, least in (("frame_skip", 1), ("jobs", 1), ("bev", 0), ("bev_frames", 0)):
        if getattr(args, name) < least:
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} must be at least {least}; got {getattr(args, name)}")
    return args


def main() -> None:
    """Prepare every scan, then write the lists of all of them."""
    args = parse()
    try:
        prepare(args)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


def prepare(args: argparse.Namespace) -> None:
    """Do what the options ask for."""
    splits = read_splits(args.splits or args.raw)
    scans = [x for x in find_raw_scans(args.raw, args.masks) if fnmatch(x.scene, args.scenes)]
    if not scans:
        raise ValueError(f"--scenes must be a pattern of scans of {args.raw}; got {args.scenes}")
    options = Options(args.frame_skip, args.bev, args.bev_frames)
    jobs = [(scan, splits.get(scan.scene)) for scan in scans]
    outcomes = prepare_scans(jobs, args.out, options, processes=args.jobs, verify=args.verify)
    skips, samples = Skips(), {}
    if any(outcome.status != "failed" for outcome in outcomes):
        merge_scans(args.out)
        if args.benchmarks is not None:
            samples = write_annotations(args.out, args.benchmarks, skips)
    path = write_report(args.out, outcomes, samples, skips)
    print(*report_lines(outcomes, samples, skips), sep="\n")
    print(f"{path} says so too; train with --data {args.out}")
    if all(outcome.status == "failed" for outcome in outcomes):
        raise ValueError(f"no scan of {args.raw} could be prepared")


if __name__ == "__main__":
    main()
