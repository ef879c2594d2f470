"""Judges a HeCBench checkout's own programs as translations of each other, and shows what can be used on this machine.

Knows kernels, verdicts and tables.  Knows nothing of models, Makefiles or how a verdict is made.

A program of the checkout stands in for a translation of its twin.  For serial and OpenMP that is always meaningful: the
serial program is derived from the OpenMP one.  CUDA and OpenMP twins often print other labels; such a pair is reported
as wrong_output of its own kind ("twins print different lines"), not as a fault of the oracle.  Mutants are counted apart
for kernels whose output holds values and for those that print only a verdict word: a word can be right on other data.
A program of the checkout that is right but not parallel by its verdict is "vacuous": its output does not depend on its
parallel work, or there is none on these arguments, so nothing can be judged by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from parallax_lib import hecbench, hecbench_mutants
from parallax_lib.hecbench import Entry
from parallax_lib.kernels import Task
from parallax_lib.mutate import Mutant
from parallax_lib.reference import Bench
from parallax_lib.sandbox import Limits
from parallax_lib.toolchain import Toolchain
from parallax_lib.validate import Verdict, judge

LIMITS = Limits(cpu_s=20, wall_s=120, memory_mb=4096, output_bytes=1 << 20, processes=1100)  # num_threads(1024) is in use
DIRECTIONS = (("serial", "omp"), ("omp", "serial"), ("omp", "cuda"), ("cuda", "omp"))


def index(root: Path, toolchains: dict[str, Toolchain], names: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row a kernel: its APIs and files, oracle strength, what runs on this machine, and why not."""
    return pd.DataFrame([_index_row(entry, toolchains) for entry in hecbench.entries(Path(root), names)])


def check(
    root: Path,
    bench: Bench,
    names: tuple[str, ...] = (),
    limit: int = 0,
    mutants: Callable[[str], list[Mutant]] | None = None,
    say: Callable[[dict], None] = lambda row: None,
) -> pd.DataFrame:
    """One row a kernel and direction: the verdict on the twin, and how many of its `mutants` were rejected.

    `limit` kernels at most, 0 for all; `say(row)` is called as each falls.  With a journal a stopped call goes on.
    """
    rows, done = [], 0
    for entry in hecbench.entries(Path(root), names):
        fell = list(_judged(entry, bench, mutants))
        for row in fell:
            say(row)
        rows += fell
        done += any(row["reason"] != "left_out" for row in fell)
        if limit and done >= limit:
            break
    return pd.DataFrame(rows)


def totals(rows: pd.DataFrame) -> str:
    """Counts by direction and reason, and the kernels that pass both ways between serial and OpenMP."""
    if rows.empty:
        return "no kernel"
    counts = rows.groupby(["direction", "reason"]).size().unstack(fill_value=0)
    passed = {d: set(g.loc[g["reason"] == "ok", "kernel"]) for d, g in rows.groupby("direction")}
    both = passed.get("serial-omp", set()) & passed.get("omp-serial", set())
    cuda = passed.get("omp-cuda", set()) & passed.get("cuda-omp", set())
    weak = set(rows.loc[rows["strength"] != "strong", "kernel"])
    text = f"{counts.to_string()}\n{len(both)} kernels pass serial <-> omp both ways ({len(both & weak)} of them pass-weak), "
    text += f"{len(cuda)} omp <-> cuda both ways"
    return "\n".join([text, *_mutant_lines(rows[rows["mutants"] > 0])])


def _mutant_lines(rows: pd.DataFrame) -> Iterator[str]:
    """How many mutants were rejected, for kernels that print values and for those that print a word."""
    for strong, mine in rows.groupby(rows["strength"] == "strong"):
        kinds = sum(map(Counter, mine["mutant_kinds"]), Counter())
        rates = []
        for where, name in (("", "in the parallel work"), (" outside", "in set-up and check")):
            n, of = kinds[f"rejected{where}"], kinds[f"rejected{where}"] + kinds[f"survived{where}"]
            rates.append(f"{n} of {of} {name} rejected" + (f" = {n / of:.1%}" if of else ""))
        apart = ", ".join(f"{kinds[kind]} {kind}" for kind in (*hecbench_mutants.APART, "no mutant"))
        what = "values" if strong else "a verdict word only"
        yield f"mutants of {mine['kernel'].nunique()} passing kernels that print {what}: {'; '.join(rates)}; apart: {apart}"


def _judged(entry: Entry, bench: Bench, mutants) -> Iterator[dict]:
    """A row for each direction that both programs allow, or one that says why there is none."""
    row = {"kernel": entry.name, "direction": "none", "strength": entry.facts.get("strength", "unknown"), "mutants": 0, "rejected": 0}
    row |= {"mutant_kinds": {}, "survivors": []}
    kernel = hecbench.as_kernel(entry)
    if kernel is None:
        yield {**row, "reason": "left_out", "log": _why(entry)}
        return
    for source, target in DIRECTIONS:
        if not {source, target} <= set(kernel.sources) or not (target == "serial" or _runs(bench, source, target)):
            continue
        task = Task(kernel, source, target)
        verdict = _verdict(kernel.sources[target], task, bench)
        row |= {"direction": task.direction, "reason": verdict.reason, "log": verdict.log.split("\n")[0][:160], "mutants": 0, "rejected": 0}
        row |= {"mutant_kinds": {}, "survivors": []}
        if verdict.validated and mutants and target != "serial":
            kinds, survivors = hecbench_mutants.tally(task, bench, mutants(kernel.sources[target]))
            rejected = kinds["rejected"] + kinds["rejected outside"]
            row |= {"mutants": rejected + len(survivors), "rejected": rejected}
            row |= {"mutant_kinds": dict(kinds), "survivors": survivors}
        if verdict.reason == "not_parallel":  # the checkout's own program: its output does not say what its regions did
            row |= {"reason": "vacuous", "log": f"no oracle for parallel work on these arguments: {row['log']}"}
        if verdict.reason == "wrong_output" and {source, target} == {"omp", "cuda"} and verdict.level == 3:
            row["log"] = f"twins print different lines: {row['log']}"
        yield dict(row)


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
