"""Code -> verdict: compile, run on hidden inputs, compare the data with the reference; cached in the journal.

Knows the outcome ladder, retries and the cache.  Knows nothing of models, prompts or rewards.

Failures of generated code are data.  Failures on our side are `infra_error`: never a score, never cached.  What ran is
said in `checked`, and unknown is never a pass.  Whether it ran in parallel, races or is faster is decided by `proof`,
`races` and `timing`, in this order and only for programs that are correct; docs/VERDICTS.md holds every rule.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from parallax_lib.core.storage import Journal, digest
from parallax_lib.cuda_emulation import rewrite
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import (
    admission,
    cupti,
    offload,
    output_comparison,
    parallel_evidence,
    races,
    readmission,
    serialised_control,
    static_checks,
    timing,
)
from parallax_lib.verdict.build import Built, Ran, build, unused_api
from parallax_lib.verdict.reference import (
    RETRIES,
    Bench,
    Reference,
    beside,
    inputs,
    make_reference,
    reference_key,
    run_env,
    run_once,
    tool_facts,
    visible,
)
from parallax_lib.verdict.result import LOG_CHARS, Verdict, end, spend
from parallax_lib.verdict.toolchain import Toolchain, describe, emulator

MAX_SOURCE = 1 << 20
THREADS = {  # of the runs on the first input and on each other one
    "serial": ((1,), (1,)),
    "omp": ((4, 4), (3, 1)),
    "cuda": ((1, 2), (1, 2)),  # emulated: the schedules
}
REPEATS = 4  # further runs of each input whose counters do not agree
LAUNCHED = "static: the object code calls the API; not proven at run time"


def judge(
    code: str | None,
    task: Task,
    toolchains: dict[str, Toolchain],
    level: Level,
    limits: Limits,
    journal: Journal | None = None,
    **stages: str,
) -> Verdict:
    """The verdict on `code` as a translation for `task`, from the journal when the same thing was judged before.

    Known programs are judged first (admission), and again now and then: UserError where this machine judges them wrongly.

    `limits` hold for each run; compilers have build.BUILD_LIMITS.  `stages`: races (on, off, auto) and timing (on, off).
    """
    bench = Bench(toolchains, level, limits, journal, **stages)
    parts = admission.needed(bench, [(code, task)])
    bench = admission.admit(bench, parts, judged).bench
    key = verdict_key(code, task, bench) if code else ""
    new = not (journal and journal.known("verdict", [key]))
    verdict = judged(code, task, bench, None)
    if new and readmission.watch(bench).note(key, verdict):
        try:
            readmission.look(bench, parts, judged)
        except readmission.Broken:
            readmission.forget(bench)
            raise
    return verdict


def to_row(verdict: Verdict) -> dict:
    """The verdict's columns of a table."""
    return {**asdict(verdict), "validated": verdict.validated}


def verdict_key(code: str, task: Task, bench: Bench) -> str:
    """sha256 of everything that can change the verdict: what the reference depends on, and this program's own tools."""
    mine = tool_facts(bench.toolchains[task.target])
    if task.target == "cuda" and not bench.toolchains["cuda"].emulated:
        mine = [*mine, rewrite.digest()]  # one thread alone is looked at there
    flags = task.kernel.flags.get(task.target, ())
    wanted = [races.wanted(bench, task.target), bench.timing, timing.machine(bench, task)]
    return digest([code, task.target, mine, flags, reference_key(task.kernel, task.source, bench), wanted])


