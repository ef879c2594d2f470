"""The report card's tables: methods compared task by task, the oracle's gap, how many candidates and how sure a pick must be.

Knows the tables of a run.  Runs no model and makes nothing anew: what another choice would have given is worked out from
rollouts that are there.

Letters: N candidates, K latent steps, m branch-offs of one task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from parallax_lib.analysis import cluster_tests, metrics
from parallax_lib.analysis.metrics import NAN
from parallax_lib.core.errors import UserError

GUIDED, FLOOR, CEILING = "guided", "unguided", "oracle"


def differences(results: pd.DataFrame, arm: str = GUIDED) -> pd.DataFrame:
    """`arm` minus every other method: `metrics.paired`, whose intervals resample tasks, each with all its seeds."""
    others = [a for a in results["arm"].unique() if a != arm] if arm in set(results["arm"]) else []
    return pd.DataFrame([{"against": other} | metrics.paired(results, arm, other) for other in others])


def gap_closed(results: pd.DataFrame, draws: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Share of the way from the unguided method to the oracle that each method goes, tasks resampled for the interval.

    arm, tasks, gap (oracle - unguided), closed, low, high, no_gap: share of the draws in which there is no gap to close;
    the interval is over the others.  NaN without a gap.
    """
    values = task_values(results)
    rows = []
    for arm in values.columns.difference([FLOOR, CEILING], sort=False) if {FLOOR, CEILING} <= set(values) else []:
        known = values[[FLOOR, CEILING, arm]].dropna()
        gap, gain = (known[a].to_numpy() - known[FLOOR].to_numpy() for a in (CEILING, arm))
        row = {"arm": arm, "tasks": len(known), "gap": gap.mean() if len(known) else NAN}
        rows.append(row | _ratio(gain, gap, draws, seed))
    return pd.DataFrame(rows, columns=["arm", "tasks", "gap", "closed", "low", "high", "no_gap"])


def task_values(results: pd.DataFrame) -> pd.DataFrame:
    """Validated share of every task (rows) under every method (columns), over seeds; NaN where none was judged."""
    known = metrics.judged(results)
    return known.assign(good=known["validated"].astype(float)).pivot_table("good", "task", "arm", sort=False)


def by_family(results: pd.DataFrame) -> pd.DataFrame:
    """Validated share of every family's judged tasks under every method."""
    results = metrics.judged(results)
    table = results.pivot_table("validated", "family", "arm", aggfunc="mean", sort=False).astype(float)
    return results.groupby("family")["task"].nunique().rename("tasks").to_frame().join(table).sort_index().reset_index()


def over_families(results: pd.DataFrame, arm: str = GUIDED, against: str = FLOOR) -> metrics.Estimate:
    """One method minus another over tasks, whole families resampled: the interval for families that nobody has seen."""
    values = task_values(results)[[arm, against]].dropna()
    family = results.drop_duplicates("task").set_index("task")["family"]
    return metrics.cluster_bootstrap(values[arm], values[against], family[values.index])


def planned(
    results: pd.DataFrame, pairs: Sequence[tuple[str, str]], draws: int = 10_000, seed: int = 0, unjudged_fail: bool = False
) -> pd.DataFrame:
    """Comparisons that were written down before the results: each first method minus the second, a row for each pair.

    Over tasks judged under both, whole families resampled: comparison, tasks, clusters (families), rate_a, rate_b, diff, low, high,
    p_value (`cluster_tests.p_value`), p_holm (corrected for all pairs), mde (`cluster_tests.mde`), verdict in words.
    unjudged_fail: a program that nobody could judge counts as not validated; otherwise it counts in no share.
    """
    values = task_values(results.assign(reason="", validated=results["validated"].eq(True)) if unjudged_fail else results)
    family, rows = results.drop_duplicates("task").set_index("task")["family"], []
    for a, b in pairs:
        for arm in (a, b):
            if arm not in values:
                raise UserError(f"no method {arm!r} in the results; they hold {', '.join(sorted(values))}")
        both = values[[a, b]].dropna()
        clusters, sides = family[both.index], (both[a].to_numpy(), both[b].to_numpy())
        change = metrics.cluster_bootstrap(*sides, clusters, draws, seed)
        row = {"comparison": f"{a} - {b}", "tasks": len(both), "clusters": clusters.nunique()}
        row |= {"rate_a": metrics.mean(both[a]), "rate_b": metrics.mean(both[b])}
        row |= {"diff": change.value, "low": change.low, "high": change.high}
        row |= {"p_value": cluster_tests.p_value(*sides, clusters, draws, seed), "mde": cluster_tests.mde(*sides, clusters)}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p_value") + 1, "p_holm", cluster_tests.holm(table["p_value"]))
    return table.assign(verdict=[_said(row) for row in table.to_dict("records")])


