"""Methods on the collected programs of the real code model: shares, clusters resampled, and the comparisons fixed beforehand.

    python scripts/real_model.py data/qwen_rollouts [--run qwen_picks]
    python scripts/real_model.py data/qwen_rollouts --against data/qwen_rollouts/second_run.csv
    python scripts/real_model.py data/qwen_rollouts --scores data/qwen_rollouts/prm_scores.csv.gz

Knows judged rollouts, choosers and the tables of stage 03.  Trains nothing.  A task has an unperturbed thought and noisy ones.
`--run` adds what the run's reward models choose (`run params/qwen_picks.yaml --only 01-03`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis import comparisons, metrics
from parallax_lib.analysis.readable import as_text
from parallax_lib.core.config import load_file
from parallax_lib.core.storage import run_folder
from parallax_lib.search import untrained_rule
from parallax_lib.search.choosers import Choice
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import cross_validation
from parallax_lib.tasks.task import split_of

SAFE = frozenset({"reduction", "atomic", "critical", "scan", "shared", "warp", "block"})
METHODS = ("unguided", "random", "best_of_n", "compile_filter", "execution_filter", "first_survivor", "oracle")
PAIRS = [("random", "unguided"), ("plan_rule", "unguided"), ("best_of_n", "unguided"), ("compile_filter", "unguided"),
         ("first_survivor", "unguided"), ("oracle", "unguided")]  # fmt: skip
GUIDED = [("guided", "unguided"), ("guided", "plan_rule"), ("guided", "random"), ("guided_filter", "first_survivor")]


def plan_rule(looks: pd.DataFrame) -> Choice:
    """The untrained rule for plans of any number of words: a word that protects updates if, and only if, the source accumulates."""
    return Choice("trajectories", looks["fits"], most=1)


def fits(rows: pd.DataFrame) -> pd.Series:
    """[n] 1 where a plan has a word of SAFE just if a function of the source accumulates into what all iterations share."""
    wanted = rows["accumulates"] if "accumulates" in rows else rows["source_code"].map(accumulates)
    safe = rows["plan"].map(lambda plan: bool(SAFE & set(plan.split())))
    return (safe == wanted).astype(float)


def accumulates(source: str) -> bool:
    """Whether the source says so itself, or one of its functions does (`search.untrained_rule`)."""
    return bool(untrained_rule.SAID.search(source)) or any(untrained_rule.accumulating(source))


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """What each of METHODS and `plan_rule` takes of every task: a row a task and method."""
    known, looks = cross_validation.looks(rows, np.zeros(len(rows)))
    looks = looks.assign(fits=fits(known))
    tables = []
    for method in (*METHODS, plan_rule):
        name = method if isinstance(method, str) else method.__name__
        chooser = cross_validation.named([method])[name]
        found = cross_validation.choose(looks, chooser)
        tables.append(known.loc[found.index].reset_index(drop=True).assign(arm=name, **found.drop(columns="group").reset_index(drop=True)))
    return pd.concat(tables, ignore_index=True).assign(seed=0)


def against(rows: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The first run beside another one on the tasks that both have: unperturbed programs, and the best of all thoughts."""
    other = pd.read_csv(file, keep_default_na=False)
    both = set(rows["task"]) & set(other["task"])
    parts = []
    for name, table in (("first", rows), ("second", other)):
        table = table[table["task"].isin(both)]
        best = table.groupby("task", sort=False).agg(
            family=("family", "first"), direction=("direction", "first"), validated=("validated", "max")
        )
        parts += [table[table["branch_depth"] < 0].assign(arm=name), best.reset_index().assign(arm=f"{name}, oracle")]
    return pd.concat(parts, ignore_index=True).assign(seed=0, reason="")


def picks(rows: pd.DataFrame, scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(how each column of scores ranks the programs, the program of each task that it puts first beside the unperturbed one).

    pairwise: share of pairs of a right and a wrong program of one task in which the right one has the higher score, equal ones half.
    """
    known = rows.merge(scores, on="capture_id", validate="one_to_one")
    kinds = [name for name in scores if name.startswith("score_")]
    taken, table = [known[known["branch_depth"] < 0].assign(arm="unguided")], []
    for kind in kinds:
        read = known.dropna(subset=kind)
        pairs = [(right > wrong) + (right == wrong) / 2 for right, wrong in _pairs(read, kind)]
        auroc = metrics.auroc(read[kind].to_numpy(), read["validated"].to_numpy(bool))
        name = kind.removeprefix("score_")
        table.append({"reads": name, "programs": len(read), "auroc": auroc, "pairs": len(pairs), "pairwise": np.mean(pairs)})
        best = read.sort_values(kind, ascending=False, kind="stable").drop_duplicates("task")  # of equal ones the first thought
        taken.append(best.assign(arm=name))
    return pd.DataFrame(table), pd.concat(taken, ignore_index=True).assign(seed=0)


def _pairs(rows: pd.DataFrame, kind: str) -> list[tuple[float, float]]:
    return [
        (right, wrong)
        for _, one in rows.groupby("task")
        for right in one.loc[one["validated"], kind]
        for wrong in one.loc[~one["validated"], kind]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of judged rollouts")
    parser.add_argument("--run", default="", help="whose stage 03 chose among them")
    parser.add_argument("--against", type=Path, help="programs of another run on test tasks: only this comparison is printed")
    parser.add_argument("--scores", type=Path, help="of reward models, by capture_id: what each would pick; only this is printed")
    parser.add_argument("--params", type=Path, default=Path("params/qwen_picks.yaml"))
    args = parser.parse_args()
    suite = load_file(args.params).suite
    rows, _ = read_rollouts(args.folder)
    rows = rows[rows["family"].map({f: split_of(f, suite) for f in rows["family"].unique()}) == "test"]
    if args.scores:
        ranked, table = picks(rows, pd.read_csv(args.scores))
        print(ranked.round(3).to_string(index=False))
        pairs = [(name, "unguided") for name in ranked["reads"]]
    elif args.against:
        table, pairs = against(rows, args.against), [("second", "first"), ("second, oracle", "first, oracle"), ("second, oracle", "second")]
    else:
        table, pairs = chosen(rows.reset_index(drop=True)), PAIRS
    if args.run:
        picked = pd.read_parquet(run_folder(args.run) / "cross_validation.parquet")
        table = pd.concat([table, picked[picked["arm"].isin(["guided", "guided_filter"])]], ignore_index=True)
        pairs = [*GUIDED, *PAIRS]
    print(f"{table['task'].nunique()} tasks in {table['family'].nunique()} clusters, {len(rows)} programs")
    shown = ["arm", "n", "rate", "low", "high", "looked_at"]
    print(as_text(metrics.arm_table(table).reindex(columns=shown).dropna(axis=1, how="all")))
    by_direction = table.groupby(["arm", "direction"], sort=False)["validated"].mean().unstack()
    print((100 * by_direction).round(1).to_string())
    shown = ["comparison", "tasks", "clusters", "rate_a", "rate_b", "diff", "low", "high", "p_holm", "mde"]
    print(comparisons.planned(table, pairs, unjudged_fail=True)[shown].round(3).to_string(index=False))


if __name__ == "__main__":
    main()
