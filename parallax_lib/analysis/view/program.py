"""One program from every side: its verdict in words, its text beside the source, its log with places in the code, its siblings.

Knows verdict columns and texts.  Knows no widget and judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from parallax_lib.analysis.closeness import of_log
from parallax_lib.analysis.decisions import program_key, read_decisions
from parallax_lib.analysis.figures.escape import visible_text
from parallax_lib.analysis.readable import method
from parallax_lib.analysis.validation_stats import LEVELS
from parallax_lib.analysis.view import listing
from parallax_lib.analysis.view.dataset import program_id
from parallax_lib.analysis.view.programs import TEXTS, Programs, plain, plain_row
from parallax_lib.tasks.hecbench import masked
from parallax_lib.verdict.reasons import REASONS, UNKNOWN

PLACE = re.compile(r"\bmain\.(?:cpp|cu|c|ii)(?::(\d+)(?::\d+)?|\((\d+)\))")
LABEL = re.compile(r"\bline \d+ \(([A-Za-z_]\w*)\)")
NAMED = ("arm", "branch_depth", "resample", "seed", "sample", "attempt", "repair")
SIBLING = ("row", *NAMED, "reason", "level", "score", "plan", "capture_id")


def title(row: Mapping) -> str:
    """`saxpy.serial-omp, PRM-guided, seed 0`, or `saxpy.serial-omp, branch-off at step 1, resample 0`."""
    known = {name: plain(row[name]) for name in NAMED[:5] if plain(row.get(name)) is not None}
    words = {"arm": method, "branch_depth": trajectory}
    facts = [words[name](value) if name in words else f"{name} {value}" for name, value in known.items()]
    return ", ".join([str(row.get("task", "")), *facts])


def trajectory(depth: float) -> str:
    """Where a trajectory leaves the original one."""
    return "original trajectory" if depth < 0 else f"branch-off at step {int(depth) + 1}"


def ladder(row: Mapping) -> list[dict]:
    """Levels 1 to 5: {"name", "state"}, reached, stopped (the first that was not reached) or open."""
    level = plain(row.get("level"))
    level = (5 if row.get("validated") else 0) if level is None else int(level)
    states = ["reached" if i <= level else "stopped" if i == level + 1 else "open" for i in range(1, 6)]
    return [{"name": name, "state": state} for name, state in zip(LEVELS[1:], states, strict=True)]


def in_words(row: Mapping) -> list[str]:
    """What the verdict rests on, a sentence for each part that the row holds."""
    reason = str(row.get("reason", ""))
    said = [f"{reason}: {REASONS.get(reason, 'a reason that this version does not know')}."]
    parallel, evidence = (str(plain(row.get(name)) or "") for name in ("parallel", "parallel_evidence"))
    heads = {"yes": "It ran in parallel", "no": "It did not run in parallel", "unknown": "Whether it ran in parallel is unknown"}
    if parallel in heads:
        said.append(heads[parallel] + (f": {evidence}." if evidence else "."))
    race, where = (str(plain(row.get(name)) or "") for name in ("race_free", "race_evidence"))
    races = {"yes": "No data race was seen", "no": "A data race was seen", "not checked": "Data races were not checked"}
    if race in races:
        said.append(races[race] + (f": {where}." if where else "."))
    if (faster := str(plain(row.get("faster")) or "")) not in ("", "not checked"):
        said.append(f"Speed against the source: {faster}.")
    for name, head in (("checked", "What was checked"), ("toolchain", "Compiler"), ("sandbox", "Sandbox")):
        if text := str(plain(row.get(name)) or ""):
            said.append(f"{head}: {text}.")
    if reason in UNKNOWN:
        said.append("This is no verdict: the program counts in no rate.")
    return said


def log_lines(log: object, code: object) -> list[dict]:
    """The log line by line: {"text", "line"}, the line of the code that it names, by number or by a printed label; else None."""
    lines = code.splitlines() if isinstance(code, str) else []
    shown = visible_text(log, 1 << 20).splitlines()
    return [{"text": text, "line": _place(text, lines)} for text in shown]


def _place(text: str, code: list[str]) -> int | None:
    if match := PLACE.search(text):
        line = int(match[1] or match[2])
        return line if 1 <= line <= len(code) else None
    if match := LABEL.search(text):
        return next((i for i, line in enumerate(code, 1) if f'"{match[1]}"' in line or f'"{match[1]} ' in line), None)
    return None


def page(programs: Programs, row: int, text: str = "", sort: str = "") -> dict:
    """Everything that a program's page shows, and the programs before and after it under a filter."""
    record = programs.record(row)
    source, code = (record[name] if isinstance(record.get(name), str) else "" for name in ("source_code", "code"))
    absent = {"source": masked.digest_of(source), "code": masked.digest_of(code)}
    source, code = ("" if absent[name] else text for name, text in (("source", source), ("code", code)))
    facts = plain_row({name: value for name, value in record.items() if name not in TEXTS})
    return {
        "row": row,
        "table": programs.name,
        "title": title(record),
        "facts": facts,
        "ladder": ladder(record),
        "words": in_words(record),
        "listing": listing.aligned(source, code),
        "has": {"source": bool(source), "code": bool(code)},
        "absent": absent,
        "code": code,
        "log": log_lines(record.get("log"), code),
        "closeness": plain(of_log(record.get("log"))),
        "siblings": siblings(programs, record, row),
        "decision": read_decisions(programs.dataset.notes).get(program_key(record)),
        "applies": applies(programs, record),
        "elsewhere": elsewhere(programs, record),
        "around": programs.neighbours(row, text, sort),
    }


