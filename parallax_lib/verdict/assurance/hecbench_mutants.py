"""What became of the mutants of a HeCBench program: rejected, survived, or saying nothing about the output comparison.

Knows mutants, verdicts and which lines a run reaches.  Knows nothing of checkouts or of how a verdict is made.

A survivor is set apart only on evidence, and never counted as rejected: the same program at -O2; a line that the kernel's
own run does not reach (gcov), so that no comparison of its output can see it; the same data, when every byte that its
target regions give back to the host is the original's, so that nothing the host does with them can tell the two apart;
a race operator where neither the output nor the race stage showed anything.  What does not compile, could not be judged
or changes a line that takes the time is no mutant.
"""

from __future__ import annotations

import random
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from parallax_lib.core.storage import digest
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict.assurance import mutation
from parallax_lib.verdict.assurance.mutation import RACES, Mutant, Token
from parallax_lib.verdict.bench import Bench, beside, run_env
from parallax_lib.verdict.build import PROGRAM, same_code
from parallax_lib.verdict.harness import BUILD_LIMITS, PROBES
from parallax_lib.verdict.llvm import OFFLOAD
from parallax_lib.verdict.reasons import UNKNOWN
from parallax_lib.verdict.reference import inputs, tool_facts
from parallax_lib.verdict.validate import Verdict, judge, verdict_key

NO_MUTANT = ("compile_error", "compile_limit", *UNKNOWN)
RETURNED = PROBES / "returned.cpp"
GIVEN_BACK = re.compile(r"^@returned ([1-9]\d*) bytes ([0-9a-f]{16})$", re.M)
UNSEEN = r"omp_target_memcpy_|__tgt_target_.*_nowait"  # ways back that returned.cpp does not follow
LISTING = "main.cpp.gcov"
CONSTRUCT = re.compile(
    r"\s*#\s*pragma\s+omp\s+(?!declare|end|target\s+(?:data|enter|exit|update))(?=.*\b(?:parallel|task|taskloop|teams|target)\b)", re.S
)
TARGET = re.compile(r"(?=.*\btarget\b)" + CONSTRUCT.pattern, re.S)
LEAGUE = re.compile(r"^[ \t]*#[ \t]*pragma\s+omp\b.*\bteams\b", re.M)  # the race stage never says "no" of such programs
CLOCK = re.compile(r"chrono|duration|get_?time|\bw?time\b|clock", re.I)  # what it measures is masked in the output
LINE = re.compile(r"^ *(#####|=====|[0-9]+\*?|-): *(\d+):", re.M)


def outcomes(task: Task, bench: Bench, mutants: list[Mutant]) -> tuple[Counter, list[str]]:
    """(how many were "rejected", "survived", set apart or "no mutant"; the survivors in words).

    Those outside the parallel work, in the program's set-up or in its own check, are counted under "... outside" instead.
    """
    counts, survivors, inside = Counter(), [], parallel_lines(task.kernel.sources[task.target])
    for mutant in mutants:
        what, outside = judge_mutant(task, bench, mutant), "" if mutant.line in inside else " outside"
        counts[what + outside if what in ("rejected", "survived") else what] += 1
        survivors += [f"line {mutant.line}{outside}: {mutant.operator}: {mutant.says}"] if what == "survived" else []
    return counts, survivors


def mutants_of(code: str, per_operator: int = 1, most: int = 0, everywhere: bool = False) -> list[Mutant]:
    """At most `per_operator` mutants of each operator in the parallel work, `most` in all (0: no bound), by chance.

    `everywhere`: those of set-up and check too.
    """
    inside = parallel_lines(code)
    chosen = mutation.mutants(code, per_operator, lines=inside)
    random.Random(code).shuffle(chosen)
    rest = [m for m in mutation.mutants(code, per_operator) if m.line not in inside] if everywhere else []
    return chosen[: most or None] + rest


def judge_mutant(task: Task, bench: Bench, mutant: Mutant) -> str:
    """rejected, survived, one of hecbench_table.APART, or "no mutant"; from the journal when it was told before."""
    key = digest([verdict_key(mutant.code, task, bench), mutant.operator, RETURNED.read_text(encoding="utf-8")])
    known = bench.journal.get("mutant", key) if bench.journal else None
    if known is None:
        known = {"is": _judged(task, bench, mutant)}
        if bench.journal:
            bench.journal.put("mutant", key, known)
    return known["is"]


def _judged(task: Task, bench: Bench, mutant: Mutant) -> str:
    if CLOCK.search(task.kernel.sources[task.target].split("\n")[mutant.line - 1]):
        return "no mutant"
    host = on_the_host(bench)
    if task.target == "omp" and host is not bench and _verdict(task.kernel.sources[task.target], task, host).validated:
        verdict = _verdict(mutant.code, task, host)
        if verdict.reason not in NO_MUTANT and not verdict.validated:
            return "rejected"
    for stages in ({}, {"races": "auto"}):  # the slow stage only for what it could find
        verdict = _verdict(mutant.code, task, bench, **stages)
        if verdict.reason in NO_MUTANT:
            return "no mutant"
        if not verdict.validated:
            return "rejected"
        if mutant.operator not in RACES or LEAGUE.search(mutant.code):
            break
    if mutant.line in unreached(task.kernel, task.target, bench):
        return "not reached"
    toolchain, flags = bench.toolchains[task.target], task.kernel.flags.get(task.target, ())
    if same_code(task.kernel.sources[task.target], mutant.code, toolchain, flags, bench.level):
        return "same code"
    if mutant.operator in RACES:
        return "race operator"
    return "same data" if same_data(task.kernel, task.target, mutant, bench) else "survived"


