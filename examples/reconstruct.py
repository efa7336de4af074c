"""Rebuild the views that a trained model does not see, and the room from above.

python examples/reconstruct.py runs/rooms                            held-out rooms of the run
python examples/reconstruct.py runs/rooms --data furnished_room      a scan that it never saw
python examples/reconstruct.py runs/rooms --steps 10 --method ddpm   fewer denoiser evaluations
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from reference.rebuilding import picture_figures
from reference.results import write_pictures
from reference.run import RunFolder
from reference.trained import load_run


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that train_ross3d.py wrote")
    parser.add_argument("--data", default=None, help="rooms, furnished_room, or a scan folder")
    parser.add_argument("--out", default=None, help="default: RUN/reconstruction")
    parser.add_argument("--scenes", type=int, default=4, help="held-out scenes")
    parser.add_argument("--steps", type=int, default=None, help="denoiser evaluations per picture")
    parser.add_argument("--method", default=None, choices=["ddim", "euler", "ddpm"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    """Load, rebuild, show, and say how good it is."""
    args = parse()
    try:
        run = load_run(args.run, data=args.data, device=args.device)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error
    model, source, collate = run.model, run.source, run.collate
    if not model.reconstruction.tasks:
        raise SystemExit(f"RUN must have pretext tasks; got {args.run} with --tasks none")
    out = RunFolder(args.out or args.run / "reconstruction", resume=True)
    sampler = {"steps": args.steps or run.preset.sample_steps, "method": args.method}
    names = write_pictures(out, model, source, collate, scenes=args.scenes, **sampler)
    scenes = [collate([source.held_out(i)]).to(args.device) for i in range(args.scenes)]
    figures = picture_figures(model, scenes, source.hidden, **sampler)

    print(f"after {run.step} steps, {args.scenes} held-out scenes of {source.name}; PSNR in dB")
    print(f"{'':<18}{'model':>8}{'mean colour':>14}{'nearest view':>14}{'limit':>8}")
    for task in model.reconstruction.tasks:
        row = [
            figures.get(f"{task}/psnr{suffix}") for suffix in ("", "_mean", "_nearest", "_limit")
        ]
        cells = ["-" if value is None else f"{value:.2f}" for value in row]
        print(f"{task:<18}{cells[0]:>8}{cells[1]:>14}{cells[2]:>14}{cells[3]:>8}")
    print(f"{', '.join(names)} are in {out.path}")


if __name__ == "__main__":
    main()
