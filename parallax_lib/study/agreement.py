"""Are shipped verdicts this machine's too?  A sample of collected programs is compiled and run here once more.

Knows collected rollouts, what guided took among them, and how a program is judged.  Trains nothing and writes no program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from parallax_lib.analysis.comparisons import GUIDED
from parallax_lib.core.config import check, resolve
from parallax_lib.core.storage import derive_seed
from parallax_lib.search.rollout_files import read_metadata
from parallax_lib.study.run import Run, all_tasks, judge_frame
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import Task, tasks

WAS = {"validated": "was", "reason": "was_reason"}  # columns that keep the earlier verdict


def sample(chosen: pd.DataFrame, rollouts: pd.DataFrame, count: int) -> pd.DataFrame:
    """Of `count` tasks, drawn by a hash, the program that guided took and another of the task's, with their verdicts as `was`.

    chosen: what choosers took, by capture_id.  `chosen` says of a row which of the two it is.  A task without another program has one.
    """
    taken = chosen[chosen["arm"] == GUIDED].drop_duplicates("task")
    taken = taken[taken["capture_id"].isin(rollouts["capture_id"])]
    drawn = sorted(taken["task"], key=lambda task: derive_seed("again", task))[:count]
    picked = set(taken.loc[taken["task"].isin(drawn), "capture_id"])
    rows = rollouts[rollouts["task"].isin(drawn)].dropna(subset=["reward"])
    rows = rows.assign(chosen=rows["capture_id"].isin(picked), order=[derive_seed("again", name) for name in rows["capture_id"]])
    rows = rows.sort_values(["task", "chosen", "order"]).groupby(["task", "chosen"]).head(1)
    return rows.drop(columns="order").rename(columns=WAS).reset_index(drop=True)


def judged_again(run: Run, chosen: pd.DataFrame, rollouts: pd.DataFrame) -> pd.DataFrame:
    """`sample` of `validation.again` tasks, judged on this machine: capture_id, task, family, direction, chosen, was, validated, reasons.

    No race stage: the collected programs have not been through it.  A task whose source the suite no longer has is left out.
    """
    rows = sample(chosen, rollouts, run.params.validation.again)
    by_id = collected_tasks(run)
    known = [r.task in by_id and by_id[r.task].source_code == r.source_code for r in rows.itertuples()]
    settings = run.params.validation.model_copy(update={"races": "off"})
    plain = replace(run, params=run.params.model_copy(update={"validation": settings}))
    judged = judge_frame(plain, rows[known], list(by_id.values()), "compile and run again")
    return judged[["capture_id", "task", "family", "direction", "chosen", "was", "was_reason", "validated", "reason"]]


def collected_tasks(run: Run) -> dict[str, Task]:
    """The tasks of the run's suite, and of the suite whose rollouts `collect.shipped` names, by id."""
    found: Sequence[Task] = all_tasks(run)
    if run.params.collect.shipped:
        card = read_metadata(resolve(run.params.collect.shipped)).get("params", {})
        if "suite" in card:
            suite = check({"suite": card["suite"]}, {}, Path("metadata.json")).suite
            found = [*tasks(suites.load_suite(suite), suite.directions), *found]
    return {task.id: task for task in found}
