"""What every method reaches and what it costs: programs that it compiles and runs, and tokens, for every number of programs.

Knows the tables of a run and the choosers of a pool.  Draws nothing, and computes no interval of its own.
"""

from __future__ import annotations

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
    row = {"arm": arm, "N": int(n), "prm": base(arm).startswith(GUIDED), "tasks": known["task"].nunique()}
    row |= {"rate": metrics.mean(known["validated"].astype(float)), **spent, "checks": spent["compiles"] + spent["validator_runs"]}
    if arm == FLOOR or floor.empty:
        return row
    against = comparisons.planned(pd.concat([floor, part]), [(arm, FLOOR)]).iloc[0]
    return row | {name: against[name] for name in ("diff", "low", "high", "mde")}


def base(arm: str) -> str:
    """The chooser's name, whichever pool it chooses from."""
    return arm.removeprefix(f"{OF_SAMPLED}:")


def on_front(cost: pd.Series, rate: pd.Series) -> pd.Series:
    """Which points no other one beats: none has a higher rate at the same or a smaller cost, or the same rate at a smaller one."""
    points = pd.DataFrame({"cost": cost, "rate": rate}).dropna().sort_values(["cost", "rate"], ascending=[True, False], kind="stable")
    best = points["rate"].cummax().shift(fill_value=-1.0)
    return (points["rate"] > best).reindex(cost.index, fill_value=False)
