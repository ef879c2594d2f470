"""What comparing result buffers adds to a verdict word: wrong versions of HeCBench programs that are rejected, right ones that are not.

Knows kernels, versions of their programs, verdicts and counts.  Knows nothing of how a verdict is made.

Every version is judged as a translation by the whole judge, with result buffers compared and, where that decided, without.  A version that
only the buffers reject is a false reject where it gives back the original's bytes (`hecbench_mutants` looks at these in another way); one
that nothing rejects although it gives back the original's bytes is no fault on these inputs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.task import Kernel, Task, put_together
from parallax_lib.verdict import result_buffers
from parallax_lib.verdict.assurance import data_mutants, hecbench_mutants
from parallax_lib.verdict.assurance.mutation import Mutant
from parallax_lib.verdict.build import build
from parallax_lib.verdict.reference import THREADS, Bench, inputs, run_once
from parallax_lib.verdict.result import Verdict
from parallax_lib.verdict.validate import judge

BY_RESULTS = re.compile(r"\binput \d+: result buffer \d")
WITHOUT = "strong"  # a kernel whose printed output says enough is not compared by its buffers
SOURCES = {"omp": ("cuda", "serial"), "cuda": ("omp",)}


def check(root: Path, bench: Bench, names: tuple[str, ...], most: int = 3, say: Callable[[str], None] = lambda text: None) -> pd.DataFrame:
    """A row for each kernel and target API whose own program is right: result buffers, mutants and right versions.

    `most`: mutants of a program by the audit's operators; those of data_mutants come beside them.
    """
    rows = []
    for entry in hecbench.entries(Path(root), names):
        whole = hecbench.as_kernel(entry)
        kernel = put_together(whole) if whole else None
        for task in _tasks(kernel, bench) if kernel and kernel.gives_results else ():
            rows.append(_row(task, bench, most))
            say(line(rows[-1]))
    return pd.DataFrame(rows)


def _tasks(kernel: Kernel, bench: Bench) -> Iterator[Task]:
    able = [api for api in kernel.sources if bench.toolchains[api].can_run]
    for target, sources in SOURCES.items():
        source = next((api for api in sources if api in able), None)
        if target in able and source:
            yield Task(kernel, source, target)


def _row(task: Task, bench: Bench, most: int) -> dict:
    code = task.kernel.sources[task.target]
    own = {when: _verdict(code, each, bench) for when, each in (("before", _without(task)), ("after", task))}
    found = result_buffers.SUMMARY.search(own["after"].checked)
    row = {"kernel": task.kernel.name, "direction": task.direction, "own_before": own["before"].reason, "own": own["after"].reason}
    row |= {"compared": int(found[1]) if found else 0, "buffers": int(found[2]) if found else 0, "sizes": (found[3] or "") if found else ""}
    row |= {"mutants": {}, "right": {}, "wrongly_rejected": [], "survivors": []}
    if not own["after"].validated:
        return row | {"log": own["after"].log.split("\n")[0][:160]}
    counts, row["survivors"] = Counter(), []
    for mutant in _mutants(code, most):
        fate = _fate(task, bench, mutant)
        counts[fate] += 1
        if fate == "survived":
            row["survivors"].append(f"line {mutant.line}: {mutant.operator}: {mutant.says}")
    row["mutants"] = dict(counts)
    for name, verdicts in _right(task, bench):
        row["right"][name] = " ".join(verdict.reason for verdict in verdicts)
        if verdicts[0].validated and not verdicts[-1].validated:
            row["wrongly_rejected"].append(f"{name}: {verdicts[-1].log.split(chr(10))[0][:160]}")
    return row | {"log": ""}


def _mutants(code: str, most: int) -> list[Mutant]:
    inside = hecbench_mutants.parallel_lines(code)
    return [*hecbench_mutants.mutants_of(code, most=most), *data_mutants.wrong(code, inside)]


def _fate(task: Task, bench: Bench, mutant: Mutant) -> str:
    """rejected, "by results" where nothing else rejects it, or what hecbench_mutants says of it.

    What only the results reject although it gives back the same bytes is "wrongly rejected".
    """
    verdict = _verdict(mutant.code, task, bench)
    if not BY_RESULTS.search(verdict.log):
        fate = hecbench_mutants.judge_mutant(task, bench, mutant)
        return "same data" if fate == "survived" and _same_bytes(task, bench, mutant) else fate
    before = hecbench_mutants.judge_mutant(_without(task), bench, mutant)
    return {"survived": "by results", "rejected": "rejected", "race operator": "by results"}.get(
        before, "wrongly rejected"
    )


def _same_bytes(task: Task, bench: Bench, mutant: Mutant) -> bool:
    """Whether a mutant's device gives back the original's bytes in every run: then no comparison of these can tell them apart."""
    mine, original = (_bytes(code, task, bench) for code in (mutant.code, task.kernel.sources[task.target]))
    return bool(original) and any(original) and mine == original


def _bytes(code: str, task: Task, bench: Bench) -> list[str]:
    """What each run of a program gives back, as probes/results.cpp tells it; digests of every byte among it."""
    kernel, api = task.kernel, task.target
    program = build(code, bench.toolchains[api], kernel.flags.get(api, ()), bench.level, results=True).program
    runs = [run_once(program, api, args, n, bench, kernel.inputs) for args in inputs(kernel) for n in THREADS[api]]
    return [run.results for run in runs if run.reason == "ok"]


def _right(task: Task, bench: Bench) -> Iterator[tuple[str, list[Verdict]]]:
    """Each right version's verdicts without results and, where that is right, with them."""
    for name, (code, flags) in data_mutants.right(task.kernel.sources[task.target], task.target).items():
        before = _verdict(code, _with_flags(_without(task), flags), bench)
        yield name, [before, _verdict(code, _with_flags(task, flags), bench)] if before.validated else [before]