def judged(code: str | None, task: Task, bench: Bench, reference: Reference | None) -> Verdict:
    """The verdict from the journal, or made now and put there; `reference` is made where there is none."""
    if not code or not code.strip():
        return Verdict(0, "no_code", log="no program in the answer")
    key = verdict_key(code, task, bench)
    known = bench.journal.get("verdict", key) if bench.journal else None
    if known:
        return Verdict(**{name: value for name, value in known.items() if name != "admission"})
    with timing.shared():
        reference = reference or make_reference(task.kernel, task.source, bench)
        verdict, program, order, offloaded = _judge(code, task, bench, reference)
        for _ in range(0 if reference.failure else RETRIES):
            if verdict.reason != "infra_error":
                break
            verdict, program, order, offloaded = _judge(code, task, bench, reference)
    if verdict.validated and bench.timing == "on":
        timed = timing.measure(program, task, bench, order, offloaded)
        verdict = spend(replace(verdict, faster=timed.faster, log=timed.note[:LOG_CHARS]), timed)
    if bench.journal and verdict.reason != "infra_error":
        bench.journal.put("verdict", key, asdict(verdict) | {"admission": bench.admission})
    return verdict


def _judge(code: str, task: Task, bench: Bench, reference: Reference) -> tuple[Verdict, bytes, tuple, bool]:
    """One pass up the ladder; the program, the inputs from the longest run to the shortest and whether it offloads, for later stages."""
    toolchain = bench.toolchains[task.target]
    so_far = Verdict(1, "", sandbox=bench.level.name, toolchain=describe(toolchain))
    refused = _refused(code, toolchain, reference)
    if refused:
        return end(so_far, 1, *refused), b"", (), False
    built = build(code, toolchain, task.kernel.flags.get(task.target, ()), bench.level)
    so_far = replace(spend(so_far, built.outcome), toolchain=built.tool or so_far.toolchain)
    if built.reason != "ok":
        return end(so_far, 2 if built.reason == "not_checkable" and toolchain.gate else 1, built.reason, built.log), b"", (), False
    so_far = replace(so_far, checked="compiled")
    if stopped := _static(so_far, built, task.target, code):
        return stopped, b"", (), False
    so_far = replace(so_far, parallel_evidence=LAUNCHED)
    if not toolchain.can_run or reference.unable:
        why = reference.unable if toolchain.can_run else toolchain.why_not
        return end(so_far, 2, "not_checkable", f"compiled with {toolchain.version}; not run: {why}\n{built.log}"), b"", (), False
    verdict, order = _compare(so_far, code, built, task, bench, reference)
    there = b""
    if verdict.validated and offload.wanted(code, task, bench):
        verdict, there = _offload(verdict, code, task, bench, reference)
    if verdict.validated and races.wanted(bench, task.target):
        verdict = _check_races(verdict, code, built.language, task, bench, order)
    return verdict, there or built.program, order, bool(there)


def _static(so_far: Verdict, built: Built, api: str, code: str) -> Verdict | None:
    """The verdict on a program that its object code already decides."""
    if suspicion := static_checks.suspicion(built, code):
        return end(so_far, 2, "cheat_suspected", suspicion)
    if unused := unused_api(built, api, code):
        so_far = replace(so_far, parallel="no", parallel_evidence=f"static: {unused}")
        return end(so_far, 2, "no_kernel_launch" if api == "cuda" else "not_parallel", unused)
    return None


def _refused(code: str, toolchain: Toolchain, reference: Reference) -> tuple[str, str] | None:
    """(reason, log) of what stops a program before its compiler starts."""
    if reference.failure:
        return "infra_error", f"reference failed: {reference.failure}"
    if len(code.encode("utf-8", errors="replace")) > MAX_SOURCE:
        return "compile_limit", "source over 1 MiB: not compiled"
    if why := static_checks.unfit(code):
        return "cheat_suspected", f"{why}; not compiled"
    if not toolchain.can_build:
        return "not_checkable", f"not compiled: {toolchain.why_not}"
    return None


