"""The runs of a program, and those with whole teams where it takes thread numbers for CUDA's indices.

Knows which ends may be for lack of threads.  Knows nothing of how whole teams are run, which `whole_teams` holds, nor of other stages.
"""

from __future__ import annotations

from dataclasses import replace

from parallax_lib.tasks.hecbench import sources as hecbench_sources
from parallax_lib.verdict import whole_teams
from parallax_lib.verdict.build import build
from parallax_lib.verdict.stages import State, compare_results, run_inputs, spent, telling

ENDS = ("timeout", "incomplete", "memory_limit", "output_limit")
OWN_CODES = range(1, 126)  # of a program that tells its own failure; a signal has a larger one
WHOLE = (whole_teams.TEAM,) * 2


def run_all(state: State) -> State:
    """Every input at its thread counts.  Where target regions take thread numbers for CUDA's indices and that came out wrong, once more
    with as many threads in a team as they ask for, on the host; the program has to be right with these.
    """
    ran = run_inputs(state)
    if state.task.target != "omp" or state.toolchain.gpu or not hecbench_sources.simt(state.code) or not _by_few_threads(ran):
        return ran
    whole = _with_whole_teams(telling(state, cpu_s=ran.verdict.cpu_s, seconds=ran.verdict.seconds))
    why = whole.built.reason if whole.built.reason != "ok" else whole.verdict.reason or whole.difference[0]
    if not why:
        return whole
    why = ": ".join(filter(None, (why, whole.difference[1])))
    ran = telling(ran, cpu_s=whole.verdict.cpu_s, seconds=whole.verdict.seconds)
    if ran.verdict.reason:
        return telling(ran, log=f"{ran.verdict.log}; with whole teams: {why}")
    return replace(ran, difference=(ran.difference[0], f"{ran.difference[1]}; with whole teams: {why}"))


def _by_few_threads(ran: State) -> bool:
    """Whether runs may have come out wrong for lack of threads.  A signal may be a missing map, and stands."""
    if ran.verdict.reason == "crash":
        return ran.runs[-1].ran.outcome.returncode in OWN_CODES
    wrong = ran.difference[0] or (not ran.verdict.reason and compare_results(ran).verdict.reason)
    return ran.verdict.reason in ENDS or wrong in ("wrong_output", "nondeterministic")


def _with_whole_teams(state: State) -> State:
    """The program built for the host by g++, which runs one team after the other, each with all of its threads.

    Threads are stacks of one thread where the program allows it; one that waits for another without a barrier does not end so.
    """
    built = build(state.code, whole_teams.host(state.toolchain), state.flags, state.bench.level)
    state = spent(replace(state, built=replace(built, team=whole_teams.TEAM)), built.outcome)
    if built.reason != "ok":
        return state
    ran = run_inputs(state, (WHOLE, WHOLE), True) if whole_teams.as_stacks(built) else None
    if ran is None or ran.verdict.reason == "timeout":
        cost = {"cpu_s": ran.verdict.cpu_s, "seconds": ran.verdict.seconds} if ran else {}
        limits = replace(state.bench.limits, processes=max(state.bench.limits.processes, whole_teams.TEAM + 76))
        ran = run_inputs(replace(telling(state, **cost), bench=replace(state.bench, limits=limits)), (WHOLE, WHOLE))
    said = f"{ran.verdict.checked}; target regions on the host with whole teams, missing maps are not seen"
    return telling(replace(ran, bench=state.bench), checked=said)
