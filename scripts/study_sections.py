"""The sections of the study's page, for `study_page`: each a title and the text of a table.

Knows the tables of stages 01-07 and what is said of their columns.  Knows no folder.
"""

from __future__ import annotations

import pandas as pd
from page_words import FAMILY, FLAT, RESAMPLED, SINGLE, captioned, table

from parallax_lib.analysis import comparisons, metrics, pass_at_k
from parallax_lib.analysis.comparisons import CEILING, FLOOR, GUIDED
from parallax_lib.analysis.subgroups import (
    HAND,
    MADE,
    beside_readers,
    bought,
    by_setting,
    levels,
    parts,
    shown_parallel,
    tried,
    unchecked,
    verdict,
    without_equal_cost,
)
from parallax_lib.search.arms import RANKED, drawn
from parallax_lib.verdict.reasons import REASONS

FAMILIES = (
    "Guided minus each method, with whole families resampled: what the gain could be in other families. `alike`: each family counts the "
    "same, however many tasks it has. `gain`, `tie`, `lose`: families; `p_value`: exact sign test of them."
)
JUDGED = {"results": "methods", "cross_validation": "collected trajectories"}  # tables with a row a judged program
BESIDE = ["cross_validation_differences", "cross_validation_gaps", "cross_validation_families"]  # what stage 03 has worked out


# what the tables say


def collected(rows: pd.DataFrame) -> pd.DataFrame:
    """Per split and direction: tasks, rollouts, validated, and tasks whose siblings have different outcomes."""
    records = []
    for (split, direction), part in rows.dropna(subset=["reward"]).groupby(["split", "direction"]):
        by_task = part.groupby("task")["reward"]
        mixed, best = int((by_task.nunique() > 1).sum()), int((by_task.max() == 1).sum())
        originals = part[part["branch_depth"] < 0]
        row = {"split": split, "direction": direction, "tasks": by_task.ngroups, "rollouts": len(part)}
        row |= {"originals validated": int(originals["validated"].sum()), "tasks with a validated rollout": best}
        records.append(row | {"tasks with mixed outcomes": mixed})
    return pd.DataFrame(records)


def reasons(results: pd.DataFrame) -> pd.DataFrame:
    """Programs of every method by the verdict's reason."""
    counts = pd.crosstab(results["arm"], results["reason"])
    return counts.loc[results["arm"].unique(), [reason for reason in REASONS if reason in counts]].reset_index()


def by_families(results: pd.DataFrame, families: pd.DataFrame, arm: str) -> dict:
    """Guided minus a method with whole families resampled; the same where each family counts alike, and in how many it gains."""
    ahead = families[GUIDED] - families[arm]
    row = {"against": arm} | comparisons.over_families(results, GUIDED, arm)._asdict()
    row |= {f"alike {name}": value for name, value in metrics.paired_bootstrap(families[GUIDED], families[arm])._asdict().items()}
    wins, losses = int((ahead > 0).sum()), int((ahead < 0).sum())
    return row | {"gain": wins, "tie": len(families) - wins - losses, "lose": losses, "p_value": metrics.sign_test(wins, losses)}


def in_words(differences: pd.DataFrame, gaps: pd.DataFrame) -> str:
    """`comparisons.headline` as lines of Markdown."""
    return comparisons.headline(differences, gaps).replace("\n", "  \n")


def lead(suites: dict[str, pd.DataFrame]) -> str:
    """On which kernels guidance gains and on which it does not: the page's first lines."""
    rows, lines = pd.concat([frame.assign(what=JUDGED[name]) for name, frame in suites.items()], ignore_index=True), []
    for i, row in enumerate(rows.to_dict("records")):
        reached = ", ".join(f"{arm} {100 * row[arm]:.1f} %" for arm in (GUIDED, FLOOR, CEILING) if not pd.isna(row[arm]))
        words = in_words(rows.iloc[[i]], pd.DataFrame(columns=["arm"]))
        lines.append(f"- {row['what']}, {row['suite']} kernels ({row['families']} families): {words}; {reached}")
    what = f"{HAND.capitalize()}: the bundled suite `data/minibench`; {MADE}: drawn from the grammars of `tasks/synthetic/grammars`."
    return "\n".join([f"**{verdict(rows)}** {what}", "", *lines])