def _compare(so_far: Verdict, code: str, built: Built, task: Task, bench: Bench, reference: Reference) -> tuple[Verdict, tuple]:
    """Run hidden inputs at their thread counts and compare; the first run that does not end well, or input that comes out wrong, ends it.

    Also the inputs, longest run first.
    """
    first, rest = THREADS[task.target]
    counts = [first, *[rest] * (len(reference.cases) - 1)]
    results, runs, wrong = [], [], ("", "")
    for i, (args, threads, case) in enumerate(zip(inputs(task.kernel), counts, reference.cases, strict=True), 1):
        results.append([])
        for n in threads:
            ran = run_once(built.program, task.target, args, n, bench, task.kernel.inputs)
            so_far = spend(so_far, ran.outcome)
            if ran.reason != "ok":
                return end(so_far, 2, ran.reason, f"input {i}, {n} threads: {ran.log}"), ()
            if int(ran.proof.get("refused", 0)):
                return end(so_far, 2, "infra_error", f"input {i}: the GPU had no memory left; judge with less beside it"), ()
            results[-1].append(output_comparison.READ[task.kernel.oracle](ran.text))
            runs.append((args, n, ran))
        wrong = output_comparison.differs(case, results[-1])
        if wrong[0]:
            break
    made = len(results)
    how = f"with {'; '.join(' '.join(map(str, c)) for c in counts[:made])} threads"
    if task.target == "cuda":
        how = "on the CPU (cuda-cpu emulation), threads in two orders" if bench.toolchains["cuda"].emulated else "twice on the GPU"
    which = f"{made} hidden inputs" if made == len(counts) else f"the first {made} of {len(counts)} hidden inputs"
    so_far = replace(so_far, checked=f"compiled; ran {which}, {how}")
    if task.kernel.oracle == "own":
        so_far = replace(so_far, checked=f"{so_far.checked}; oracle: own source's lines, {task.kernel.strength}")
    again, so_far = ([], so_far) if wrong[0] else _repeat_unsettled(so_far, built, task, bench, runs)
    shown = _prove(built, task.target, runs + again, reference, bench)
    if shown:
        so_far = replace(so_far, parallel=shown.parallel, parallel_evidence=shown.evidence)
    pairs = list(zip(reference.cases, results, strict=False))  # those that were run
    level = 4 if all(output_comparison.comparable(case, lines) for case, runs in pairs for lines in runs) else 3
    if shown and shown.reason in ("cuda_error", "no_kernel_launch"):  # printed data that no kernel made are not compared
        return end(so_far, 3, shown.reason, "\n".join([shown.evidence, *(ran.log for _, _, ran in runs)])), ()
    if wrong[0]:
        return end(so_far, level, wrong[0], f"input {made}: {wrong[1]}"), ()
    if shown and shown.reason:
        return end(so_far, 4, shown.reason, shown.evidence), ()
    longest = {args: int(ran.proof.get("wall_us", 0)) for args, _, ran in runs}
    verdict = _without_regions(so_far, code, built, task, bench, reference)
    return verdict, tuple(sorted(longest, key=longest.get, reverse=True))


def _without_regions(so_far: Verdict, code: str, built: Built, task: Task, bench: Bench, reference: Reference) -> Verdict:
    """A right program whose output stays right on every input with its regions or kernels off did not use them."""
    toolchain = bench.toolchains[task.target]
    stages = [(built, toolchain, serialised_control.switches(toolchain, built.symbols), "")]
    if task.target == "cuda" and not toolchain.emulated:
        twin = emulator()
        on_cpu = build(code, twin, task.kernel.flags.get("cuda", ()), bench.level)
        alone = {switch: words for switch, words in serialised_control.CUDA.items() if switch not in stages[0][2]}
        stages += [(on_cpu, twin, alone, "emulated, ")] if on_cpu.reason == "ok" else []
        shown = "as the emulator shows it" if on_cpu.reason == "ok" else "not checked, the emulator does not take the program"
        so_far = replace(spend(so_far, on_cpu.outcome), checked=f"{so_far.checked}; one thread of every launch alone: {shown}")
    for program, tool, switches, where in stages:
        found = _ablate(so_far, program.program, tool, switches, task, bench, reference)
        so_far = spend(so_far, found)
        if found.failure:
            return end(so_far, 2, "infra_error", found.failure)
        if found.evidence:
            return end(replace(so_far, parallel="no", parallel_evidence=where + found.evidence), 4, "not_parallel", where + found.evidence)
    return end(so_far, 5, "ok", "")


