"""Code -> verdict: compile, run on hidden inputs, compare the data with the reference; cached in the journal.

Knows the outcome ladder, retries and the cache.  Knows nothing of models, prompts or rewards.

Failures of generated code are data.  Failures on our side are `infra_error`: never a score, never cached.  What ran is
said in `checked`, and unknown is never a pass.  Proof of parallelism at run time, races and timing are parts of a
verdict that this module does not decide: they stay "unknown" and "not checked".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace

from parallax_lib import oracle
from parallax_lib.build import build, unused_api
from parallax_lib.kernels import Task
from parallax_lib.reference import (
    RETRIES,
    Bench,
    Reference,
    inputs,
    make_reference,
    reference_key,
    run_once,
    tool_facts,
    visible,
)
from parallax_lib.sandbox import Level, Limits, Outcome
from parallax_lib.store import Journal, digest
from parallax_lib.toolchain import Toolchain, describe

MAX_SOURCE = 1 << 20
LOG_CHARS = 4000
# of the runs on the first input and on each other one; serial is a target only where a suite checks itself
THREADS = {"serial": ((1, 1), (1, 1)), "omp": ((4, 4), (3, 1)), "cuda": ((1, 1), (1, 1))}
FOREIGN_INCLUDE = re.compile(r'^\s*(?:#|%:)\s*(?:include\w*|embed|import)\s*["<]\s*(?:/|[^">\n]*\.\.)', re.M)
LAUNCHED = "static: the object code calls the API; not proven at run time"


@dataclass(frozen=True)
class Verdict:
    """level: 0 nothing extracted, 1 extracted, 2 compiles, 3 runs, 4 comparable output, 5 validated.

    `reason` says why not more; `seconds` is wall time, `cpu_s` CPU time spent in compilers and runs.
    """

    level: int
    reason: str
    parallel: str = "unknown"  # yes | no | unknown
    parallel_evidence: str = ""
    race_free: str = "not checked"
    faster: str = "not checked"
    log: str = ""
    checked: str = ""
    sandbox: str = ""
    toolchain: str = ""
    cpu_s: float = 0.0
    seconds: float = 0.0

    @property
    def validated(self) -> bool:
        return self.level == 5


def judge(
    code: str | None,
    task: Task,
    toolchains: dict[str, Toolchain],
    level: Level,
    limits: Limits,
    journal: Journal | None = None,
) -> Verdict:
    """The verdict on `code` as a translation for `task`, from the journal when the same thing was judged before.

    `limits` hold for each run; compilers have build.BUILD_LIMITS.
    """
    return _judge_cached(code, task, Bench(toolchains, level, limits, journal), None)


def judge_many(
    items: list[tuple[str | None, Task]],
    toolchains: dict[str, Toolchain],
    level: Level,
    limits: Limits,
    journal: Journal | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Verdict]:
    """Verdicts in the order of `items`; references come first and equal items are judged once.

    Every verdict is journalled as it falls, so a killed call resumes where it was.  `progress(done, total)` counts
    distinct programs.
    """
    bench = Bench(toolchains, level, limits, journal)
    keys = [_identity(code, task, bench) for code, task in items]
    distinct = dict(zip(keys, items, strict=True))
    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        references = _references([task for code, task in distinct.values() if code], bench, pool)
        futures = {}
        for key, (code, task) in distinct.items():
            reference = references.get(reference_key(task.kernel, task.source, bench))
            futures[pool.submit(_judge_cached, code, task, bench, reference)] = key
        verdicts = {}
        for done, future in enumerate(as_completed(futures), 1):
            verdicts[futures[future]] = future.result()
            progress(done, len(futures))
    finally:
        pool.shutdown(cancel_futures=True)
    return [verdicts[key] for key in keys]


def to_row(verdict: Verdict) -> dict:
    """The verdict's columns of a table."""
    return {**asdict(verdict), "validated": verdict.validated}


def verdict_key(code: str, task: Task, bench: Bench) -> str:
    """sha256 of everything that can change the verdict: what the reference depends on, and this program's own tools."""
    mine = tool_facts(bench.toolchains[task.target])
    flags = task.kernel.flags.get(task.target, ())
    return digest([code, task.target, mine, flags, reference_key(task.kernel, task.source, bench)])


def _references(tasks: list[Task], bench: Bench, pool: ThreadPoolExecutor) -> dict[str, Reference]:
    wanted = {reference_key(t.kernel, t.source, bench): t for t in tasks}
    made = pool.map(lambda t: make_reference(t.kernel, t.source, bench), wanted.values())
    return dict(zip(wanted, made, strict=True))


def _identity(code: str | None, task: Task, bench: Bench) -> str:
    return verdict_key(code, task, bench) if code and code.strip() else "no code"


