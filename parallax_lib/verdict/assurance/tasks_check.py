"""Judges the target texts that a file of tasks holds, and shows what each task can be judged by on this machine.

Knows kernels, tasks and verdicts.  Knows nothing of models, of how rows are read or of how a verdict is made.

A row's own target text stands in for a translation.  Where it is not judged right, the task says why: what is missing, what does not
build, or in what its output differs from the reference's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks import task_file
from parallax_lib.tasks.task import Task, tasks
from parallax_lib.verdict import batch
from parallax_lib.verdict.reference import Bench

LIMITS = Limits(cpu_s=20, wall_s=200, memory_mb=4096, output_bytes=1 << 20, processes=1100)
COLUMNS = ("task", "strength", "state", "reason", "parallel", "cpu_s", "checked", "log")
NO_TEXT = "no target text"


def listed(files: Sequence[Path], root: Path | None, directions: tuple[str, ...]) -> tuple[list[Task], pd.DataFrame]:
    """The tasks that are offered, and a row for each kernel that is left out."""
    suite = task_file.read(files, root)
    offered = tasks(suite.kernels, directions)
    return offered, pd.DataFrame([{"kernel": name, "why": why} for name, why in suite.left_out.items()], columns=["kernel", "why"])


def check(offered: Sequence[Task], bench: Bench, workers: int = 2, say: Callable[[str], None] = print) -> pd.DataFrame:
    """A row for each task: the verdict on its own target text, "no target text" where there is none."""
    rows = []
    for n, task in enumerate(offered, 1):
        rows.append(_row(task, bench, workers))
        say(f"[{n}/{len(offered)}] {line(rows[-1])}")
    return pd.DataFrame(rows, columns=COLUMNS)


def none(offered: Sequence[Task]) -> pd.DataFrame:
    """The rows of tasks that were not judged."""
    blank = {"state": "open", "reason": "offered", "parallel": "", "cpu_s": 0.0, "checked": "", "log": ""}
    return pd.DataFrame([{"task": t.id, "strength": t.kernel.strength, **blank} for t in offered], columns=COLUMNS)


def _row(task: Task, bench: Bench, workers: int) -> dict:
    row = {"task": task.id, "strength": task.kernel.strength, "state": "open", "reason": NO_TEXT, "parallel": "", "cpu_s": 0.0}
    row |= {"checked": "", "log": ""}
    if task.target not in task.kernel.sources:
        return row
    code = task.kernel.sources[task.target]
    (verdict,) = batch.judge_many([(code, task)], bench.toolchains, bench.level, bench.limits, bench.journal, workers)
    said = {"state": "right" if verdict.validated else "not right", "reason": verdict.reason, "parallel": verdict.parallel}
    strength = re.search(r"output comparison: [^;]*, (\w+)", verdict.checked)
    said |= {"strength": strength[1]} if strength else {}
    return row | said | {"cpu_s": verdict.cpu_s, "checked": verdict.checked, "log": _first(verdict.log)}


def _first(log: str) -> str:
    """A log's line that says what is wrong: a compiler's first error, else the first line."""
    lines = log.split("\n")
    return next((line for line in lines if re.search(r"\berror: |undefined reference", line)), lines[0])[:240]


def line(row: dict) -> str:
    """One task's verdict in a line."""
    return f"{row['task']:36} {row['reason']}" + (f": {row['log']}" if row["reason"] not in ("ok", NO_TEXT) else "")


def totals(rows: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """Counts by direction and reason, and every kernel that is left out."""
    parts = []
    if len(rows):
        by = rows.assign(direction=rows["task"].str.rsplit(".", n=1).str[1])
        parts.append(by.groupby(["direction", "reason"]).size().unstack(fill_value=0).to_string())
        judged = rows[rows["state"] != "open"]
        parts.append(f"{len(rows)} tasks offered" + (f", {len(judged)} of their target texts judged" if len(judged) else ""))
    if len(rows) and len(judged):
        right = judged[judged["state"] == "right"]
        kinds = ", ".join(f"{n} with {kind} output" for kind, n in sorted(Counter(right["strength"]).items()))
        parts.append(f"{len(right)} judged right" + (f": {kinds}" if kinds else ""))
    parts += [f"left out: {row.kernel}: {row.why}" for row in left_out.itertuples()]
    return "\n".join(parts)
