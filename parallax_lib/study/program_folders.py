"""Programs in folders: written for judged rows, run again by `make clean run`, decided on by people.

Knows the list of folders, its log and its decisions.  Knows no rule of a verdict.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from parallax_lib.analysis import decisions, recheck
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal, slug, write_atomic
from parallax_lib.core.yaml_files import parse
from parallax_lib.sandbox.sandbox import Level
from parallax_lib.study import inference_files
from parallax_lib.study.run import Run, all_tasks
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import run_folder
from parallax_lib.verdict.reference import visible

LIST = ("folder", "task", "validated", "reason", "choice", "note")
Say = Callable[[str], None]


class Entry(NamedTuple):
    """A line of a list: a run folder, and what a person decided of it ("" for nothing)."""

    folder: Path
    choice: str = ""
    note: str = ""


class Ran(NamedTuple):
    """What `make clean run` showed of one folder."""

    status: str  # of the sandbox: ok, crash, timeout ...
    text: str
    against: str  # "" for the reference's output, else where it differs; what hindered the reference


def write_all(rows: pd.DataFrame, of: Sequence[Task | None], out: Path) -> list[Path]:
    """A folder for every judged program with a task and a text, and `list.csv`, in which decisions may be written."""
    folders, listed = [], []
    for row, task in zip(rows.to_dict("records"), of, strict=True):
        if task is None or not isinstance(row.get("code"), str):
            continue
        name = slug(task.id, [decisions.program_key(row), str(row.get("arm"))])
        verdict = {key: row.get(key) for key in ("level", "reason", "validated", "arm", "seed")}
        folders.append(run_folder.write(out / name, row["code"], task, verdict | {"row_task": row["task"]}))
        listed.append({"folder": name, "choice": "", "note": ""} | {key: row[key] for key in ("task", "validated", "reason")})
    frame = pd.DataFrame(listed, columns=list(LIST)).drop_duplicates("folder")
    if not (out / "list.csv").exists():  # it may hold decisions by now
        write_atomic(out / "list.csv", frame.to_csv(index=False).encode())
    return list(dict.fromkeys(folders))


def of_run(run: Run, queue: pd.DataFrame) -> str:
    """For notebook 06: the queue's programs as run folders in `<run>/programs`; choices that stand in its list are kept as decisions.

    A list is `list.csv` there, or a `decisions.yaml` or `decisions.csv` of one's own beside it.
    """
    if run.shipped:
        return "of a run: every program here as a folder that `make clean run` builds, and decisions from its list.csv or a decisions.yaml"
    out, by_id = run.folder / "programs", {task.id: task for task in all_tasks(run)}
    folders = write_all(queue, [by_id.get(task) for task in queue["task"]], out)
    kept = 0
    for name in ("list.csv", "decisions.yaml", "decisions.csv"):
        if folders and (out / name).exists():
            kept += keep_decisions([entry for entry in read_list(out / name) if entry.choice], run.folder / "decisions.json")
    run_them = f"python -m parallax_lib recheck {out / 'list.csv'} --decisions {run.folder / 'decisions.json'}"
    return f"{len(folders)} run folders in {out}, {kept} choices taken from their lists; run them: {run_them}"


def read_list(path: Path) -> list[Entry]:
    """The folders of a list: a text file (a folder a line), CSV or YAML (folder, choice, note), or a folder of run folders.

    Paths are relative to the list.  UserError names the line and the nearest choice.
    """
    if path.is_dir():
        found = [Entry(each.parent) for each in sorted(path.glob("*/task.json"))]
    elif not path.is_file():
        raise UserError(f"{path}: no such list; name a .txt, .csv or .yaml file of run folders, or the folder that holds them")
    else:
        found = [_entry(path, number, row) for number, row in enumerate(_rows(path), 1)]
    if not found:
        raise UserError(f"{path}: names no run folder; `validate --folders` writes them")
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    if path.suffix in (".yaml", ".yml"):
        listed = parse(text, path.name)
        listed = [{"folder": name} | (fields if isinstance(fields, dict) else {"choice": fields}) for name, fields in listed.items()] \
            if isinstance(listed, dict) else listed  # fmt: skip
        return [row if isinstance(row, dict) else {"folder": row} for row in listed or []]
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [{"folder": line} for line in lines if line]


def _entry(path: Path, number: int, row: dict[str, Any]) -> Entry:
    folder, choice = str(row.get("folder") or ""), str(row.get("choice") or "").strip().lower()
    if not folder:
        raise UserError(f"{path}: entry {number}: no field 'folder'; it takes folder, choice, note")
    if choice and choice not in decisions.CHOICES:
        raise UserError(f"{path}: entry {number}: choice {choice!r} is not one of {', '.join(decisions.CHOICES)}")
    place = Path(folder).expanduser()
    return Entry(place if place.is_absolute() else path.parent / place, choice, str(row.get("note") or ""))


def run_again(folder: Path, level: Level, journal: Journal | None = None) -> Ran:
    """`make clean run` of a folder and of its reference, in the sandbox; what a journal knows is not run again."""
    files = run_folder.read_folder(folder)
    key = run_folder.identity(files, level)
    known = journal.get("make", key) if journal else None
    if known:
        return Ran(**known)
    ours = run_folder.make_run(files, level)
    against = "there is no reference here"
    if "reference/Makefile" in files:
        theirs = run_folder.make_run(files, level, "reference")
        ended = theirs.status == "ok"
        against = run_folder.difference(ours.stdout, theirs.stdout) if ended else f"the reference ended with {theirs.status}"
    ran = Ran(ours.status, visible(ours.stdout + ours.stderr), against if ours.status == "ok" else "")
    if journal and ours.status != "infra_error":
        journal.put("make", key, ran._asdict())
    return ran


def recheck_list(entries: Sequence[Entry], level: Level, log: Path, say: Say) -> list[Ran]:
    """`make clean run` for every folder, one after another; one combined log.  A stopped command goes on where it was."""
    journal, blocks, runs = Journal(log.with_suffix(".sqlite")), [], []
    for number, entry in enumerate(entries, 1):
        ran = run_again(entry.folder, level, journal)
        line = f"{entry.folder.name}: {in_words(ran)}"
        say(f"[{number}/{len(entries)}] {line}")
        blocks.append(f"=== {number} {line}\n" + (f"decided: {entry.choice} {entry.note}\n" if entry.choice else "") + ran.text)
        runs.append(ran)
        write_atomic(log, "\n".join(blocks).encode("utf-8", errors="replace"))
    return runs


def in_words(ran: Ran) -> str:
    """One line on a run."""
    if ran.status != "ok":
        return f"ended with {ran.status}"
    return f"ran; differs from the reference: {ran.against}" if ran.against else "ran; prints what the reference prints"


def about(folder: Path) -> dict[str, Any]:
    """What task.json says of a folder, with its program's text as `code`."""
    try:
        said = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        source = next(folder / name for name in ("main.cpp", "main.cu") if (folder / name).exists())
        code = source.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError, StopIteration) as e:
        raise UserError(f"{folder}: not a run folder ({type(e).__name__}); name one that `validate --folders` wrote") from None
    return said | {"task": said.get("row_task", said["task"]), "code": code}


def keep_decisions(entries: Sequence[Entry], path: Path) -> int:
    """Write the choices of a list into a file of decisions; how many there are."""
    decided = [entry for entry in entries if entry.choice]
    for entry in decided:
        decisions.decide(path, about(entry.folder), entry.choice, entry.note)
    return len(decided)


def accounting(output: Path, path: Path) -> str:
    """Automatic and adjudicated rates, in total, by direction and by method, of an `inference_output_<run>.jsonl` and its decisions."""
    rows = inference_files.read_output(output)
    rows = rows.assign(direction=rows["direction"] if "direction" in rows else "all")
    decided = decisions.rows_decided(rows, path)
    parts = [recheck.both_rates(rows.assign(arm="total"), decided), recheck.both_rates(rows.assign(arm=rows["direction"]), decided)]
    parts += [recheck.both_rates(rows, decided)] if "arm" in rows and rows["arm"].notna().all() else []
    table = pd.concat(parts, ignore_index=True).rename(columns={"arm": "programs", "rechecked": "adjudicated"})
    return f"{len(decided)} of {len(rows)} programs were decided by a person\n{table.to_string(index=False)}"
