"""Add a pretext task of your own, surface normals: about a minute on one CPU core."""

from __future__ import annotations

import argparse

import torch
from kornia.geometry.depth import depth_to_normals
from reference.batch import stack_scenes
from reference.build import build_model
from reference.chat import build_tokenizer
from reference.data.rooms import room_scene
from reference.pictures import reconstruction_picture
from reference.presets import PRESETS
from reference.rebuilding import hide_last, rebuild
from reference.run import RunFolder
from reference.training import learning_rate

import ross3d
from ross3d import PosedFrames, Targets, patch_rays, select_views


class NormalsTask:
    """Recover which way the surfaces of hidden views face: x, y, z as red, green, blue."""

    size, grid = 96, (6, 6)  # pixels of a target, and its latent cells of 16 pixels

    def __call__(self, frames: PosedFrames, masked: torch.Tensor) -> Targets:
        """Name the normals of the hidden views; they lie somewhere along rays."""
        frames, turn = frames.resize((self.size, self.size)), frames.poses[..., :3, :3]
        depths, intrinsics = frames.depths.flatten(0, 1)[:, None], frames.intrinsics.flatten(0, 1)
        normals = -depth_to_normals(depths, intrinsics).unflatten(0, masked.shape)
        images = (torch.einsum("bmij, bmjhw -> bmihw", turn, normals) + 1) / 2
        unknown = torch.nn.functional.max_pool2d((depths == 0).float(), 3, stride=1, padding=1)
        weight = 1 - unknown[:, 0].unflatten(0, masked.shape)  # a normal reads 3 x 3 pixels
        rays = patch_rays(frames.intrinsics, frames.poses, frames.size, self.grid)
        images, weight, rays = (select_views(x, masked) for x in (images, weight, rays))
        nowhere = torch.zeros_like(rays[..., :3])
        return Targets(images, weight, coords=nowhere, known=nowhere[..., 0] > 0, rays=rays)


def main() -> None:
    """Train a small model on this task alone, and show what it rebuilds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", default="runs/normals")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    preset, teacher = PRESETS["tiny"], ross3d.DCTTokenizer()
    model = build_model(preset, build_tokenizer([]))
    denoiser = ross3d.ConditionedDiT(teacher.channels, 128, depth=3, heads=4)
    objective, tasks = ross3d.FlowMatchingLoss(draws=8), {"normals": NormalsTask()}
    model.reconstruction = ross3d.ReconstructionLoss(
        tasks, teacher, denoiser, context_dim=preset.dim, objective=objective, heads=4
    )
    batch = stack_scenes([room_scene(1, views=preset.views, size=preset.image_size)])
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    losses: list[float] = []
    for step in range(args.steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, args.steps, 3e-3)
        masked = ross3d.sample_view_mask(1, preset.views, preset.mask_ratio)
        loss = model(batch, masked)["normals"]  # a scene without text: pretext tasks alone
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        tenth = max(1, args.steps // 10)
        if (step + 1) % tenth == 0:
            print(f"step {step + 1:4d}   normals {sum(losses[-tenth:]) / tenth:.3f}")
    rebuilt = rebuild(model.eval(), batch, hide_last(batch, 2), steps=50)["normals"]
    run = RunFolder(args.out, resume=True)
    run.save_image("normals.png", reconstruction_picture(rebuilt))
    print(f"{run.path / 'normals.png'}: what was rebuilt, beside the truth")


if __name__ == "__main__":
    main()
