"""What comparing result buffers adds to a verdict word: wrong versions of HeCBench programs that are told, right ones that are not.

Knows kernels, versions of their programs and counts.  Knows nothing of how outputs or buffers are compared.

Each version is built and run as a translation is, and compared by what it prints (before) and by its result buffers too (after); the
other stages of the judge, which look at parallel work and races, do not run here and could only reject more.  A wrong version that gives
back the original's bytes is no fault on these inputs and is set apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from parallax_lib.core.storage import digest
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.task import Kernel, Task, put_together
from parallax_lib.verdict import output_comparison, result_buffers
from parallax_lib.verdict.assurance import data_mutants, hecbench_mutants
from parallax_lib.verdict.assurance.mutation import Mutant
from parallax_lib.verdict.build import build
from parallax_lib.verdict.reference import THREADS, Bench, Reference, inputs, run_once, uncounted
from parallax_lib.verdict.validate import verdict_key

SOURCES = {"omp": ("cuda", "serial"), "cuda": ("omp",)}
BEFORE, BY_RESULTS = "rejected", "by results"  # told by what is printed; by result buffers alone


@dataclass(frozen=True)
class Told:
    """What is told of a program.  reason: ok, by what it does not build or run, "printed" or "results"; where; what it gave back."""

    reason: str
    where: str = ""
    bytes: tuple[str, ...] = ()
    compared: tuple[result_buffers.Found, ...] = ()


def check(
    root: Path, bench: Bench, names: tuple[str, ...], most: int = 3, workers: int = 2, say: Callable[[str], None] = lambda text: None
) -> pd.DataFrame:
    """A row for each kernel and target API that is compared by result buffers: own program, mutants and right versions.

    `most`: mutants of a program by the audit's operators; those of data_mutants come beside them.  With a journal a stopped call goes on.
    """
    entries = hecbench.entries(Path(root), names)
    kernels = [put_together(whole) for whole in map(hecbench.as_kernel, entries) if whole and whole.gives_results]
    tasks = [task for kernel in kernels for task in _tasks(kernel, bench)]
    rows = []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for row in pool.map(lambda task: _row(task, bench, most), tasks):
            rows.append(row)
            say(line(row))
    return pd.DataFrame(rows)


def _tasks(kernel: Kernel, bench: Bench) -> Iterator[Task]:
    able = [api for api in kernel.sources if bench.toolchains[api].can_run]
    for target, sources in SOURCES.items():
        source = next((api for api in sources if api in able), None)
        if target in able and source:
            yield Task(kernel, source, target)


def _row(task: Task, bench: Bench, most: int) -> dict:
    """A task's row, from the journal when it was made before."""
    key = digest([verdict_key(task.kernel.sources[task.target], task, bench), most])
    row = bench.journal.get("results", key) if bench.journal else None
    if row is None:
        row = _made(task, bench, most)
        if bench.journal:
            bench.journal.put("results", key, row)
    return row


def _made(task: Task, bench: Bench, most: int) -> dict:
    code, flags = task.kernel.sources[task.target], task.kernel.flags.get(task.target, ())
    reference = uncounted(task.kernel, task.source, bench)
    row = {"kernel": task.kernel.name, "direction": task.direction, "own": "", "compared": 0, "buffers": 0, "mutants": {}, "right": {}}
    row |= {"told": [], "survivors": [], "log": ""}
    if reference.failure or reference.unable:
        return row | {"own": "no reference", "log": (reference.failure or reference.unable)[:160]}
    own = _told(code, task, bench, reference, flags)
    row |= {"own": own.reason, "log": own.where[:160]}
    if own.reason != "ok":
        return row
    least = min(own.compared, key=lambda one: one.compared, default=result_buffers.Found())
    row |= {"compared": least.compared, "buffers": least.total}
    counts = Counter()
    for mutant in _mutants(code, most):
        fate, where = _fate(task, bench, reference, mutant, own)
        counts[fate] += 1
        said = f"line {mutant.line}: {mutant.operator}: {mutant.says}"
        row["survivors"] += [said] if fate == "survived" else []
        row["told"] += [f"{said}: {where}"[:300]] if fate == BY_RESULTS else []
    for name, (text, more) in data_mutants.right(code, task.target).items():
        row["right"][name] = _told(text, task, bench, reference, (*flags, *more)).reason
    return row | {"mutants": dict(counts)}


