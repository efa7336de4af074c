"""Put a trained model into a folder that others can load: weights, tokenizer, model card.

python examples/export_model.py runs/rooms -o exported                     the host inside
python examples/export_model.py runs/rooms -o exported --host reference    only what was trained
python examples/export_model.py runs/rooms -o exported --push OWNER/NAME   to the Hugging Face Hub
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from reference.trained import load_run


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that train_ross3d.py wrote")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the model")
    parser.add_argument(
        "--host",
        default="inside",
        choices=["inside", "reference"],
        help="the host's weights: in the folder, or by the repository that they came from",
    )
    parser.add_argument("--license", default=None, help="of the weights, for example apache-2.0")
    parser.add_argument("--push", default=None, metavar="ID", help="repository to push it to")
    return parser.parse_args()


def main() -> None:
    """Load the run's newest checkpoint, and write the folder."""
    args = parse()
    try:
        run = load_run(args.run)
        recipe = {"options": dict(run.options), "preset": asdict(run.preset), "step": run.step}
        options = {"host": args.host, "tokenizer": run.collate.tokenizer, "recipe": recipe}
        run.model.save_pretrained(args.out, license=args.license, **options)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error
    files = [path for path in sorted(args.out.rglob("*")) if path.is_file()]
    for path in files:
        print(f"{path.relative_to(args.out)!s:<32}{path.stat().st_size / 1e6:10.2f} MB")
    print(f"Ross3D.from_pretrained({str(args.out)!r}) loads it")
    if args.push:
        print(run.model.push_to_hub(args.push, license=args.license, **options))


if __name__ == "__main__":
    main()
