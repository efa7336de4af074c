"""Turn a released checkpoint into ours, or ours back into a released one.

python examples/convert_checkpoint.py SRC -o OUT                Ross3D, Video-3D-LLM or LLaVA-Video
python examples/convert_checkpoint.py SRC -o OUT --projector mm_inv_projector.bin
                                                    with a denoiser that starts from the 2-D one
python examples/convert_checkpoint.py OUT -o BACK --reverse     into the released names again

SRC is a folder with config.json and safetensors or .bin files, whole or sharded; nothing in a file
is run. OUT holds shards, config.json, the tokenizer's files, and the autoencoder if SRC has one;
``reference.checkpoints.load_converted(OUT)`` builds the model.
"""

from __future__ import annotations

import argparse
import sys

from reference.checkpoints import convert, revert
from reference.released.keys import OWN, REQUIRED


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", metavar="SRC", help="folder or file of the checkpoint")
    parser.add_argument("-o", "--out", required=True, help="folder to write; must not exist")
    parser.add_argument("--kind", default="auto", choices=["auto", *REQUIRED])
    parser.add_argument("--fresh", nargs="*", default=[], choices=OWN, help="parts it may lack")
    parser.add_argument("--projector", default=None, help="mm_inv_projector.bin of the 2-D stage")
    parser.add_argument("--reverse", action="store_true", help="from ours to the released names")
    parser.add_argument("--shard-gb", type=float, default=4.0, help="size of the written files")
    args = parser.parse_args()
    if args.reverse and (args.kind != "auto" or args.fresh or args.projector):
        parser.error("--reverse must come without --kind, --fresh and --projector")
    if args.shard_gb <= 0:
        parser.error(f"--shard-gb must be positive; got {args.shard_gb}")
    return args


def main() -> None:
    """Convert, and say what became of each part."""
    args = parse()
    shard_bytes = int(args.shard_gb * 1e9)
    try:
        if args.reverse:
            report = revert(args.source, args.out, shard_bytes=shard_bytes)
        else:
            report = convert(
                args.source,
                args.out,
                kind=args.kind,
                fresh=args.fresh,
                projector=args.projector,
                shard_bytes=shard_bytes,
            )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(report.table())


if __name__ == "__main__":
    main()
