"""Judges a HeCBench checkout's own programs as translations of each other, and shows what can be used on this machine.

Knows kernels, verdicts and tables.  Knows nothing of models, Makefiles or how a verdict is made.

A program of the checkout stands in for a translation of its twin.  For serial and OpenMP that is always meaningful: the
serial program is derived from the OpenMP one.  CUDA and OpenMP twins often print other labels; such a pair is reported
as wrong_output of its own kind ("twins print different lines"), not as a fault of the output comparison.  Mutants are counted apart
for kernels whose output holds values and for those that print only a verdict word: a word can be right on other data.
A program of the checkout that is right but not parallel by its verdict is "vacuous": its output does not depend on its
parallel work, or there is none on these arguments, so nothing can be judged by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pandas as pd

from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.hecbench.checkout import Entry
from parallax_lib.tasks.task import Kernel, Task, put_together
from parallax_lib.verdict import result_buffers
from parallax_lib.verdict.assurance import hecbench_mutants
from parallax_lib.verdict.assurance.mutation import Mutant
from parallax_lib.verdict.reference import Bench
from parallax_lib.verdict.toolchain import Toolchain
from parallax_lib.verdict.validate import Verdict, judge

LIMITS = Limits(cpu_s=20, wall_s=120, memory_mb=4096, output_bytes=1 << 20, processes=1100)  # num_threads(1024) is in use
DIRECTIONS = (("serial", "omp"), ("omp", "serial"), ("omp", "cuda"), ("cuda", "omp"))


def index(root: Path, toolchains: dict[str, Toolchain], names: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row a kernel: its APIs and files, strength of the output comparison, what runs on this machine, and why not."""
    return pd.DataFrame([_index_row(entry, toolchains) for entry in hecbench.entries(Path(root), names)])


def check(
    root: Path,
    bench: Bench,
    names: tuple[str, ...] = (),
    limit: int = 0,
    mutants: Callable[[str], list[Mutant]] | None = None,
    say: Callable[[int, int, list[dict]], None] = lambda done, total, rows: None,
    apis: tuple[str, ...] = ("serial", "omp", "cuda"),
    workers: int = 2,
) -> pd.DataFrame:
    """One row a kernel and direction between `apis`: the verdict on the twin, and how many of its `mutants` were rejected.

    `limit`: that many kernels with such a direction, those that take least time, 0 for all; `workers` kernels at a time;
    `say(done, total, rows)` is called as each kernel's rows fall.  With a journal a stopped call goes on.
    """
    found = hecbench.entries(Path(root), names)
    usable = {entry.name: entry for entry in found if hecbench.as_kernel(entry) is not None}
    rows = {} if limit else {entry.name: [_left_out(entry)] for entry in found if entry.name not in usable}
    between = [entry for entry in usable.values() if _directions(hecbench.as_kernel(entry), bench, apis)]
    chosen = sorted(between, key=lambda entry: entry.facts.get("cpu_s", math.inf))[: limit or None]
    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        waiting = {pool.submit(_judged, entry, bench, mutants, apis): entry.name for entry in chosen}
        for done, fell in enumerate(as_completed(waiting), 1):
            rows[waiting[fell]] = fell.result()
            say(done, len(chosen), rows[waiting[fell]])
    finally:
        pool.shutdown(cancel_futures=True)
    return pd.DataFrame([row for name in sorted(rows) for row in rows[name]])


def _left_out(entry: Entry) -> dict:
    return {**_row(entry, "none"), "reason": "left_out", "log": _why(entry)}


def _row(entry: Entry, direction: str) -> dict:
    row = {"kernel": entry.name, "direction": direction, "strength": entry.facts.get("strength", "unknown"), "reason": "", "log": ""}
    return row | {"checked": "", "results": "", "mutants": 0, "rejected": 0, "mutant_kinds": {}, "survivors": []}


def _first(verdict) -> str:
    """A log's line that says what is wrong: a compiler's first error, else the first line."""
    lines = verdict.log.split("\n")
    wrong = (line for line in lines if re.search(r"\berror: |undefined reference|cannot find -l", line))
    return next(wrong, lines[0]) if "compile_error" in verdict.reason + verdict.log else lines[0]


def _directions(kernel: Kernel, bench: Bench, apis: tuple[str, ...]) -> list[tuple[str, str]]:
    """Those between `apis` that both programs allow and that run here."""
    pairs = [(source, target) for source, target in DIRECTIONS if {source, target} <= {*kernel.sources} & {*apis}]
    return [(source, target) for source, target in pairs if target == "serial" or _runs(bench, source, target)]


def _judged(entry: Entry, bench: Bench, mutants, apis: tuple[str, ...]) -> list[dict]:
    """A row for each direction between `apis`."""
    kernel, rows = put_together(hecbench.as_kernel(entry)), []
    for source, target in _directions(kernel, bench, apis):
        task = Task(kernel, source, target)
        verdict = _verdict(kernel.sources[target], task, bench)
        row = _row(entry, task.direction) | {"reason": verdict.reason, "log": _first(verdict)[:160], "checked": verdict.checked}
        row["results"] = result_buffers.counted(verdict.checked)
        if verdict.validated and mutants and target != "serial":
            kinds, survivors = hecbench_mutants.outcomes(task, bench, mutants(kernel.sources[target]))
            rejected = kinds["rejected"] + kinds["rejected outside"]
            row |= {"mutants": rejected + len(survivors), "rejected": rejected}
            row |= {"mutant_kinds": dict(kinds), "survivors": survivors}
        if verdict.reason == "not_parallel":  # the checkout's own program: its output does not say what its regions did
            row |= {"reason": "vacuous", "log": f"no output comparison for parallel work on these arguments: {row['log']}"}
        if verdict.reason == "wrong_output" and {source, target} == {"omp", "cuda"} and verdict.level == 3:
            row["log"] = f"twins print different lines: {row['log']}"
        rows.append(row)
    return rows


def _verdict(code: str, task: Task, bench: Bench) -> Verdict:
    return judge(code, task, bench.toolchains, bench.level, bench.limits, bench.journal)


def _runs(bench: Bench, *apis: str) -> bool:
    return all(bench.toolchains[api].can_run for api in apis)


def _index_row(entry: Entry, toolchains: dict[str, Toolchain]) -> dict:
    row = {"kernel": entry.name, "apis": " ".join(api for api, p in entry.programs.items() if api != "serial")}
    row["files"] = sum(len(p.files) for api, p in entry.programs.items() if api != "serial")
    row["twin_files"] = sum(len(p.foreign) for api, p in entry.programs.items() if api != "serial")
    row["oracle"] = entry.facts.get("strength", "unknown")
    row["args"] = "reduced" if entry.facts.get("args") else "as in the Makefile"
    row["runs_here"] = " ".join(api for api, p in entry.programs.items() if p.text and not entry.why and toolchains[api].can_run)
    row["why_not"] = _why(entry, toolchains)
    return row


def _why(entry: Entry, toolchains: dict[str, Toolchain] | None = None) -> str:
    said = [entry.why] if entry.why else [f"{api}: {p.why}" for api, p in entry.programs.items() if p.why]
    if toolchains and not entry.why:
        said += [f"{api}: {toolchains[api].why_not}" for api, p in entry.programs.items() if p.text and not toolchains[api].can_run]
    return "; ".join(dict.fromkeys(said)) or ("only one API" if len(entry.programs) < 2 else "")
