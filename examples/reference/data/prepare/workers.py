"""Many scans at once, in processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from ross3d import require

from .raw_scan import RawScan
from .scene import STAGE, Options, Outcome, prepare_scan

Job = tuple[RawScan, str | None]


def prepare_scans(
    jobs: Sequence[Job], root: Path, options: Options, *, processes: int, verify: bool = False
) -> list[Outcome]:
    """Prepare scans; one that fails does not stop the others.

    Args:
        jobs: scans and their splits.
        root: the data folder that is written.
        options: how.
        processes: that work at once; 1 = this one.
        verify: compare checksums to tell what is whole already.

    Returns:
        What became of each scan, in the order of the jobs.
    """
    call = partial(_prepare, root=root, options=options, verify=verify)
    done: dict[str, Outcome] = {}
    results = map(call, jobs) if processes == 1 else _parallel(call, jobs, processes)
    progress = require("tqdm", "train").tqdm(results, total=len(jobs), unit="scan")
    for outcome in progress:
        done[outcome.scene] = outcome
        progress.set_postfix(failed=sum(x.status == "failed" for x in done.values()))
    with suppress(OSError):  # another run may be at work in it
        (root / STAGE).rmdir()
    return [done[scan.scene] for scan, _ in jobs]


def _prepare(job: Job, *, root: Path, options: Options, verify: bool) -> Outcome:
    scan, split = job
    return prepare_scan(scan, root, split, options, verify=verify)


def _parallel(call: partial[Outcome], jobs: Sequence[Job], processes: int) -> Iterator[Outcome]:
    context = get_context("spawn")  # threads of torch do not survive a fork
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        running: dict[Future[Outcome], Job] = {pool.submit(call, job): job for job in jobs}
        for future in as_completed(running):
            try:
                yield future.result()
            except BrokenProcessPool:
                scene = running[future][0].scene
                yield Outcome(scene, "failed", "a process was killed; run again to go on")