# sections: (title, text) of a table


def compared(results: pd.DataFrame, suites: pd.DataFrame, beside: list[pd.DataFrame], stage: str) -> list[tuple[str, str]]:
    """Guided minus the others, over all tasks and in parts; what the tasks are and what was not judged.

    beside: differences, gaps and shares by family.
    """
    differences, gaps, families = beside
    over = pd.DataFrame([by_families(results, families, arm) for arm in differences["against"]])
    words = [in_words(differences, gaps), captioned(RESAMPLED, differences.drop(columns="comparison"))]
    ways = parts(results, "direction").drop(columns="comparison")
    split = [captioned(f"{RESAMPLED} {FLAT}", suites.drop(columns="comparison")), table(ways)]
    shown = captioned("Validated rows by whether the program was shown to be parallel.", shown_parallel(results))
    return [
        (f"Guided minus every other method ({stage})", "\n\n".join(words)),
        (f"Guided minus unguided by suite and by direction ({stage})", "\n\n".join(split)),
        (f"With families resampled ({stage})", f"{FAMILIES}\n\n{table(over)}"),
        (f"Share of the oracle's gap ({stage})", captioned("", gaps)),
        (f"Validated share by family ({stage})", table(families)),
        (f"Tasks, kernels and families ({stage})", table(tried(results))),
        (f"What was not judged ({stage})", f"{unchecked(results)}\n\n{shown}"),
    ]


def arms(results: pd.DataFrame, suites: pd.DataFrame) -> list[tuple[str, str]]:
    results, why = without_equal_cost(results)
    columns = ["arm", "n", "validated", "rate", "low", "high", "cost", "looked_at", "validator_runs"]
    ways = [table(results.pivot_table("validated", "arm", by, sort=False).reset_index()) for by in ("seed", "direction")]
    beside = [comparisons.differences(results), comparisons.gap_closed(results), comparisons.by_family(results)]
    serial = "A program whose text or object code holds nothing parallel stops at level 2, unrun."
    return [
        ("Methods on held-out tasks (04, 05)", captioned(f"{SINGLE} {why}".strip(), metrics.arm_table(results).filter(columns))),
        *compared(results, suites, beside, "05"),
        ("Validated share by seed of the trajectories and by direction (05)", "\n\n".join(ways)),
        ("How far programs come (05)", captioned(f"Judged programs by level (docs/VERDICTS.md). {serial}", levels(results))),
        ("Why they fail (05)", captioned("Programs by the verdict's reason (docs/VERDICTS.md).", reasons(results))),
    ]


def pool(rows: pd.DataFrame, results: pd.DataFrame | None = None) -> list[tuple[str, str]]:
    if rows.empty:
        return []
    against = []
    if results is not None and GUIDED in set(results["arm"]):
        what = (
            "What a chooser takes that may have N programs of the pool written, and guided minus it. `execution_filter` has all "
            "N written and run and takes the likeliest that survives; `first_survivor` has them written one after another and stops at "
            "the first that survives. A program survives if it compiles, ends in order and prints the same in every run of an input; "
            "nothing of the reference is used. The oracle sees the reference."
        )
        filters = bought(rows, results)
        if RANKED in set(filters["arm"]):
            what += f" `{RANKED}` is the first survivor in the order of the PRM's scores, and pays for thinking all trajectories."
        filtered = captioned(f"{what} {RESAMPLED} {FAMILY}", filters, looked_at="programs written", N="at most")
        against = [("What N programs buy (05)", filtered)]
    sampled = drawn(rows)
    ks = tuple(k for k in (1, 2, 4, 8, 16) if k <= sampled.groupby("task").size().max())
    what = "Of the pool's programs under noise, all seeds together: the mean over tasks of 1 - C(n-c, k) / C(n, k)."
    return against + [("pass@k (05)", captioned(what, pass_at_k.at_k_table(sampled, ks).dropna(axis=1, how="all"), n="programs of a task"))]


