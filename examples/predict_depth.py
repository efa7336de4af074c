"""Geometry without a depth camera: depth predicted from pictures, poses from anywhere.

python examples/predict_depth.py furnished_room                   a stand-in that knows the truth
python examples/predict_depth.py furnished_room --model random    Depth Anything, tiny, untrained
python examples/predict_depth.py SCAN --model depth-anything/Depth-Anything-V2-Small-hf

Any depth model of transformers goes, by name or folder. What it predicts is what its config says,
or ``--predicts``: "metres", taken as they are; "depth" up to a scale; "disparity" = 1 / depth up to
a scale and a shift. Scale and shift are fitted view by view to known points: pixels of known depth,
as structure from motion gives them along with its poses, and in the unit of the poses.

The stand-in returns the true disparity, scaled and shifted at random: all that a perfect model of
disparity could say. It shows that everything around a model is right; "random", that models of
transformers fit in. Trained weights were not run: how well they predict depth is not shown here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from reference.contact_sheet import ramp
from reference.drawing import SIDE, fit, tile, to_image
from reference.files import replacing
from reference.scan_options import add_scan_options, scan_of
from torch import Tensor

from ross3d import (
    PosedFrames,
    PositionAwareEncoder,
    RayAwareEncoder,
    depth_patch_coords,
    patch_rays,
    require,
)

Predictor = Callable[[Tensor], Tensor]
FARTHEST, GRID = 20.0, (14, 14)  # metres beyond which a prediction means nothing; tokens


def stand_in(depths: Tensor) -> tuple[Predictor, str]:
    """Predict the true disparity (b*m, h, w), each view's scaled and shifted at random."""
    truth = depths.flatten(0, 1)
    scale, shift = torch.rand(2, len(truth), 1, 1) + 0.5
    return lambda images: torch.where(truth > 0, scale / truth + shift, 0), "disparity"


def load(name: str) -> tuple[Predictor, str]:
    """Make a predictor, and say what it predicts, of a depth model of transformers."""
    transformers = require("transformers", "hf")
    if name == "random":
        backbone = transformers.Dinov2Config(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            out_indices=[1, 2, 3, 4],
            reshape_hidden_states=False,
        )
        narrow = {"reassemble_hidden_size": 32, "neck_hidden_sizes": [8, 8, 16, 16]}
        config = transformers.DepthAnythingConfig(backbone_config=backbone, **narrow)
        model = transformers.AutoModelForDepthEstimation.from_config(config)
        size = {"height": 112, "width": 112}
        processor = transformers.DPTImageProcessorPil(size=size, ensure_multiple_of=14)
    else:
        model = transformers.AutoModelForDepthEstimation.from_pretrained(name)
        processor = transformers.AutoImageProcessor.from_pretrained(name)

    @torch.no_grad()
    def predict(images: Tensor) -> Tensor:
        predicted = []
        for image in images:
            pixels = image.movedim(0, -1).clamp(0, 1).mul(255).round().byte().cpu().numpy()
            inputs = processor(images=[pixels], return_tensors="pt").to(model.device)
            sizes = [tuple(image.shape[-2:])]
            found = processor.post_process_depth_estimation(model.eval()(**inputs), sizes)
            predicted.append(found[0]["predicted_depth"].float())
        return torch.stack(predicted).to(images.device)

    metric = getattr(model.config, "depth_estimation_type", "relative") == "metric"
    return predict, "metres" if metric else "disparity"


def known_points(depths: Tensor, count: int) -> Tensor:
    """Keep ``count`` pixels of known depth of each view (b, m, h, w), drawn at random."""
    score = torch.where(depths > 0, torch.rand(depths.shape, device=depths.device), -1).flatten(2)
    kept = score.topk(min(count, score.shape[-1]), dim=-1).indices
    return (
        torch.zeros_like(score).scatter(2, kept, depths.flatten(2).gather(2, kept)).view_as(depths)
    )


