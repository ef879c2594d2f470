"""The stages of a verdict: each takes the state of one program's judging and returns the next one.

Knows one rule a stage, and how a rule that strikes ends the verdict.  Knows nothing of the order of the stages, retries or the
journal: `validate` holds those.  docs/VERDICTS.md holds every rule and threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from parallax_lib.tasks.task import Task
from parallax_lib.verdict import cupti, output_comparison, parallel_evidence, result_buffers, static_checks
from parallax_lib.verdict.bench import Bench, run_as_stacks, run_once
from parallax_lib.verdict.build import Built, Ran, build, unused_api
from parallax_lib.verdict.output_comparison import Line
from parallax_lib.verdict.parallel_evidence import Proof
from parallax_lib.verdict.reference import Reference, inputs
from parallax_lib.verdict.result import Verdict, end, spend
from parallax_lib.verdict.toolchain import Toolchain

MAX_SOURCE = 1 << 20
THREADS = {  # of the runs on the first input and on each other one
    "serial": ((1,), (1,)),
    "omp": ((4, 4), (3, 1)),
    "cuda": ((1, 2), (1, 2)),  # emulated: the schedules
}
REPEATS = 4  # further runs of each input whose counters do not agree
LAUNCHED = "static: the object code calls the API; not proven at run time"


@dataclass(frozen=True)
class Run:
    """One run of the judged program: arguments, OpenMP threads (emulated CUDA: schedule), what came of it."""

    args: tuple[str, ...]
    threads: int
    ran: Ran


@dataclass(frozen=True)
class State:
    """What is known of one program so far.  A verdict with a reason is final.

    printed: the lines of each run of each input that was run; difference: (reason, where) of the first input that came out wrong;
    again: further runs for the counters alone; note: the log of a program that passes.
    """

    code: str
    task: Task
    bench: Bench
    reference: Reference
    verdict: Verdict
    built: Built | None = None
    runs: tuple[Run, ...] = ()
    printed: tuple[tuple[tuple[Line, ...], ...], ...] = ()
    difference: tuple[str, str] = ("", "")
    again: tuple[Run, ...] = ()
    proof: Proof | None = None
    offloaded: bytes = b""
    note: str = ""

    @property
    def toolchain(self) -> Toolchain:
        return self.bench.toolchains[self.task.target]

    @property
    def flags(self) -> tuple[str, ...]:
        return self.task.kernel.flags.get(self.task.target, ())

    @property
    def order(self) -> tuple[tuple[str, ...], ...]:
        """The inputs from the longest run to the shortest."""
        longest = {run.args: int(run.ran.proof.get("wall_us", 0)) for run in self.runs}
        return tuple(sorted(longest, key=longest.get, reverse=True))


def ends(state: State, level: int, reason: str, log: str, **parts: str) -> State:
    """The state whose verdict ends here."""
    return replace(state, verdict=end(replace(state.verdict, **parts), level, reason, log))


def telling(state: State, **parts: str | float) -> State:
    """The state whose verdict says more: `checked`, `parallel` and the like."""
    return replace(state, verdict=replace(state.verdict, **parts))


def spent(state: State, stage) -> State:
    """The state with a stage's cost in its verdict."""
    return replace(state, verdict=spend(state.verdict, stage))


# ---- before any run --------------------------------------------------------------------------------------------------


def refuse(state: State) -> State:
    """What stops a program before its compiler starts."""
    if state.reference.failure:
        return ends(state, 1, "infra_error", f"reference failed: {state.reference.failure}")
    if len(state.code.encode("utf-8", errors="replace")) > MAX_SOURCE:
        return ends(state, 1, "compile_limit", "source over 1 MiB: not compiled")
    if why := static_checks.unfit(state.code):
        return ends(state, 1, "cheat_suspected", f"{why}; not compiled")
    if not state.toolchain.can_build:
        return ends(state, 1, "not_checkable", f"not compiled: {state.toolchain.why_not}")
    return state


def compile_program(state: State) -> State:
    """The one build of the judged program; later stages run what it made."""
    built = build(state.code, state.toolchain, state.flags, state.bench.level, state.task.kernel.gives_results)
    state = telling(spent(replace(state, built=built), built.outcome), toolchain=built.tool or state.verdict.toolchain)
    if built.reason != "ok":
        level = 2 if built.reason == "not_checkable" and state.toolchain.gate else 1
        return ends(state, level, built.reason, built.log)
    return telling(state, checked="compiled")


