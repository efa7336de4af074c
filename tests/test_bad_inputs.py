"""What bad inputs get: every complaint names the argument or the file, what is wanted, what came.

python -m pytest tests/test_bad_inputs.py -rP -q    prints a line "case: message" for each
"""

from __future__ import annotations

import pickle
import re
import shutil
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from reference.data.infos import load_plain_pickle
from reference.data.scannet import SHIPPED, ScanNetScans
from reference.run import RunFolder, load_checkpoint
from strategies import make_frames
from tiny import Tiny, hide, tiny_ross3d
from torch import Tensor, nn

from ross3d import (
    BEV,
    BEVRenderer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    GlobalViewTask,
    GroundingHead,
    PosedFrames,
    PositionAwareEncoder,
    QueryPooler,
    ReconstructionLoss,
    ViewMasker,
    depth_patch_coords,
    grounding_loss,
    patch_coords,
    pool_objects,
    sample_view_mask,
)

SCENE = "cc0room_01"
POSED = f"scannet/posed_images/{SCENE}"
INFOS = "embodiedscan/embodiedscan_infos_val.pkl"
BOXES = "metadata/scannet_val_pred_box.json"
INTRINSICS = f"{POSED}/depth_intrinsic.txt"
B, M, P, D, SIZE = 2, 3, 4, 16, 32


class Case(NamedTuple):
    """A call in an empty folder, and what it gets.

    ``message`` is the whole message. ROOT stands for the folder, and … for the words of another
    package. Where ``error`` is None the input is accepted, and ``message`` is what the call
    returns after it has looked at the results.
    """

    name: str
    call: Callable[[Path], object]
    error: type[Exception] | None
    message: str


def frames() -> PosedFrames:
    return make_frames(B, M, (SIZE, SIZE))


def frames_with(name: str, change: Callable[[Tensor], Tensor]) -> PosedFrames:
    """Frames of which one field is changed."""
    names = ("images", "depths", "intrinsics", "poses")
    fields = {field: getattr(frames(), field).clone() for field in names}
    return PosedFrames(**{**fields, name: change(fields[name])})


def put(*index: int, value: float) -> Callable[[Tensor], Tensor]:
    """Change one number."""

    def change(values: Tensor) -> Tensor:
        values[index] = value
        return values

    return change


def bad_frames(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], object]:
    return lambda _: frames_with(name, change)


def no_views(_: Path) -> object:
    fields = (frames().images, frames().depths, frames().intrinsics, frames().poses)
    return PosedFrames(*(values[:, :0] for values in fields))


def reconstruction(context: Any = "all") -> ReconstructionLoss:
    tasks = {
        "cross_view": CrossViewTask(SIZE),
        "global_view": GlobalViewTask(BEVRenderer(SIZE), SIZE),
    }
    denoiser = ConditionedDiT(64, SIZE, depth=1, heads=2)
    return ReconstructionLoss(
        tasks, DCTTokenizer(), denoiser, context_dim=D, heads=2, context=context
    )


def lose(
    hidden: tuple[int, ...] = (B, M, P, D), masked: Tensor | None = None, context: Any = "all"
) -> Callable[[Path], object]:
    """Call a reconstruction loss with hidden states of a shape."""
    masked = hide(B, M, 0) if masked is None else masked
    return lambda _: reconstruction(context)(torch.randn(hidden), frames(), masked)


def without_depth(_: Path) -> str:
    """Send depth maps that know nothing through everything that reads depth."""
    blind = frames_with("depths", torch.zeros_like)
    bev, world = BEVRenderer(SIZE)(blind), blind.world_coords()
    coords, known = depth_patch_coords(blind.depths, blind.intrinsics, blind.poses, (2, 2))
    again, _ = patch_coords(world, blind.valid, (2, 2))
    hidden = torch.randn(B, M, P, D, requires_grad=True)
    losses = reconstruction()(hidden, blind, hide(B, M, 0))
    sum(losses.values()).backward()
    found = [bev.image, bev.height, bev.extent, world, coords, again, *losses.values(), hidden.grad]
    assert all(values.isfinite().all() for values in found)
    assert not bev.observed.any()
    assert not known.any()
    assert losses["global_view"] == 0
    return "taken as unknown: nothing observed, and every picture, coordinate and loss is finite"