def on_the_host(bench: Bench) -> Bench:
    """The bench with target regions on the host by g++, where a build takes a third of the time; the same one without a device.

    What is rejected there is rejected by the same comparison; only what is not is judged on the device too.
    """
    tools = bench.toolchains["omp"]
    if not tools.llvm.offload:
        return bench
    host = replace(tools, llvm=replace(tools.llvm, clang="", offload=False), offloaded=None)
    return replace(bench, toolchains={**bench.toolchains, "omp": host})


def _verdict(code: str, task: Task, bench: Bench, **stages: str) -> Verdict:
    return judge(code, task, bench.toolchains, bench.level, bench.limits, bench.journal, **stages)


def same_data(kernel: Kernel, api: str, mutant: Mutant, bench: Bench) -> bool:
    """Whether a mutant of device code gives the host the original's bytes in every run; False where that cannot be told."""
    if api != "omp" or mutant.line not in device_lines(kernel.sources[api]) or not bench.toolchains["omp"].llvm.offload:
        return False
    original = returned(kernel, kernel.sources[api], bench)
    return bool(original) and original == returned(kernel, mutant.code, bench)


def returned(kernel: Kernel, code: str, bench: Bench) -> list[str]:
    """What an OpenMP program's target regions give back, a digest a run with one thread; [] where it cannot be told."""
    lib, flags = bench.toolchains["omp"].llvm, kernel.flags.get("omp", ())
    compile_ = [lib.clang, "-std=c++17", "-O2", "-w", "-fopenmp", OFFLOAD]
    steps = [[*compile_, *flags, "-c", f"{JOB}/main.cpp", "-o", "main.o"], [*compile_, "-c", f"{JOB}/returned.cpp", "-o", "returned.o"]]
    steps += [[*compile_, "main.o", "returned.o", "-o", PROGRAM, *flags, f"-Wl,-rpath,{lib.folder}"]]
    runs = [f"{shlex.join([f'./{PROGRAM}', *args])} > /dev/null" for args in inputs(kernel)]
    script = "\n".join([*map(shlex.join, steps), f"if nm main.o | grep -Eq '{UNSEEN}'; then exit 1; fi", *runs])
    files = {"main.cpp": code.encode("utf-8", errors="replace"), "returned.cpp": RETURNED.read_bytes(), **beside(kernel.inputs)}
    limits = replace(BUILD_LIMITS, processes=bench.limits.processes)
    out = sandbox.run(["/bin/sh", "-ec", script], files, limits, bench.level, env=run_env(1))
    found = [" ".join(one) for one in GIVEN_BACK.findall(out.stderr)]
    return found if out.status == "ok" and len(found) == len(runs) else []


def unreached(kernel: Kernel, api: str, bench: Bench) -> frozenset[int]:
    """Lines that hold code and that none of the kernel's runs executes; empty where that cannot be told (CUDA, no gcov)."""
    if api == "cuda":
        return frozenset()
    key = digest([kernel.sources[api], inputs(kernel), tool_facts(bench.toolchains["serial"])])
    known = bench.journal.get("unreached", key) if bench.journal else None
    if known is None:
        marks = LINE.findall(_gcov(kernel, api, bench))
        executed = {int(n) for mark, n in marks if mark[0].isdigit()}
        known = {"lines": sorted({int(n) for mark, n in marks if mark[0] in "#="} - executed)}
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
    limits, env = replace(BUILD_LIMITS, processes=bench.limits.processes), run_env(2)
    out = sandbox.run(["/bin/sh", "-ec", script], files, limits, bench.level, env=env, outputs=(LISTING,))
    return out.files.get(LISTING, b"").decode("utf-8", errors="replace")


def parallel_lines(code: str) -> frozenset[int]:
    """Lines inside an OpenMP construct or a CUDA kernel, and of every function that is called there, by name and through others."""
    parsed = mutation.tokens(code)
    return _lines(code, parsed, [*_constructs(parsed, CONSTRUCT), *_kernels(parsed)])


def device_lines(code: str) -> frozenset[int]:
    """Lines of OpenMP target regions, without those that the host's own parallel regions run too."""
    parsed = mutation.tokens(code)
    targets = _constructs(parsed, TARGET)
    host = [span for span in _constructs(parsed, CONSTRUCT) if not any(first <= span[0] <= last for first, last in targets)]
    return _lines(code, parsed, targets) - _lines(code, parsed, host)


def _constructs(parsed: list[Token], construct: re.Pattern) -> list[tuple[int, int]]:
    return [_statement(parsed, i + 1) for i, t in enumerate(parsed) if t.kind == "line" and construct.match(t.text)]


def _kernels(parsed: list[Token]) -> Iterator[tuple[int, int]]:
    for i, token in enumerate(parsed):
        if token.text == "__global__":
            start = next((j for j in range(i, len(parsed)) if parsed[j].text in ("{", ";")), i)
            if parsed[start].text == "{":
                yield start, _closing(parsed, start)


def _lines(code: str, parsed: list[Token], spans: list[tuple[int, int]]) -> frozenset[int]:
    """The lines of `spans` and of every function called there."""
    bodies = dict(_functions(parsed))
    waiting, done, spans = list(spans), set(), list(spans)
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