def _said(row: dict) -> str:
    """A difference where the corrected p-value is below 0.05, else the difference that so many families would have shown."""
    if row["p_holm"] < 0.05:
        return "gain" if row["diff"] > 0 else "loss"
    unseen = "" if math.isnan(row["mde"]) else f"; {100 * row['mde']:.1f} points would have been, four times in five"
    return f"no difference shown{unseen}"


def by_programs(taken: pd.DataFrame, arm: str = "guided_filter") -> pd.DataFrame:
    """One chooser minus each of the others where all may have N programs written, for every N that all tasks have.

    taken: `cross_validation.filtered`.  N, against, tasks, both shares (rate_a is `arm`'s), programs that both have written (of
    older tables, which do not say: NaN), diff with its interval from resampling tasks and, as families_low and families_high, from
    resampling whole families.
    """
    rows = []
    for n, part in taken.groupby("N"):
        whole = part["task"].nunique() == taken["task"].nunique()
        for against in part["arm"].unique() if whole else ():
            if against != arm:
                rows.append({"N": n, "against": against} | _versus(part, arm, against))
    return pd.DataFrame(rows).sort_values(["against", "N"], kind="stable", ignore_index=True)


def _versus(part: pd.DataFrame, arm: str, against: str) -> dict:
    difference, families = metrics.paired(part, arm, against), over_families(part, arm, against)
    written = part.groupby("arm")["looked_at"].mean() if "looked_at" in part else {}
    shares = {name: difference[name] for name in ("tasks", "rate_a", "rate_b")}
    shares |= {"programs_a": written.get(arm, NAN), "programs_b": written.get(against, NAN)}
    return shares | {k: difference[k] for k in ("diff", "low", "high")} | {"families_low": families.low, "families_high": families.high}


