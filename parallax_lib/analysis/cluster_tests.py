"""Tests of paired differences whose tasks come in clusters, such as kernel families: p-values, several at once, what could have been seen.

Knows statistics.  Knows nothing of methods, tables or figures.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from parallax_lib.analysis import metrics


def p_value(a, b, clusters, draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of mean(a - b) = 0, clusters resampled: the level at which `metrics.cluster_bootstrap`'s interval just touches 0.

    At least 2 / (draws + 1); NaN of nothing.
    """
    sums = metrics.cluster_sums(a, b, clusters)
    if sums.empty:
        return metrics.NAN
    means = metrics.cluster_means(sums, draws, seed)
    rarer = min((means <= 0).sum(), (means >= 0).sum())
    return float(min(1.0, 2 * (1 + rarer) / (1 + draws)))


def mde(a, b, clusters, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest mean(a - b) that so many clusters would show with that power: (t_(1 - alpha/2) + t_power) standard errors, with a degree
    of freedom less than there are clusters (Bloom 1995).  The standard error is that of whole clusters, from what they show.  NaN of one.
    """
    sums = metrics.cluster_sums(a, b, clusters)
    m, n = len(sums), sums["size"].sum()
    if m < 2:
        return metrics.NAN
    off = sums["sum"] - sums["sum"].sum() / n * sums["size"]
    error = math.sqrt(m / (m - 1) * float((off**2).sum())) / n
    return float((scipy.stats.t.ppf(1 - alpha / 2, m - 1) + scipy.stats.t.ppf(power, m - 1)) * error)


def holm(p_values) -> np.ndarray:
    """P-values [n] corrected for n comparisons (Holm 1979): below 0.05 they hold together with a chance of error of 5 %.  NaN stays."""
    p = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(p))
    order, out = known[np.argsort(p[known], kind="stable")], p.copy()
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))))
    return out
