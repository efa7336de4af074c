"""Where the processor time of a training step goes: one thread, data read in the same process.

python benchmarks/profile_train.py --steps 10 examples/train_ross3d.py [options of the script]

Started by ``compare_train.py --profile``, with the packages of the tree that is looked at.
"""

from __future__ import annotations

import functools
import importlib
import runpy
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

PARTS = {
    "data: draw and render rooms": "reference.data.rooms:room_scene",
    "data: collate": "reference.collate:SceneCollator.__call__",
    "vision tower": "reference.llava_lmm:LlavaLMM.encode",
    "language model, text loss": "reference.host_lmm:HostLMM.decode",
    "grounding": "reference.model:Ross3D.ground",
    "pretext: everything else": "ross3d:ReconstructionLoss.forward",
    "pretext: views' targets": "ross3d:CrossViewTask.__call__",
    "pretext: render from above": "ross3d:BEVRenderer.__call__",
    "pretext: teacher": "ross3d:DCTTokenizer.encode",
    "pretext: conditions": "ross3d:Conditioner.forward",
    "pretext: denoiser and objective": "ross3d:DDPMLoss.forward",
    "model: everything else": "reference.model:Ross3D.forward",
    "backward": "torch:Tensor.backward",
    "clip": "torch.nn.utils:clip_grad_norm_",
    "optimiser": "torch.optim:AdamW.step",
}
"""What is shown -> the function whose own time it is, without that of the others inside it."""


class Stopwatch:
    """Processor seconds of functions, each without those that are called inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.inner: list[float] = []

    def watch(self, part: str, place: str) -> None:
        """Replace a function by one that is timed; what a tree does not have is left out."""
        module, _, path = place.partition(":")
        *owners, name = path.split(".")
        try:
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            work: Callable[..., Any] = getattr(owner, name)
        except (ImportError, AttributeError):
            return

        @functools.wraps(work)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            self.inner.append(0.0)
            try:
                return work(*args, **kwargs)
            finally:
                took = time.process_time() - start
                self.seconds[part] += took - self.inner.pop()
                if self.inner:
                    self.inner[-1] += took

        setattr(owner, name, timed)
        for user in list(sys.modules.values()):  # that hold it under its name already
            if getattr(user, name, None) is work and user.__name__.startswith("reference"):
                setattr(user, name, timed)


def main() -> None:
    """Train, and print milliseconds per step."""
    steps, script, *options = sys.argv[2:]
    watch = Stopwatch()
    importlib.import_module("reference.data.sources")
    for part, place in PARTS.items():
        watch.watch(part, place)
    with TemporaryDirectory() as folder:
        run = ("--steps", steps, "--evaluate", "0", "--out", f"{folder}/run")
        sys.argv = [script, "--threads", "1", "--workers", "0", *run, *options]
        runpy.run_path(script, run_name="__main__")
    total = sum(watch.seconds.values())
    for part in PARTS:
        took = watch.seconds[part]
        sys.stdout.write(f"{part:<34}{1000 * took / int(steps):8.1f} ms{took / total:8.1%}\n")
    sys.stdout.write(f"{'step':<34}{1000 * total / int(steps):8.1f} ms\n")


if __name__ == "__main__":
    main()
