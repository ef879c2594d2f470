"""How likely programs are that follow a plan, whatever their source is: a prior that is not trained, for `choosers.prior_corrected`.

Knows decoded plans and mean log-probabilities of programs.  Knows no verdict, no latent and no model.

A usual plan makes every program likelier.  A program's mean log-probability less that of other tasks' programs with the same plan tells
how well the plan suits this source.
"""

from __future__ import annotations

import pandas as pd


def prior(rows: pd.DataFrame, training: pd.DataFrame) -> pd.Series:
    """Mean log-probability that each row's plan has on average among training rollouts of its direction, under the rows' index.

    rows need direction, plan; training also mean_logprob.  Of a plan that they do not hold: all of the direction's; NaN without any.
    """
    keys = ["direction", "_plan"]
    known = training.dropna(subset="mean_logprob").assign(_plan=_words(training["plan"]))
    by_plan = known.groupby(keys)["mean_logprob"].mean().rename("prior")
    asked = rows[["direction"]].assign(_plan=_words(rows["plan"]))
    found = asked.join(by_plan, on=keys)["prior"]
    return found.fillna(asked["direction"].map(known.groupby("direction")["mean_logprob"].mean()))


def _words(plans: pd.Series) -> pd.Series:
    """Each plan's different tokens in one order."""
    return plans.fillna("").map(lambda plan: " ".join(sorted(set(plan.split()))))
