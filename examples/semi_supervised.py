"""Half of the rooms have text: does L_3D help, on them, and on the other half (Table 6)?

python examples/semi_supervised.py --jobs 2
python examples/semi_supervised.py --rooms 32 --labelled 0.25
python examples/semi_supervised.py --unlabelled FOLDER    of scans, in place of the other half

Four arms are trained on the same finite set of rooms, so few that text alone overfits: text of half
of the rooms; the same with L_3D; with L_3D on the other half, too; and text of all rooms. Each
reads as many questions per step. Writes OUT/semi_supervised.md and .json; runs that are finished
are not repeated.
"""

from __future__ import annotations

import argparse

from reference.arms import semi_supervised
from reference.grid import add_grid_options, run_grid


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_grid_options(parser, "runs/semi_supervised")
    parser.add_argument("--labelled", type=float, default=0.5, help="share of scenes with text")
    parser.add_argument("--unlabelled", default="rest", help="rest, or a folder of scans")
    return parser.parse_args()


def main() -> None:
    """Run the four arms, write the table."""
    args = parse()
    grid = semi_supervised(args.labelled, args.unlabelled)
    print(run_grid(grid, args, "semi_supervised"))


if __name__ == "__main__":
    main()
