"""Writes a run's report card as a page: every table of stages 01-07 that is there, as measured.

    python scripts/study_page.py data/runs/study docs/study.png > docs/STUDY.md   # and the figure of guided's differences
"""

import sys
from pathlib import Path

import pandas as pd

from parallax_lib import card, plots_arms, variations
from parallax_lib.store import read_table


def table(frame: pd.DataFrame, digits: int = 3) -> str:
    """The frame in Markdown; floats rounded, missing values empty."""

    def cell(value) -> str:
        if isinstance(value, float):
            return "" if pd.isna(value) else f"{value:.{digits}f}".rstrip("0").rstrip(".")
        return str(value)

    rows = [[cell(value) for value in row] for row in frame.itertuples(index=False)]
    lines = [list(map(str, frame.columns)), ["---"] * frame.shape[1], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def collected(rows: pd.DataFrame) -> pd.DataFrame:
    """Per split and direction: tasks, rollouts, validated, and tasks whose siblings have different outcomes."""
    made = []
    for (split, direction), part in rows.dropna(subset=["reward"]).groupby(["split", "direction"]):
        by_task = part.groupby("task")["reward"]
        mixed, best = int((by_task.nunique() > 1).sum()), int((by_task.max() == 1).sum())
        originals = part[part["branch_depth"] < 0]
        row = {"split": split, "direction": direction, "tasks": by_task.ngroups, "rollouts": len(part)}
        row |= {"originals validated": int(originals["validated"].sum()), "tasks with a validated rollout": best}
        made.append(row | {"tasks with mixed outcomes": mixed})
    return pd.DataFrame(made)


def page(folder: Path) -> str:
    """Sections whose tables the run has left; a run of stages 01-03 has no arms."""

    def of(name: str) -> pd.DataFrame:
        return read_table(folder, name)

    made = f"Made by `python scripts/study_page.py {folder}` from what that run left there."
    parts, there = ["# The study's tables\n\n" + made], {path.stem for path in folder.glob("*.parquet")}
    if {"results", "differences", "gaps"} <= there:
        parts += arms(of("results"), of("arms"), of("differences"), of("gaps"))
    if "repairs" in there:
        kept = ["arm", "repair", "n", "validated", "rate", "low", "high", "cost", "compiles", "validator_runs"]
        parts.append("## Repair rounds, of the tasks that they are made for (05)\n\n" + table(of("repairs")[kept]))
    if "crossfit" in there:
        parts += crossfit(of("crossfit"), of("crossfit_differences"), of("crossfit_gaps"), of("crossfit_families"))
    parts.append("## Collected (01)\n\n" + table(collected(of("rollouts"))))
    parts.append("## PRM and baselines on prefixes of test families (02)\n\n" + table(of("scores_by_depth")))
    selection = of("selection")
    parts.append("## Branch selection on test families (03)\n\n" + table(selection[selection["scope"] != "depth"].drop(columns=["scope"])))
    if {"breadth", "margins", "variations"} <= there:
        parts += [
            "## Best-scored of N collected thoughts (07)\n\n" + table(of("breadth")),
            "## Margin (07)\n\n" + table(of("margins")),
            "## Other trainings (07)\n\nThe split by rows leaks on purpose. Scores of `rank` and `listwise` only rank.\n\n"
            + table(variations.summary(of("variations"))),
        ]
    return "\n\n".join(parts) + "\n"


def arms(results: pd.DataFrame, rates: pd.DataFrame, differences: pd.DataFrame, gaps: pd.DataFrame) -> list[str]:
    wanted = ["arm", "n", "validated", "rate", "low", "high", "cost", "looked_at", "validator_runs"]
    by = card.by_family(results)
    seeds, ways = (results.pivot_table("validated", "arm", name, sort=False).reset_index() for name in ("seed", "direction"))
    over = [{"against": arm} | card.over_families(results, against=arm)._asdict() for arm in differences["against"]]
    return [
        card.headline(differences, gaps).replace("\n", "  \n"),
        "With families resampled instead of tasks (each family counts alike):\n\n" + table(pd.DataFrame(over)),
        "## Arms on held-out tasks (04, 05)\n\n`low`, `high`: Wilson. `cost`: tokens forwarded for a task. `@cost`: only as many "
        "programs as guided's cost pays for.\n\n" + table(rates[wanted]),
        "## Guided minus every other arm (07)\n\nBootstrap over tasks, sign test, the smallest difference that would have been seen.\n\n"
        + table(differences.drop(columns="comparison")),
        "## Share of the oracle's gap (07)\n\n" + table(gaps),
        "## Validated share by seed of the thoughts, by direction, by family\n\n" + "\n\n".join(map(table, (seeds, ways, by))),
    ]


def crossfit(chosen: pd.DataFrame, differences: pd.DataFrame, gaps: pd.DataFrame, families: pd.DataFrame) -> list[str]:
    by_seed = chosen.pivot_table("validated", "arm", "seed", aggfunc="mean", sort=False)
    budget = ["latent_steps", "decode_tokens", "looked_at", "compiles", "validator_runs"]
    spent = by_seed.join(chosen.groupby("arm")[budget].mean()).reset_index().rename(columns={s: f"seed {s}" for s in by_seed})
    return [
        "## Every held-out family tested once (03)\n\nWhat each chooser takes among collected thoughts, by PRMs of other families: "
        "validated share under each training seed, and what it costs a task (the prompt is not counted).\n\n" + table(spent),
        card.headline(differences, gaps).replace("\n", "  \n"),
        "Bootstrap over tasks, each with all its seeds.\n\n" + table(differences.drop(columns="comparison")),
        "Share of the oracle's gap:\n\n" + table(gaps),
        "By family, all seeds:\n\n" + table(families),
    ]


if __name__ == "__main__":
    run = Path(sys.argv[1])
    print(page(run), end="")
    if len(sys.argv) > 2:
        name = "differences" if (run / "differences.parquet").exists() else "crossfit_differences"
        plots_arms.paired_diff(read_table(run, name)).write_image(sys.argv[2], width=900, height=420, scale=1.5)