def _ablate(
    so_far: Verdict, program: bytes, toolchain: Toolchain, switches: dict[str, str], task: Task, bench: Bench, reference: Reference
) -> serialised_control.Spent:
    """The program on every input with each of the switches."""
    env, limits = run_env(4), replace(bench.limits, cpu_s=min(bench.limits.cpu_s, so_far.cpu_s + 1))

    def run(switch: str, args: tuple[str, ...], schedule: int) -> Ran:
        return serialised_control.run_idle(program, toolchain, args, limits, bench.level, env, beside(task.kernel.inputs), switch, schedule)

    def right(case: output_comparison.Expected, ran: Ran) -> bool:
        return not output_comparison.differs(case, [output_comparison.READ[task.kernel.oracle](ran.text)])[0]

    cases = zip(inputs(task.kernel), reference.cases, strict=True)
    return serialised_control.without(cases, run, right, switches, serialised_control.SCHEDULES.get(toolchain.api, (1,)))


def _repeat_unsettled(so_far: Verdict, built: Built, task: Task, bench: Bench, runs: list) -> tuple[list, Verdict]:
    """More runs with several threads of every input, where those made so far do not agree on who did the work."""
    several = [(args, n) for args, n, _ in runs if n > 1]
    if task.target != "omp" or parallel_evidence.settled([ran.proof for _, n, ran in runs if n > 1]):
        return [], so_far
    again = [
        (args, n, run_once(built.program, "omp", args, n, bench, task.kernel.inputs))
        for args, n in dict(several).items()
        for _ in range(REPEATS)
    ]
    for _, _, ran in again:
        so_far = spend(so_far, ran.outcome)
    return [run for run in again if run[2].reason == "ok"], so_far


def _prove(
    built: Built, api: str, runs: list[tuple[tuple[str, ...], int, Ran]], reference: Reference, bench: Bench
) -> parallel_evidence.Proof | None:
    """What the counters of the runs say; the static evidence stands where there are none."""
    if api == "cuda":
        shown = parallel_evidence.of_cuda([ran.proof for _, _, ran in runs], LAUNCHED, cupti.why_not(bench.toolchains["cuda"], bench.level))
    elif api == "omp":
        why_not = f"{LAUNCHED}: linked with {built.runtime}, not with LLVM's OpenMP runtime"
        counted = {args: [ran.proof for a, n, ran in runs if n > 1 and a == args] for args, _, _ in runs}
        shown = parallel_evidence.of_openmp([parallel_evidence.typical(same) for same in counted.values()], reference.coverage, why_not)
    else:
        return None
    return replace(shown, evidence=f"{shown.evidence}; {built.regions}" if built.regions else shown.evidence)


def _offload(verdict: Verdict, code: str, task: Task, bench: Bench, reference: Reference) -> tuple[Verdict, bytes]:
    """Right on the x86_64 device or the host; now on the GPU.  Also the program that offloads, b"" for none."""
    seen = offload.check(code, task, bench, reference, elsewhere=parallel_evidence.ON_DEVICE in verdict.parallel_evidence)
    verdict = replace(spend(verdict, seen), checked=f"{verdict.checked}; {seen.checked}")
    if not seen.reason:
        return replace(verdict, log=visible(seen.log.strip())[:LOG_CHARS]), seen.program
    lost = {"parallel": "no", "parallel_evidence": seen.checked} if seen.reason == "not_parallel" else {}
    return end(replace(verdict, **lost), seen.level, seen.reason, seen.log), b""


def _check_races(verdict: Verdict, code: str, language: str, task: Task, bench: Bench, order: tuple) -> Verdict:
    """The race stage on the shortest input, because it is some eight times slower."""
    seen = races.check(code, task.target, order[-1], task.kernel.flags.get(task.target, ()), bench, task.kernel.inputs, language)
    verdict = replace(spend(verdict, seen), race_free=seen.race_free, race_evidence=seen.evidence)
    return end(verdict, 4, "race", seen.evidence) if seen.race_free == "no" else verdict