def look_at_object_code(state: State) -> State:
    """What the object code already decides: attempts on the harness, and an API that is not used."""
    if suspicion := static_checks.suspicion(state.built, state.code):
        return ends(state, 2, "cheat_suspected", suspicion)
    if unused := unused_api(state.built, state.task.target, state.code):
        reason = "no_kernel_launch" if state.task.target == "cuda" else "not_parallel"
        return ends(state, 2, reason, unused, parallel="no", parallel_evidence=f"static: {unused}")
    return telling(state, parallel_evidence=LAUNCHED)


def need_a_machine(state: State) -> State:
    """A program that cannot be run here, or whose reference prints nothing to compare, is not checkable."""
    if state.toolchain.can_run and not state.reference.unable:
        return state
    why = state.reference.unable if state.toolchain.can_run else state.toolchain.why_not
    return ends(state, 2, "not_checkable", f"compiled with {state.toolchain.version}; not run: {why}\n{state.built.log}")


# ---- its runs --------------------------------------------------------------------------------------------------------


def run_inputs(state: State, threads_of: tuple[tuple[int, ...], tuple[int, ...]] = (), stacks: bool = False) -> State:
    """Every input at its thread counts, on the first one and on each other one those of `threads_of`.  The first input that does not
    end well ends the verdict, the first that is wrong the runs.  `stacks`: one run in each order.
    """
    kernel, cases = state.task.kernel, state.reference.cases
    first, rest = threads_of or THREADS[state.task.target]
    counts = [first, *[rest] * (len(cases) - 1)]
    for i, (args, threads, case) in enumerate(zip(inputs(kernel), counts, cases, strict=True), 1):
        lines = []
        for turn, n in enumerate(threads):
            if stacks:
                ran = run_as_stacks(state.built.program, args, turn, state.bench, kernel.inputs)
            else:
                ran = run_once(state.built.program, state.task.target, args, n, state.bench, kernel.inputs)
            state = spent(replace(state, runs=(*state.runs, Run(args, n, ran))), ran.outcome)
            if ran.reason != "ok":
                return ends(state, 2, ran.reason, f"input {i}, {n} threads: {ran.log}")
            if int(ran.proof.get("refused", 0)):
                return ends(state, 2, "infra_error", f"input {i}: the GPU had no memory left; judge with less beside it")
            lines.append(output_comparison.READ[kernel.oracle](ran.text))
        state = replace(state, printed=(*state.printed, tuple(lines)), difference=output_comparison.differs(case, lines))
        if state.difference[0]:
            break
    return telling(state, checked=_what_ran(state, counts))


def _what_ran(state: State, counts: list[tuple[int, ...]]) -> str:
    completed = len(state.printed)
    how = f"with {'; '.join(' and '.join(map(str, c)) for c in counts[:completed])} threads"
    if state.task.target == "cuda":
        how = "on the CPU (cuda-cpu emulation), threads in two orders" if state.toolchain.emulated else "twice on the GPU"
    which = f"{completed} hidden inputs" if completed == len(counts) else f"the first {completed} of {len(counts)} hidden inputs"
    by = f"lines of its {state.reference.by} program" if state.reference.by in THREADS else f"lines of {state.reference.by}"
    by = by if state.reference.by else "own source's lines"
    strength = state.reference.strength or state.task.kernel.strength
    own = f"; output comparison: {by}, {strength}" if state.task.kernel.oracle == "own" else ""
    by_seed = f"; inputs drawn by seed {state.bench.draw}" if state.bench.draw and state.task.kernel.varies else ""
    return f"compiled; ran {which}, {how}{own}{by_seed}"


def repeat_unsettled(state: State) -> State:
    """More runs with several threads of every input, where those made so far do not agree on who did the work."""
    several = [run for run in state.runs if run.threads > 1]
    settled = bool(state.built.team) or parallel_evidence.settled([run.ran.proof for run in several])
    if state.difference[0] or state.task.target != "omp" or settled:
        return state
    for args, n in {run.args: run.threads for run in several}.items():
        for _ in range(REPEATS):
            ran = run_once(state.built.program, "omp", args, n, state.bench, state.task.kernel.inputs)
            kept = (Run(args, n, ran),) if ran.reason == "ok" else ()
            state = spent(replace(state, again=state.again + kept), ran.outcome)
            state = _printed_again(state, args, ran) if kept else state
    return state


# ---- what the runs say -----------------------------------------------------------------------------------------------


