"""What a run found, in a few sentences: the result with its interval, what it rests on, what it does not show.

Knows the tables of a run and says only what stands in them.  Runs no model and judges no program.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from parallax_lib.analysis import metrics
from parallax_lib.analysis.comparisons import CEILING, FLOOR, GUIDED, over_families

RULE, LIKELIEST, SURVIVOR, CHANCE = "untrained_rule", "best_of_n", "first_survivor", "random"
FEW = 30  # live tasks below which the translations are called an illustration


class Finding(NamedTuple):
    label: str
    text: str


def findings(chosen: pd.DataFrame, again: pd.DataFrame, results: pd.DataFrame, overuses: bool = False) -> list[Finding]:
    """Sentences on what the choosers took among collected trajectories, on verdicts made again, on live translations.

    chosen: `cross_validation.table`; again: `agreement.judged_again`; results: the methods' judged programs.  Any may be empty.
    overuses: the translator is the bundled one, whose corpus overuses `parallel`.
    """
    said = []
    if len(chosen):
        said += [Finding("Found", _gain(chosen)), Finding("Beside it", _others(chosen))]
    if len(again):
        said.append(Finding("It rests on", _agreement(again)))
    if {GUIDED, FLOOR} <= set(results.get("arm", ())):
        few = illustration(results)
        said.append(Finding("Illustration" if few else "Live", _live(results) + few.replace("an illustration, ", "") + "."))
    if len(chosen):
        said.append(Finding("Not shown", _limits(chosen, overuses)))
    return said


def illustration(results: pd.DataFrame) -> str:
    """The end of a sentence that counts live tasks: nothing, or that they are too few."""
    return "" if results["task"].nunique() >= FEW else "; an illustration, too few tasks for a rate"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(low: float, high: float, value: float | None = None) -> str:
    """`+11.6 points [+9.9, +13.3]`, or the interval alone, of shares."""
    interval = f"[{100 * low:+.1f}, {100 * high:+.1f}]"
    return interval if value is None else f"{100 * value:+.1f} points {interval}"


def _gain(chosen: pd.DataFrame) -> str:
    paired, families = metrics.paired(chosen, GUIDED, FLOOR), over_families(chosen)
    where = f"{paired['tasks']:,} tasks of {chosen['family'].nunique()} kernel families that they never saw"
    rates = f"PRMs pick a validated trajectory on {percent(paired['rate_a'])} of {where}"
    rates += f", the unguided one is validated on {percent(paired['rate_b'])}"
    spread = points(families.low, families.high)
    null = "; resampled by family this is no difference" if families.low <= 0 <= families.high else ""
    return f"{rates}: {points(paired['low'], paired['high'], paired['diff'])}, with whole families resampled {spread}{null}."


def _others(chosen: pd.DataFrame) -> str:
    rate = chosen.groupby("arm")["validated"].mean()
    written = chosen.groupby("arm")["looked_at"].mean()
    names = {RULE: "an untrained rule", CHANCE: "a random sibling", LIKELIEST: "the likeliest program"}
    parts = [f"{name} {percent(rate[arm])}" for arm, name in names.items() if arm in rate]
    if SURVIVOR in rate:
        cost = f"{written[SURVIVOR]:.1f} programs written and run a task"
        parts.append(f"the first program that survives its own runs {percent(rate[SURVIVOR])} ({cost})")
    if CEILING in rate:
        parts.append(f"the best possible choice {percent(rate[CEILING])}")
    return f"On the same tasks {', '.join(parts)}."


def agreement(again: pd.DataFrame) -> dict:
    """n programs judged again, how many are validated or not as before, their share and its interval by tasks; unjudged ones apart."""
    known = metrics.judged(again)
    same = known["validated"].astype(bool) == known["was"].astype(bool)
    low, high = metrics.clustered(same, known["task"]) if len(known) else (metrics.NAN, metrics.NAN)
    counts = {"tasks": known["task"].nunique(), "programs": len(known), "same": int(same.sum()), "unjudged": len(again) - len(known)}
    return counts | {"share": metrics.mean(same), "low": low, "high": high}


def _agreement(again: pd.DataFrame) -> str:
    a, chosen = agreement(again), int(again["chosen"].sum())
    sample = f"{chosen} chosen and {len(again) - chosen} other programs of {again['task'].nunique()} tasks"
    unjudged = f"; {a['unjudged']} could not be judged here" if a["unjudged"] else ""
    share = f"{a['same']} of {a['programs']} ({percent(a['share'])} [{percent(a['low'])}, {percent(a['high'])}])"
    return f"Collected verdicts: {sample} were compiled and run again on this machine, {share} got the same one{unjudged}."


def _live(results: pd.DataFrame) -> str:
    known = metrics.judged(results)
    good = known.groupby("arm")["validated"].sum().astype(int)
    counts = ", ".join(f"{arm} {good.get(arm, 0)}" for arm in (GUIDED, FLOOR))
    return f"{results['task'].nunique()} tasks translated live, programs validated: {counts}"


def _limits(chosen: pd.DataFrame, overuses: bool) -> str:
    parts = []
    for arm, name in ((RULE, "the untrained rule"), (SURVIVOR, "running programs until one survives")):
        if arm in set(chosen["arm"]):
            paired = metrics.paired(chosen, GUIDED, arm)
            parts.append(f"guided minus {name} is {points(paired['low'], paired['high'], paired['diff'])}")
    cheaper = f"that PRMs are worth more than cheaper choosers ({'; '.join(parts)})" if parts else "how cheaper choosers do"
    seeds = "" if chosen["seed"].nunique() > 1 else ", what another training seed picks"
    other = "another translator: the corpus of this one overuses `parallel` on purpose" if overuses else "another translator"
    return f"This does not show {cheaper}{seeds}, or anything about {other}."
