"""How much memory a computation holds at once."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_bytes(work: Callable[[], object]) -> int:
    """Bytes that a computation on a CPU adds to what is allocated, at its height.

    Counted from torch's allocations, in custom operators too, so it does not depend on the
    machine. Tensors that are there before do not count; results do.

    Args:
        work: the computation.

    Returns:
        The largest sum of allocated and not yet freed bytes.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    del result
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
