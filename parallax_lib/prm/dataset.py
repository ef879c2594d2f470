"""Training rows of a process reward model as tensors: checked once, standardised, cut into batches.

Knows shapes, splits and sibling groups.  Knows nothing of models or losses.

Letters: n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from parallax_lib.core.errors import UserError
from parallax_lib.prm.prefix_trees import keys_of

CHUNK = 2048  # rows converted to float64 at once


@dataclass(frozen=True)
class Dataset:
    latents: Tensor  # [n, K, D], as stored (float16)
    targets: Tensor  # [n, K] float32, 0 where unlabelled
    weights: Tensor  # [n, K] float32, 0 where unlabelled
    groups: Tensor  # [n] int64
    split: tuple[str, ...]
    contexts: Tensor | None = None  # [n, D]

    def rows(self, name: str) -> Tensor:
        """Indices of the labelled rows of a split."""
        here = torch.tensor([s == name for s in self.split], dtype=torch.bool)
        return (here & (self.weights > 0).any(1)).nonzero()[:, 0]

    @cached_property
    def keys(self) -> np.ndarray:
        """[n, K] a number for every latent, or [n, 1 + K] with the prompt's state before them: equal ones have the same."""
        latents = keys_of(self.latents)
        return latents if self.contexts is None else np.concatenate([keys_of(self.contexts)[:, None], latents], 1)

    def tensors(self) -> list[Tensor]:
        return [t for t in (self.latents, self.targets, self.weights, self.groups, self.contexts) if t is not None]

    def pack(self, rows: Tensor, size: int, whole_groups: bool, rng: np.random.Generator | None = None) -> list[Tensor]:
        """Batches of at most `size` rows, shuffled by `rng`; with `whole_groups` none is cut, even if larger."""
        order = rows.numpy() if rng is None else rng.permutation(rows.numpy())
        if not whole_groups:
            return [torch.from_numpy(order[i : i + size]) for i in range(0, len(order), size)]
        batches, groups = [], self.groups[order].numpy()
        _, first = np.unique(groups, return_index=True)
        for at in np.sort(first):  # groups in the (shuffled) order of their first row
            members = order[groups == groups[at]]
            if batches and len(batches[-1]) + len(members) <= size:
                batches[-1] = np.concatenate([batches[-1], members])
            else:
                batches.append(members)
        return [torch.from_numpy(b) for b in batches]


def prepare(latents, targets, counts, groups, split, weighting: str = "rollouts", contexts=None) -> Dataset:
    """Arrays or tensors as a Dataset.  UserError for shapes that differ, no training rows, values that are not finite.

    weighting: one row is one rollout, so a prefix shared by c rollouts occurs in c rows.  "rollouts" gives each row 1
    (a prefix weighs as many as its rollouts: the binomial likelihood), "prefixes" 1/c (every distinct prefix weighs 1),
    "counts" c (only for rows that are distinct prefixes already).
    """
    latents, targets, counts = (_tensor(x) for x in (latents, targets, counts))
    _check_shapes(latents, targets, counts, groups, split)
    live = (counts > 0) & targets.isfinite()
    choices = {"rollouts": torch.ones_like(counts, dtype=torch.float32), "counts": counts.float()}
    choices["prefixes"] = 1 / counts.clamp_min(1).float()
    if weighting not in choices:
        raise UserError(f"weighting {weighting!r}: choose one of {', '.join(sorted(choices))}")
    _, ids = np.unique(np.asarray(groups), return_inverse=True)
    data = Dataset(
        latents=latents,
        targets=torch.where(live, targets, 0).float(),
        weights=torch.where(live, choices[weighting], 0),
        groups=torch.from_numpy(ids.reshape(-1).astype(np.int64)),
        split=tuple(str(s) for s in split),
        contexts=None if contexts is None else _tensor(contexts),
    )
    _check_values(data)
    return data


def moments(values: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [D] of values [n, T, D] over the live [n, T]; a constant feature gets deviation 1."""
    count, total = live.sum().double(), torch.zeros(values.shape[-1], dtype=torch.float64)
    parts = [slice(i, i + CHUNK) for i in range(0, len(values), CHUNK)]
    for part in parts:
        total += values[part][live[part]].double().sum(0)
    mean, square = total / count, torch.zeros_like(total)
    for part in parts:
        square += (values[part][live[part]].double() - mean).square().sum(0)
    std = (square / count).sqrt()
    std = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), std, 1)
    return mean.float(), std.float()


def _check_shapes(latents: Tensor, targets: Tensor, counts: Tensor, groups, split) -> None:
    if latents.ndim != 3:
        raise UserError(f"latents have shape {list(latents.shape)}; expected [n, K, D]")
    want = list(latents.shape[:2])
    given = {"targets": list(targets.shape), "counts": list(counts.shape)}
    given |= {"groups": [len(groups), want[1]], "split": [len(split), want[1]]}
    for name, shape in given.items():
        if shape != want:
            raise UserError(f"latents hold [n, K] = {want} but {name} {shape}: the tables do not belong together")


def _check_values(data: Dataset) -> None:
    if not len(data.rows("train")):
        found = sorted(set(data.split))
        raise UserError(f"no labelled row of split 'train' among {len(data.split)} rows; splits present: {found}")
    live = data.weights > 0
    if data.targets.min() < 0 or data.targets.max() > 1:
        raise UserError(f"targets run from {data.targets.min():g} to {data.targets.max():g}; rewards lie in 0..1")
    for i in range(0, len(live), CHUNK):
        bad = ~data.latents[i : i + CHUNK].isfinite().all(-1) & live[i : i + CHUNK].any(1, keepdim=True)
        if bad.any():
            row, step = bad.nonzero()[0].tolist()
            raise UserError(f"latent {i + row} holds NaN or infinity at step {step}: collect it again")


def _tensor(values) -> Tensor:
    return values.detach().cpu() if torch.is_tensor(values) else torch.from_numpy(np.array(values, order="C"))  # shards are read-only
