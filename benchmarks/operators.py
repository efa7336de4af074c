"""How many operators a computation calls: an exact count that no busy machine moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class _Count(TorchDispatchMode):
    """Count operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def operators(work: Callable[[], object]) -> Counter[str]:
    """Run some work, and count the operators of torch that it calls, backward passes included.

    Args:
        work: the computation.

    Returns:
        Name of an operator -> calls.
    """
    mode = _Count()
    with mode:
        work()
    return mode.calls
