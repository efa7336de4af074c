"""Train a ROSS3D: text, grounding, and the reconstruction of views and of the room from above.

python examples/train_ross3d.py                          generated rooms: two CPU cores, minutes
python examples/train_ross3d.py --data furnished_room    the shipped scan; or a ScanNet folder
python examples/train_ross3d.py --batches by-task        steps of one kind of task
python examples/train_ross3d.py --train lora             adapters in the language model; or blocks
python examples/train_ross3d.py --latent-cache FOLDER    encode each target once, for all runs
python examples/train_ross3d.py --out RUN --resume       go on with a run that was stopped
python examples/train_ross3d.py --preset ross3d-7b --sizes    count, on the meta device, and stop
"""

from __future__ import annotations

from dataclasses import asdict, replace

import torch
from accelerate import Accelerator
from reference.batching import open_batches
from reference.build import build_from_options, cache_latents, hides_views
from reference.evaluation import held_out_losses
from reference.options import FREE, parse_options, run_collators, run_tokenizer
from reference.parameters import parameter_groups, trainable_table
from reference.prepared import Preparing
from reference.presets import PRESETS
from reference.results import write_results
from reference.run import RunFolder, load_checkpoint
from reference.sizes import size_table
from reference.supervision import open_supervised
from reference.training import batches, draw_mask, learning_rate, step_generators
from tqdm import tqdm


def main() -> None:
    """Train, then show what was learned."""
    args = parse_options(__doc__.splitlines()[0])
    preset = PRESETS[args.preset]
    if args.sizes:
        print(size_table(preset, vars(args)))
        return
    preset = replace(preset, steps=args.steps or preset.steps)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    accelerator = Accelerator()
    source = open_supervised(preset, vars(args))
    tokenizer = run_tokenizer(source, vars(args))
    model = build_from_options(preset, tokenizer, vars(args))
    folder, teacher = args.latent_cache, None
    if folder is not None:
        teacher = cache_latents(model, folder, args.latent_cache_gb)
    collate, judging = run_collators(tokenizer, model, preset.views, vars(args))
    groups = parameter_groups(model, preset)
    betas = (0.9, preset.beta2)
    optimizer = torch.optim.AdamW(groups, betas=betas, weight_decay=0.0, fused=True)

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
    collate = Preparing(collate, model.reconstruction.tasks)
    dataset = open_batches(source, collate, preset, args.batches, seed=args.seed, **ranks)
    numbers = range(start * preset.accumulate, preset.steps * preset.accumulate)
    loader = batches(dataset, numbers, workers=args.workers)
    judged = [judging([source.held_out(i) for i in range(preset.batch)]).to(accelerator.device)]
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
            about = None if args.grounding_pretext == "on" else ~batch.grounding_only
            drawn = {"step": step, "generator": mask_draw, "among": about}
            masked = draw_mask(batch, ratio, preset.every, **drawn)
            losses = model(batch, masked, step=step, generator=noise_draw, pretext=about)
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
    if main_process and teacher is not None:
        print(f"latents: {teacher.hits} found and {teacher.misses} made, in {folder}")
    if main_process and args.evaluate:
        shown = {"scenes": args.evaluate, "steps": preset.sample_steps}
        figures = write_results(run, bare, source, judging, config, **shown)
        print(*(f"{name:<26}{value:10.3f}" for name, value in figures.items()), sep="\n")
        print(f"pictures and figures: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
