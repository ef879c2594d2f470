"""Rates with intervals, paired differences, pass@k, calibration: numbers and small tables from outcomes and scores.

Knows statistics and the columns of the results and scores tables.  Knows nothing of models, programs or figures.
What cannot be estimated (no rows, one class, a constant) is NaN, never an exception or a warning.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy  # its parts are read when they are used: the page of `view` opens sooner

from parallax_lib.core.errors import UserError
from parallax_lib.verdict.reasons import UNKNOWN

NAN = float("nan")
COUNTS = ("prefill_tokens", "latent_steps", "prm_calls", "decode_tokens", "cost", "looked_at", "compiles", "validator_runs")  # the budget


class Estimate(NamedTuple):
    value: float
    low: float
    high: float


# rates and differences


def wilson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate (Wilson 1927); trials must be independent."""
    if trials <= 0:
        return NAN, NAN
    z, rate = scipy.stats.norm.ppf(0.5 + confidence / 2), successes / trials
    middle = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def clustered(values, clusters) -> tuple[float, float]:
    """Wilson interval of the mean of 0/1 `values` [n] of which those in one of the `clusters` [n] are not independent.

    Seeds of one task are such a cluster.  The trials that count are those that would give the mean the variance that the
    clusters show: no more than there are values, no fewer than clusters (Korn and Graubard 1998).
    """
    table = pd.DataFrame({"value": np.asarray(values, float), "cluster": np.asarray(clusters)})
    n, rate = len(table), table["value"].mean()
    sums = table.groupby("cluster")["value"].agg(["sum", "size"])
    m = len(sums)
    off = sums["sum"] - rate * sums["size"]
    variance = m / (m - 1) * float((off**2).sum()) / n**2 if m > 1 else 0.0  # of the mean, by whole clusters
    trials = rate * (1 - rate) / variance if variance else m
    trials = min(n, max(m, trials)) if m < n else n
    return wilson(rate * trials, trials)


