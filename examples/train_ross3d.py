"""Train a ROSS3D: text, grounding, and the reconstruction of views and of the room from above.

python examples/train_ross3d.py                          generated rooms: two CPU cores, minutes
python examples/train_ross3d.py --data furnished_room    the shipped scan; or a ScanNet folder
python examples/train_ross3d.py --train lora             adapters in the language model; or blocks
python examples/train_ross3d.py --out RUN --resume       go on with a run that was stopped
python examples/train_ross3d.py --preset ross3d-7b --sizes    count, on the meta device, and stop
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from reference.build import TASKS, build_from_options, hides_views
from reference.chat import build_tokenizer
from reference.collate import SceneCollator
from reference.evaluation import held_out_losses
from reference.files import read_json
from reference.inputs import INPUTS
from reference.parameters import parameter_groups, trainable_table
from reference.presets import PRESETS
from reference.results import write_results
from reference.run import RunFolder, load_checkpoint
from reference.sizes import size_table
from reference.supervision import add_supervision_options, open_supervised
from reference.trainable import TRAIN
from reference.training import StepDataset, batches, draw_mask, learning_rate, step_generators
from tqdm import tqdm

FREE = ("threads", "workers", "evaluate", "save_every")  # not what is learned, but how


def parse() -> argparse.Namespace:
    """Read the options; a resumed run keeps its own, and refuses to be given others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="rooms", help="rooms, furnished_room, or a scan folder")
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--out", default=None, help="run folder (default: runs/DATA)")
    parser.add_argument("--steps", type=int, default=None, help="optimiser steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--input", default="views", choices=INPUTS, help="what the LMM reads")
    parser.add_argument("--tasks", default="both", choices=TASKS, help="pretext tasks")
    parser.add_argument("--train", default="full", choices=TRAIN, help="which parameters train")
    parser.add_argument("--context", default="all", choices=["visible", "all", "own"])
    parser.add_argument("--no-target-coords", action="store_true", help="one condition for all")
    parser.add_argument("--no-context-coords", action="store_true", help="tokens without place")
    add_supervision_options(parser)
    parser.add_argument("--vae", default=None, help="AutoencoderKL folder of the flux teacher")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--evaluate", type=int, default=48, help="held-out scenes judged; 0 = none")
    parser.add_argument("--resume", action="store_true", help="go on, with the run's own options")
    parser.add_argument("--sizes", action="store_true", help="print the preset's sizes and stop")
    args = parser.parse_args()
    out = args.out or f"runs/{Path(args.data).name}"
    config = Path(out, "config.json")
    if args.resume and config.exists():
        saved = read_json(config)["options"]
        parser.set_defaults(**saved)
        args = parser.parse_args()  # again: what is not given is as it was saved
        for name, was in saved.items():
            if name not in FREE and (given := getattr(args, name)) != was:
                option = f"--{name.replace('_', '-')}"
                parser.error(f"{option} must be {was}, as saved in {config}; got {given}")
    args.out = out
    return args


def main() -> None:
    """Train, then show what was learned."""
    args = parse()
    preset = PRESETS[args.preset]
    if args.sizes:
        print(size_table(preset, vars(args)))
        return
    preset = replace(preset, steps=args.steps or preset.steps)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    accelerator = Accelerator()
    source = open_supervised(preset, vars(args))
    tokenizer = build_tokenizer(source.words())
    model = build_from_options(preset, tokenizer, vars(args))
    collate = SceneCollator(tokenizer, model.scene_ids(preset.views))
    groups = parameter_groups(model, preset)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, preset.beta2), weight_decay=0.0)

    options = {k: v for k, v in vars(args).items() if k not in ("resume", "out", "sizes")}
    config = {"options": options, "preset": asdict(preset)}
    main_process, start = accelerator.is_main_process, 0
    with accelerator.main_process_first():
        run = RunFolder(args.out, resume=args.resume or not main_process)
        if checkpoint := run.latest_checkpoint():
            start = load_checkpoint(checkpoint, model, optimizer, config=config, free=FREE)["step"]
        if main_process:
            run.truncate(start)
            run.write_json("config.json", config)
            print(trainable_table(model, groups))
            print(f"{source.name} -> {run.path}, {accelerator.device}, {args.threads} thread(s)")

    ranks = {"rank": accelerator.process_index, "ranks": accelerator.num_processes}
    dataset = StepDataset(source.train, collate, preset.batch, source.unlabelled, **ranks)
    numbers = range(start * preset.accumulate, preset.steps * preset.accumulate)
    loader = batches(dataset, numbers, workers=args.workers)
    judged = [collate([source.held_out(i) for i in range(preset.batch)]).to(accelerator.device)]
    model, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(model)

    steps, quiet = range(start, preset.steps), not main_process
    progress = tqdm(steps, initial=start, total=preset.steps, unit="step", disable=quiet)
    for step in progress:
        row: dict[str, float] = {}
        for micro in range(preset.accumulate):
            batch = next(loader).to(accelerator.device)
            mask_draw, noise_draw = step_generators(args.seed, step, micro, ranks["rank"])
            ratio = preset.mask_ratio if hides_views(bare.reconstruction.tasks) else 0.0
            masked = draw_mask(batch, ratio, preset.every, step=step, generator=mask_draw)
            losses = model(batch, masked, step=step, generator=noise_draw)
            accelerator.backward(sum(losses.values()) / preset.accumulate)
            for name, loss in losses.items():
                row[name] = row.get(name, 0.0) + float(loss.detach()) / preset.accumulate
        accelerator.clip_grad_norm_(model.parameters(), preset.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, preset.steps, group["peak"])
        optimizer.step()
        optimizer.zero_grad()
        progress.set_postfix({name: f"{value:.3f}" for name, value in row.items()})
        done = step + 1
        if main_process and args.evaluate and (done % 50 == 0 or done == preset.steps):
            figures = held_out_losses(bare, judged, source.hidden)
            row |= {f"heldout/{name}": value for name, value in figures.items()}
        if main_process:
            run.log({"step": step, **row})
            if done % args.save_every == 0 or done == preset.steps:
                run.save_checkpoint(done, bare, optimizer.optimizer, config=config)
    if main_process and args.evaluate:
        judging = {"scenes": args.evaluate, "steps": preset.sample_steps}
        figures = write_results(run, bare, source, collate, config, **judging)
        print(*(f"{name:<26}{value:10.3f}" for name, value in figures.items()), sep="\n")
        print(f"pictures and figures: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
