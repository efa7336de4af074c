"""An optimiser's tensors under its parameters' names, and options under dotted ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ross3d import load_tensors


def optimizer_state(
    model: nn.Module, optimizer: Optimizer
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimiser's tensors as ``<parameter's name>/<field>``, and the numbers of its groups."""
    names, packed = parameter_names(model, optimizer), optimizer.state_dict()
    tensors = {
        f"{names[index]}/{field}": value
        for index, fields in packed["state"].items()
        for field, value in fields.items()
        if value is not None
    }
    groups = [
        {key: float(value) if isinstance(value, Tensor) else value for key, value in group.items()}
        | {"params": [names[index] for index in group["params"]]}
        for group in packed["param_groups"]
    ]
    return tensors, groups


def load_optimizer(
    path: Path, model: nn.Module, optimizer: Optimizer, groups: list[dict[str, Any]] | None
) -> None:
    """Fill an optimiser from a file of tensors and the numbers of its groups.

    Raises:
        ValueError: if its groups hold other parameters, or a tensor does not fit its parameter.
    """
    names, found = parameter_names(model, optimizer), load_tensors(path)
    packed, index = optimizer.state_dict(), {name: i for i, name in enumerate(names)}
    now = [[names[i] for i in group["params"]] for group in packed["param_groups"]]
    saved = [group["params"] for group in groups or []]
    problems = [] if now == saved else [f"parameter groups {saved}, not {now}"]
    shapes = {name: value.shape for name, value in model.named_parameters()}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in found.items():
        name, _, field = key.rpartition("/")
        if name in index and value.shape in ((), shapes[name]):
            state.setdefault(index[name], {})[field] = value
        else:
            problems.append(f"{key} of shape {tuple(value.shape)} fits no parameter")
    refuse(path, problems)
    merged = []
    for group, numbers in zip(packed["param_groups"], groups or [], strict=True):
        exact = {k: tuple(v) if isinstance(v, list) else v for k, v in numbers.items()}
        merged.append({**group, **exact, "params": group["params"]})
    optimizer.load_state_dict({"state": state, "param_groups": merged})


def parameter_names(model: nn.Module, optimizer: Optimizer) -> list[str]:
    """The model's name of each parameter, in the optimiser's order.

    Raises:
        ValueError: if the optimiser holds a parameter that is not the model's.
    """
    names = {id(value): name for name, value in model.named_parameters()}
    held = [value for group in optimizer.param_groups for value in group["params"]]
    foreign = sum(id(value) not in names for value in held)
    if foreign:
        raise ValueError(f"optimizer must hold parameters of the model; got {foreign} others")
    return [names[id(value)] for value in held]


def refuse(path: Path, problems: Iterable[str]) -> None:
    """Complain about everything at once.

    Raises:
        ValueError: if there is a problem.
    """
    listed = "\n  ".join(problems)
    if listed:
        raise ValueError(f"{path} must fit; got a checkpoint of another config:\n  {listed}")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat
