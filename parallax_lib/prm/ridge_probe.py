"""Closed-form ridge probes, one for each latent position: the linear baseline every PRM is shown beside.

Knows a Dataset and linear algebra.  Knows nothing of gradients.

Letters: m rows of one position, K latent steps, D translator width, A penalties.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from parallax_lib.prm.dataset import Dataset, moments
from parallax_lib.prm.linear import RidgeProbe
from parallax_lib.prm.model import build
from parallax_lib.prm.shape import PRMConfig

ALPHAS = tuple(np.logspace(-4, 3, 15).tolist())  # penalties on weights of standardised features, per row


def fit_ridge(data: Dataset, prm: PRMConfig, alphas: tuple[float, ...] = ALPHAS) -> tuple[RidgeProbe, pd.DataFrame]:
    """Minimise mean_w (y - x.b - c)^2 + alpha |b|^2 at every position; one alpha, by squared error on the valid split.

    Without valid rows every fifth training group is held out to choose alpha, then all are fitted.  The history has one
    row per alpha.  A position without labels predicts the overall mean.
    """
    train, valid = data.rows("train"), data.rows("valid")
    model = build(replace(prm, backbone="ridge", loss="mse", context="none"))
    model.mean, model.std = moments(data.latents[train], data.weights[train] > 0)
    fit_rows = train
    if not len(valid):
        fifth = torch.unique(data.groups[train], return_inverse=True)[1] % 5 == 4
        fit_rows, valid = train[~fifth], train[fifth]
    paths = [_path(model, data, fit_rows, k, alphas) for k in range(prm.steps)]
    history = pd.DataFrame({"step": range(len(alphas)), "alpha": alphas})
    history["train_loss"] = _errors(model, data, fit_rows, paths)
    history["valid_loss"] = _errors(model, data, valid, paths)
    best = int(history["valid_loss"].argmin()) if len(valid) else len(alphas) // 2
    history["chosen"] = history["step"] == best
    if len(fit_rows) != len(train):
        paths = [_path(model, data, train, k, alphas) for k in range(prm.steps)]
    model.weight = torch.stack([w[best] for w, _ in paths]).float()
    model.bias = torch.stack([b[best] for _, b in paths]).float()
    return model.eval(), history


def _features(model: RidgeProbe, data: Dataset, rows: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised latents [m, D], targets [m], weights [m] of the labelled rows at one position, float64."""
    rows = rows[data.weights[rows, step] > 0]
    x = (data.latents[rows, step].double() - model.mean.double()) / model.std.double()
    return x, data.targets[rows, step].double(), data.weights[rows, step].double()


def _path(model: RidgeProbe, data: Dataset, rows: Tensor, step: int, alphas) -> tuple[Tensor, Tensor]:
    """Weights [A, D] and biases [A] for every penalty, from one eigendecomposition of the covariance."""
    x, y, w = _features(model, data, rows, step)
    if len(x) == 0:
        live = data.weights[rows]
        mean = (live * data.targets[rows]).sum().double() / live.sum()
        return torch.zeros(len(alphas), len(model.mean), dtype=torch.float64), mean.expand(len(alphas))
    w = w / w.sum()
    x_mean, y_mean = w @ x, w @ y
    x, y = x - x_mean, y - y_mean
    values, vectors = torch.linalg.eigh(x.T @ (w[:, None] * x))  # (D,), (D, D)
    along = vectors.T @ (x.T @ (w * y))  # (D,)
    penalty = torch.tensor(alphas, dtype=torch.float64)[:, None]
    weight = (along / (values.clamp_min(0) + penalty)) @ vectors.T  # (A, D)
    return weight, y_mean - weight @ x_mean


def _errors(model: RidgeProbe, data: Dataset, rows: Tensor, paths) -> np.ndarray:
    """Weighted mean squared error [A] over all positions; NaN without rows."""
    total, count = torch.zeros(len(paths[0][1]), dtype=torch.float64), 0.0
    for step, (weight, bias) in enumerate(paths):
        x, y, w = _features(model, data, rows, step)
        total += (w[:, None] * (x @ weight.T + bias - y[:, None]).square()).sum(0)
        count += float(w.sum())
    return (total / count if count else total * torch.nan).numpy()