def _mutants(code: str, most: int) -> list[Mutant]:
    return [*hecbench_mutants.mutants_of(code, most=most), *data_mutants.wrong(code, hecbench_mutants.parallel_lines(code))]


def _told(code: str, task: Task, bench: Bench, reference: Reference, flags: tuple[str, ...]) -> Told:
    kernel, api = task.kernel, task.target
    built = build(code, bench.toolchains[api], flags, bench.level, results=True)
    if built.reason != "ok":
        return Told(built.reason, built.log)
    gave, found = [], []
    results = reference.results or [()] * len(reference.cases)
    for args, case, expected in zip(inputs(kernel), reference.cases, results, strict=True):
        ran = [run_once(built.program, api, args, n, bench, kernel.inputs) for n in THREADS[api]]
        bad = next((one for one in ran if one.reason != "ok"), None)
        if bad:
            return Told(bad.reason, bad.log)
        differs, where = output_comparison.differs(case, [output_comparison.READ[kernel.oracle](one.text) for one in ran])
        if differs:
            return Told("printed", where)
        gave += [one.results for one in ran]
        found += [result_buffers.compare(expected, result_buffers.read(one.results)) for one in ran]
    wrong = next((one.difference for one in found if one.difference), "")
    return Told("results" if wrong else "ok", wrong, tuple(gave), tuple(found))


def _fate(task: Task, bench: Bench, reference: Reference, mutant: Mutant, own: Told) -> tuple[str, str]:
    """(rejected, "by results", survived or why it is none of these; where it was told)."""
    if hecbench_mutants.CLOCK.search(task.kernel.sources[task.target].split("\n")[mutant.line - 1]):
        return "no mutant", ""
    told = _told(mutant.code, task, bench, reference, task.kernel.flags.get(task.target, ()))
    if told.reason in hecbench_mutants.NO_MUTANT:
        return "no mutant", ""
    if told.reason not in ("ok", "results"):
        return BEFORE, ""
    if any(told.bytes) and told.bytes == own.bytes:
        return "same data", ""
    if told.reason == "ok":
        return "survived", ""
    same = hecbench_mutants.same_data(task.kernel, task.target, mutant, bench)  # looked at in another way
    return ("wrongly rejected" if same else BY_RESULTS), told.where


def line(row: dict) -> str:
    """One kernel and target; below, indented, what only the buffers told and what nothing told."""
    kinds = Counter(row["mutants"])
    before, after = kinds[BEFORE], kinds[BEFORE] + kinds[BY_RESULTS]
    versions = ", ".join(f"{name} {reason}" for name, reason in row["right"].items())
    said = [f"{row['kernel']:20} {row['direction']:10} own {row['own']}", f"{row['compared']} of {row['buffers']} buffers"]
    said += [f"mutants rejected {before} -> {after} of {after + kinds['survived']}", versions, row["log"].split("\n")[0]]
    below = [f"by its buffers: {one}" for one in row["told"]] + [f"survived: {one}" for one in row["survivors"]]
    return "\n".join(["; ".join(filter(None, said)), *(f"    {one}" for one in below)])


def totals(rows: pd.DataFrame) -> str:
    """By direction: programs with compared buffers, mutants rejected before and after, right versions, and those wrongly rejected."""
    said = []
    for direction, group in [*rows.groupby("direction"), ("together", rows)]:
        kinds = sum(map(Counter, group["mutants"]), Counter())
        before, after = kinds[BEFORE], kinds[BEFORE] + kinds[BY_RESULTS]
        of = after + kinds["survived"]
        shares = {name: f"{n} ({n / max(of, 1):.1%})" for name, n in (("rejected before", before), ("rejected", after))}
        versions = Counter(reason for versions in group["right"] for reason in versions.values())
        wrong = versions["results"] + (group["own"] == "results").sum() + kinds["wrongly rejected"]
        apart = ", ".join(f"{kinds[kind]} {kind}" for kind in ("same data", "no mutant") if kinds[kind])
        said.append({
            "direction": direction, "programs": (group["own"] == "ok").sum(), "with buffers": (group["compared"] > 0).sum(), "mutants": of,
            **shares, "apart": apart, "right versions": versions["ok"] + versions["results"], "wrongly rejected": wrong,
        })  # fmt: skip
    return pd.DataFrame(said).to_string(index=False)