def align_depth(predicted: Tensor, points: Tensor, predicts: str) -> Tensor:
    """Turn predictions into metres, or the poses' unit.

    Args:
        predicted: (b, m, h, w) what the model says.
        points: (b, m, h, w) depth where it is known, 0 elsewhere.
        predicts: "metres", "depth" or "disparity".

    Returns:
        (b, m, h, w) depth; 0 = unknown where it is not positive or too far, and in views without a
        known point (unless "metres").
    """
    known, guess = points > 0, predicted.double()
    depth = guess
    if predicts == "depth":
        ratio = torch.where(known & (guess > 0), points / guess, torch.nan).flatten(2)
        depth = guess * ratio.nanmedian(-1).values[..., None, None]
    if predicts == "disparity":
        wanted, count = torch.where(known, 1 / points.double(), 0), known.sum((-1, -2), True)

        def mean(values: Tensor) -> Tensor:
            return torch.where(known, values, 0).sum((-1, -2), keepdim=True) / count

        around, middle = guess - mean(guess), mean(wanted)
        spread = mean(around.square())
        slope = torch.where(spread > 0, mean(around * (wanted - middle)) / spread, 0)
        depth = 1 / (slope * around + middle)
    usable = depth.isfinite() & (depth > 0) & (depth < FARTHEST)
    return torch.where(usable, depth, 0).to(predicted.dtype)


def place(visual: Tensor, frames: PosedFrames) -> Tensor:
    """Tell visual tokens (b, m, p, d) where they are; without depth, which way they look."""
    coords, valid = depth_patch_coords(frames.depths, frames.intrinsics, frames.poses, GRID)
    rays = patch_rays(frames.intrinsics, frames.poses, frames.size, GRID)
    width = visual.shape[-1]
    visual = PositionAwareEncoder(width)(visual, coords, valid)
    return RayAwareEncoder(width)(visual, rays, placed=valid)


def main() -> None:
    """Predict depth, place the tokens, compare with the true places."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_scan_options(parser)
    parser.set_defaults(frames=4)
    parser.add_argument("--model", default="stand-in", help="stand-in, random, a name or a folder")
    parser.add_argument("--predicts", choices=("metres", "depth", "disparity"))
    parser.add_argument("--points", type=int, default=100, help="known points of each view")
    parser.add_argument("-o", "--out", type=Path, default=Path("predicted_depth.png"))
    args = parser.parse_args()
    torch.manual_seed(0)
    try:
        scan, chosen = scan_of(args)
        truth = scan.read_views(chosen)
        predictor, predicts = (
            stand_in(truth.depths) if args.model == "stand-in" else load(args.model)
        )
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    predicted = predictor(truth.images.flatten(0, 1)).view_as(truth.depths)
    points = known_points(truth.depths, args.points)
    predicts = args.predicts or predicts
    depths = align_depth(predicted, points, predicts)
    frames = PosedFrames(truth.images, depths, truth.intrinsics, truth.poses)

    (coords, valid), (places, known) = (
        depth_patch_coords(x.depths, x.intrinsics, x.poses, GRID) for x in (frames, truth)
    )
    error = (coords - places).norm(dim=-1)[valid & known]
    print(f"{args.model} predicts {predicts}; {args.points} points of each view are known")
    print(f"{valid.float().mean():.0%} of the tokens have a position, the others a ray")
    if error.numel():
        print(f"a token is {100 * error.median():.1f} cm from its true place (median)")
    tokens = place(torch.zeros(*valid.shape, 96), frames)
    print(f"visual tokens {tuple(tokens.shape)} are placed")

    shades = [
        [ramp(x[0, m] / 5).movedim(-1, 0) for x in (truth.depths, depths)]
        for m in range(truth.views)
    ]
    rows = [[truth.images[0, m], *shades[m]] for m in range(truth.views)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.out) as temporary:
        pictures = [[fit(to_image(x), 2 * SIDE) for x in row] for row in rows]
        tile(pictures, columns=["view", "true depth", f"depth by {args.model}"]).save(temporary)
    print(f"{args.out} is written")


if __name__ == "__main__":
    main()
