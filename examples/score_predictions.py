r"""Score predictions of a benchmark under every protocol, side by side; no model is needed.

python examples/score_predictions.py answers.jsonl --benchmark sqa3d \
    --annotations v1_balanced_sqa_annotations_test_scannetv2.json
python examples/score_predictions.py answers.jsonl --benchmark scanqa \
    --annotations ScanQA_v1.0_val.json --protocol raw -o scores.md -o scores.json

A line of answers.jsonl is {"id": 220602000002, "text": "piano"}, or has "boxes" in place of "text".
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reference.files import replacing
from reference.metrics.annotations import read_references
from reference.metrics.records import BENCHMARKS, read_predictions
from reference.metrics.scoring import score
from reference.metrics.table import as_json, markdown


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", type=Path, help="one JSON object a line")
    parser.add_argument("--benchmark", required=True, choices=BENCHMARKS)
    parser.add_argument(
        "--annotations", type=Path, required=True, help="as released, llava style, or plain JSON"
    )
    parser.add_argument("--protocol", default="all", help="a name of the table; default: all")
    parser.add_argument(
        "-o", "--out", type=Path, action="append", default=[], help="also write this .md or .json"
    )
    return parser.parse_args()


def main() -> None:
    """Read, score, print."""
    args = parse()
    try:
        score_files(args)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


def score_files(args: argparse.Namespace) -> None:
    """Score the files that the options name."""
    for path in args.out:
        if path.suffix not in (".md", ".json"):
            raise ValueError(f"--out must end in .md or .json; got {path}")
    references = read_references(args.annotations, args.benchmark)
    predictions = read_predictions(args.predictions, args.benchmark)
    results = score(args.benchmark, predictions, references, args.protocol)
    table = markdown(results)
    print(table, end="")
    for path in args.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = table if path.suffix == ".md" else json.dumps(as_json(results), indent=1) + "\n"
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
