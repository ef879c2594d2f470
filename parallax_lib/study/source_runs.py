"""Stage 05, with `validation.agree`: surviving programs of the pools run once more beside their source programs, on made inputs.

Knows the columns of judged rows.  Holds no rule of a comparison: `verdict.source_output` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from parallax_lib.search import arms, choosers
from parallax_lib.study.run import Run, judging, open_bench
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import batch
from parallax_lib.verdict.reasons import UNKNOWN
from parallax_lib.verdict.source_output import Agreement

COLUMNS = [field.name for field in fields(Agreement)]
WHAT = "compare with the source programs"


def with_agreement(run: Run, judged: pd.DataFrame, chosen: Sequence[Task]) -> pd.DataFrame:
    """The judged rows with the columns of `Agreement`, missing where a program is of no pool; one that does not survive is not run again,
    and does not agree.  Without the setting as they are.  Remembered in the run's journal."""
    if not run.params.validation.agree:
        return judged
    run.progress(WHAT, 0)
    by_id = {t.id: t for t in chosen}
    pooled, surviving = judged["arm"].isin((arms.POOL, arms.SAMPLED)), choosers.survives(judged)
    asked = judged[pooled & surviving]
    items = [(code, by_id[task]) for code, task in zip(asked["code"], asked["task"], strict=True)]
    more = {"workers": judging(run.params), "progress": lambda done, total: run.progress(WHAT, done, total, "programs")}
    found = pd.DataFrame([vars(each) for each in batch.agree_many(items, *open_bench(run), **more)], index=asked.index, columns=COLUMNS)
    found = found.reindex(judged.index).astype({"agrees": float, "agree_cpu_s": float})
    found.loc[pooled & ~surviving & ~judged["reason"].isin(UNKNOWN), "agrees"] = 0.0
    printed = found["printed"].where(found["printed"] != "", None)
    return judged.drop(columns=COLUMNS, errors="ignore").join(found.assign(printed=printed))
