"""Which views the vision tower looks at: those that are shown."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def encode_shown(encode: Callable[[Tensor], Tensor], images: Tensor, masked: Tensor) -> Tensor:
    """Encode the views that are not hidden; nothing of the others would be used.

    Args:
        encode: images (b, m, 3, h, w) -> visual tokens (b, m, p, d), view by view.
        images: (b, m, 3, h, w) RGB in [0, 1].
        masked: (b, m) bool, True = hidden.

    Returns:
        Visual tokens (b, m, p, d), zero for hidden views.
    """
    shown = ~masked
    if bool(shown.all()):
        return encode(images)
    if not bool(shown.any()):  # All the same, so that the tower's parameters are in the graph.
        return encode(images) * 0
    encoded = encode(images[shown][None])[0]
    return encoded.new_zeros(*masked.shape, *encoded.shape[1:]).index_put((shown,), encoded)