def _with_flags(task: Task, flags: tuple[str, ...]) -> Task:
    """The target's programs with further flags, the judged one and the kernel's own."""
    mine = (*task.kernel.flags.get(task.target, ()), *flags)
    return replace(task, kernel=replace(task.kernel, flags={**task.kernel.flags, task.target: mine}))


def _without(task: Task) -> Task:
    return replace(task, kernel=replace(task.kernel, strength=WITHOUT))


def _verdict(code: str, task: Task, bench: Bench) -> Verdict:
    return judge(code, task, bench.toolchains, bench.level, bench.limits, bench.journal)


def line(row: dict) -> str:
    """One kernel and target; survivors and wrong rejections below, indented."""
    kinds = Counter(row["mutants"])
    before, after = kinds["rejected"], kinds["rejected"] + kinds["by results"]
    of = after + kinds["survived"]
    kept = f"right versions {len(row['right']) - len(row['wrongly_rejected'])} of {len(row['right'])}"
    said = [f"{row['kernel']:20} {row['direction']:10} own {row['own_before']} -> {row['own']}"]
    said += [f"{row['compared']} of {row['buffers']} buffers", f"mutants rejected {before} -> {after} of {of}", kept]
    text = "; ".join([*said, *filter(None, [row["log"]])])
    below = [f"survived: {one}" for one in row["survivors"]] + [f"WRONGLY REJECTED: {one}" for one in row["wrongly_rejected"]]
    return "\n".join([text, *(f"    {one}" for one in below)])


def totals(rows: pd.DataFrame) -> str:
    """By direction: kernels with compared buffers, share of mutants rejected before and after, right versions rejected."""
    said = []
    for direction, group in [*rows.groupby("direction"), ("together", rows)]:
        kinds = sum(map(Counter, group["mutants"]), Counter())
        before, all_ = kinds["rejected"], kinds["rejected"] + kinds["by results"] + kinds["survived"]
        after, right = before + kinds["by results"], group["own"] == "ok"
        shares = {name: f"{n} ({n / max(all_, 1):.1%})" for name, n in (("rejected before", before), ("rejected", after))}
        versions = [reasons.split() for versions in group["right"] for reasons in versions.values()]
        tried = [reasons for reasons in versions if reasons[0] == "ok"]
        wrong = sum(reasons[-1] != "ok" for reasons in tried) + kinds["wrongly rejected"]
        apart = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()) if kind not in ("rejected", "by results", "survived"))
        said.append({
            "direction": direction, "programs": len(group), "right before": (group["own_before"] == "ok").sum(), "right": right.sum(),
            "with buffers": ((group["compared"] > 0) & right).sum(), "mutants": all_, **shares, "right versions": len(tried),
            "wrongly rejected": wrong, "apart": apart,
        })  # fmt: skip
    return pd.DataFrame(said).to_string(index=False)
