"""Which task each row of a file is a program for: one of the suite, one with an older source, or one that the row itself tells.

Knows rows and suites.  Knows no verdict.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import digest, write_atomic
from parallax_lib.tasks import task_file
from parallax_lib.tasks.task import APIS, Task

TOLD = {"args": "args", "hidden_args": "hidden", "flags": "flags", "family": "family", "target_code": "target"}  # a row's -> a task file's


@dataclass(frozen=True)
class Found:
    """of: the task of each row, None where nothing tells it.  older: rows judged against the source they were written for."""

    of: list[Task | None]
    older: int
    own: int  # rows whose task is their own source program

    def text(self, rows: int) -> str:
        """One line for a terminal."""
        suite = sum(task is not None for task in self.of) - self.older - self.own
        parts = [f"{suite} of the suite's tasks", f"{self.older} of tasks whose source has changed, judged against the one they name"]
        parts += [f"{self.own} against the source program in their row", f"{self.of.count(None)} of no known task"]
        return f"{rows} programs: " + "; ".join(part for part in parts if not part.startswith("0 "))


def find_tasks(rows: pd.DataFrame, pool: Sequence[Task], scratch: Path) -> Found:
    """The task of each row with `kernel`, `direction` and, where it tells one, `source_code`.

    A row whose task the suite has with another source is judged with the row's source in place of the suite's programs, on the
    suite's inputs.  A row of an unknown task is judged against its own source, on its `args` and `hidden_args`; `scratch` gets
    the file of those tasks.
    """
    known = {task.id: task for task in pool}
    tasks: list[Task | None] = []
    own: dict[int, dict[str, Any]] = {}
    older = 0
    for i, row in enumerate(rows.to_dict("records")):
        task, source = known.get(f"{row['kernel']}.{row['direction']}"), row.get("source_code")
        source = source if isinstance(source, str) and source.strip() else None
        if task is not None and source is not None and source != task.source_code:
            task, older = _older(task, source), older + 1
        elif task is None and source is not None and set(row["direction"].split("-")) <= {*APIS}:
            own[i] = _task_row(row, source)
        tasks.append(task)
    own_tasks = _own_tasks(list(own.values()), scratch)
    for i, task_row in own.items():
        tasks[i] = own_tasks.get(f"{task_row['kernel']}.{task_row['source_api']}-{task_row['target_api']}")
    return Found(tasks, older, sum(tasks[i] is not None for i in own))


def _older(task: Task, source: str) -> Task:
    """The task with the source that a program was written for; its other programs may be those of the new source."""
    name = f"{task.kernel.name}~{digest(source)[:8]}"
    kernel = replace(task.kernel, name=name, sources={task.source: source}, asked=(task.direction,), given={})
    return replace(task, kernel=kernel)


def _task_row(row: dict[str, Any], source: str) -> dict[str, Any]:
    """A row of a task file; kernels of one name with several sources are told apart."""
    first, second = row["direction"].split("-")
    fields = {theirs: row[ours] for ours, theirs in TOLD.items() if not _absent(row.get(ours))}
    name = f"{row['kernel']}~{digest([source, fields.get('target'), first])[:8]}"
    return {"kernel": name, "source_api": first, "target_api": second, "source": source, "suite": "rows"} | fields


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)


def _own_tasks(task_rows: list[dict[str, Any]], scratch: Path) -> dict[str, Task]:
    """Task id -> task, by the reader of task files."""
    if not task_rows:
        return {}
    lines = list(dict.fromkeys(json.dumps(row) for row in task_rows))
    write_atomic(scratch, ("\n".join(lines) + "\n").encode())
    try:
        kernels = task_file.read([scratch]).kernels
    except UserError as e:
        raise UserError(f"{e}; that row's source program cannot be a task, name the tasks' file: --tasks FILE") from None
    tasks = [Task(kernel, *direction.split("-")) for kernel in kernels for direction in kernel.asked]
    return {task.id: task for task in tasks}