@cache
def reference(context: str) -> Tiny:
    return tiny_ross3d(context=context)


def all_hidden(context: str) -> str:
    """Hide every view from the reference model."""
    tiny = reference(context)
    batch = tiny.batch(2)
    losses = tiny.model(batch, torch.ones_like(tiny.model.no_mask(batch)))
    assert all(loss.isfinite() for loss in losses.values())
    return f"taken: {', '.join(sorted(losses))} are finite"


def pool(boxes: tuple[int, ...] = (B, 5, 6), grid: tuple[int, int] = (2, 2)) -> object:
    world, valid = frames().world_coords(), frames().valid
    return pool_objects(torch.randn(B, M, P, D), world, valid, torch.ones(boxes), grid)


def copy_room(root: Path) -> None:
    """Copy two frames of the shipped room and their annotation."""
    room = SHIPPED / "furnished_room"
    files = [INTRINSICS, BOXES, "objects.json"]
    for frame in ("00000", "00010"):
        files += [f"{POSED}/{frame}.{suffix}" for suffix in ("jpg", "png", "txt")]
        files.append(f"instance/{SCENE}/{frame}.png")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(room / name, root / name)
    (entry,) = load_plain_pickle(room / INFOS)["data_list"]
    write_infos(root, {**entry, "images": entry["images"][:2], "depth_cam2img": None})


def write_infos(root: Path, content: object) -> None:
    (root / INFOS).parent.mkdir(exist_ok=True)
    (root / INFOS).write_bytes(pickle.dumps({"data_list": [content]}))


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scan(name: str, damage: Callable[[Path], object], **options: Any) -> Callable[[Path], object]:
    """Read a copy of the shipped room of which one file is damaged."""

    def read(root: Path) -> str:
        copy_room(root)
        damage(root / name)
        scene = ScanNetScans(root, **{"views": 2, "size": 16, **options})[0]
        return f"taken: {len(scene.boxes)} boxes, {len(scene.objects)} names"

    return read


