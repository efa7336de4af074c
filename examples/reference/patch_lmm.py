"""What adapters share whose vision tower reads flat patches of pictures of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from ross3d import require, scatter_tokens

from .host_lmm import HostLMM, VisualAttention
from .pixels import Statistic, normalise

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PatchLMM(HostLMM):
    """A host that takes each view as an image of its own, cut into patches.

    Args:
        host: the untouched model of transformers.
        image_size: pixels of a view, (height, width) or the side of a square.
        patch_size: side of a patch, pixels.
        merge_size: rows, and columns, of patches that make one visual token.
        num_frames: how often a patch is repeated: towers made for videos read frames in pairs.
        mean: what is subtracted from images in [0, 1], per channel or for all.
        std: what the difference is divided by.
        view_start: ids before the placeholders of every view.
        view_end: ids after them.
        visual_attention: which placeholders see each other (see HostLMM).

    Raises:
        ValueError: if a visual token's pixels do not divide ``image_size``.
    """

    def __init__(
        self,
        host: PreTrainedModel,
        image_size: int | tuple[int, int],
        *,
        patch_size: int,
        merge_size: int,
        num_frames: int = 1,
        mean: Statistic,
        std: Statistic,
        view_start: Sequence[int] = (),
        view_end: Sequence[int] = (),
        visual_attention: VisualAttention = "causal",
    ):
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        side = patch_size * merge_size
        if min(height, width) < 1 or height % side or width % side:
            raise ValueError(f"image_size must be multiples of {side}; got {image_size}")
        super().__init__(
            host,
            host.config.image_token_id,
            (height // side, width // side),
            view_start=view_start,
            view_end=view_end,
            visual_attention=visual_attention,
        )
        self.image_size = (height, width)
        self.patch_size, self.merge_size, self.num_frames = patch_size, merge_size, num_frames
        self.mean, self.std = mean, std

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (b, m, 3, h, w) in [0, 1], of ``image_size``, into visual tokens.

        Behind the d numbers of a token come those that the tower gives ``num_deep`` layers of the
        language model: (b, m, p, d * (1 + num_deep)).
        """
        patches = repeat(
            normalise(images, self.image_size, self.mean, self.std),
            "b m c (i y u) (j x v) -> (b m i j y x) (c n u v)",
            y=self.merge_size,
            x=self.merge_size,
            u=self.patch_size,
            v=self.patch_size,
            n=self.num_frames,
        )
        b, m = images.shape[:2]
        grids = self._patch_grids(b * m, images.device)
        features = self._tower(patches, grids)
        layers = [features.pooler_output, *getattr(features, "deepstack_features", [])]
        visual = torch.cat([torch.stack(tuple(views)) for views in layers], dim=-1)
        return rearrange(visual, "(b m) p d -> b m p d", b=b)

    def _tower(self, patches: Tensor, grids: Tensor) -> Any:
        """Run the vision tower and the projector."""
        return self.host.model.get_image_features(patches, grids, return_dict=True)

    def _patch_grids(self, count: int, device: torch.device) -> Tensor:
        """Frames, rows and columns of patches of each image, (count, 3)."""
        rows, columns = (size // self.patch_size for size in self.image_size)
        return torch.tensor([1, rows, columns], device=device).expand(count, 3)

    def _inputs(self, visual: Tensor, input_ids: Tensor, added: Tensor | None) -> dict[str, Any]:
        """Hand over every embedding that is not a plain word's as if it were an image's.

        Given embeddings in place of ids, a host would know no image and drop its deep features.
        """
        positions = self._positions(visual, input_ids)
        embeds = self._embeds(input_ids, added)
        tokens, *deep = self._layers(visual, embeds.shape[-1])
        given = input_ids == self.visual_token_id
        if added is not None:
            given = given | added.ne(0).any(-1)
        counts = given.sum(1).tolist()

        def by_scene(sequence: Tensor, written: Tensor) -> tuple[Tensor, ...]:
            return scatter_tokens(sequence, positions, written)[given].split(counts)

        # Made anew for each call: beam search writes into it.
        outputs = require("transformers.modeling_outputs", "hf")
        encoded = outputs.BaseModelOutputWithPooling(pooler_output=by_scene(embeds, tokens))
        if deep:
            nothing = torch.zeros_like(embeds)
            encoded.deepstack_features = [by_scene(nothing, layer) for layer in deep]
        ids = input_ids.masked_fill(given, self.visual_token_id)
        return {"input_ids": ids, "mm_encoder_outputs": {"image": encoded}}

    def _layers(self, visual: Tensor, dim: int) -> tuple[Tensor, ...]:
        """Tokens, and what is added to them in each of the first ``num_deep`` layers."""
        if visual.shape[-1] == dim:
            return visual, *[torch.zeros_like(visual)] * self.num_deep
        if visual.shape[-1] != dim * (1 + self.num_deep):
            widths = f"{dim} or {dim} * (1 + {self.num_deep}) numbers"
            raise ValueError(f"visual must be tokens of {widths}; got {visual.shape[-1]}")
        return visual.split(dim, dim=-1)
