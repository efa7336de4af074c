"""Rebuild the views that a trained model does not see, and the room from above.

python examples/reconstruct.py runs/rooms                            held-out rooms of the run
python examples/reconstruct.py runs/rooms --data furnished_room      a scan that it never saw
python examples/reconstruct.py runs/rooms --steps 10 --method ddpm   fewer denoiser evaluations
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from reference.build import build_model
from reference.chat import build_tokenizer
from reference.collate import SceneCollator
from reference.data.sources import open_source
from reference.files import read_json
from reference.presets import Preset
from reference.rebuilding import picture_figures
from reference.results import write_pictures
from reference.run import RunFolder, load_checkpoint


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
    if not (args.run / "config.json").exists():
        raise SystemExit(f"RUN must be a folder that train_ross3d.py wrote; got {args.run}")
    config = read_json(args.run / "config.json")
    options, preset = config["options"], Preset(**config["preset"])
    layout = {
        "views": preset.views,
        "size": preset.image_size,
        "turns": preset.turns,
        "hidden": max(1, round(preset.views * preset.mask_ratio)),
        "seed": options["seed"],
    }
    tokenizer = build_tokenizer(open_source(options["data"], **layout).words())
    model = build_model(
        preset,
        tokenizer,
        vae=options["vae"],
        context=options["context"],
        target_coords=not options["no_target_coords"],
        context_coords=not options["no_context_coords"],
    )
    checkpoint = RunFolder(args.run, resume=True).latest_checkpoint()
    if checkpoint is None:
        raise SystemExit(f"RUN must hold a checkpoint; got {args.run}")
    step = load_checkpoint(checkpoint, model)["step"]
    model.to(args.device)

    source = open_source(args.data or options["data"], **layout)
    collate = SceneCollator(tokenizer, model.num_visual(preset.views))
    out = RunFolder(args.out or args.run / "reconstruction", resume=True)
    sampler = {"steps": args.steps or preset.sample_steps, "method": args.method}
    names = write_pictures(out, model, source, collate, scenes=args.scenes, **sampler)
    scenes = [collate([source.held_out(i)]).to(args.device) for i in range(args.scenes)]
    figures = picture_figures(model.eval(), scenes, source.hidden, **sampler)

    print(f"after {step} steps, {args.scenes} held-out scenes of {source.name}; PSNR in dB")
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
