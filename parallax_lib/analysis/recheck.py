"""Which verdicts deserve a human eye, and what the rates are before and after one.

Knows result rows and decisions.  Knows no widget.  n distinct programs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from parallax_lib.analysis import closeness, metrics
from parallax_lib.analysis.decisions import program_key
from parallax_lib.verdict.reasons import UNKNOWN

EXACT, MARKED = 1e-6, 2.0  # a difference this small is as near as can be; urgency of what a person marked
LOOKED_AT = ("task", "kernel", "reason", "level", "validated", "parallel", "log")
DIFFERS = ("wrong_output", "nondeterministic", "incomplete")


def programs(results: pd.DataFrame) -> pd.DataFrame:
    """Distinct programs, [n]: the first row of each task and text (`row`), how many rows have it, their highest and lowest score, whether
    they disagree about `validated`, and the columns of `LOOKED_AT`."""
    text = pd.factorize(results["code"])[0] if "code" in results else np.arange(len(results))
    text = np.where(text < 0, -1 - np.arange(len(text)), text)  # a row without a text is like no other
    group = pd.Series(text, index=results.index).groupby([results["task"], text]).ngroup()
    score = results["score"].astype(float) if "score" in results else pd.Series(np.nan, index=results.index)
    good = results["validated"].astype(bool)
    first = ~group.duplicated()
    at = group[first]
    figures = {"rows": group.value_counts(), "highest": score.groupby(group).max(), "lowest": score.groupby(group).min()}
    figures["disagree"] = good.groupby(group).nunique() > 1
    known = results.loc[first, [name for name in LOOKED_AT if name in results]]
    return known.assign(row=at.index, **{name: at.map(value) for name, value in figures.items()}).reset_index(drop=True)


def queue(
    results: pd.DataFrame,
    threshold: float = 0.5,
    weakness: Mapping[str, float] | None = None,
    measured: Mapping[str, float] | None = None,
    marked: Collection[str] = (),
    other_judge: Collection[str] = (),
) -> pd.DataFrame:
    """Distinct programs worth a look, most urgent first: the columns of the results and `row`, `rows`, `why`, `urgency`, `closeness`.

    urgency is the largest of the doubts of `doubts`, from 0 to 1; 2 where a person marked the program.  weakness: {kernel: share of
    wrong variants that its oracle lets pass}.  measured: {program key: relative difference of a new run's output}.  marked,
    other_judge: keys of programs that a person marked, and that another judge judged otherwise.
    """
    table = programs(results)
    keyed = results.loc[table["row"], ["task", "code"]] if measured or marked or other_judge else pd.DataFrame()
    keys = [program_key(row) for row in keyed.to_dict("records")]
    gap = closeness.of_logs(table["log"]) if "log" in table else np.full(len(table), np.nan)
    table["closeness"] = [measured.get(key, known) for key, known in zip(keys, gap, strict=True)] if measured else gap
    found = doubts(table, threshold, weakness or {})
    if keys:
        found["another judge says otherwise"] = pd.Series([float(key in set(other_judge)) for key in keys])
        found["a person marked it"] = pd.Series([MARKED * (key in set(marked)) for key in keys])
    grades = pd.DataFrame(found, index=table.index).fillna(0.0)
    table = table.assign(why=grades.idxmax(axis=1) if len(grades) else "", urgency=grades.max(axis=1))
    table = table[table["urgency"] > 0].sort_values(["urgency", "rows"], ascending=False, kind="stable", ignore_index=True)
    columns = {name: table[name].to_numpy() for name in ("row", "rows", "why", "urgency", "closeness")}
    return results.loc[table["row"]].reset_index(drop=True).assign(**columns)


def doubts(table: pd.DataFrame, threshold: float, weakness: Mapping[str, float]) -> dict[str, pd.Series]:
    """{why: how much, 0 to 1 [n]} of distinct programs."""
    good, reason, level = table["validated"].astype(bool), table["reason"], table["level"] if "level" in table else 5
    near = (-np.log10(table["closeness"].clip(lower=EXACT, upper=1)) / -np.log10(EXACT)).fillna(0)
    liked = ((table["highest"] - threshold) / (1 - threshold)).clip(lower=0)
    differs, unproven = reason.isin(DIFFERS), table["parallel"] != "yes" if "parallel" in table else False
    weak = table["kernel"].map(weakness).fillna(0) if "kernel" in table else 0
    return {
        "its output is close to the reference": near.where(differs, 0),
        "the PRM likes it, the verdict does not": liked.where(~good & (level >= 2), 0),
        "the verdict likes it, the PRM does not": ((threshold - table["lowest"]) / threshold).clip(lower=0).where(good, 0),
        "equal programs have different verdicts": table["disagree"].astype(float),
        "passes, its oracle is weak": (good * weak).astype(float),
        "suspected of cheating": 0.9 * (reason == "cheat_suspected"),
        "could not be checked here": 0.6 * reason.isin(UNKNOWN),
        "passes, parallelism unproven": 0.5 * (good & unproven),
        "its output differs, by how much is not measured": 0.05 * (differs & table["closeness"].isna()),
    }


def both_rates(results: pd.DataFrame, decisions: Mapping[int, str]) -> pd.DataFrame:
    """Validated share per method, by the harness alone and with the decisions (row number -> accept | reject) laid on top.

    Rows the harness could not judge count only once a person decided them; the interval is the rechecked rate's.  A table without
    methods is one.
    """
    results = results if "arm" in results else results.assign(arm="all programs")
    results = results[["arm", "task", "reason", "validated"]]  # texts are heavy to take apart
    decided = {row: choice == "accept" for row, choice in decisions.items() if choice in ("accept", "reject") and row in results.index}
    rows = []
    for arm, part in results.groupby("arm", sort=False):
        judged = metrics.judged(part)["validated"].astype(bool)
        after = judged.to_dict() | {row: decided[row] for row in part.index if row in decided}
        low, high = metrics.clustered(list(after.values()), part["task"].loc[list(after)])
        rates = {"automatic": metrics.mean(judged), "rechecked": metrics.mean(pd.Series(after, dtype=float)), "low": low, "high": high}
        rows.append({"arm": arm, "n": len(after)} | {name: round(value, 3) for name, value in rates.items()})
    return pd.DataFrame(rows)
