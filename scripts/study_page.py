"""Writes a run's report card as a page: every table of stages 01-07, as measured.

    python scripts/study_page.py data/runs/study > docs/STUDY.md
"""

import sys
from pathlib import Path

import pandas as pd

from parallax_lib import card, variations
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
    def of(name: str) -> pd.DataFrame:
        return read_table(folder, name)

    results, differences, gaps, by_depth = of("results"), of("differences"), of("gaps"), of("scores_by_depth")
    selection, breadth, margins = of("selection"), of("breadth"), of("margins")
    trained = variations.summary(of("variations"))
    wanted = ["arm", "n", "validated", "rate", "low", "high", "cost", "looked_at", "validator_runs"]
    families = results.assign(tasks=results["family"].map(results.groupby("family")["task"].nunique()))
    families = families.pivot_table("validated", ["family", "tasks"], "arm", aggfunc="mean").reset_index()
    parts = [
        f"# The study's tables\n\nMade by `python scripts/study_page.py {folder}` from what `make study` left there.",
        card.headline(differences, gaps).replace("\n", "  \n"),
        "## Collected (01)\n\n" + table(collected(of("rollouts"))),
        "## Arms on held-out tasks (04, 05)\n\n`low`, `high`: Wilson. `cost`: tokens forwarded for a task. `@cost`: only as many "
        "programs as guided's cost pays for.\n\n" + table(of("arms")[wanted]),
        "## Guided minus every other arm (07)\n\nBootstrap over tasks, sign test, the smallest difference that would have been seen.\n\n"
        + table(differences.drop(columns="comparison")),
        "## Share of the oracle's gap (07)\n\n" + table(gaps),
        "## Validated share by family\n\n" + table(families),
        "## PRM and baselines on prefixes of test families (02)\n\n" + table(by_depth),
        "## Branch selection on test families (03)\n\n" + table(selection[selection["scope"] != "depth"].drop(columns=["scope"])),
        "## Best-scored of N collected thoughts (07)\n\n" + table(breadth),
        "## Margin (07)\n\n" + table(margins),
        "## Other trainings (07)\n\nThe split by rows leaks on purpose. Scores of `rank` and `listwise` only rank.\n\n" + table(trained),
    ]
    if (folder / "repairs.parquet").exists():
        kept = ["arm", "repair", "n", "validated", "rate", "low", "high", "cost", "compiles", "validator_runs"]
        parts.append("## Repair rounds, of the tasks that they are made for (05)\n\n" + table(of("repairs")[kept]))
    if (folder / "crossfit.parquet").exists():
        parts.append(
            "## Every held-out family tested once (03)\n\nAmong collected thoughts, by PRMs of other families.\n\n"
            + table(of("crossfit_differences").drop(columns="comparison")) + "\n\n" + table(of("crossfit_gaps"))
            + "\n\n" + table(of("crossfit_families"))
        )  # fmt: skip
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(Path(sys.argv[1])), end="")
