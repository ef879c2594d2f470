"""What became of the mutants of a HeCBench program: rejected, survived, or saying nothing about the oracle.

Knows mutants, verdicts and which lines a run reaches.  Knows nothing of checkouts or of how a verdict is made.

A survivor is set apart only on evidence, and never counted as rejected: the same program at -O2; a line that the kernel's
own run does not reach (gcov), so that no comparison of its output can see it; a race operator where neither the output
nor the race stage showed anything.  What does not compile, could not be judged or
changes a line that takes the time is no mutant.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from parallax_lib import mutate, sandbox
from parallax_lib.build import BUILD_LIMITS, PROGRAM, same_code
from parallax_lib.kernels import Kernel, Task
from parallax_lib.mutate import RACES, Mutant, Token
from parallax_lib.reference import RUN_ENV, Bench, beside, inputs, tool_facts
from parallax_lib.sandbox import JOB
from parallax_lib.store import digest
from parallax_lib.validate import judge

NO_MUTANT = ("compile_error", "compile_limit", "not_checkable", "infra_error")
APART = ("same code", "not reached", "race operator")
LISTING = "main.cpp.gcov"
CONSTRUCT = re.compile(
    r"\s*#\s*pragma\s+omp\s+(?!declare|end|target\s+(?:data|enter|exit|update))(?=.*\b(?:parallel|task|taskloop|teams|target)\b)", re.S
)
CLOCK = re.compile(r"chrono|duration|get_?time|\bw?time\b|clock", re.I)  # what it measures is masked in the output
LINE = re.compile(r"^ *(#####|=====|[0-9]+\*?|-): *(\d+):", re.M)


def tally(task: Task, bench: Bench, made: list[Mutant]) -> tuple[Counter, list[str]]:
    """(how many were "rejected", "survived", set apart or "no mutant"; the survivors in words).

    Those outside the parallel work, in the program's set-up or in its own check, are counted under "... outside" instead.
    """
    counts, survivors, inside = Counter(), [], parallel_lines(task.kernel.sources[task.target])
    for mutant in made:
        what, outside = judge_mutant(task, bench, mutant), "" if mutant.line in inside else " outside"
        counts[what + outside if what in ("rejected", "survived") else what] += 1
        survivors += [f"line {mutant.line}{outside}: {mutant.operator}: {mutant.says}"] if what == "survived" else []
    return counts, survivors


def judge_mutant(task: Task, bench: Bench, mutant: Mutant) -> str:
    """rejected, survived, one of APART, or "no mutant"."""
    if CLOCK.search(task.kernel.sources[task.target].split("\n")[mutant.line - 1]):
        return "no mutant"
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
    if same_code(task.kernel.sources[task.target], mutant.code, toolchain, flags, bench.level):
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


def parallel_lines(code: str) -> frozenset[int]:
    """Lines inside an OpenMP construct, and of every function that is called there, by name and through others."""
    parsed = mutate.tokens(code)
    bodies = {name: span for name, span in _functions(parsed)}
    spans = [_statement(parsed, i + 1) for i, t in enumerate(parsed) if t.kind == "line" and CONSTRUCT.match(t.text)]
    waiting, done = list(spans), set()
    while waiting:
        first, last = waiting.pop()
        called = {a.text for a, b in zip(parsed[first : last + 1], parsed[first + 1 : last + 2], strict=False) if b.text in ("(", "<")}
        for name in called & bodies.keys() - done:
            done.add(name)
            spans.append(bodies[name])
            waiting.append(bodies[name])
    places = [(parsed[a].start, parsed[min(b, len(parsed) - 1)].end) for a, b in spans if a < len(parsed)]
    return frozenset(n for a, b in places for n in range(1 + code.count("\n", 0, a), 2 + code.count("\n", 0, b)))


def _functions(parsed: list[Token]) -> Iterator[tuple[str, tuple[int, int]]]:
    """(name, first and last token of its body) of functions outside classes and of those inside."""
    for i, token in enumerate(parsed[:-1]):
        if token.kind == "word" and parsed[i + 1].text == "(" and token.text not in ("for", "if", "while", "switch"):
            end = _closing(parsed, i + 1)
            after = next((j for j in range(end + 1, len(parsed)) if parsed[j].text not in ("const", "noexcept")), len(parsed))
            if after < len(parsed) and parsed[after].text == "{":
                yield token.text, (after, _closing(parsed, after))


def _statement(parsed: list[Token], at: int) -> tuple[int, int]:
    """First and last token of the statement at `at`; further pragmas and loop heads belong to it."""
    end = at
    while end < len(parsed) and parsed[end].kind == "line":
        end += 1
    while end + 1 < len(parsed) and parsed[end].text in ("for", "if", "while") and parsed[end + 1].text == "(":
        end = _closing(parsed, end + 1) + 1
        while end < len(parsed) and parsed[end].kind == "line":
            end += 1
    if end < len(parsed) and parsed[end].text == "{":
        return at, _closing(parsed, end)
    return at, next((j for j in range(end, len(parsed)) if parsed[j].text == ";"), len(parsed) - 1)


def _closing(parsed: list[Token], at: int) -> int:
    depth = 0
    for j in range(at, len(parsed)):
        depth += (parsed[j].text in "([{") - (parsed[j].text in ")]}") if parsed[j].kind == "mark" else 0
        if depth == 0:
            return j
    return len(parsed) - 1
