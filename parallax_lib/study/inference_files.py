"""Programs as JSONL, out and in: `inference_result_<run>.jsonl`, anyone's, judged into `inference_output_<run>.jsonl`, logs and counts.

Knows files and the names of their fields.  Knows no rule of a verdict, no model and no latent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis import validation_logs
from parallax_lib.core import progress
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.core.storage import Journal, write_atomic
from parallax_lib.search.field_map import OF_PROGRAM, FieldMap
from parallax_lib.search.published_format import read_lines
from parallax_lib.study import results as study_results
from parallax_lib.study import row_tasks
from parallax_lib.study import run as runs
from parallax_lib.study.run import Run
from parallax_lib.tasks import extraction, suites
from parallax_lib.tasks.task import Task, tasks

RESULT, OUTPUT = "inference_result_", "inference_output_"
KEPT = ("task", "kernel", "family", "direction", "arm", "seed", "sample", "attempt", "code", "plan", "score", "picks", "prefill_tokens",
        "latent_steps", "prm_calls", "decode_tokens", "cost", "mean_logprob", "finished", "suited")  # fmt: skip
NO_TASK = "no task of that name is known here: name the tasks' file, --tasks FILE, or the suite, --params FILE"
UNKNOWN = {"level": 1, "reason": "not_checkable", "log": NO_TASK}
Say = Callable[[str], None]


def write_results(run: Run, translations: pd.DataFrame, chosen: list[Task]) -> Path:
    """Every program of stage 04 as a line of `inference_result_<run>.jsonl`, with the source that it translates."""
    sources = {task.id: task.source_code for task in chosen}
    rows = translations[[name for name in KEPT if name in translations]]
    pairs = rows["direction"].str.split("-", expand=True)
    names = [f"{row.task}/{row.arm}/{row.seed}/{row.sample}/{row.attempt}" for row in rows.itertuples()]
    rows = rows.assign(id=names, source_api=pairs[0], target_api=pairs[1], source_code=rows["task"].map(sources))
    return write_lines(run.folder / f"{RESULT}{run.params.run}.jsonl", rows)


def write_outputs(run: Run, rows: pd.DataFrame) -> list[Path]:
    """`inference_output_<run>.jsonl`, the judged rows, and `validators_results_<run>.txt`, a log for each program."""
    name = run.params.run
    output = write_lines(run.folder / f"{OUTPUT}{name}.jsonl", rows)
    return [output, validation_logs.write_logs(rows, run.folder / f"validators_results_{name}.txt")]


def shown(run: Run, results: pd.DataFrame) -> str:
    """For notebook 05: a run's files of programs, and what the log says of the first program that failed."""
    name = run.params.run
    files = [f"{RESULT}{name}.jsonl", f"{OUTPUT}{name}.jsonl", f"validators_results_{name}.txt"]
    existing = [str(run.folder / file) for file in files if not run.shipped and (run.folder / file).exists()]
    failed = results[results["level"] < 5]
    block = validation_logs.block(1, failed.iloc[0].to_dict()) if len(failed) else "no program failed"
    return "\n".join([*(existing or [f"files of a run: {', '.join(files)}"]), "", block])


def write_lines(path: Path, rows: pd.DataFrame) -> Path:
    lines = [json.dumps({name: _plain(value) for name, value in row.items()}) for row in rows.to_dict("records")]
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    return path


def _plain(value):
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and value != value else value


def read_output(path: Path) -> pd.DataFrame:
    """The judged rows of an `inference_output_<run>.jsonl`."""
    rows = pd.DataFrame([row for _, row in read_lines(path)])
    missing = {"task", "code", "level", "reason", "validated"} - set(rows)
    if missing:
        raise UserError(f"{path}: its rows have no field {min(missing)!r}; name an {OUTPUT}<run>.jsonl, which `validate` writes")
    return rows


def read_programs(path: Path, names: FieldMap, say: Say = lambda line: None) -> pd.DataFrame:
    """Rows with kernel, direction, task and code of a foreign or own JSONL file; an answer with fences is read as a translator's is.

    UserError for a file without such fields.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a JSONL file of programs, such as {RESULT}<run>.jsonl")
    rows, fields = [], {}
    for where, given in read_lines(path):
        fields |= {theirs: ours for ours, theirs in names.found(given, OF_PROGRAM).items()}
        row = names.read(given, OF_PROGRAM)
        if "kernel" not in row and isinstance(row.get("task"), str) and "." in row["task"]:
            row["kernel"], row["direction"] = row["task"].rsplit(".", 1)
        for name in ("kernel", "direction", "code"):
            if name not in row:
                raise UserError(f"{where}: no {name} among the fields {', '.join(sorted(given))}; say which it is: --fields MAP.yaml")
        rows.append(row | {"kernel": str(row["kernel"]), "task": f"{row['kernel']}.{row['direction']}", "code": program_of(row["code"])})
    renamed = ", ".join(f"{theirs} is {ours}" for theirs, ours in fields.items() if theirs != ours)
    say(f"{path}: {len(rows)} programs" + (f"; fields: {renamed}" if renamed else ""))
    return pd.DataFrame(rows)


def program_of(text: object) -> str | None:
    """The program in an answer: all of it, or what stands in its fences."""
    if not isinstance(text, str) or not text.strip():
        return None
    return extraction.extract(text) if "```" in text else text


def run_name(path: Path) -> str:
    """The run's name in a file's: inference_result_<run>.jsonl, else the file's own."""
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl").removeprefix(RESULT)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-")[:80] or "programs"


def validate(path: Path, params: Params, names: FieldMap, out: Path, say: Say) -> tuple[Run, pd.DataFrame, list[Task | None]]:
    """Judge the programs of a file; the outputs lie in `out`.  (the run, its judged rows, the task of each)

    Verdicts are kept in `out`/journal.sqlite, so that a stopped command goes on.
    """
    rows = read_programs(path, names, say)
    run = Run(params, out, Journal(out / "journal.sqlite"), progress.to_file(out / progress.FILE))
    pool = tasks(suites.load_suite(params.suite), params.suite.directions)
    found = row_tasks.find_tasks(rows, pool, out / "tasks_of_rows.jsonl")
    say(found.text(len(rows)))
    with progress.watched(out / progress.FILE, "", say):
        judged = judge_rows(run, rows, found.of)
    judged = judged.assign(family=[row_family(row, task) for row, task in zip(judged.to_dict("records"), found.of, strict=True)])
    written = write_outputs(run, judged)
    say(study_results.write_stats(run, judged))
    for file in [*written, out / f"validators_stats_{params.run}.txt", out / f"validators_stats_{params.run}.json"]:
        say(f"written    {file}")
    return run, judged, found.of


def judge_rows(run: Run, rows: pd.DataFrame, of: list[Task | None]) -> pd.DataFrame:
    """The rows with their verdict columns; a row of no known task is `not_checkable`."""
    known = np.array([task is not None for task in of], dtype=bool)
    some = rows[known].assign(task=[task.id for task in of if task is not None])
    parts = [runs.judge_frame(run, some, [task for task in of if task is not None])] if known.any() else []
    parts += [rows[~known].assign(**UNKNOWN, validated=False)] if (~known).any() else []
    return pd.concat(parts).loc[rows.index].assign(task=rows["task"])


def row_family(row: dict, task: Task | None) -> str:
    family = row.get("family")
    return family if isinstance(family, str) else task.kernel.family if task is not None else row["kernel"]
