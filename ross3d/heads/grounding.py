"""Grounding: score a scene's objects against queries of the language model."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ross3d.core.pretrained import Pretrained
from ross3d.core.shapes import check_shape

GroundingKind = Literal["infonce", "score", "mlp"]
Several = Literal["any", "each"]


class GroundingHead(Pretrained):
    """Score every object of a scene, and a learned "no such object", against each query.

    - ``"infonce"``: the cosine of two MLPs' outputs over a temperature; the released model's head.
    - ``"score"``: two MLPs, their product, and a third MLP that gives the score.
    - ``"mlp"``: the dot product of one MLP of the query with the object as it is.

    The learned "no such object" is one more candidate of each kind, behind the real ones, and
    passes through the same layers. Only ``"infonce"`` has one in the released code.

    Args:
        dim: width of queries and objects.
        kind: one of the three above.
        temperature: divides the cosine of ``"infonce"`` (released model: 0.07, not learned).
        hidden_dim: width within ``"score"`` (released code: 1024).
        several: what it is trained to do for a query that means several objects (see
            ``grounding_loss``); kept for whoever computes the loss and reads the logits.

    Raises:
        ValueError: if ``kind`` or ``several`` is unknown, or ``temperature`` is not positive.

    Example:
        >>> head = GroundingHead(16)
        >>> head(torch.randn(2, 3, 16), torch.randn(2, 5, 16)).shape
        torch.Size([2, 3, 6])
    """

    def __init__(
        self,
        dim: int,
        kind: GroundingKind = "infonce",
        *,
        temperature: float = 0.07,
        hidden_dim: int = 1024,
        several: Several = "any",
    ) -> None:
        super().__init__()
        _check_kind(kind)
        _check_several(several)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive; got {temperature}")
        self.config = {"dim": dim, "kind": kind, "temperature": temperature}
        self.config |= {"hidden_dim": hidden_dim, "several": several}
        self.kind, self.temperature, self.several = kind, temperature, several
        if kind == "score":
            self.object_mlp = _score_mlp(dim, hidden_dim, hidden_dim)
            self.query_mlp = _score_mlp(dim, hidden_dim, hidden_dim)
            self.score_mlp = _score_mlp(hidden_dim, hidden_dim, 1)
        else:
            self.object_mlp = _projection_mlp(dim) if kind == "infonce" else nn.Sequential()
            self.query_mlp = _projection_mlp(dim)
        # A raw dot product grows with the width; the other two kinds normalise their candidates.
        self.zero_target = nn.Parameter(torch.randn(dim) * (dim**-0.5 if kind == "mlp" else 1.0))

    def forward(self, query: Tensor, objects: Tensor, valid: Tensor | None = None) -> Tensor:
        """Score the candidates.

        Args:
            query: (b, q, d) hidden state of the language model at each grounding token.
            objects: (b, o, d) features of the scene's objects, such as from ``pool_objects``.
            valid: (b, o) True for real objects, False for padding. None = all are real.

        Returns:
            (b, q, o + 1) logits, the last for "no such object", -inf for padding; float32 at least,
            except under autocast. ``"infonce"`` has the temperature in it already.

        Raises:
            ValueError: if the shapes disagree.
        """
        sizes = check_shape("query", query, "b q d", d=len(self.zero_target))
        sizes = check_shape("objects", objects, "b o d", **sizes)
        dtype = self.zero_target.dtype
        nothing = self.zero_target.expand(sizes["b"], 1, -1)
        candidates = self.object_mlp(torch.cat([objects.to(dtype), nothing], dim=1))
        query = self.query_mlp(query.to(dtype))
        query, candidates = _at_least_float32(query), _at_least_float32(candidates)
        if self.kind == "score":
            pairs = rearrange(query, "b q d -> b q 1 d") * rearrange(candidates, "b o d -> b 1 o d")
            logits = _at_least_float32(self.score_mlp(pairs.to(dtype))[..., 0])
        elif self.kind == "mlp":
            logits = torch.einsum("bqd,bod->bqo", query, candidates)
        else:
            query, candidates = F.normalize(query, dim=-1), F.normalize(candidates, dim=-1)
            logits = torch.einsum("bqd,bod->bqo", query, candidates) / self.temperature
        if valid is None:
            return logits
        check_shape("valid", valid, "b o", **sizes)
        padding = F.pad(~valid.bool(), (0, 1))
        return logits.masked_fill(padding[:, None], -torch.inf)


def grounding_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    kind: GroundingKind = "infonce",
    valid: Tensor | None = None,
    asked: Tensor | None = None,
    several: Several = "any",
) -> Tensor:
    """Ask that the logits pick the target objects, or "no such object" where there are none.

    With P the target columns, or the last column where there are none, and N the number of columns
    that are not padding:

    - ``"infonce"``: -log(sum over P of exp(s) / sum over all of exp(s)), which any one target
      satisfies: in the end the softmax names one of them. With ``several="each"`` the mean over P
      of -log(exp(s) / sum over all of exp(s)): targets share the probability evenly, and all of
      them can be read off. Both are the same where P is one column.
    - ``"score"``, ``"mlp"``: the mean over N of binary cross-entropies, with targets weighted by
      (N - |P|) / |P|, or by 1 where there is no target object. The released code counts objects
      alone and so ignores a scene in which every object is a target; here "no such object" is a
      column like others.

    Args:
        logits: (b, q, o + 1) from ``GroundingHead`` of the same kind; -inf marks padding.
        targets: (b, q, o) True for the objects that the query means.
        kind: the head's kind.
        valid: (b, o) True for real objects; padding is left out even if it is a target. None = the
            logits tell.
        asked: (b, q) True for the queries that count. None = all.
        several: ``"any"`` (released code) or ``"each"``, of ``"infonce"`` alone.

    Returns:
        Scalar, the mean over the queries that count, and exactly 0 (in the graph) if there are
        none.

    Raises:
        ValueError: if the shapes disagree, or ``kind`` or ``several`` is unknown.

    Example:
        >>> logits = torch.tensor([[[0.3, 0.1, -0.2, 0.05]]]) / 0.07
        >>> grounding_loss(logits, torch.tensor([[[True, True, False]]]))
        tensor(0.0270)
    """
    _check_kind(kind)
    _check_several(several)
    sizes = check_shape("targets", targets, "b q o")
    check_shape("logits", logits, f"b q {sizes['o'] + 1}", **sizes)
    padding = logits.isneginf()
    if valid is not None:
        check_shape("valid", valid, "b o", **sizes)
        padding = padding | F.pad(~valid.bool(), (0, 1))[:, None]
    if asked is None:
        asked = torch.ones_like(logits[..., 0], dtype=torch.bool)
    check_shape("asked", asked, "b q", **sizes)
    asked = asked.bool()
    # Filled before the logarithms: there, the gradient of a masked infinity would be NaN.
    scores = _at_least_float32(logits).masked_fill(padding | ~asked[..., None], 0.0)
    found = targets.bool() & ~padding[..., :-1]
    positive = torch.cat([found, ~found.any(-1, keepdim=True)], dim=-1)
    infonce = _infonce if several == "any" else _infonce_of_each
    per_query = infonce if kind == "infonce" else _weighted_cross_entropy
    losses = per_query(scores, positive, padding).masked_fill(~asked, 0.0)
    return losses.sum() / asked.sum().clamp(min=1)


def _infonce(scores: Tensor, positive: Tensor, padding: Tensor) -> Tensor:
    everything = scores.masked_fill(padding, -torch.inf).logsumexp(-1)
    return everything - scores.masked_fill(~positive, -torch.inf).logsumexp(-1)


def _infonce_of_each(scores: Tensor, positive: Tensor, padding: Tensor) -> Tensor:
    everything = scores.masked_fill(padding, -torch.inf).logsumexp(-1)
    return everything - (scores * positive).sum(-1) / positive.sum(-1)


def _weighted_cross_entropy(scores: Tensor, positive: Tensor, padding: Tensor) -> Tensor:
    columns, targets = (~padding).sum(-1, keepdim=True), positive.sum(-1, keepdim=True)
    balance = torch.where(positive[..., -1:], 1.0, (columns - targets) / targets)
    weight = torch.where(positive, balance, 1.0).masked_fill(padding, 0.0)
    losses = F.binary_cross_entropy_with_logits(scores, positive.to(scores.dtype), reduction="none")
    return (losses * weight).sum(-1) / columns[..., 0]


def _projection_mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.LayerNorm(dim), nn.Linear(dim, dim))


def _score_mlp(dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    layers = nn.Linear(dim, hidden_dim), nn.LayerNorm(hidden_dim), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(hidden_dim, out_dim))


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_kind(kind: str) -> None:
    if kind not in get_args(GroundingKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(GroundingKind))}; got {kind!r}")


def _check_several(several: str) -> None:
    if several not in get_args(Several):
        raise ValueError(f"several must be one of {', '.join(get_args(Several))}; got {several!r}")