def numbers(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def lost_pose(root: Path) -> str:
    with pytest.warns(UserWarning, match=SCENE) as caught:
        scan(f"{POSED}/00010.txt", numbers("nan " * 16), allow_fewer=True)(root)
    return f"warns: {caught[0].message}"


class Evil:
    """Writes a file when an ordinary unpickler meets it."""

    def __init__(self, marker: Path) -> None:
        self.code = f"open({str(marker)!r}, 'w').close()"

    def __reduce__(self) -> object:
        return exec, (self.code,)


def evil_infos(root: Path) -> None:
    copy_room(root)
    marker = root / "executed"
    write_infos(root, Evil(marker))
    pickle.loads((root / INFOS).read_bytes())
    marker.unlink()  # it does run where it is let
    try:
        ScanNetScans(root)
    finally:
        assert not marker.exists()


def flat_intrinsics_in_infos(root: Path) -> None:
    copy_room(root)
    (root / INTRINSICS).unlink()
    (entry,) = load_plain_pickle(root / INFOS)["data_list"]
    write_infos(root, {**entry, "depth_cam2img": torch.eye(4).mul(0).tolist()})
    _ = ScanNetScans(root, views=2, size=16)[0]


def checkpoint(
    name: str | None = None,
    damage: Callable[[Path], object] = empty,
    *,
    width: int = 2,
    config: dict[str, int] | None = None,
) -> Callable[[Path], object]:
    """Load a checkpoint of which one file is damaged, into a model of some width."""

    def load(root: Path) -> object:
        path = RunFolder(root).save_checkpoint(1, nn.Linear(2, 3), config={"width": 2})
        if name is not None:
            damage(path / name)
        return load_checkpoint(path, nn.Linear(width, 3), config=config)

    return load


def run_folder(name: str) -> Callable[[Path], object]:
    """Start a run in a folder that holds a file."""

    def start(root: Path) -> object:
        (root / name).write_text("{}\n")
        return RunFolder(root)

    return start


pooler = partial(QueryPooler, 4, context_dim=D, dim=8, heads=2)
denoiser = partial(ConditionedDiT, 16, 32, depth=1, heads=2)

CASES = [
    # Shapes.
    Case(
        "PosedFrames, images of one channel",
        bad_frames("images", lambda x: x[:, :, :1]),
        ValueError,
        "images must be of shape (b m 3 h w); got (2, 3, 1, 32, 32)",
    ),
    Case(
        "PosedFrames, images that are bytes",
        bad_frames("images", lambda x: (x * 255).byte()),
        ValueError,
        "images must be floating point; got torch.uint8",
    ),
    Case(
        "PosedFrames, images that are numpy",
        bad_frames("images", lambda x: x.numpy()),
        ValueError,
        "images must be a tensor of shape (b m 3 h w); got ndarray",
    ),
    Case(
        "PosedFrames, depths of another size",
        bad_frames("depths", lambda x: x[..., 1:]),
        ValueError,
        "depths must be of shape (b m h w) with b = 2, m = 3, h = 32, w = 32; got (2, 3, 32, 31)",
    ),
    Case(
        "PosedFrames, intrinsics of one scene",
        bad_frames("intrinsics", lambda x: x[0]),
        ValueError,
        "intrinsics must be of shape (b m 3 3) with b = 2, m = 3; got (3, 3, 3)",
    ),
    Case(
        "PosedFrames, poses of three rows",
        bad_frames("poses", lambda x: x[..., :3, :]),
        ValueError,
        "poses must be of shape (b m 4 4) with b = 2, m = 3; got (2, 3, 3, 4)",
    ),
    Case(
        "PosedFrames.select, a view that is not there",
        lambda _: frames().select(torch.tensor([0, 7])),
        ValueError,
        "index must be some of the 3 views; got [0, 7]",
    ),
    Case(
        "PosedFrames.resize, to no pixels",
        lambda _: frames().resize((0, 4)),
        ValueError,
        "size must be positive; got (0, 4)",
    ),
    Case(
        "ViewMasker, visual tokens of another width",
        lambda _: ViewMasker(D)(torch.zeros(B, M, P, D + 1), hide(B, M, 0)),
        ValueError,
        "visual must be of shape (b m p d) with d = 16; got (2, 3, 4, 17)",
    ),
    Case(
        "ViewMasker, a mask of too few views",
        lambda _: ViewMasker(D)(torch.zeros(B, M, P, D), hide(B, M - 1, 0)),
        ValueError,
        "masked must be of shape (b m) with b = 2, m = 3; got (2, 2)",
    ),
    Case(
        "ViewMasker, a mask of numbers",
        lambda _: ViewMasker(D)(torch.zeros(B, M, P, D), hide(B, M, 0).float()),
        ValueError,
        "masked must be boolean, True = hidden; got torch.float32",
    ),
    Case(
        "BEVRenderer, no pixels",
        lambda _: BEVRenderer(0),
        ValueError,
        "size must be positive; got 0",
    ),
    Case(
        "BEVRenderer, an oblong extent",
        lambda _: BEVRenderer(SIZE, extent=(0.0, 0.0, 1.0, 2.0)),
        ValueError,
        "extent must be a square of positive size; got (0.0, 0.0, 1.0, 2.0)",
    ),
    Case(
        "BEV, heights of another size",
        lambda _: BEV(
            torch.zeros(1, 3, 8, 8), torch.ones(1, 8, 8), torch.zeros(1, 8, 7), torch.zeros(1, 4)
        ),
        ValueError,
        "height must be of shape (b s s) with b = 1, s = 8, s = 8; got (1, 8, 7)",
    ),
    Case(
        "GlobalViewTask, a renderer of another size",
        lambda _: GlobalViewTask(BEVRenderer(16), SIZE)(frames(), hide(B, M, 0)),
        ValueError,
        "renderer must return 32 x 32 pixels; got (16, 16)",
    ),
    Case(
        "QueryPooler, a context of another width",
        lambda _: pooler()(torch.zeros(B, 5, D + 1)),
        ValueError,
        "context must be of shape (b s D) with D = 16; got (2, 5, 17)",
    ),
    Case(
        "QueryPooler, places of part of a target",
        lambda _: pooler()(torch.zeros(B, 5, D), where=torch.zeros(B, 5, 3)),
        ValueError,
        "where must be of a multiple of 4 cells, one per query; got 5",
    ),
    Case(
        "QueryPooler, validity of other tokens",
        lambda _: pooler()(torch.zeros(B, 5, D), valid=torch.ones(B, 4, dtype=torch.bool)),
        ValueError,
        "valid must be of shape (b s) with b = 2, s = 5; got (2, 4)",
    ),
    Case(
        "ConditionedDiT, latents of other channels",
        lambda _: denoiser()(torch.zeros(B, 15, 4, 4), torch.zeros(B), torch.zeros(B, 16, 32)),
        ValueError,
        "z_t must be of shape (rows c h w) with c = 16; got (2, 15, 4, 4)",
    ),
    Case(
        "ConditionedDiT, a condition of other cells",
        lambda _: denoiser()(torch.zeros(B, 16, 4, 4), torch.zeros(B), torch.zeros(B, 15, 32)),
        ValueError,
        "condition must be of shape (n g d) with g = 16, d = 32; got (2, 15, 32)",
    ),
    Case(
        "ConditionedDiT, too many timesteps",
        lambda _: denoiser()(torch.zeros(B, 16, 4, 4), torch.zeros(3), torch.zeros(B, 16, 32)),
        ValueError,
        "t must be of shape (n) with n = 2; got (3,)",
    ),
    Case(
        "ReconstructionLoss, hidden states of too few views",
        lose((B, M - 1, P, D)),
        ValueError,
        "hidden must be of shape (b m p d) with b = 2, m = 3; got (2, 2, 4, 16)",
    ),
    Case(
        "ReconstructionLoss, hidden states of another width",
        lose((B, M, P, D + 1)),
        ValueError,
        "hidden must be of shape (b m p d) with d = 16; got (2, 3, 4, 17)",
    ),
    Case(
        "ReconstructionLoss, tokens that are no square",
        lose((B, M, 5, D)),
        ValueError,
        "grid must be given as rows and columns of 5 tokens; got None",
    ),
    Case(
        "ReconstructionLoss, a mask of too few views",
        lose(masked=hide(B, M - 1, 0)),
        ValueError,
        "masked must be of shape (b m) with b = 2, m = 3; got (2, 2)",
    ),
    Case(
        "PositionAwareEncoder, visual tokens of another width",
        lambda _: PositionAwareEncoder(D)(torch.zeros(B, M, P, D + 1), torch.zeros(B, M, P, 3)),
        ValueError,
        "visual must be of shape (b m p d) with d = 16; got (2, 3, 4, 17)",
    ),
    Case(
        "PositionAwareEncoder, coordinates of other tokens",
        lambda _: PositionAwareEncoder(D)(torch.zeros(B, M, P, D), torch.zeros(B, M, P + 1, 3)),
        ValueError,
        "coords must be of shape (b m p 3) with b = 2, m = 3, p = 4; got (2, 3, 5, 3)",
    ),
    Case(
        "GroundingHead, queries of another width",
        lambda _: GroundingHead(D)(torch.zeros(B, 3, D + 1), torch.zeros(B, 5, D)),
        ValueError,
        "query must be of shape (b q d) with d = 16; got (2, 3, 17)",
    ),
    Case(
        "GroundingHead, objects of other scenes",
        lambda _: GroundingHead(D)(torch.zeros(B, 3, D), torch.zeros(1, 5, D)),
        ValueError,
        "objects must be of shape (b o d) with b = 2, d = 16; got (1, 5, 16)",
    ),
    Case(
        "grounding_loss, logits without the last column",
        lambda _: grounding_loss(torch.zeros(B, 3, 5), torch.zeros(B, 3, 5, dtype=torch.bool)),
        ValueError,
        "logits must be of shape (b q 6) with b = 2, q = 3; got (2, 3, 5)",
    ),
    Case(
        "pool_objects, boxes of seven numbers",
        lambda _: pool(boxes=(B, 5, 7)),
        ValueError,
        "boxes must be of shape (b o 6) with b = 2; got (2, 5, 7)",
    ),
    Case(
        "pool_objects, a grid of other tokens",
        lambda _: pool(grid=(2, 3)),
        ValueError,
        "grid must be of 4 cells; got 2 x 3",
    ),
    # Values.
    Case(
        "NaN image",
        bad_frames("images", put(0, 1, 2, 3, 4, value=torch.nan)),
        ValueError,
        "images must be finite; got nan at images[0, 1, 2, 3, 4]",
    ),
    Case(
        "image of bytes",
        bad_frames("images", put(0, 1, 2, 3, 4, value=255.0)),
        ValueError,
        "images must be RGB in [0, 1]; got 255 at images[0, 1, 2, 3, 4]",
    ),
    Case(
        "NaN depth",
        bad_frames("depths", put(1, 2, 3, 4, value=torch.nan)),
        ValueError,
        "depths must be finite and not negative; got nan at depths[1, 2, 3, 4]",
    ),
    Case(
        "negative depth",
        bad_frames("depths", put(0, 1, 2, 3, value=-0.5)),
        ValueError,
        "depths must be finite and not negative; got -0.5 at depths[0, 1, 2, 3]",
    ),
    Case(
        "no depth at all",
        without_depth,
        None,
        "taken as unknown: nothing observed, and every picture, coordinate and loss is finite",
    ),
    Case(
        "singular intrinsics",
        bad_frames("intrinsics", lambda _: torch.zeros(3, 3).expand(B, M, 3, 3)),
        ValueError,
        "intrinsics must have fx, fy > 0; got [0 0 0; 0 0 0; 0 0 0] at intrinsics[0, 0]",
    ),
    Case(
        "intrinsics that are no pinhole camera's",
        bad_frames("intrinsics", lambda _: torch.ones(3, 3).expand(B, M, 3, 3)),
        ValueError,
        "intrinsics must be upper triangular with last row 0 0 1; "
        "got [1 1 1; 1 1 1; 1 1 1] at intrinsics[0, 0]",
    ),
    Case(
        "NaN intrinsics",
        bad_frames("intrinsics", lambda _: torch.full((B, M, 3, 3), torch.nan)),
        ValueError,
        "intrinsics must be finite; got [nan nan nan; nan nan nan; nan nan nan] at "
        "intrinsics[0, 0]",
    ),
    Case(
        "non-rigid pose",
        bad_frames("poses", lambda _: torch.diag(torch.tensor([1.0, 2, 1, 1])).expand(B, M, 4, 4)),
        ValueError,
        "poses must be rigid: R^T R = I within 1e-3 and det R = 1; "
        "got [1 0 0 0; 0 2 0 0; 0 0 1 0; 0 0 0 1] at poses[0, 0]",
    ),
    Case(
        "mirrored pose",
        bad_frames("poses", lambda _: torch.diag(torch.tensor([-1.0, 1, 1, 1])).expand(B, M, 4, 4)),
        ValueError,
        "poses must be rigid: R^T R = I within 1e-3 and det R = 1; "
        "got [-1 0 0 0; 0 1 0 0; 0 0 1 0; 0 0 0 1] at poses[0, 0]",
    ),
    Case(
        "NaN pose",
        bad_frames("poses", lambda _: torch.full((B, M, 4, 4), torch.nan)),
        ValueError,
        "poses must be finite; got [nan nan nan nan; nan nan nan nan; nan nan nan nan; "
        "nan nan nan nan] at poses[0, 0]",
    ),
    # Views.
    Case(
        "zero views, PosedFrames",
        no_views,
        ValueError,
        "images must be of at least one view and one pixel; got (2, 0, 3, 32, 32)",
    ),
    Case(
        "zero views, PosedFrames.select",
        lambda _: frames().select(torch.zeros(0, dtype=torch.long)),
        ValueError,
        "index must pick at least one view; got (0,)",
    ),
    Case(
        "zero views, sample_view_mask",
        lambda _: sample_view_mask(B, 0),
        ValueError,
        "views must be at least 1; got 0",
    ),
    Case(
        "all views masked, sample_view_mask",
        lambda _: sample_view_mask(B, M, 1.0),
        ValueError,
        "ratio must be in [0, 1), so that a view stays visible; got 1.0",
    ),
    Case(
        'all views masked, ReconstructionLoss with context="visible"',
        lose(masked=hide(B, M, 0, 1, 2), context="visible"),
        ValueError,
        "masked must leave a view of every scene visible; got a scene without",
    ),
    Case(
        'all views masked, reference model with context="visible"',
        lambda _: all_hidden("visible"),
        ValueError,
        "masked must leave a view of every scene visible; got a scene without",
    ),
    Case(
        'all views masked, reference model with context="all"',
        lambda _: all_hidden("all"),
        None,
        "taken: cross_view, global_view, grounding, text are finite",
    ),
    # Scans.
    Case(
        "scan, no such folder",
        lambda root: ScanNetScans(root / "nowhere"),
        ValueError,
        "DATA must be a folder with scannet/posed_images; got ROOT/nowhere",
    ),
    Case(
        "scan, zero views",
        scan(INFOS, lambda _: None, views=0),
        ValueError,
        "views and size must be positive; got 0 and 16",
    ),
    Case(
        "scan, too many views",
        scan(INFOS, lambda _: None, views=3),
        ValueError,
        f"views must be at most the 2 frames of scannet/{SCENE}; got 3",
    ),
    Case(
        "colour image, missing",
        scan(f"{POSED}/00010.jpg", Path.unlink),
        FileNotFoundError,
        f"ROOT/{POSED}/00010.jpg must be a picture; got no such file",
    ),
    Case(
        "colour image, empty",
        scan(f"{POSED}/00010.jpg", empty),
        ValueError,
        f"ROOT/{POSED}/00010.jpg must be a whole picture; got …",
    ),
    Case(
        "colour image, truncated",
        scan(f"{POSED}/00010.jpg", truncate),
        ValueError,
        f"ROOT/{POSED}/00010.jpg must be a whole picture; got …",
    ),
    Case(
        "depth image, missing",
        scan(f"{POSED}/00010.png", Path.unlink),
        FileNotFoundError,
        f"ROOT/{POSED}/00010.png must be a picture; got no such file",
    ),
    Case(
        "depth image, empty",
        scan(f"{POSED}/00010.png", empty),
        ValueError,
        f"ROOT/{POSED}/00010.png must be a whole picture; got …",
    ),
    Case(
        "depth image, truncated",
        scan(f"{POSED}/00010.png", truncate),
        ValueError,
        f"ROOT/{POSED}/00010.png must be a whole picture; got …",
    ),
    Case(
        "first depth image, missing",
        scan(f"{POSED}/00000.png", Path.unlink),
        FileNotFoundError,
        f"ROOT/{POSED}/00000.png must be a picture; got no such file",
    ),
    Case(
        "first depth image, empty",
        scan(f"{POSED}/00000.png", empty),
        ValueError,
        f"ROOT/{POSED}/00000.png must be a readable picture; got …",
    ),
    Case(
        "pose file, missing",
        scan(f"{POSED}/00010.txt", Path.unlink),
        FileNotFoundError,
        f"ROOT/{POSED}/00010.txt must hold 16 numbers; got no such file",
    ),
    Case(
        "pose file, empty",
        scan(f"{POSED}/00010.txt", empty),
        ValueError,
        f"ROOT/{POSED}/00010.txt must hold 16 numbers; got 0",
    ),
    Case(
        "pose file, truncated",
        scan(f"{POSED}/00010.txt", numbers("1 0 0 0\n0 1 0")),
        ValueError,
        f"ROOT/{POSED}/00010.txt must hold 16 numbers; got 7",
    ),
    Case(
        "pose file, not rigid",
        scan(f"{POSED}/00010.txt", numbers("2 0 0 0  0 1 0 0  0 0 1 0  0 0 0 1")),
        ValueError,
        f"frame ROOT/{POSED}/00010: poses must be rigid: R^T R = I within 1e-3 and det R = 1; "
        "got [1.766 -0.4695 0 -3.1; 0.9389 0.8829 0 -4.2; 0 0 1 -0.06; 0 0 0 1] at poses[0, 0] "
        f"(read from ROOT/{POSED}/00010.txt, then aligned)",
    ),
    Case(
        "pose file, NaN",
        lost_pose,
        None,
        f"warns: scannet/{SCENE}: 1 frames without a finite pose are left out",
    ),
    Case(
        "intrinsics file, missing",
        scan(INTRINSICS, Path.unlink),
        FileNotFoundError,
        f"ROOT/{INTRINSICS} must hold 16 numbers; got no such file",
    ),
    Case(
        "intrinsics file, empty",
        scan(INTRINSICS, empty),
        ValueError,
        f"ROOT/{INTRINSICS} must hold 16 numbers; got 0",
    ),
    Case(
        "intrinsics file, truncated",
        scan(INTRINSICS, numbers("550 0 319.5 0\n0 550")),
        ValueError,
        f"ROOT/{INTRINSICS} must hold 16 numbers; got 6",
    ),
    Case(
        "intrinsics file, singular",
        scan(INTRINSICS, numbers("5 0 3 0  0 0 2 0  0 0 1 0  0 0 0 1")),
        ValueError,
        f"ROOT/{INTRINSICS} must hold finite, positive intrinsics fx s cx, 0 fy cy, 0 0 1; "
        "got [[5.0, 0.0, 3.0], [0.0, 0.0, 2.0], [0.0, 0.0, 1.0]]",
    ),
    Case(
        "annotation .pkl, singular intrinsics",
        flat_intrinsics_in_infos,
        ValueError,
        f"depth_cam2img of scannet/{SCENE} in ROOT/{INFOS} must hold finite, "
        "positive intrinsics fx s cx, 0 fy cy, 0 0 1; "
        "got [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]",
    ),
    Case(
        "annotation .pkl, missing",
        scan(INFOS, Path.unlink, split="val"),
        ValueError,
        "ROOT/scannet/posed_images must hold a scan of the split 'val'; got none; "
        f"ROOT/{INFOS} is no file",
    ),
    Case(
        "annotation .pkl, empty",
        scan(INFOS, empty),
        ValueError,
        f"ROOT/{INFOS} must be a pickle of plain data; got Ran out of input",
    ),
    Case(
        "annotation .pkl, truncated",
        scan(INFOS, truncate),
        ValueError,
        f"ROOT/{INFOS} must be a pickle of plain data; got …",
    ),
    Case(
        "annotation .pkl, malicious (nothing is executed)",
        evil_infos,
        ValueError,
        f"ROOT/{INFOS} must be a pickle of plain data; got the forbidden global builtins.exec",
    ),
    Case(
        "boxes .json, missing (optional)",
        scan(BOXES, Path.unlink),
        None,
        "taken: 28 boxes, 28 names",
    ),
    Case(
        "boxes .json, empty",
        scan(BOXES, empty),
        ValueError,
        f"ROOT/{BOXES} must be a json file; got Expecting value: line 1 column 1 (char 0)",
    ),
    Case(
        "boxes .json, truncated",
        scan(BOXES, truncate),
        ValueError,
        f"ROOT/{BOXES} must be a json file; got …",
    ),
    Case(
        "objects.json, missing (optional)",
        scan("objects.json", Path.unlink),
        None,
        "taken: 28 boxes, 0 names",
    ),
    Case(
        "objects.json, empty",
        scan("objects.json", empty),
        ValueError,
        "ROOT/objects.json must be a json file; got Expecting value: line 1 column 1 (char 0)",
    ),
    Case(
        "objects.json, truncated",
        scan("objects.json", truncate),
        ValueError,
        "ROOT/objects.json must be a json file; got …",
    ),
    Case(
        "objects.json, a scene that is no name",
        scan("objects.json", numbers('{"scene": ["a"], "objects": []}')),
        ValueError,
        "ROOT/objects.json must name its scene in words; got ['a']",
    ),
    Case(
        "object ids, missing",
        scan(f"instance/{SCENE}/00010.png", Path.unlink),
        FileNotFoundError,
        f"ROOT/instance/{SCENE}/00010.png must be a picture; got no such file",
    ),
    Case(
        "object ids, truncated",
        scan(f"instance/{SCENE}/00010.png", truncate),
        ValueError,
        f"ROOT/instance/{SCENE}/00010.png must be a whole picture; got …",
    ),
    # Runs.
    Case(
        "checkpoint of a wider model",
        checkpoint(width=4),
        ValueError,
        "ROOT/checkpoint-000001/model.safetensors must fit; got a checkpoint of another config:\n"
        "  weight is of shape (3, 2), not (3, 4)",
    ),
    Case(
        "checkpoint of another config",
        checkpoint(config={"width": 4}),
        ValueError,
        "ROOT/checkpoint-000001/state.json must fit; got a checkpoint of another config:\n"
        "  width: 2 was saved, 4 is wanted",
    ),
    Case(
        "checkpoint, no such folder",
        lambda root: load_checkpoint(root / "nowhere", nn.Linear(2, 3)),
        FileNotFoundError,
        "ROOT/nowhere must hold state.json, model.safetensors; got no such file",
    ),
    Case(
        "checkpoint, weights missing",
        checkpoint("model.safetensors", Path.unlink),
        FileNotFoundError,
        "ROOT/checkpoint-000001 must hold model.safetensors; got no such file",
    ),
    Case(
        "checkpoint, weights empty",
        checkpoint("model.safetensors", empty),
        ValueError,
        "ROOT/checkpoint-000001/model.safetensors must be a whole safetensors file; got …",
    ),
    Case(
        "checkpoint, weights truncated",
        checkpoint("model.safetensors", truncate),
        ValueError,
        "ROOT/checkpoint-000001/model.safetensors must be a whole safetensors file; got …",
    ),
    Case(
        "checkpoint, state truncated",
        checkpoint("state.json", truncate),
        ValueError,
        "ROOT/checkpoint-000001/state.json must be JSON; got …",
    ),
    Case(
        "checkpoint, state that is no text",
        checkpoint("state.json", lambda path: path.write_bytes(b'{"step": "\xff"}')),
        ValueError,
        "ROOT/checkpoint-000001/state.json must be JSON; got …",
    ),
    Case(
        "checkpoint, state without a step",
        checkpoint("state.json", numbers("{}")),
        ValueError,
        "ROOT/checkpoint-000001/state.json must fit; got a checkpoint of another config:\n"
        "  missing step",
    ),
    Case(
        "run folder with metrics",
        run_folder("metrics.jsonl"),
        FileExistsError,
        "ROOT must hold no run, unless it is resumed; got metrics.jsonl",
    ),
    Case(
        "run folder with figures",
        run_folder("figures.json"),
        FileExistsError,
        "ROOT must hold no run, unless it is resumed; got figures.json",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input(case: Case, tmp_path: Path) -> None:
    if case.error is None:
        got = str(case.call(tmp_path))
    else:
        with pytest.raises(case.error) as caught:
            case.call(tmp_path)
        assert caught.type is case.error
        got = str(caught.value)
        assert " must " in got
        assert "; got " in got
    message = got.replace(str(tmp_path), "ROOT")
    assert re.fullmatch(".+".join(map(re.escape, case.message.split("…"))), message)
    sys.stdout.write(f"{case.name}: {' '.join(message.split())}\n")
