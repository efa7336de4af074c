"""What a vision tower wants of a picture."""

from __future__ import annotations

from torch import Tensor

from ross3d import check_shape

Statistic = float | tuple[float, float, float]
HALF = 0.5
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(
    images: Tensor, size: int | tuple[int, int], mean: Statistic, std: Statistic
) -> Tensor:
    """Subtract a mean, divide by a standard deviation.

    Args:
        images: (b, m, 3, h, w) in [0, 1], of the tower's size.
        size: h and w, pixels, or the side of a square.
        mean: what is subtracted, per channel or for all.
        std: what the difference is divided by.

    Returns:
        (b, m, 3, h, w).

    Raises:
        ValueError: if the images are not of this size.

    Example:
        >>> import torch
        >>> normalise(torch.ones(1, 2, 3, 8, 8), 8, CLIP_MEAN, CLIP_STD).shape
        torch.Size([1, 2, 3, 8, 8])
    """
    height, width = (size, size) if isinstance(size, int) else size
    check_shape("images", images, f"b m 3 {height} {width}")
    shift, scale = (images.new_tensor(value).view(-1, 1, 1) for value in (mean, std))
    return (images - shift) / scale
