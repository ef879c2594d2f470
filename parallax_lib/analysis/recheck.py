"""Which verdicts deserve a human eye, and what the rates are before and after one.

Knows result rows and decisions.  Knows no widget.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from parallax_lib.analysis import metrics
from parallax_lib.verdict.reasons import UNKNOWN


def queue(results: pd.DataFrame, threshold: float = 0.5) -> pd.DataFrame:
    """Rows worth a look, most urgent first, with `why` and `urgency`.

    A scorer and a verdict that disagree come first, then outputs that came close, then passes with an unchecked part.
    """
    score = results["score"].fillna(threshold)
    reasons = {
        "the PRM likes it, the verdict does not": (~results["validated"]) & (score > threshold) & (results["level"] >= 2),
        "the verdict likes it, the PRM does not": results["validated"] & (score < threshold),
        "ran, but its output differs": results["reason"].isin(["wrong_output", "nondeterministic", "incomplete"]),
        "suspected of cheating": results["reason"] == "cheat_suspected",
        "could not be checked here": results["reason"].isin(UNKNOWN),
        "passes, parallelism unproven": results["validated"] & (results["parallel"] != "yes"),
    }
    parts = []
    for rank, (why, rows) in enumerate(reasons.items()):
        found = results[rows]
        parts.append(found.assign(why=why, urgency=len(reasons) - rank + (score[rows] - threshold).abs()))
    ranked = pd.concat(parts).sort_values("urgency", ascending=False, kind="stable")
    return ranked[~ranked.index.duplicated()].reset_index(names="row")


def both_rates(results: pd.DataFrame, decisions: Mapping[int, str]) -> pd.DataFrame:
    """Validated share per method, by the harness alone and with the decisions (row number -> accept | reject) laid on top.

    Rows the harness could not judge count only once a person decided them; the interval is the rechecked rate's.
    """
    decided = {row: choice == "accept" for row, choice in decisions.items() if choice in ("accept", "reject") and row in results.index}
    rows = []
    for arm, part in results.groupby("arm", sort=False):
        judged = metrics.judged(part)["validated"].astype(bool)
        after = judged.to_dict() | {row: decided[row] for row in part.index if row in decided}
        low, high = metrics.clustered(list(after.values()), part["task"].loc[list(after)])
        rates = {"automatic": metrics.mean(judged), "rechecked": metrics.mean(pd.Series(after, dtype=float)), "low": low, "high": high}
        rows.append({"arm": arm, "n": len(after)} | {name: round(value, 3) for name, value in rates.items()})
    return pd.DataFrame(rows)
