"""Which axis of a scan's world points up; the library's world is z up."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .posed_scan import PosedScan

TURNS = {
    "+x": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "-x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "+y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "+z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}
"""The rotation that turns each axis to +z; it keeps another axis where it is."""

CLEAR = 0.5


def camera_up(poses: Tensor) -> tuple[str, float]:
    """Guess what is up from how the cameras were held: upright, on average.

    Args:
        poses: (n, 4, 4) camera-to-world, OpenCV axes.

    Returns:
        The axis nearest to the cameras' mean upward direction, and the length of that direction
        along it: 1 = all cameras are upright, below 0.5 = anyone's guess.

    Example:
        >>> camera_up(torch.eye(4)[None])
        ('-y', 1.0)
    """
    mean = -poses[:, :3, 1].mean(0)
    axis = int(mean.abs().argmax())
    return f"{'-' if mean[axis] < 0 else '+'}{'xyz'[axis]}", float(mean[axis].abs())


def turn_up(scan: PosedScan, up: str | None = None) -> PosedScan:
    """Rotate a scan's world until z is up.

    Args:
        scan: in the world of its files.
        up: the axis of that world that points up, a key of ``TURNS``; None = what the layout says,
            else what the cameras say, else ``"+z"``.

    Returns:
        The scan with turned poses; ``up`` is the axis that was turned to +z, and a note says
        where it is from.

    Raises:
        ValueError: if ``up`` is not an axis.
    """
    if up is not None and up not in TURNS:
        raise ValueError(f"up must be one of {', '.join(TURNS)}; got {up}")
    poses = torch.stack([frame.pose for frame in scan.frames])
    guess, clarity = camera_up(poses)
    cameras = f"the cameras' mean up is {guess} ({clarity:.2f} of 1)"
    if up is not None:
        axis, note = up, f"up was given as {up}; {cameras}"
    elif scan.up is not None:
        axis, note = scan.up, f"the layout says that {scan.up} is up; {cameras}"
    elif clarity >= CLEAR:
        axis, note = guess, f"{guess} is taken as up: {cameras}"
    else:
        axis, note = "+z", f"+z is assumed to be up: {cameras}, too little to tell; see --up"
    if axis != guess and clarity >= CLEAR:
        note += f"; if the picture looks wrong, try --up={guess}"
    turn = torch.eye(4, dtype=poses.dtype)
    turn[:3, :3] = torch.tensor(TURNS[axis], dtype=poses.dtype)
    frames = tuple(frame._replace(pose=turn @ frame.pose) for frame in scan.frames)
    return replace(scan, frames=frames, up=axis, notes=(*scan.notes, note))
