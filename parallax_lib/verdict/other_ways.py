"""Stages that build or run a right program in other ways: without its parallel work, counted, on a GPU, under a sanitizer.

Knows what each of these says of a verdict.  Knows nothing of how they are done, which `serialised_control`, `work_share`, `offload` and
`races` hold, nor of their order, which is `validate`'s.
"""

from __future__ import annotations

from dataclasses import replace

from parallax_lib.verdict import offload, output_comparison, parallel_evidence, races, serialised_control, work_share
from parallax_lib.verdict.bench import beside, run_env
from parallax_lib.verdict.build import Built, Ran, build
from parallax_lib.verdict.output_comparison import Expected
from parallax_lib.verdict.reference import counting, inputs, visible
from parallax_lib.verdict.result import LOG_CHARS
from parallax_lib.verdict.stages import State, ends, spent, telling
from parallax_lib.verdict.toolchain import Toolchain, emulator


def serialise(state: State) -> State:
    """A right program whose output stays right on every input with its regions or kernels off did not use them."""
    switches = serialised_control.switches(state.toolchain, state.built.symbols)
    if "target" in switches:
        return _without_targets(state, switches)
    state = _without(state, state.built, state.toolchain, switches)
    if state.verdict.reason or state.task.target != "cuda" or state.toolchain.emulated:
        return state
    on_cpu = build(state.code, emulator(), state.flags, state.bench.level)
    shown = "as the emulator shows it" if on_cpu.reason == "ok" else "not checked, the emulator does not take the program"
    state = telling(spent(state, on_cpu.outcome), checked=f"{state.verdict.checked}; one thread of every launch alone: {shown}")
    alone = {switch: words for switch, words in serialised_control.CUDA.items() if switch not in switches}
    return _without(state, on_cpu, emulator(), alone, "emulated, ") if on_cpu.reason == "ok" else state


def _without_targets(state: State, switches: dict[str, str]) -> State:
    """A program that needs its target regions passes; one of which none ran on the device may share its work among the host's threads."""
    found = _without(state, state.built, state.toolchain, switches)
    if found.verdict.reason != "not_parallel" or parallel_evidence.ON_DEVICE in state.verdict.parallel_evidence:
        return found
    state = telling(state, cpu_s=found.verdict.cpu_s, seconds=found.verdict.seconds)
    return _without(state, state.built, state.toolchain, {"": serialised_control.OPENMP[""]})


def _without(state: State, built: Built, tool: Toolchain, switches: dict[str, str], where: str = "") -> State:
    """The program on every input with each of the switches."""
    kernel, bench = state.task.kernel, state.bench
    env, limits = run_env(built.team or 4), replace(bench.limits, cpu_s=min(bench.limits.cpu_s, state.verdict.cpu_s + 1))

    def run(switch: str, args: tuple[str, ...], schedule: int) -> Ran:
        return serialised_control.run_idle(built.program, tool, args, limits, bench.level, env, beside(kernel.inputs), switch, schedule)

    def right(case: Expected, ran: Ran) -> bool:
        return not output_comparison.differs(case, [output_comparison.READ[kernel.oracle](ran.text)])[0]

    cases = zip(inputs(kernel), state.reference.cases, strict=True)
    found = serialised_control.without(cases, run, right, switches, serialised_control.SCHEDULES.get(tool.api, (1,)))
    state = spent(state, found)
    if found.failure:
        return ends(state, 2, "infra_error", found.failure)
    if found.evidence:
        return ends(state, 4, "not_parallel", where + found.evidence, parallel="no", parallel_evidence=where + found.evidence)
    return state


def share_work(state: State) -> State:
    """A right program, one thread of which does all of the work that the reference shares, is not parallel."""
    pair, tool = state.reference.work, state.toolchain
    if state.task.target == "serial":
        return state
    if pair.why_not:
        only = "correctness only" if pair.why_not == work_share.NO_PROGRAM else "work not compared"
        return telling(state, parallel_evidence=f"{state.verdict.parallel_evidence}; {only}: {pair.why_not}")
    tool = tool if tool.emulated or tool.api != "cuda" else emulator()
    where, files, threads = counting(state.bench), beside(state.task.kernel.inputs), state.built.team or work_share.THREADS

    def counted() -> work_share.Work:
        return work_share.count(state.code, tool, state.flags, where, pair.inputs, files, threads)

    work, alone, said = work_share.compared(counted, pair)
    state = telling(spent(state, work), parallel_evidence=f"{state.verdict.parallel_evidence}; {said}")
    return ends(state, 4, "not_parallel", said, parallel="no") if alone else state


def offload_to_gpu(state: State) -> State:
    """Right on the x86_64 device or the host; now on the GPU, where target regions can run there."""
    if not offload.applies(state.code, state.task, state.bench):
        return state
    elsewhere = parallel_evidence.ON_DEVICE in state.verdict.parallel_evidence
    result = offload.check(state.code, state.task, state.bench, state.reference, elsewhere=elsewhere)
    state = telling(spent(state, result), checked=f"{state.verdict.checked}; {result.checked}")
    if not result.reason:
        return replace(state, offloaded=result.program, note=visible(result.log.strip())[:LOG_CHARS])
    lost = {"parallel": "no", "parallel_evidence": result.checked} if result.reason == "not_parallel" else {}
    return ends(state, result.level, result.reason, result.log, **lost)


def check_races(state: State) -> State:
    """The race stage on the shortest input, because it is some eight times slower."""
    if not races.applies(state.bench, state.task.target):
        return state
    if state.built.team:
        return telling(state, race_free="not checked", race_evidence="thread numbers stand for indices: no run with few threads shows them")
    built, files = state.built, state.task.kernel.inputs
    result = races.check(state.code, state.task.target, state.order[-1], state.flags, state.bench, files, built.language, built.view)
    state = telling(spent(state, result), race_free=result.race_free, race_evidence=result.evidence)
    return ends(state, 4, "race", result.evidence) if result.race_free == "no" else state
