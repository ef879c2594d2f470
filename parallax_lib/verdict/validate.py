"""Code -> verdict: the stages in the order in which they are tried, retries on failures of ours, and the journal.

Knows the order and the cache.  Knows no rule: each stands in `stages` or `other_ways`, docs/VERDICTS.md tells all of them.

Failures of generated code are data.  Failures on our side are `infra_error`: never a score, never cached.  What ran is
said in `checked`, and unknown is never a pass.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from parallax_lib.core.storage import Journal, digest
from parallax_lib.cuda_emulation import rewrite
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.tasks import given
from parallax_lib.tasks.task import Task, drawn, put_together
from parallax_lib.verdict import admission, other_ways, races, readmission, stages, team_runs, timing
from parallax_lib.verdict.bench import Bench, draw_of
from parallax_lib.verdict.reference import RETRIES, Reference, make_reference, reference_key, tool_facts
from parallax_lib.verdict.result import LOG_CHARS, Verdict, end, spend
from parallax_lib.verdict.stages import State
from parallax_lib.verdict.toolchain import Toolchain, describe

STAGES = (  # the first that gives a reason ends the verdict
    stages.refuse,
    stages.compile_program,
    stages.look_at_object_code,
    stages.need_a_machine,
    team_runs.run_all,
    stages.repeat_unsettled,
    stages.compare_with_outside,
    stages.prove,
    stages.compare,
    stages.compare_results,
    stages.need_parallel,
    other_ways.serialise,
    other_ways.share_work,
    other_ways.offload_to_gpu,
    other_ways.check_races,
)


def judge(
    code: str | None,
    task: Task,
    toolchains: dict[str, Toolchain],
    level: Level,
    limits: Limits,
    journal: Journal | None = None,
    draw: int | None = None,
    **parts: str,
) -> Verdict:
    """The verdict on `code` as a translation for `task`, from the journal when the same thing was judged before.

    Known programs are judged first (admission), and again now and then: UserError where this machine judges them wrongly.

    `limits` hold for each run; compilers have build.BUILD_LIMITS.  `parts`: races (on, off, auto) and timing (on, off).
    `draw`: the seed of the hidden inputs, None for the journal's own or a new one, 0 for those that the suite writes.
    """
    bench = Bench(toolchains, level, limits, journal, draw=draw_of(journal) if draw is None else draw, **parts)
    admitted = admission.needed(bench, [(code, task)])
    bench = admission.admit(bench, admitted, judged).bench
    code, task = prepared(code, task, bench)
    key = verdict_key(code, task, bench) if code else ""
    new = not (journal and journal.known("verdict", [key]))
    verdict = judged(code, task, bench, None)
    if new and readmission.watch(bench).note(key, verdict):
        try:
            readmission.look(bench, admitted, judged)
        except readmission.Broken:
            readmission.forget(bench)
            raise
    return verdict


def prepared(code: str | None, task: Task, bench: Bench) -> tuple[str | None, Task]:
    """The program as it is compiled, with what the suite gives around and beside it; and the task with whole references and the hidden
    inputs of this bench.  A program that would change the given text is left alone: it lacks what it needs then, and says why.
    """
    parts = task.kernel.given.get(task.target, given.NOTHING)
    if code and code.strip():
        changed = given.redefines(code, parts, "\n".join(task.kernel.sources.values()))
        code = f"#error {changed} is a macro that would change the given text\n" if changed else given.whole(code, parts)
    return code, replace(task, kernel=put_together(drawn(task.kernel, bench.draw)))


def to_row(verdict: Verdict) -> dict:
    """The verdict's columns of a table."""
    return {**asdict(verdict), "validated": verdict.validated}


def verdict_key(code: str, task: Task, bench: Bench) -> str:
    """sha256 of everything that can change the verdict: what the reference depends on, and this program's own tools."""
    tools = tool_facts(bench.toolchains[task.target])
    if task.target == "cuda" and not bench.toolchains["cuda"].emulated:
        tools = [*tools, rewrite.digest()]  # one thread alone is looked at there
    flags = task.kernel.flags.get(task.target, ())
    asked = [races.applies(bench, task.target), bench.timing, timing.machine(bench, task)]
    return digest([code, task.target, tools, flags, reference_key(task.kernel, task.source, bench), asked])


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
        state = climb(code, task, bench, reference)
        for _ in range(0 if reference.failure else RETRIES):
            if state.verdict.reason != "infra_error":
                break
            state = climb(code, task, bench, reference)
    timed = state.verdict.validated and bench.timing == "on" and not state.built.team
    verdict = _timed(state) if timed else state.verdict
    if bench.journal and verdict.reason != "infra_error":
        bench.journal.put("verdict", key, asdict(verdict) | {"admission": bench.admission})
    return verdict


def climb(code: str, task: Task, bench: Bench, reference: Reference) -> State:
    """The state after the first stage that gave a reason, or after all of them: then the program is validated."""
    toolchain = bench.toolchains[task.target]
    state = State(code, task, bench, reference, Verdict(1, "", sandbox=bench.level.name, toolchain=describe(toolchain)))
    for stage in STAGES:
        state = stage(state)
        if state.verdict.reason:
            return state
    return replace(state, verdict=end(state.verdict, 5, "ok", state.note))


def _timed(state: State) -> Verdict:
    """The verdict with the timing lane's part; outside of the lock that judging shares."""
    program = state.offloaded or state.built.program
    timed = timing.measure(program, state.task, state.bench, state.reference, state.order, bool(state.offloaded))
    verdict = spend(replace(state.verdict, faster=timed.faster, log=timed.note[:LOG_CHARS]), timed)
    return end(verdict, 4, timed.reason, timed.note) if timed.reason else verdict