def paired_bootstrap(a, b, draws: int = 10_000, seed: int = 0, confidence: float = 0.95) -> Estimate:
    """mean(a - b) over tasks and its percentile interval from resampling tasks; a, b [tasks], one value per task."""
    difference = np.asarray(a, float) - np.asarray(b, float)
    if difference.size == 0:
        return Estimate(NAN, NAN, NAN)
    times, n = resamples(len(difference), draws, seed), len(difference)
    means = [times[at : at + 1000] @ difference / n for at in range(0, draws, 1000)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Estimate(float(difference.mean()), float(low), float(high))


def cluster_bootstrap(a, b, clusters, draws: int = 10_000, seed: int = 0) -> Estimate:
    """mean(a - b) over tasks and its 95 % percentile interval from resampling whole clusters, such as kernel families.

    a, b, clusters [tasks].  A draw's mean is over the tasks that it holds, so a large cluster counts more.
    """
    sums = cluster_sums(a, b, clusters)
    if sums.empty:
        return Estimate(NAN, NAN, NAN)
    low, high = np.quantile(cluster_means(sums, draws, seed), [0.025, 0.975])
    return Estimate(float(sums["sum"].sum() / sums["size"].sum()), float(low), float(high))


def cluster_sums(a, b, clusters) -> pd.DataFrame:
    """Of every cluster: sum of a - b over its tasks, and size, how many they are."""
    table = pd.DataFrame({"gain": np.asarray(a, float) - np.asarray(b, float), "cluster": np.asarray(clusters)})
    return table.groupby("cluster")["gain"].agg(["sum", "size"])


def cluster_means(sums: pd.DataFrame, draws: int, seed: int) -> np.ndarray:
    """mean(a - b) of every draw of whole clusters, [draws]."""
    times = resamples(len(sums), draws, seed).astype(float)
    return (times @ sums["sum"].to_numpy()) / (times @ sums["size"].to_numpy())


@lru_cache(maxsize=2)  # a table of methods resamples the same tasks for each of its rows
def resamples(n: int, draws: int, seed: int) -> np.ndarray:
    """How often each of n tasks stands in each bootstrap sample: uint16 (draws, n), not to be written to."""
    rng = np.random.default_rng(seed)
    parts = [rng.multinomial(n, np.full(n, 1 / n), size=min(1000, draws - at)).astype(np.uint16) for at in range(0, draws, 1000)]
    times = np.concatenate(parts)
    times.setflags(write=False)
    return times


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value of that many wins and losses, ties left out; 1 if there is neither."""
    return float(scipy.stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def mde(tasks: int, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest difference of paired rates that `tasks` pairs would show with that power (Connor 1987, McNemar's test).

    `discordance`: share of tasks on which the methods differ, raised to the difference where it is smaller.  Solves
    sqrt(n) d = z_a sqrt(c) + z_b sqrt(c - d^2).  NaN where no difference up to 1 suffices.
    """
    z_alpha, z_beta = scipy.stats.norm.ppf(1 - alpha / 2), scipy.stats.norm.ppf(power)

    def short(d: float) -> float:
        c = max(discordance, d)
        return z_alpha * math.sqrt(c) + z_beta * math.sqrt(max(c - d * d, 0)) - math.sqrt(tasks) * d

    return NAN if tasks < 1 or short(1.0) > 0 else float(scipy.optimize.brentq(short, 1e-12, 1.0))


# scores against outcomes


def auroc(scores, labels) -> float:
    """Probability that a positive scores above a negative, ties half; NaN with one class.  labels: bool."""
    scores, labels = np.asarray(scores, float), np.asarray(labels, bool)
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return NAN
    above = scipy.stats.rankdata(scores)[labels].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def spearman(a, b) -> float:
    """Rank correlation, ties averaged; NaN where either side is constant."""
    a, b = (scipy.stats.rankdata(x) - (len(x) + 1) / 2 for x in (np.asarray(a, float), np.asarray(b, float)))
    size = math.sqrt((a @ a) * (b @ b)) if len(a) else 0.0
    return float(a @ b / size) if size else NAN


def brier(scores, targets) -> float:
    """Mean squared difference of probability and outcome; targets in 0..1."""
    scores, targets = np.asarray(scores, float), np.asarray(targets, float)
    return float(((scores - targets) ** 2).mean()) if scores.size else NAN


def calibration_table(scores, targets, bins: int = 10) -> pd.DataFrame:
    """Equal-mass bins: bin, count, score (mean), target (mean), low, high (scores).  Equal scores share a bin."""
    frame = pd.DataFrame({"score": np.asarray(scores, float), "target": np.asarray(targets, float)})
    middle = (scipy.stats.rankdata(frame["score"]) - 0.5) / max(len(frame), 1)
    groups = frame.assign(bin=np.floor(middle * bins).astype(int)).groupby("bin")
    means = {"count": ("score", "size"), "score": ("score", "mean"), "target": ("target", "mean")}
    return groups.agg(**means, low=("score", "min"), high=("score", "max")).reset_index()


def ece(scores, targets, bins: int = 10) -> float:
    """Expected calibration error over the equal-mass bins of `calibration_table`."""
    table = calibration_table(scores, targets, bins)
    gap = (table["score"] - table["target"]).abs()
    return float((table["count"] * gap).sum() / table["count"].sum()) if len(table) else NAN


def calibration_by(scores: pd.DataFrame, by: str = "model", bins: int = 10) -> pd.DataFrame:
    """`calibration_table` of each value of `by` in the scores table, all depths together."""
    known = scores.dropna(subset=["score", "target"])
    parts = [calibration_table(p["score"], p["target"], bins).assign(**{by: v}) for v, p in known.groupby(by)]
    return pd.concat(parts, ignore_index=True) if parts else calibration_table([], [], bins).assign(**{by: []})


def scores_by_depth(scores: pd.DataFrame, threshold: float = 0.5, bins: int = 10) -> pd.DataFrame:
    """One row per model, split and depth: n, base_rate, auroc, spearman, brier, ece of the scores table.

    A target is positive at or above `threshold`; under the `paper` reward that takes in wrong output (0.55).
    """
    keys = [k for k in ("model", "split", "depth") if k in scores]
    rows = []
    for key, part in scores.dropna(subset=["score", "target"]).groupby(keys, sort=True):
        score, target = part["score"].to_numpy(float), part["target"].to_numpy(float)
        rows.append(dict(zip(keys, key, strict=True)) | {
            "n": len(part), "base_rate": float((target >= threshold).mean()),
            "auroc": auroc(score, target >= threshold), "spearman": spearman(score, target),
            "brier": brier(score, target), "ece": ece(score, target, bins),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[*keys, "n", "base_rate", "auroc", "spearman", "brier", "ece"])


# methods


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose verdict says something: `not_checkable` and `infra_error` are no failures."""
    rows = rows[rows["validated"].notna()]
    return rows[~rows["reason"].isin(UNKNOWN)] if "reason" in rows else rows


def arm_table(results: pd.DataFrame, by_direction: bool = False) -> pd.DataFrame:
    """Per arm, repair round where the results have them, and direction: n judged, unjudged, validated, rate, its
    `clustered` interval by tasks, mean of each budget column.  Two methods are compared with `paired`.
    """
    keys = ["arm", *(["repair"] if "repair" in results else []), *(["direction"] if by_direction else [])]
    counts = [c for c in COUNTS if c in results]
    rows = []
    for key, part in results.groupby(keys, sort=False):
        known = judged(part)
        n, good = len(known), int(known["validated"].sum())
        low, high = clustered(known["validated"], known["task"])
        row = dict(zip(keys, key, strict=True)) | {"n": n, "unjudged": len(part) - n, "validated": good}
        row |= {"rate": good / n if n else NAN, "low": low, "high": high}
        rows.append(row | {c: float(part[c].mean()) for c in counts})
    return pd.DataFrame(rows, columns=[*keys, "n", "unjudged", "validated", "rate", "low", "high", *counts])


def paired(results: pd.DataFrame, arm_a: str, arm_b: str, draws: int = 10_000, seed: int = 0) -> dict:
    """Method a minus method b over the tasks judged in both, each task one value: its validated share over seeds and samples.

    comparison ("a - b"), tasks, unpaired, rate_a, rate_b, diff, low, high, wins, ties, losses, p_value (exact
    sign test), mde.
    """
    known = judged(results)
    for arm in (arm_a, arm_b):
        if arm not in set(results["arm"]):
            raise UserError(f"no method {arm!r} in the results; they hold {', '.join(sorted(set(results['arm'])))}")
    a, b = (known[known["arm"] == arm].astype({"validated": float}).groupby("task")["validated"].mean() for arm in (arm_a, arm_b))
    both = a.index.intersection(b.index)
    x, y = a[both].to_numpy(float), b[both].to_numpy(float)
    change = paired_bootstrap(x, y, draws, seed)
    wins, losses = int((x > y).sum()), int((x < y).sum())
    rates = {"rate_a": float(x.mean()) if len(x) else NAN, "rate_b": float(y.mean()) if len(y) else NAN}
    unpaired = len(a.index.symmetric_difference(b.index))
    row = {"comparison": f"{arm_a} - {arm_b}", "tasks": len(both), "unpaired": unpaired} | rates
    row |= {"diff": change.value, "low": change.low, "high": change.high}
    row |= {"wins": wins, "ties": len(both) - wins - losses, "losses": losses, "p_value": sign_test(wins, losses)}
    return row | {"mde": mde(len(both), float(((x - y) ** 2).mean())) if len(both) else NAN}


def latent_sensitivity(table: pd.DataFrame) -> pd.DataFrame:
    """Do the latents decide anything?  One row per kind and sigma, to be read before any PRM is trained.

    table: task, kind, sigma, code, validated, reason; kind is "unperturbed" (one row a task), "noise", or the name of a
    control such as "re-decode".  tasks, programs; distinct_programs per task, the unperturbed counted (1: inert);
    changed_rate: share of programs whose outcome differs from the unperturbed one; changed_outcomes: share of tasks
    with such a program; rate; oracle_rate: share of tasks with a validated program, the unperturbed counted.
    """
    table = table.reset_index(drop=True)
    base = table[table["kind"] == "unperturbed"].drop_duplicates("task").set_index("task")
    plain = judged(base)["validated"].astype(bool)
    rows = []
    for (kind, sigma), part in table[table["task"].isin(base.index)].groupby(["kind", "sigma"]):
        known = judged(part)
        known = known[known["task"].isin(plain.index)]
        task, good = known["task"], known["validated"].astype(bool)
        before = plain.loc[task].set_axis(known.index)
        codes = pd.concat([part[["task", "code"]], base.loc[part["task"].unique(), ["code"]].reset_index()])
        rows.append({
            "kind": kind, "sigma": sigma, "control": kind not in ("unperturbed", "noise"),
            "tasks": part["task"].nunique(), "programs": len(part),
            "distinct_programs": float(codes.groupby("task")["code"].nunique(dropna=False).mean()),
            "changed_rate": mean(good != before), "changed_outcomes": mean((good != before).groupby(task).any()),
            "rate": mean(good), "oracle_rate": mean((good | before).groupby(task).any()),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values(["control", "sigma"], ignore_index=True) if rows else pd.DataFrame()


def mean(values: pd.Series) -> float:
    """NaN of nothing, without a warning."""
    return float(values.mean()) if len(values) else NAN
