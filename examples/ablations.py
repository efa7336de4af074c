"""Train variants of the default run with several seeds, and compare them in a table.

python examples/ablations.py                            contexts, with and without places
python examples/ablations.py --grid tasks --jobs 2      no pretext task, each, both (Table 4)
python examples/ablations.py --grid inputs              what the language model reads (Table 5)
python examples/ablations.py --grid semi                text on half of the rooms (Table 6)
python examples/ablations.py --vary tasks=none,both input=views,bev --steps 100 --seeds 2
python examples/ablations.py --grid tasks -- --train=lora --rooms=64    options of all runs

Writes OUT/ablations.md, OUT/ablations.json and, of variants that rebuild hidden views, a picture
of the same views. Runs that are finished are not repeated, and one that was stopped goes on.
"""

from __future__ import annotations

import argparse

from reference.arms import GRIDS, Grid, vary
from reference.grid import add_grid_options, run_grid


def parse() -> tuple[argparse.Namespace, Grid]:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--grid", default="contexts", choices=sorted(GRIDS))
    which.add_argument("--vary", nargs="+", metavar="OPTION=VALUE,...", help="all combinations")
    add_grid_options(parser, "runs/ablations")
    args = parser.parse_args()
    try:
        return args, vary(args.vary) if args.vary else GRIDS[args.grid]()
    except ValueError as error:
        parser.error(str(error))


def main() -> None:
    """Run the grid, write table and picture."""
    args, grid = parse()
    print(run_grid(grid, args, "ablations"))


if __name__ == "__main__":
    main()