def _judge_cached(code: str | None, task: Task, bench: Bench, reference: Reference | None) -> Verdict:
    if not code or not code.strip():
        return Verdict(0, "no_code", log="no program in the answer")
    key = verdict_key(code, task, bench)
    known = bench.journal.get("verdict", key) if bench.journal else None
    if known:
        return Verdict(**known)
    reference = reference or make_reference(task.kernel, task.source, bench)
    verdict = _judge(code, task, bench, reference)
    for _ in range(0 if reference.failure else RETRIES):
        if verdict.reason != "infra_error":
            break
        verdict = _judge(code, task, bench, reference)
    if bench.journal and verdict.reason != "infra_error":
        bench.journal.put("verdict", key, asdict(verdict))
    return verdict


def _judge(code: str, task: Task, bench: Bench, reference: Reference) -> Verdict:
    """One pass up the ladder."""
    toolchain = bench.toolchains[task.target]
    so_far = Verdict(1, "", sandbox=bench.level.name, toolchain=describe(toolchain))
    refused = _refused(code, toolchain, reference)
    if refused:
        return _end(so_far, 1, *refused)
    built = build(code, toolchain, task.kernel.flags.get(task.target, ()), bench.level)
    so_far = _spend(so_far, built.outcome)
    if built.reason != "ok":
        return _end(so_far, 1, built.reason, built.log)
    so_far = replace(so_far, checked="compiled")
    unused = unused_api(built, task.target)
    if unused:
        so_far = replace(so_far, parallel="no", parallel_evidence=f"static: {unused}")
        return _end(so_far, 2, "no_kernel_launch" if task.target == "cuda" else "not_parallel", unused)
    so_far = replace(so_far, parallel_evidence=LAUNCHED)
    if not toolchain.can_run or reference.unable:
        why = reference.unable if toolchain.can_run else toolchain.why_not
        return _end(so_far, 2, "not_checkable", f"compiled with {toolchain.version}; not run: {why}\n{built.log}")
    return _compare(so_far, built.program, task, bench, reference)


def _refused(code: str, toolchain: Toolchain, reference: Reference) -> tuple[str, str] | None:
    """(reason, log) of what stops a program before its compiler starts."""
    if reference.failure:
        return "infra_error", f"reference failed: {reference.failure}"
    if len(code.encode("utf-8", errors="replace")) > MAX_SOURCE:
        return "compile_limit", "source over 1 MiB: not compiled"
    if FOREIGN_INCLUDE.search(code.replace("\\\n", "")):
        return "cheat_suspected", "an #include names a file by absolute path or through ..; not compiled"
    if not toolchain.can_build:
        return "not_checkable", f"not compiled: {toolchain.why_not}"
    return None


def _compare(so_far: Verdict, program: bytes, task: Task, bench: Bench, reference: Reference) -> Verdict:
    """Run every hidden input at its thread counts, then compare; the first run that does not end well ends it."""
    first, rest = THREADS[task.target]
    counts = [first, *[rest] * (len(reference.cases) - 1)]
    results = []
    for i, (args, threads) in enumerate(zip(inputs(task.kernel), counts, strict=True), 1):
        results.append([])
        for n in threads:
            ran = run_once(program, task.target, args, n, bench, task.kernel.inputs)
            so_far = _spend(so_far, ran.outcome)
            if ran.reason != "ok":
                return _end(so_far, 2, ran.reason, f"input {i}, {n} threads: {ran.log}")
            results[-1].append(oracle.READ[task.kernel.oracle](ran.text))
    threads = "; ".join(" ".join(map(str, c)) for c in counts)
    so_far = replace(so_far, checked=f"compiled; ran {len(counts)} hidden inputs, with {threads} threads")
    if task.kernel.oracle == "own":
        so_far = replace(so_far, checked=f"{so_far.checked}; oracle: own source's lines, {task.kernel.strength}")
    pairs = list(zip(reference.cases, results, strict=True))
    level = 4 if all(oracle.comparable(case, lines) for case, runs in pairs for lines in runs) else 3
    for i, (case, runs) in enumerate(pairs, 1):
        reason, why = _differs(case, runs)
        if reason:
            return _end(so_far, level, reason, f"input {i}: {why}")
    return _end(so_far, 5, "ok", "")


def _differs(case: oracle.Expected, runs: list[tuple[oracle.Line, ...]]) -> tuple[str, str]:
    """(reason, in words) of the first difference among runs of one input or from the reference; ("", "") for none."""
    if any(not oracle.same(case, runs[0], other) for other in runs[1:]):
        return "nondeterministic", "the output changes from run to run or with the number of threads"
    for lines in runs:
        why = oracle.difference(case, lines) if oracle.comparable(case, lines) else oracle.mismatch(case, lines)
        if why:
            return "wrong_output", why
    return "", ""


def _spend(verdict: Verdict, outcome: Outcome) -> Verdict:
    cpu, seconds = verdict.cpu_s + outcome.cpu_s, verdict.seconds + outcome.wall_s
    return replace(verdict, cpu_s=round(cpu, 3), seconds=round(seconds, 3))


def _end(so_far: Verdict, level: int, reason: str, log: str) -> Verdict:
    return replace(so_far, level=level, reason=reason, log=visible(log.strip())[:LOG_CHARS])
