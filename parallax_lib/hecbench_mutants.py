"""What became of the mutants of a HeCBench program: rejected, survived, or saying nothing about the oracle.

Knows mutants, verdicts and which lines a run reaches.  Knows nothing of checkouts or of how a verdict is made.

A survivor is set apart only on evidence, and never counted as rejected: the same program at -O2; a line that the kernel's
own run does not reach (gcov), so that no comparison of its output can see it; a race operator where neither the output
nor the race stage showed anything.  What does not compile or could not be judged is no mutant.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import replace

from parallax_lib import sandbox
from parallax_lib.build import BUILD_LIMITS, PROGRAM, build
from parallax_lib.kernels import Kernel, Task
from parallax_lib.mutate import RACES, Mutant
from parallax_lib.reference import RUN_ENV, Bench, beside, inputs, tool_facts
from parallax_lib.sandbox import JOB
from parallax_lib.store import digest
from parallax_lib.validate import judge

NO_MUTANT = ("compile_error", "compile_limit", "not_checkable", "infra_error")
APART = ("same code", "not reached", "race operator")
LISTING = "main.cpp.gcov"
LINE = re.compile(r"^ *(#####|=====|[0-9]+\*?|-): *(\d+):", re.M)


def tally(task: Task, bench: Bench, made: list[Mutant]) -> tuple[Counter, list[str]]:
    """(how many were "rejected", "survived", set apart or "no mutant"; the survivors in words)."""
    counts, survivors = Counter(), []
    for mutant in made:
        what = judge_mutant(task, bench, mutant)
        counts[what] += 1
        survivors += [f"line {mutant.line}: {mutant.operator}: {mutant.says}"] if what == "survived" else []
    return counts, survivors


def judge_mutant(task: Task, bench: Bench, mutant: Mutant) -> str:
    """rejected, survived, one of APART, or "no mutant"."""
    for stages in ({}, {"races": "auto"}):  # the slow stage only for what it could find
        verdict = judge(mutant.code, task, bench.toolchains, bench.level, bench.limits, bench.journal, **stages)
        if verdict.reason in NO_MUTANT:
            return "no mutant"
        if not verdict.validated:
            return "rejected"
        if mutant.operator not in RACES:
            break
    if mutant.line in unreached(task.kernel, task.target, bench):
        return "not reached"
    toolchain, flags = bench.toolchains[task.target], task.kernel.flags.get(task.target, ())
    programs = [build(code, toolchain, flags, bench.level).program for code in (task.kernel.sources[task.target], mutant.code)]
    if programs[0] == programs[1]:
        return "same code"
    return "race operator" if mutant.operator in RACES else "survived"


def unreached(kernel: Kernel, api: str, bench: Bench) -> frozenset[int]:
    """Lines that hold code and that none of the kernel's runs executes; empty where that cannot be told (CUDA, no gcov)."""
    if api == "cuda":
        return frozenset()
    key = digest([kernel.sources[api], inputs(kernel), tool_facts(bench.toolchains["serial"])])
    known = bench.journal.get("unreached", key) if bench.journal else None
    if known is None:
        marks = LINE.findall(_gcov(kernel, api, bench))
        seen = {int(n) for mark, n in marks if mark[0].isdigit()}
        known = {"lines": sorted({int(n) for mark, n in marks if mark[0] in "#="} - seen)}
        if bench.journal and marks:
            bench.journal.put("unreached", key, known)
    return frozenset(known["lines"])


def _gcov(kernel: Kernel, api: str, bench: Bench) -> str:
    """gcov's listing of the program after its runs, target regions on the host; "" when it does not build or run so."""
    openmp = ["-fopenmp", "-foffload=disable"] if api == "omp" else []
    compile_ = [bench.toolchains["serial"].compiler, "-std=c++17", "-O0", "-w", "--coverage", *openmp, *kernel.flags.get(api, ())]
    steps = [[*compile_, "-c", f"{JOB}/main.cpp", "-o", "main.o"], [*compile_, "main.o", "-o", PROGRAM, "-lm"]]
    steps += [[f"./{PROGRAM}", *args] for args in inputs(kernel)] + [["gcov", "-o", ".", "main.o"]]
    script = "\n".join(f"{shlex.join(step)} > /dev/null" for step in steps)
    files = {"main.cpp": kernel.sources[api].encode("utf-8", errors="replace"), **beside(kernel.inputs)}
    limits, env = replace(BUILD_LIMITS, processes=bench.limits.processes), {**RUN_ENV, "OMP_NUM_THREADS": "2"}
    out = sandbox.run(["/bin/sh", "-ec", script], files, limits, bench.level, env=env, outputs=(LISTING,))
    return out.files.get(LISTING, b"").decode("utf-8", errors="replace")
