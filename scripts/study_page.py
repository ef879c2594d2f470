"""Writes a run's report card as a page: every table of stages 01-07 that is there, as measured.

    python scripts/study_page.py data/study docs/study.png > docs/STUDY.md   # and a figure
    python scripts/study_page.py data/runs/study --ship data/study           # the tables that the page needs, small

FOLDER is a run's folder or one that --ship made.  All that is said of the methods is worked out here from their rows.  `notes.json`
in the folder holds a sentence for a section's title, or for a table's name: it stands under the title, or that of its first section.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from page_words import FAMILY, FLAT, RESAMPLED, SINGLE, captioned, table

from parallax_lib.analysis import comparisons, metrics, pass_at_k
from parallax_lib.analysis.comparisons import CEILING, FLOOR, GUIDED
from parallax_lib.analysis.subgroups import (
    HAND,
    MADE,
    NOTES,
    beside_readers,
    bought,
    by_setting,
    levels,
    parts,
    read_notes,
    shown_parallel,
    tried,
    unchecked,
    verdict,
    with_suite,
    without_equal_cost,
)
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import read_table, write_atomic
from parallax_lib.search.arms import RANKED, drawn
from parallax_lib.verdict.reasons import REASONS

TITLE = "The study's tables"
FAMILIES = (
    "Guided minus each method, with whole families resampled: what the gain could be in other families. `alike`: each family counts the "
    "same, however many tasks it has. `gain`, `tie`, `lose`: families; `p_value`: exact sign test of them."
)
JUDGED = {"results": "arms", "cross_validation": "collected trajectories"}  # tables with a row a judged program, and what they are called
BESIDE = ["cross_validation_differences", "cross_validation_gaps", "cross_validation_families"]  # what stage 03 has worked out
TEXTS = ["source_code", "code", "log", "parallel_evidence", "race_evidence", "checked", "sandbox", "toolchain"]
SMALL = {"compression": "zstd", "compression_level": 22, "dictionary_pagesize_limit": 1 << 26}  # every text once


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
        bought_by = captioned(f"{what} {RESAMPLED} {FAMILY}", filters, looked_at="programs written", N="at most")
        against = [("What N programs buy (05)", bought_by)]
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
        "`plan_table`: the mean reward that a plan had in that direction; `plan_text`: a linear model of the plan's tokens and the source's "
        "n-grams (`scripts/text_choosers.py`). Both are trained on the same families as the reward models. `untrained_rule` learns "
        "nothing: of a function that accumulates it wants reduction, atomic or critical, of any other a token that shares the loop out "
        "(`parallax_lib/search/untrained_rule.py`). None of the three sees a latent."
    )
    compared = captioned(f"{what} {RESAMPLED}", beside_readers(rows, chosen), rate_a="of the first named")
    return [("Choosers that see no latent (03)", compared)]


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


# the page and the tables that it is made from


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Those of the page's tables that the folder holds; of rollouts only what `collected` says."""
    names = [name for name in (*SECTIONS, *BESIDE, "rollouts") if (folder / f"{name}.parquet").exists()]
    found = {name: read_table(folder, name) for name in names}
    if not found:
        raise UserError(f"{folder}: holds none of {', '.join(SECTIONS)}; run the study, or name its folder")
    return ({"collected": collected(found.pop("rollouts"))} if "rollouts" in found else {}) | found


def page(folder: Path) -> str:
    """Sections whose tables are there; a run of stages 01-03 has no methods."""
    found = tables(folder)
    more = {name: [] for name in found}  # what a section needs beside its table
    for name in (name for name in JUDGED if name in found):
        found[name] = with_suite(found[name])
        more[name] = [parts(found[name], "suite"), *([read_table(folder, each) for each in BESIDE] if name == "cross_validation" else [])]
    for name, other in (("pool", "results"), ("text_choosers", "cross_validation")):
        if name in found and other in found:
            more[name] = [found[other]]
    sections = {name: make(found[name], *more[name]) for name, make in SECTIONS.items() if name in found}
    notes = noted(folder, sections)
    suites = {name: more[name][0] for name in JUDGED if name in found}
    blocks = [f"# {TITLE}", lead(suites) if suites else None]
    blocks += [f"Made by `python scripts/study_page.py {folder}` from the tables there.", notes.get(TITLE)]
    for title, text in (section for part in sections.values() for section in part):
        blocks += [f"## {title}", notes.get(title), text]
    return "\n\n".join(filter(None, blocks)) + "\n"


def noted(folder: Path, sections: dict[str, list]) -> dict[str, str]:
    """The folder's notes by section title; one that fits no table and no section is refused."""
    notes = read_notes(folder)
    titles = [title for parts in sections.values() for title, _ in parts]
    for name in notes:
        if name not in {TITLE, *SECTIONS, *titles}:
            raise UserError(
                f"{folder / NOTES}: {name!r} is neither a table nor a section; they are {', '.join([TITLE, *SECTIONS, *titles])}"
            )
    return {parts[0][0]: notes[name] for name, parts in sections.items() if name in notes} | notes


def figure(folder: Path, path: Path) -> None:
    """What programs and tokens buy, or without a pool guided's differences: of the methods, or else of stage 03's choices."""
    from parallax_lib.analysis.figures import methods as method_figures
    from parallax_lib.analysis.figures import report_card as report_figures

    found = tables(folder)
    results = without_equal_cost(found["results"])[0] if "results" in found else None
    if results is not None and "pool" in found and GUIDED in set(results["arm"]):
        fig = report_figures.bought(bought(found["pool"], results, least=1), metrics.arm_table(results))
    else:
        fig = method_figures.paired_diff(comparisons.differences(results) if results is not None else read_table(folder, BESIDE[0]))
    fig.write_image(path, width=900, scale=1.5)


def ship(folder: Path, out: Path) -> None:
    """The page's tables in little room; only the methods' programs keep their texts."""
    for name, rows in tables(folder).items():
        small = rows if name == "results" else rows.drop(columns=TEXTS, errors="ignore")
        write_atomic(out / f"{name}.parquet", small.to_parquet(index=False, **SMALL))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path, help="a run's folder, or one that --ship made")
    ask.add_argument("figure", type=Path, nargs="?", help="where to draw what programs and tokens buy (or guided's differences)")
    ask.add_argument("--ship", type=Path, metavar="OUT", help="write the page's tables there instead of the page")
    args = ask.parse_args()
    try:
        if args.ship:
            ship(args.folder, args.ship)
        else:
            print(page(args.folder), end="")
        if args.figure:
            figure(args.folder, args.figure)
    except UserError as error:
        ask.error(str(error))


if __name__ == "__main__":
    main()
