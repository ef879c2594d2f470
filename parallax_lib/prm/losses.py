"""Losses of the process reward model: one signature, one dictionary.

Knows tensors of scores and targets.  Knows nothing of models, optimisers or where a target came from.

    loss(scores, targets, weights, group, *, threshold, zeta, delta, tau, tau_target) -> scalar

scores [B, K]; targets [B, K] in 0..1; weights [B, K], 0 = ignore (padding, unjudged); group [B] or [B, K] int, rows
with the same id at the same depth are siblings.  A position of weight 0 changes neither loss nor gradient, even if it
holds NaN.  Every loss also has `.terms`, the (sum, count) whose quotient it is, so that gradient accumulation is exact.

A loss of one's own is any function of the four tensors that returns a mean, or of the shape of `mse` below under `@averaged`,
which makes accumulation exact.  Its attribute `activation`, "sigmoid" (default) or "clip", says how a score becomes a
probability; `whole_groups = True` keeps siblings in one batch.

Letters: B rows, K latent steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from parallax_lib.core.errors import UserError
from parallax_lib.core.tables import find

SOFT_EDGE = 0.05  # width of the tails of soft_clip


@dataclass(frozen=True)
class LossOptions:
    # rank: targets at or above it are positive; under the `paper` reward that includes wrong output (0.55)
    threshold: float = 0.5
    zeta: float = 4.0  # rank: margin added to negatives
    delta: float = 0.25  # huber: where the square becomes a line, in units of reward
    tau: float = 1.0  # listwise: temperature of the scores
    tau_target: float = 0.25  # listwise: temperature of the rewards


def averaged(terms):
    """Turn `terms(scores, targets, live, weights, group, options) -> (sum, count)` into the public scalar loss."""

    @functools.wraps(terms)
    def both(scores: Tensor, targets: Tensor, weights: Tensor, group: Tensor, **options) -> tuple[Tensor, Tensor]:
        assert scores.shape == targets.shape == weights.shape, (scores.shape, targets.shape, weights.shape)
        live = weights > 0  # (B, K)
        scores = torch.where(live, scores.float() if scores.dtype != torch.float64 else scores, 0)
        targets = torch.where(live, targets.to(scores.dtype), 0)
        weights = torch.where(live, weights.to(scores.dtype), 0)
        return terms(scores, targets, live, weights, group, LossOptions(**options))

    @functools.wraps(terms)
    def loss(scores: Tensor, targets: Tensor, weights: Tensor, group: Tensor, **options) -> Tensor:
        total, count = both(scores, targets, weights, group, **options)
        return total / count.clamp_min(1e-12)

    loss.terms = both
    return loss


@averaged
def mse(scores, targets, live, weights, group, options):
    """Weighted mean of (score - target)^2; identity activation (the published setting)."""
    return (weights * (scores - targets).square()).sum(), weights.sum()


@averaged
def huber(scores, targets, live, weights, group, options):
    """Weighted mean Huber loss, quadratic within `delta`; identity activation."""
    each = F.huber_loss(scores, targets, reduction="none", delta=options.delta)
    return (weights * each).sum(), weights.sum()


@averaged
def bce(scores, targets, live, weights, group, options):
    """Weighted mean binary cross-entropy of logits and soft targets; weighted by counts, the binomial likelihood."""
    each = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (weights * each).sum(), weights.sum()


@averaged
def orm(scores, targets, live, weights, group, options):
    """Outcome reward model: binary cross-entropy of the logit at the last live position of each row only."""
    steps = torch.arange(scores.shape[1], device=scores.device)
    last = torch.where(live, steps, -1).amax(1, keepdim=True)  # (B, 1)
    weights = weights * (steps == last)
    each = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (weights * each).sum(), weights.sum()


@averaged
def rank(scores, targets, live, weights, group, options):
    """PQM ranking (arXiv 2410.11287) of logits, in logsumexp form; any weight above 0 counts as 1.

    For each positive t: -log( e^{r_t} / (e^{r_t} + 1 + sum_{earlier positives} e^{r_i} + sum_{negatives} e^{r_j+zeta}))
    and -log( 1 / (1 + sum_{negatives} e^{r_j + zeta}) ) for the virtual start where a negative exists; mean over the
    terms of a row, then over rows.  The published code adds 1e-5 inside the logarithm and overflows near r = 88.
    """
    floor = torch.finfo(scores.dtype).min / 4  # as good as -inf, with finite gradients
    positive = live & (targets >= options.threshold)
    negative = live & ~positive
    below = torch.where(negative, scores + options.zeta, floor).logsumexp(1, keepdim=True)  # (B, 1)
    steps = torch.arange(scores.shape[1], device=scores.device)
    earlier = positive[:, None, :] & (steps[None, :] < steps[:, None])  # (B, t, i)
    before = torch.where(earlier, scores[:, None, :], floor).logsumexp(2)  # (B, K)
    start = torch.zeros_like(scores)  # the virtual start has logit 0
    each = (torch.stack([scores, start, before, below.expand_as(scores)]) - scores).logsumexp(0)
    first = torch.cat([start[:, :1], below], 1).logsumexp(1)  # (B,)
    has_negative = negative.any(1)
    terms = positive.sum(1) + has_negative
    row = torch.where(positive, each, 0).sum(1) + torch.where(has_negative, first, 0)
    return (row / terms.clamp_min(1)).sum(), (terms > 0).sum().to(scores.dtype)


@averaged
def listwise(scores, targets, live, weights, group, options):
    """Mean over sibling lists of CE(softmax(scores / tau), softmax(targets / tau_target)); weights above 0 count as 1.

    A list is the live rows of one group at one depth; lists of one member say nothing and are not counted.  Our choice,
    not a published one.  Pass sibling ids [B, K] where siblings differ by depth.
    """
    list_of, members = _lists(live, group)
    value, goal = scores[live] / options.tau, targets[live] / options.tau_target
    log_p = value - _logsumexp_by(value, list_of, len(members))[list_of]
    q = (goal - _logsumexp_by(goal, list_of, len(members))[list_of]).exp()
    return -(q * log_p).sum(), (members > 1).sum().to(scores.dtype)


listwise.whole_groups = True
LOSSES = {"mse": mse, "huber": huber, "bce": bce, "orm": orm, "rank": rank, "listwise": listwise}
ACTIVATIONS = {name: "clip" if name in ("mse", "huber") else "sigmoid" for name in LOSSES}


def find_loss(name: str | Callable) -> Callable:
    """The loss of that name, with `.terms`; a UserError says which name is nearest."""
    loss = find(LOSSES, name, "prm.loss")
    return loss if hasattr(loss, "terms") else _mean(loss)


def _mean(loss: Callable) -> Callable:
    """A plain function of the four tensors under the signature of the others; its mean counts as many times as the batch weighs."""

    @averaged
    def terms(scores, targets, live, weights, group, options):
        return loss(scores, targets, weights, group) * weights.sum(), weights.sum()

    return terms


def activation(name: str) -> str:
    """How raw outputs of a model trained with that loss become probabilities: "sigmoid" or "clip"."""
    known = ACTIVATIONS.get(name) or getattr(find(LOSSES, name, "prm.loss"), "activation", "sigmoid")
    if known not in ("sigmoid", "clip"):
        raise UserError(f"prm.loss: activation {known!r} of {name!r}: choose 'sigmoid' or 'clip'")
    return known


def to_probability(name: str, scores: Tensor) -> Tensor:
    """Raw outputs as scores in 0..1, in the same order; `name`: the loss that the model was trained with, or an activation.

    Of rank and listwise they are not calibrated.
    """
    return scores.sigmoid() if read_as(name) == "sigmoid" else soft_clip(scores)


def read_as(name: str) -> str:
    """ "sigmoid" or "clip": an activation as it is, or that of a loss."""
    return name if name in ("sigmoid", "clip") else activation(name)


def soft_clip(scores: Tensor) -> Tensor:
    """Identity on [0.05, 0.95] with exponential tails: within 0..1 without the ties that a hard clip would make."""
    low, high = SOFT_EDGE, 1 - SOFT_EDGE
    under = low * ((scores.clamp_max(low) - low) / SOFT_EDGE).exp()
    over = 1 - SOFT_EDGE * ((high - scores.clamp_min(high)) / SOFT_EDGE).exp()
    return torch.where(scores < low, under, torch.where(scores > high, over, scores))


def _lists(live: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Sibling list of every live position [M] and the number of members of every list [L]."""
    group = group if group.ndim == 2 else group[:, None].expand(live.shape)
    steps = torch.arange(live.shape[1], device=live.device).expand(live.shape)
    keys = torch.stack([group[live].long(), steps[live]], 1)  # (M, 2)
    _, list_of, members = keys.unique(dim=0, return_inverse=True, return_counts=True)
    return list_of, members


def _logsumexp_by(values: Tensor, index: Tensor, size: int) -> Tensor:
    """logsumexp of values [M] within each index -> [size]."""
    peak = values.new_full((size,), -torch.inf).scatter_reduce(0, index, values.detach(), "amax")
    total = values.new_zeros(size).index_add(0, index, (values - peak[index]).exp())
    return peak + total.log()