def compare_with_outside(state: State) -> State:
    """Counters that the judged process prints have to agree with what the supervisor saw of its threads.

    A full machine can charge threads with time that no counter saw.  A run that disagrees is made again, and the second one counts;
    what it prints is compared too.
    """
    if state.built.runtime != "libomp":  # what g++'s own runtime runs has no counters
        return state
    runs = [*state.runs, *state.again]
    for i, run in enumerate(runs):
        if not parallel_evidence.contradiction(run.ran.proof, run.ran.outcome.threads):
            continue
        ran = run_once(state.built.program, "omp", run.args, run.threads, state.bench, state.task.kernel.inputs)
        state, runs[i] = spent(state, ran.outcome), replace(run, ran=ran)
        if ran.reason != "ok":
            return ends(state, 2, ran.reason, f"{run.threads} threads, again: {ran.log}")
        if forged := parallel_evidence.contradiction(ran.proof, ran.outcome.threads):
            return ends(state, 2, "cheat_suspected", f"{run.threads} threads, twice: {forged}")
        state = _printed_again(state, run.args, ran)
    first = len(state.runs)
    return replace(state, runs=tuple(runs[:first]), again=tuple(runs[first:]))


def _printed_again(state: State, args: tuple[str, ...], ran: Ran) -> State:
    """The state with what one more run of an input printed; its difference is the state's where there was none."""
    if state.difference[0]:
        return state
    kernel, printed = state.task.kernel, state.printed
    place = inputs(kernel).index(args)
    lines = (*printed[place], output_comparison.READ[kernel.oracle](ran.text))
    if (difference := output_comparison.differs(state.reference.cases[place], list(lines)))[0]:
        return replace(state, printed=(*printed[:place], lines), difference=difference)
    return replace(state, printed=(*printed[:place], lines, *printed[place + 1 :]))


def prove(state: State) -> State:
    """What the counters of the runs say.  Printed data that no kernel made are not compared."""
    shown = _of_counters(state)
    if shown is None:
        return state
    regions = f"; {state.built.regions}" if state.built.regions else ""
    shown = replace(shown, evidence=shown.evidence + regions)
    state = telling(replace(state, proof=shown), parallel=shown.parallel, parallel_evidence=shown.evidence)
    if shown.reason in ("cuda_error", "no_kernel_launch"):
        logs = [run.ran.log for run in (*state.runs, *state.again)]
        return ends(state, 3, shown.reason, "\n".join([shown.evidence, *logs]))
    return state


def _of_counters(state: State) -> Proof | None:
    """The static evidence stands where there are no counters."""
    runs = (*state.runs, *state.again)
    if state.task.target == "cuda":
        unwatched = cupti.why_not(state.toolchain, state.bench.level)
        return parallel_evidence.of_cuda([run.ran.proof for run in runs], LAUNCHED, unwatched)
    if state.task.target != "omp":
        return None
    why_not = f"{LAUNCHED}: linked with {state.built.runtime}, not with LLVM's OpenMP runtime"
    counted = {run.args: [r.ran.proof for r in runs if r.threads > 1 and r.args == run.args] for run in runs}
    typical = [parallel_evidence.typical(same) for same in counted.values()]
    return parallel_evidence.of_openmp(typical, state.reference.coverage, why_not, state.reference.region_us)


def compare(state: State) -> State:
    """Level 4 for the reference's lines and words with other numbers, 3 for other lines."""
    reason, where = state.difference
    if not reason:
        return state
    pairs = zip(state.reference.cases, state.printed, strict=False)  # those that were run
    level = 4 if all(output_comparison.comparable(case, lines) for case, runs in pairs for lines in runs) else 3
    return ends(state, 2 if reason == "infra_error" else level, reason, f"input {len(state.printed)}: {where}")


def compare_results(state: State) -> State:
    """Where printed output says too little: what the device gave back, in every run, with what the reference's device did."""
    expected = dict(zip(inputs(state.task.kernel), state.reference.results, strict=False))
    if not any(expected.values()):
        return state
    found = [(run, result_buffers.compare(expected[run.args], result_buffers.read(run.ran.results))) for run in state.runs]
    for run, one in found:
        if one.difference:
            number = 1 + list(expected).index(run.args)
            return ends(state, 4, "wrong_output", f"input {number}: {one.difference}")
    return telling(state, checked=f"{state.verdict.checked}; {result_buffers.summary([one for _, one in found])}")


def need_parallel(state: State) -> State:
    """A right program that did not run in parallel ends here."""
    if state.proof and state.proof.reason:
        return ends(state, 4, state.proof.reason, state.proof.evidence)
    return state
