"""Which verdicts deserve a human eye, and what the rates are before and after one.

Knows result rows and decisions.  Knows no widget.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from parallax_lib import metrics

DECISIONS = ("accept", "reject", "unsure")


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
        "could not be checked here": results["reason"].isin(["not_checkable", "infra_error"]),
        "passes, parallelism unproven": results["validated"] & (results["parallel"] != "yes"),
    }
    parts = []
    for rank, (why, rows) in enumerate(reasons.items()):
        found = results[rows]
        parts.append(found.assign(why=why, urgency=len(reasons) - rank + (score[rows] - threshold).abs()))
    ranked = pd.concat(parts).sort_values("urgency", ascending=False, kind="stable")
    return ranked[~ranked.index.duplicated()].reset_index(names="row")


def both_rates(results: pd.DataFrame, decisions: Mapping[int, str]) -> pd.DataFrame:
    """Validated share per arm, by the harness alone and with the decisions (row number -> accept | reject) laid on top."""
    after = results["validated"].copy()
    for row, decision in decisions.items():
        if decision in ("accept", "reject") and row in after.index:
            after.loc[row] = decision == "accept"
    rows = []
    for arm, part in results.groupby("arm", sort=False):
        n, auto, human = len(part), int(part["validated"].sum()), int(after[part.index].sum())
        low, high = metrics.wilson(human, n)
        rows.append(
            {
                "arm": arm,
                "n": n,
                "automatic": round(auto / n, 3),
                "rechecked": round(human / n, 3),
                "low": round(low, 3),
                "high": round(high, 3),
            }
        )
    return pd.DataFrame(rows)
