"""The reconstruction loss: hidden states in, one scalar per pretext task out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ross3d.core.diffusion import DDPMLoss
from ross3d.core.objective import Objective
from ross3d.core.pretrained import Pretrained
from ross3d.core.sampling import Method, sample
from ross3d.core.shapes import check_shape
from ross3d.core.tokenizer import Tokenizer
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.patches import depth_patch_coords
from ross3d.pretext.conditioner import Conditioner, Context
from ross3d.pretext.latents import decode_pictures, encode_pictures
from ross3d.pretext.schedule import Schedule
from ross3d.pretext.targets import PretextTask, Targets, all_tasks, named_tasks, no_targets


class Reconstruction(NamedTuple):
    """Pictures that were sampled back.

    Attributes:
        images: (b, k, 3, s, s) what the denoiser made of the condition, values in [0, 1].
        round_trip: (b, k, 3, s, s) the targets, encoded and decoded: the best that is possible.
        targets: the truth, its weight and its places.
    """

    images: Tensor
    round_trip: Tensor
    targets: Targets


class ReconstructionLoss(Pretrained):
    """L_3D: recover each task's targets from the language model's hidden states (Eqs. 3, 6, 7).

    Per task, learned queries read the context (a Conditioner), and the shared denoiser recovers the
    targets' latents under that condition (Eq. 8).

    Args:
        tasks: name -> pretext task, for example ``{"cross_view": CrossViewTask()}``.
        tokenizer: F, turns pictures into latents; it is frozen, only its outputs are used.
        denoiser: one ConditionedDiT for all tasks, or one per task under the tasks' names. Its
            width is that of the condition.
        context_dim: width D of the hidden states.
        objective: how the denoiser is trained (paper: DDPM with a cosine schedule; the default);
            one for all tasks, or one per task under the tasks' names.
        context: which hidden states the queries read: those of the ``"visible"`` views (the
            released model), of ``"all"`` views, or of each target's ``"own"`` view. A target that
            is no view, such as the bird's-eye view, reads all of them under ``"own"``.
        target_coords: tell the queries where each latent cell of their target lies in the world.
            False makes all targets of a scene share one condition, as the released model does.
        context_coords: tell the queries where the visual tokens lie, too; only with
            ``target_coords``.
        grid: rows and columns of visual tokens per view, for where they lie; None = a square.
        weights: factor of each task's loss (default 1).
        schedules: when each task takes part (default: every step).
        heads: attention heads of the poolers.

    Raises:
        ValueError: if ``tasks`` is empty, a name of ``weights`` or ``schedules`` is not a task,
            those of ``objective`` or ``denoiser`` are not the tasks', a task's size does not fit
            the tokenizer's stride, or ``context`` is unknown.
    """

    def __init__(
        self,
        tasks: Mapping[str, PretextTask],
        tokenizer: Tokenizer,
        denoiser: nn.Module | Mapping[str, nn.Module],
        *,
        context_dim: int,
        objective: Objective | Mapping[str, nn.Module] | None = None,
        context: Context = "all",
        target_coords: bool = True,
        context_coords: bool = True,
        grid: tuple[int, int] | None = None,
        weights: Mapping[str, float] | None = None,
        schedules: Mapping[str, Schedule] | None = None,
        heads: int = 16,
    ) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("tasks must name at least one pretext task; got none")
        self.tasks, self.tokenizer = dict(tasks), tokenizer
        self.context_coords, self.grid = context_coords and target_coords, grid
        self.weights = {**dict.fromkeys(tasks, 1.0), **named_tasks("weights", weights, tasks)}
        self.schedules = dict.fromkeys(tasks, Schedule())
        self.schedules |= named_tasks("schedules", schedules, tasks)
        if isinstance(objective, Mapping):
            objective = nn.ModuleDict(all_tasks("objective", objective, tasks))
        self._objective = DDPMLoss() if objective is None else objective
        if isinstance(denoiser, nn.Module):
            self.denoisers = nn.ModuleDict({"shared": denoiser})
        else:
            self.denoisers = nn.ModuleDict(all_tasks("denoiser", denoiser, tasks))
        self.config = {"tasks": self.tasks, "tokenizer": tokenizer, "denoiser": denoiser}
        self.config |= {"objective": self._objective, "weights": self.weights, "grid": grid}
        self.config |= {"schedules": self.schedules, "context_dim": context_dim, "heads": heads}
        self.config |= {"target_coords": target_coords, "context_coords": context_coords}
        self.config |= {"context": context}
        self.conditioners = nn.ModuleDict()
        for name, task in tasks.items():
            if task.size % tokenizer.stride:
                expected = f"a multiple of the tokenizer's stride {tokenizer.stride}"
                raise ValueError(f"size of {name} must be {expected}; got {task.size}")
            dim = cast(int, self.denoiser(name).dim)
            cells = (task.size // tokenizer.stride) ** 2
            self.conditioners[name] = Conditioner(
                cells, context_dim, dim, heads, context=context, target_coords=target_coords
            )

    def denoiser(self, name: str) -> nn.Module:
        """Return the denoiser of a task."""
        return self.denoisers[name if name in self.denoisers else "shared"]

    def objective(self, name: str) -> Objective:
        """Return the objective of a task."""
        one = self._objective
        return cast(Objective, one[name] if isinstance(one, nn.ModuleDict) else one)

    def forward(
        self,
        hidden: Tensor,
        frames: PosedFrames,
        masked: Tensor,
        *,
        step: int | None = None,
        generator: torch.Generator | None = None,
        prepared: Mapping[str, Targets] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss of every task.

        A task that does not take part (nothing hidden, or not scheduled) has a loss of exactly 0,
        in the graph: every parameter still gets a gradient.

        Args:
            hidden: (b, m, p, D) hidden states of the visual tokens.
            frames: the posed views that were seen.
            masked: (b, m) bool, True = hidden from the language model.
            step: optimiser step, for the schedules; None = every task takes part.
            generator: of the timesteps and the noise.
            prepared: name -> targets that are made already, for example by a data worker.

        Returns:
            Name -> scalar, weighted by the task's weight.

        Raises:
            ValueError: if a shape is wrong, only visible views are read and a scene has none, or a
                name of ``prepared`` is not a task.
        """
        places = self.places(hidden, frames)
        named, made = {}, named_tasks("prepared", prepared, self.tasks)
        for name, task in self.tasks.items():
            active = step is None or self.schedules[name].active(step)
            targets = made.get(name) or task(frames, masked) if active else no_targets(task, frames)
            named[name] = targets
        latents = encode_pictures(self.tokenizer, [each.images for each in named.values()])
        losses = {}
        for (name, targets), z0 in zip(named.items(), latents, strict=True):
            h, w = z0.shape[-2:]
            weight = F.adaptive_avg_pool2d(targets.weight.flatten(0, 1).float(), (h, w))
            condition = self.conditioners[name](hidden, masked, targets, places)
            denoiser = self.denoiser(name)
            loss = self.objective(name)(denoiser, z0, condition, weight, generator=generator)
            losses[name] = self.weights[name] * loss
        return losses

    @torch.no_grad()
    def reconstruct(
        self,
        hidden: Tensor,
        frames: PosedFrames,
        masked: Tensor,
        *,
        steps: int = 50,
        method: Method | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Reconstruction]:
        """Sample every task's pictures back from the hidden states.

        Args:
            hidden: (b, m, p, D) hidden states of the visual tokens.
            frames: the posed views that were seen.
            masked: (b, m) bool, True = hidden from the language model.
            steps: denoiser evaluations per picture.
            method: sampler, see :func:`ross3d.sample`; None = the objective's own.
            generator: of the first noise.

        Returns:
            Name -> sampled pictures, the tokenizer's round trip, and the targets.

        Raises:
            ValueError: as in the forward pass.
        """
        places = self.places(hidden, frames)
        named = {name: task(frames, masked) for name, task in self.tasks.items()}
        latents = encode_pictures(self.tokenizer, [each.images for each in named.values()])
        pictures = {}
        for (name, targets), z0 in zip(named.items(), latents, strict=True):
            condition = self.conditioners[name](hidden, masked, targets, places)
            sampled, (n, c, h, w) = z0, z0.shape
            if n:
                sampled = sample(
                    self.objective(name),
                    self.denoiser(name),
                    condition,
                    (n, c, h, w),
                    steps=steps,
                    method=method,
                    generator=generator,
                )
            images, round_trip = (
                decode_pictures(self.tokenizer, z, targets.images) for z in (sampled, z0)
            )
            pictures[name] = Reconstruction(images, round_trip, targets)
        return pictures

    def places(self, hidden: Tensor, frames: PosedFrames) -> tuple[Tensor, Tensor] | None:
        """World position of every visual token, and whether it is known: (b, m, p, 3), (b, m, p).

        Raises:
            ValueError: if ``hidden`` is not (b, m, p, D), or its p is neither that of ``grid`` nor,
                without one, a square number.
        """
        p = check_shape("hidden", hidden, "b m p d", b=len(frames), m=frames.views)["p"]
        if not self.context_coords:
            return None
        rows, columns = self.grid or (math.isqrt(p), math.isqrt(p))
        if rows * columns != p:
            expected = f"rows and columns of {p} tokens"
            raise ValueError(f"grid must be given as {expected}; got {self.grid}")
        return depth_patch_coords(frames.depths, frames.intrinsics, frames.poses, (rows, columns))
