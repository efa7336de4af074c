"""A tokenizer that encodes a picture once, and then remembers its latents."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ross3d.core.fingerprint import digest, fingerprint
from ross3d.core.latent_cache import LatentCache
from ross3d.core.tokenizer import StagedTokenizer, Tokenizer


class CachedTokenizer:
    """A frozen tokenizer whose latents are kept in a cache.

    An entry's key is a digest of the picture as it is given to the teacher (dtype, size and every
    bit), of the teacher (class, numbers and weights: see ``identity`` below) and of autocast. The
    picture's bits are a function of its file and of all that was done to it, so that another file,
    crop or size can hit no entry of an old one; and no picture has to tell where it came from.

    A tokenizer that draws latents (``VAETokenizer(sample=True)``, as in the paper) stays what it
    is: what is kept are the moments of its posterior, twice the bytes, and every call draws anew.

    What is new at every step, such as the room from above of views that are drawn at random, is
    never found: it costs its digest and its file, and goes when the cache is full.

    To a saved model it is the tokenizer inside: the model loads without the cache's folder.

    Args:
        tokenizer: the teacher; its weights must not change any more. One that holds more than
            numbers, text, tensors and modules, such as a function, must say what it is in an
            attribute ``identity``: text, for example.
        cache: where the latents are kept; several tokenizers may share one.

    Raises:
        ValueError: if the tokenizer draws its latents, and has no ``moments`` to keep.

    Attributes:
        hits: pictures whose latents were found.
        misses: pictures that were encoded.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from ross3d import DCTTokenizer
        >>> with TemporaryDirectory() as folder:
        ...     tokenizer = CachedTokenizer(DCTTokenizer(), LatentCache(folder))
        ...     for _ in range(2):
        ...         print(tokenizer.encode(torch.zeros(2, 3, 32, 32)).shape)
        ...     print(tokenizer.misses, tokenizer.hits)
        torch.Size([2, 64, 2, 2])
        torch.Size([2, 64, 2, 2])
        1 1
    """

    def __init__(self, tokenizer: Tokenizer, cache: LatentCache) -> None:
        self._staged = tokenizer if isinstance(tokenizer, StagedTokenizer) else None
        parts = () if self._staged else (tokenizer, *vars(tokenizer).values())
        if any(getattr(part, "sample", False) is True for part in parts):
            expected = "give the same latents each time, as with sample=False"
            raise ValueError(f"tokenizer must {expected}; got {type(tokenizer).__name__}")
        self.tokenizer, self.cache = tokenizer, cache
        self.hits = self.misses = 0

    @property
    def channels(self) -> int:
        """Latent channels C."""
        return self.tokenizer.channels

    @property
    def stride(self) -> int:
        """Pixels per latent cell, along each side."""
        return self.tokenizer.stride

    @cached_property
    def teacher(self) -> str:
        """Digest of the teacher, computed once.

        Raises:
            ValueError: if it cannot be told from others; see the class.
        """
        return fingerprint(self.tokenizer)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Look every picture up, and encode those that are missing, in one batch.

        Args:
            images: (n, 3, H, W) RGB in [0, 1], as the tokenizer takes them; n may be 0.

        Returns:
            (n, C, h, w) what the tokenizer gives, on the device of the images, without history.

        Raises:
            ValueError: if the tokenizer refuses the images, or cannot be told from others.
        """
        if not len(images):
            return self.tokenizer.encode(images)
        how, pictures = self._autocast(images.device.type), images.detach().cpu()
        keys = [digest(self.teacher, how, picture) for picture in pictures]
        found = {key: self.cache.get(key) for key in dict.fromkeys(keys)}
        missing = [key for key, value in found.items() if value is None]
        self.misses += len(missing)
        self.hits += len(found) - len(missing)
        if missing:
            wanted = images[[keys.index(key) for key in missing]]
            encode = self._staged.moments if self._staged else self.tokenizer.encode
            for key, value in zip(missing, encode(wanted).detach().cpu(), strict=True):
                self.cache.put(key, value)
                found[key] = value
        values = [value for key in keys if (value := found[key]) is not None]
        kept = torch.stack(values).to(images.device)
        return self._staged.draw(kept) if self._staged else kept

    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents into images, as the tokenizer does.

        Args:
            latents: (n, C, h, w).

        Returns:
            (n, 3, h*stride, w*stride) RGB, not clamped.
        """
        return self.tokenizer.decode(latents)

    @staticmethod
    def _autocast(device: str) -> str:
        """What precision the tokenizer is asked for, from outside."""
        on = torch.is_autocast_enabled(device)
        return str(torch.get_autocast_dtype(device)) if on else "as it is"
