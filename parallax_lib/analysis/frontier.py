"""What every method reaches and what it costs: programs that it compiles and runs, and tokens, for every number of programs.

Knows the tables of a run and the choosers of a pool.  Draws nothing, and computes no interval of its own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from parallax_lib.analysis import comparisons, metrics
from parallax_lib.analysis.comparisons import CEILING, FLOOR, GUIDED
from parallax_lib.search.arms import AT_COST, OF_SAMPLED, counted

SPENT = ("looked_at", "compiles", "validator_runs", "cost")
KEPT = ("arm", "N", "seed", "task", "family", "validated", "reason", *SPENT)


def rows(results: pd.DataFrame, *pools: pd.DataFrame, rounds: pd.DataFrame | None = None) -> pd.DataFrame:
    """What every method takes on every task, a row for each N that a chooser may have written; other methods have N 1.

    results: of stage 05; pools: its `pool` and `sampled_pool`; rounds: its repair rounds, taken where they were made for every task
    and seed, under the names `first_survivor+repair1`.  Methods held to guided's cost are left out: another N tells the same.
    """
    guided = results[results["arm"] == GUIDED]
    parts = [counted(pool, guided) for pool in pools if len(pool)]
    several = {arm for part in parts for arm in part["arm"]}
    alone = results[~results["arm"].isin(several) & ~results["arm"].str.contains(AT_COST)]
    parts = [alone.assign(N=1), *parts]
    if rounds is not None:
        whole = len(rounds[rounds["repair"] == 0]) == len(results)
        later = rounds[(rounds["repair"] > 0) & whole & ~rounds["arm"].str.contains(AT_COST)]
        parts.append(later.assign(arm=later["arm"] + "+repair" + later["repair"].astype(str), N=later["looked_at"].max()))
    return pd.concat([part for part in parts if len(part)], ignore_index=True).reindex(columns=list(KEPT))


def table(taken: pd.DataFrame) -> pd.DataFrame:
    """Of `rows`, a row for each method and N: arm, N, prm, tasks, rate, looked_at, compiles, validator_runs, checks (the two together),
    cost, all means of a task; the difference to the unguided method with its interval from resampling whole families and its mde; and
    whether it is on the front of checks and on that of cost.

    prm: a PRM ranks its programs.  The oracle sees the reference and is on no front.
    """
    floor = taken[taken["arm"] == FLOOR]
    found = [_point(arm, n, part, floor) for (arm, n), part in taken.groupby(["arm", "N"], sort=False)]
    points = pd.DataFrame(found)
    real = ~points["arm"].map(base).eq(CEILING)
    for name in ("checks", "cost"):
        points[f"on_{name}_front"] = real & on_front(points[name].where(real), points["rate"])
    return points


def _point(arm: str, n: int, part: pd.DataFrame, floor: pd.DataFrame) -> dict:
    known = metrics.judged(part)
    spent = {name: float(part[name].mean()) for name in SPENT}
    row = {"arm": arm, "N": int(n), "prm": by_prm(arm), "tasks": known["task"].nunique()}
    row |= {"rate": metrics.mean(known["validated"].astype(float)), **spent, "checks": spent["compiles"] + spent["validator_runs"]}
    if arm == FLOOR or floor.empty:
        return row
    against = comparisons.planned(pd.concat([floor, part]), [(arm, FLOOR)]).iloc[0]
    return row | {name: against[name] for name in ("diff", "low", "high", "mde")}


def by_prm(arm: str) -> bool:
    """Whether a PRM, of latents or of text, ranks what this method takes."""
    name = base(arm).split("+")[0]
    return name.startswith(GUIDED) or name.endswith("_prm")


def numbered(taken: pd.DataFrame) -> pd.DataFrame:
    """`rows` named with their numbers of programs, `first_survivor N=4`, for `comparisons.planned`; those of one program as they are."""
    several = taken.groupby("arm")["N"].transform("nunique") > 1
    return taken.assign(arm=taken["arm"].where(~several, taken["arm"] + " N=" + taken["N"].astype(str)))


def saved(taken: pd.DataFrame, arm: str, against: str, spent: str = "compiles", draws: int = 2000, seed: int = 0) -> dict:
    """Share of what `against` spends with all its programs that `arm` saves where it validates as many, between its own numbers.

    Of `rows`.  rate (of `against`), spent and needed (means of a task), saved with its 95 % interval from resampling whole families,
    unreached: the share of draws in which `arm` validates fewer with any number; the interval is over the others.
    """
    both = [taken[taken["arm"] == name] for name in (arm, against)]
    known = set(both[0]["task"]) & set(both[1]["task"])
    a, b = (_curve(part[part["task"].isin(known)], spent) for part in both)
    times = metrics.resamples(len(a[0]), draws, seed).astype(float)
    every = [_needed(weights, a, b) for weights in (np.ones(len(a[0])), *times)]
    shares = 1 - np.array([needed / paid for _, paid, needed in every])
    reached = shares[1:][~np.isnan(shares[1:])]
    low, high = np.quantile(reached, [0.025, 0.975]) if len(reached) else (metrics.NAN, metrics.NAN)
    rate, paid, needed = every[0]
    row = {"arm": arm, "against": against, "rate": rate, "spent": paid, "needed": needed, "saved": shares[0]}
    return row | {"low": float(low), "high": float(high), "unreached": 1 - len(reached) / draws}


def _curve(part: pd.DataFrame, spent: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of validated programs, of what is spent and of programs: each [families, N]."""
    sums = part.assign(good=part["validated"].astype(float), n=1.0).pivot_table(["good", spent, "n"], "family", "N", aggfunc="sum")
    return sums["good"].to_numpy(), sums[spent].to_numpy(float), sums["n"].to_numpy()


def _needed(weights: np.ndarray, a: tuple, b: tuple) -> tuple[float, float, float]:
    """(rate of b with all programs, what it spends, what a spends where it first reaches that rate; NaN where it does not)."""
    (rates, costs), (target, paid) = ((weights @ c[0] / (weights @ c[2]), weights @ c[1] / (weights @ c[2])) for c in (a, b))
    reached = np.flatnonzero(rates >= target[-1])
    if not len(reached):
        return target[-1], paid[-1], metrics.NAN
    i = reached[0]
    if i == 0:
        return target[-1], paid[-1], costs[0]
    part = (target[-1] - rates[i - 1]) / (rates[i] - rates[i - 1])
    return target[-1], paid[-1], costs[i - 1] + part * (costs[i] - costs[i - 1])


def base(arm: str) -> str:
    """The chooser's name, whichever pool it chooses from."""
    return arm.removeprefix(f"{OF_SAMPLED}:")


def on_front(cost: pd.Series, rate: pd.Series) -> pd.Series:
    """Which points no other one beats: none has a higher rate at the same or a smaller cost, or the same rate at a smaller one."""
    points = pd.DataFrame({"cost": cost, "rate": rate}).dropna().sort_values(["cost", "rate"], ascending=[True, False], kind="stable")
    best = points["rate"].cummax().shift(fill_value=-1.0)
    return (points["rate"] > best).reindex(cost.index, fill_value=False)
