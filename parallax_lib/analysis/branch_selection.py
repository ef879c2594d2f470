"""Does a score pick the right branch?  The branch-selection test, beside a random pick and always the original.

Knows the columns of the branches table.  Knows nothing of models or of how a branch was made.

Letters: N branches of one group.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from parallax_lib.analysis.metrics import NAN, auroc, brier, clustered, ece
from parallax_lib.core.errors import UserError

RULES = ("score", "random", "original")
SLACK = 1e-9  # 0.30 + 0.25 is not 0.55 in floating point
COLUMNS = ("best", "best_low", "best_high", "gt", "ge", "reward", "regret", "gain", "pairwise", "auroc", "brier", "ece")


def branch_selection(
    branches: pd.DataFrame, tol: float = 0.0, threshold: float = 0.5, picker: str = "prm"
) -> pd.DataFrame:
    """How good the highest-scored branch of each group is, beside a random and the original one.

    branches: group, direction, depth, is_original, score, reward.  A group is the siblings at one (task, depth): one
    original and its perturbed branches; unjudged branches (reward NaN) are left out, then groups without original or
    without a second branch are `dropped`.  `tol` is not defined in any public source: this is our reading of it.

    One row per slice ("all", each direction, "depth 0" ...) and picker:
    <picker>  the highest score, ties to the original
    random    the analytic mean over all branches of the group
    original  always the original, which is why its `ge` is 100 %
    best      share of groups where the pick's reward >= maximum - tol (best_low, best_high: `metrics.clustered` by tasks; not for random)
    gt, ge    reward > original + tol; reward >= original - tol
    regret    maximum - reward;  gain: (reward - original) / (maximum - original) of the means, NaN if that is 0 / 0
    pairwise  share of within-group pairs with |difference of reward| > tol in the right order, ties half
    auroc     over all branches, positive at or above `threshold`; brier and ece of the scores as probabilities
    """
    if branches["score"].isna().any():
        missing = int(branches["score"].isna().sum())
        raise UserError(f"branch_selection: {missing} of {len(branches)} branches have no score; score them first")
    known = branches[branches["reward"].notna()]
    groups = [part for _, part in known.groupby("group", sort=True)]
    usable = [g for g in groups if len(g) > 1 and g["is_original"].sum() == 1]
    slices = [("all", "all", branches, usable)]
    for scope, name in (("direction", "{}"), ("depth", "depth {}")):
        for value, part in branches.groupby(scope, sort=True):
            slices.append((scope, name.format(value), part, [g for g in usable if g[scope].iloc[0] == value]))
    rows = []
    for scope, name, part, inside in slices:
        where = {"slice": name, "scope": scope, "groups": len(inside), "dropped": part["group"].nunique() - len(inside)}
        for rule in RULES:
            row = where | {"picker": picker if rule == "score" else rule, "pairs": 0} | dict.fromkeys(COLUMNS, NAN)
            rows.append(row | (_summary(inside, rule, tol, threshold) if inside else {}))
    return pd.DataFrame(rows)


def implied_scores(group: pd.DataFrame, rule: str) -> np.ndarray:
    """The scores [N] by which each rule would order the branches."""
    original = group["is_original"].to_numpy(float)
    return {"score": group["score"].to_numpy(float), "random": 0 * original, "original": original}[rule]


def chance(group: pd.DataFrame, rule: str) -> np.ndarray:
    """Probability [N] that each branch is picked."""
    if rule == "random":
        return np.full(len(group), 1 / len(group))
    score, original = implied_scores(group, rule), group["is_original"].to_numpy(bool)
    top = score == score.max()
    return np.eye(len(group))[np.argmax(top & original if (top & original).any() else top)]


def _facts(group: pd.DataFrame, rule: str, tol: float) -> dict:
    """Expected outcomes of the rule in one group."""
    reward, p = group["reward"].to_numpy(float), chance(group, rule)
    original, most = reward[group["is_original"].to_numpy(bool)][0], reward.max()
    right, pairs = ordered_pairs(implied_scores(group, rule), reward, tol)
    return {
        "best": p @ (reward >= most - tol - SLACK),
        "gt": p @ (reward > original + tol + SLACK),
        "ge": p @ (reward >= original - tol - SLACK),
        "reward": p @ reward, "original": original, "most": most, "right": right, "pairs": pairs,
    }  # fmt: skip


def ordered_pairs(score: np.ndarray, reward: np.ndarray, tol: float) -> tuple[float, int]:
    """(pairs ordered as their rewards, ties half; pairs whose rewards differ by more than tol)."""
    better = reward[:, None] > reward + tol + SLACK  # (N, N)
    right = (score[:, None] > score) + 0.5 * (score[:, None] == score)
    return float(right[better].sum()), int(better.sum())


def _summary(groups: list[pd.DataFrame], rule: str, tol: float, threshold: float) -> dict:
    """The metric columns of one slice and rule, every group weighing the same."""
    facts = pd.DataFrame([_facts(g, rule, tol) for g in groups])
    mean, pairs = facts.mean(), int(facts["pairs"].sum())
    tasks = [g["task"].iloc[0] if "task" in g else i for i, g in enumerate(groups)]
    low, high = (NAN, NAN) if rule == "random" else clustered(facts["best"], tasks)
    room = mean["most"] - mean["original"]
    score = np.concatenate([implied_scores(g, rule) for g in groups])
    reward = np.concatenate([g["reward"].to_numpy(float) for g in groups])
    row = {name: float(mean[name]) for name in ("best", "gt", "ge", "reward")} | {"best_low": low, "best_high": high}
    row |= {"regret": float(mean["most"] - mean["reward"]), "pairs": pairs}
    row["gain"] = float((mean["reward"] - mean["original"]) / room) if room > SLACK else NAN
    row["pairwise"] = float(facts["right"].sum() / pairs) if pairs else NAN
    row["auroc"] = auroc(score, reward >= threshold - SLACK)
    return row | ({"brier": brier(score, reward), "ece": ece(score, reward)} if rule == "score" else {})