def cross_validation(chosen: pd.DataFrame, suites: pd.DataFrame, *beside: pd.DataFrame) -> list[tuple[str, str]]:
    by_seed = chosen.pivot_table("validated", "arm", "seed", aggfunc="mean", sort=False).add_prefix("seed ")
    columns = ["arm", "rate", "low", "high", "latent_steps", "decode_tokens", "looked_at", "compiles", "validator_runs"]
    spent = metrics.arm_table(chosen).filter(columns).merge(by_seed, on="arm")
    what = (
        "What each chooser takes among collected trajectories, by PRMs of other families; what it costs a task (the prompt is not counted)."
    )
    return [
        ("Every held-out family tested once (03)", captioned(f"{what} `seed`: the share under each training seed. {SINGLE}", spent)),
        *compared(chosen, suites, list(beside), "03"),
    ]


def texts(rows: pd.DataFrame, chosen: pd.DataFrame | None = None) -> list[tuple[str, str]]:
    what = (
        "`plan_table`: the mean reward that a plan had in that direction; `plan_text`: a linear model of the plan's tokens and "
        "the source's n-grams (`scripts/text_choosers.py`). Both are trained on the same families as the reward models. `untrained_rule` "
        "learns nothing: of a function that accumulates it wants reduction, atomic or critical, of any other a token that shares the "
        "loop out (`parallax_lib/search/untrained_rule.py`). None of the three sees a latent."
    )
    choosers = captioned(f"{what} {RESAMPLED}", beside_readers(rows, chosen), rate_a="of the first named")
    return [("Choosers that see no latent (03)", choosers)]


def ran(rows: pd.DataFrame) -> list[tuple[str, str]]:
    what = (
        "Choosers that may have N programs written and run. A program survives if it compiles, ends in order and prints the same in every "
        "run of the same input; nothing of the reference is used. `execution_filter`: all N as they were drawn, of which the likeliest "
        "survivor is taken; `first_survivor`: one after another as drawn, up to the first survivor; `guided_filter`: one after another in "
        "the order of the PRMs' scores, up to the first survivor."
    )
    more = {"rate_a": "guided_filter's share", "programs_a": "that it has written", "programs_b": "that the other has written"}
    by_count = comparisons.by_programs(rows)
    return [("What guidance adds where N programs are run (03)", captioned(f"{what} {RESAMPLED} {FAMILY}", by_count, N="at most", **more))]


def repairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    kept = ["arm", "repair", "n", "validated", "rate", "low", "high", "cost", "compiles", "validator_runs"]
    rows, why = without_equal_cost(rows[kept])
    return [("Repair rounds, of the tasks that they are made for (05)", captioned(why, rows))]


def selection(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return [("Branch selection on test families (03)", captioned("", rows[rows["scope"] != "depth"].drop(columns=["scope"])))]


def trainings(rows: pd.DataFrame) -> list[tuple[str, str]]:
    what = "The split by rows leaks on purpose. Scores of `rank` and `listwise` only rank."
    return [("Other trainings (07)", captioned(what, by_setting(rows)))]


SECTIONS = {
    "results": arms,
    "pool": pool,
    "repairs": repairs,
    "cross_validation": cross_validation,
    "cross_validation_filtered": ran,
    "text_choosers": texts,
    "collected": lambda rows: [("Collected (01)", table(rows))],
    "scores_by_depth": lambda rows: [("PRM and baselines on prefixes of test families (02)", captioned("", rows, n="labelled prefixes"))],
    "selection": selection,
    "breadth": lambda rows: [("Best-scored of N collected trajectories (07)", captioned("", rows, n="trajectories chosen among"))],
    "margins": lambda rows: [("Margin (07)", captioned("", rows, gain="mean reward gained over the original"))],
    "variations": trainings,
}