def _ratio(gain: np.ndarray, gap: np.ndarray, draws: int, seed: int) -> dict:
    """mean(gain) / mean(gap) and its percentile interval from resampling tasks."""
    n = len(gap)
    if not n or gap.sum() <= 0:
        return {"closed": NAN, "low": NAN, "high": NAN, "no_gap": NAN}
    times = metrics.resamples(n, draws, seed)  # (draws, tasks)
    below = times @ gap
    ratios = (times @ gain)[below > 0] / below[below > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return {"closed": gain.sum() / gap.sum(), "low": low, "high": high, "no_gap": float((below <= 0).mean())}


# what other choices would have given


def trajectories(rollouts: pd.DataFrame, scores: pd.DataFrame, model: str, split: str = "test") -> pd.DataFrame:
    """Whole trajectories of each task to choose from: group, depth, is_original, score, reward.

    A trajectory's score is the model's after its last latent.  `depth` K' holds the original and the branch-offs at the first
    K' latent steps, so a rollout occurs once for each K' that admits it.
    """
    last = scores[(scores["model"] == model) & (scores["depth"] == scores["depth"].max()) & (scores["split"] == split)]
    found = rollouts.merge(last[["capture_id", "score"]], on="capture_id").dropna(subset=["reward"])
    found = found.assign(group=found["root"], is_original=found["branch_depth"] < 0)
    steps = range(1, int(found["branch_depth"].max()) + 2) if len(found) else []
    parts = [found[found["branch_depth"] < k].assign(depth=k) for k in steps]
    columns = ["group", "task", "depth", "is_original", "score", "reward"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def breadth(table: pd.DataFrame) -> pd.DataFrame:
    """Mean reward of the best-scored of N candidates, the original and N - 1 branch-offs drawn without replacement.

    table: group, depth, is_original, score, reward.  A row per depth and N: groups (with at least N members), prm, random,
    oracle and original: expectations over all draws, exact.
    """
    rows = []
    for depth, part in table.groupby("depth"):
        groups = [g for _, g in part.groupby("group") if g["is_original"].sum() == 1 and len(g) > 1]
        for n in range(1, max(map(len, groups), default=0) + 1):
            expected = [_expected(g, n) for g in groups if len(g) >= n]
            rows.append({"depth": depth, "n": n, "groups": len(expected)} | pd.DataFrame(expected).mean().to_dict())
    return pd.DataFrame(rows, columns=["depth", "n", "groups", "prm", "random", "oracle", "original"])


def _expected(group: pd.DataFrame, n: int) -> dict:
    """Expected reward of each chooser among the original and n - 1 of the m branch-offs."""
    original = group["is_original"].to_numpy(bool)
    reward = group["reward"].to_numpy(float)
    others = reward[~original].mean()
    return {
        "prm": float(chances(group["score"].to_numpy(float), original, n) @ reward),
        "random": float((reward[original][0] + (n - 1) * others) / n),
        "oracle": float(chances(reward, original, n) @ reward),
        "original": float(reward[original][0]),
    }


def chances(value: np.ndarray, original: np.ndarray, n: int) -> np.ndarray:
    """Probability of each member to be the highest `value` of the original and n - 1 others; ties to the original.

    A branch-off wins if it lies above the original and the n - 2 others are drawn from those ranked below it.
    """
    order = np.lexsort((np.arange(len(value)), ~original, -value))  # best first
    m, place = len(value) - 1, np.empty(len(value), int)
    place[order] = np.arange(len(value))
    first = place[original][0]
    out = np.zeros(len(value))
    for i, at in enumerate(place):
        if original[i]:
            out[i] = math.comb(m - at, n - 1)
        elif at < first and n > 1:
            out[i] = math.comb(m - at - 1, n - 2)  # branch-offs below it: all below, less the original
    return out / math.comb(m, n - 1)


def margin_sweep(branches: pd.DataFrame, margins: Sequence[float]) -> pd.DataFrame:
    """Sibling groups: what the pick gains over the original if it is taken only for a gain in score above a margin.

    margin, groups, moved (share of groups that leave the original), reward, gain with a bootstrap interval over tasks, and
    possible: the gain of a perfect pick.
    """
    groups = [_pick_facts(g) for _, g in branches.dropna(subset=["reward"]).groupby("group") if g["is_original"].sum() == 1 and len(g) > 1]
    facts = pd.DataFrame(groups, columns=["task", "lead", "pick", "original", "most"])
    rows = []
    for margin in margins:
        moved = facts["lead"] > margin
        reward = facts["pick"].where(moved, facts["original"])
        by_task = (reward - facts["original"]).groupby(facts["task"]).mean()
        change = metrics.paired_bootstrap(by_task, np.zeros(len(by_task)))
        row = {"margin": margin, "groups": len(facts), "moved": metrics.mean(moved), "reward": metrics.mean(reward)}
        rows.append(row | {"gain": change.value, "low": change.low, "high": change.high, "possible": _possible(facts)})
    return pd.DataFrame(rows)


def _possible(facts: pd.DataFrame) -> float:
    return metrics.mean((facts["most"] - facts["original"]).groupby(facts["task"]).mean())


def _pick_facts(group: pd.DataFrame) -> tuple:
    """(task, lead of the best-scored branch-off over the original, its reward, the original's, the best)."""
    original = group[group["is_original"]].iloc[0]
    best = group[~group["is_original"]].sort_values("score", ascending=False, kind="stable").iloc[0]
    return group["task"].iloc[0], best["score"] - original["score"], best["reward"], original["reward"], group["reward"].max()


# in words


def headline(differences: pd.DataFrame, gaps: pd.DataFrame) -> str:
    """The answer in a sentence for each comparison: a difference, or a null with what could have been seen."""
    lines = []
    for r in differences.itertuples():
        points = f"{r.comparison}: {100 * r.diff:+.1f} points [{100 * r.low:+.1f}, {100 * r.high:+.1f}], {r.tasks} tasks"
        null = "no difference shown" if math.isnan(r.mde) else f"no difference shown; {100 * r.mde:.1f} points would have been"
        lines.append(f"{points}, {r.wins} wins, {r.ties} ties, {r.losses} losses" + (f": {null}" if r.low <= 0 <= r.high else ""))
    for r in gaps[gaps["arm"] == GUIDED].itertuples():
        share = f"guided closes {100 * r.closed:.0f} % [{100 * r.low:.0f}, {100 * r.high:.0f}] of it"
        lines.append(f"oracle - unguided: {100 * r.gap:+.1f} points; {'there is no gap' if math.isnan(r.closed) else share}")
    return "\n".join(lines)