def of_task(programs: Programs, task: object) -> np.ndarray:
    """Row numbers of a task's programs."""
    codes, names = programs.codes("task")
    return np.flatnonzero(codes == names.index(task)) if task in names else np.zeros(0, int)


def siblings(programs: Programs, record: Mapping, row: int) -> list[dict]:
    """The other programs of the task, each with its verdict and whether its text is this one's; the same texts first."""
    rows = of_task(programs, record.get("task"))
    part = programs.frame.iloc[rows]
    others = []
    for n, other in zip(rows, part.to_dict("records"), strict=True):
        if int(n) != row:
            known = {name: other.get(name) for name in SIBLING if name in other}
            others.append(plain_row(known) | {"row": int(n), "same": other.get("code") == record.get("code")})
    return sorted(others, key=lambda each: not each["same"])


def applies(programs: Programs, record: Mapping) -> int:
    """How many rows of the table hold this very program of this task."""
    rows = of_task(programs, record.get("task"))
    return int((programs.frame["code"].iloc[rows] == record.get("code")).sum()) if len(rows) and isinstance(record.get("code"), str) else 1


def elsewhere(programs: Programs, record: Mapping) -> dict | None:
    """The verdict of a judge on a GPU on the same program, where one is kept."""
    task, code = record.get("task"), record.get("code")
    if not isinstance(code, str) or not str(task).endswith("-cuda"):
        return None
    found = programs.dataset.other_judge.get(program_id(str(task), code))
    return found and plain_row({name: found.get(name) for name in ("level", "reason", "checked", "toolchain", "log")})


def pair(left: tuple[Programs, int], right: tuple[Programs, int]) -> dict:
    """Two translations side by side, each with its verdict."""
    sides = [programs.record(row) for programs, row in (left, right)]
    texts = [side["code"] if isinstance(side.get("code"), str) else "" for side in sides]
    titles = [
        {"row": row, "table": programs.name, "title": title(side), "reason": plain(side.get("reason")), "words": in_words(side)}
        for (programs, row), side in zip((left, right), sides, strict=True)
    ]
    return {"sides": titles, "listing": listing.aligned(*texts), "same": texts[0] == texts[1]}
