"""Does a program print what its task's source program prints?  In translation the source can be run, on inputs that anyone may make.

Knows programs, made inputs and how outputs are compared.  Knows nothing of the hidden inputs' outputs, and none of a verdict's other rules.

Made inputs are drawn as the hidden ones are, by another seed, where a kernel says how its inputs vary.  Else they are those that may be
shown; where these are hidden ones too, as in HeCBench, their whole numbers are halved if the source runs so.  Every row says which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from parallax_lib.core.storage import digest
from parallax_lib.tasks.task import Kernel, Task, drawn
from parallax_lib.verdict import output_comparison, stages, team_runs, timing, validate
from parallax_lib.verdict.output_comparison import Expected, Line
from parallax_lib.verdict.reference import HARNESS_VERSION, Bench, Reference, inputs, make_reference, reference_key, tool_facts
from parallax_lib.verdict.result import Verdict
from parallax_lib.verdict.stages import State

DRAWN, PUBLIC, HALVED, SAME = "drawn", "public", "halved", "as hidden"  # where made inputs come from
DIGITS = 4  # of a printed number that isn't whole, for the digest: rounding errors are smaller
LEAST = 4  # whole numbers from here on are halved


@dataclass(frozen=True)
class Agreement:
    """agrees: 1 the program prints what the source program does on every made input, 0 not, NaN: nobody knows, `agree_reason` says why.

    printed: digest of what it prints on all of them, "" where it does not run or its own runs differ.  made_inputs: as `Made.origin`.
    """

    agrees: float = float("nan")
    printed: str = ""
    agree_reason: str = ""
    made_inputs: str = ""
    agree_cpu_s: float = 0.0


@dataclass(frozen=True)
class Made:
    """A task with made inputs and no program but its source, what that prints on them, and where the inputs come from: DRAWN, PUBLIC,
    HALVED, or SAME where they are the hidden ones or the source prints what it prints on these."""

    task: Task
    origin: str
    reference: Reference = Reference()


def made_inputs(kernel: Kernel, draw: int) -> list[tuple[tuple[tuple[str, ...], ...], str]]:
    """(arguments of every made run, where they come from) beside hidden inputs that are drawn by `draw`, the best ones first."""
    hidden, public = inputs(drawn(kernel, draw)), tuple(kernel.public_args)
    other = [case for case in drawn(kernel, draw + 1).hidden_args if case not in hidden] if kernel.varies else []
    if other:
        return [(tuple(other), DRAWN)]
    if public not in hidden:
        return [((public,), PUBLIC)]
    smaller = tuple(str(int(word) // 2) if word.isdecimal() and int(word) >= LEAST else word for word in public)
    return [((smaller,), HALVED)] * (smaller not in hidden) + [((public,), SAME)]


def candidates(task: Task, bench: Bench) -> list[Made]:
    """The task with each of its `made_inputs`; nothing has run yet."""
    _, whole = validate.prepared(None, task, bench)
    # The source alone says what is right; how it shares its work is not looked at.
    alone = replace(whole.kernel, sources={task.source: whole.kernel.sources[task.source]}, unreliable=(task.source,), printed=())
    made_for = made_inputs(task.kernel, bench.draw)
    return [Made(replace(whole, kernel=replace(alone, hidden_args=cases)), origin) for cases, origin in made_for]


def settled(task: Task, bench: Bench) -> Made:
    """The first of the candidates on which the source program runs and prints something to compare, else the last one."""
    for made in candidates(task, bench):
        with timing.shared():
            made = replace(made, reference=make_reference(made.task.kernel, task.source, bench))
        if made.reference.cases:
            break
    return replace(made, origin=SAME) if made.origin == HALVED and _as_before(made, task, bench) else made


def _as_before(made: Made, task: Task, bench: Bench) -> bool:
    """Whether the source program prints on halved inputs what it prints on the whole ones."""
    with timing.shared():
        before = make_reference(candidates(task, bench)[-1].task.kernel, task.source, bench)
    lines = [tuple(Line(tokens) for tokens in case.lines) for case in made.reference.cases]
    return bool(lines and before.cases) and output_comparison.differs(before.cases[0], lines)[0] == ""


def name_of(task: Task, bench: Bench) -> str:
    """What tasks of equal source programs, inputs and targets have in common."""
    first = candidates(task, bench)[0].task
    return digest([reference_key(first.kernel, first.source, bench), first.target, first.kernel.name])


def key(code: str, made: Made, bench: Bench) -> str:
    """sha256 of everything that can change the agreement of a whole program (`validate.prepared`)."""
    task = made.task
    flags, tools = task.kernel.flags.get(task.target, ()), tool_facts(bench.toolchains[task.target])
    return digest([HARNESS_VERSION, DIGITS, code, task.target, tools, flags, made.origin, reference_key(task.kernel, task.source, bench)])


def agreement(code: str, made: Made, bench: Bench) -> Agreement:
    """From the journal, or made now and put there; of a whole program."""
    name = key(code, made, bench)
    known = bench.journal.get("agreement", name) if bench.journal else None
    if known:
        return Agreement(**{field: float("nan") if value is None else value for field, value in known.items()})
    with timing.shared():
        found = replace(_observed(code, made.task, bench, made.reference), made_inputs=made.origin)
    if bench.journal and found.agree_reason != "infra_error":
        row = vars(found) | {"agrees": None if found.agrees != found.agrees else found.agrees}
        bench.journal.put("agreement", name, row)
    return found


def _observed(code: str, task: Task, bench: Bench, reference: Reference) -> Agreement:
    """Compiled once; run on each made input as the first hidden one is."""
    state = State(code, task, bench, reference, Verdict(1, ""))
    for stage in (stages.refuse, stages.compile_program, stages.need_a_machine):
        state = stage(state)
        if state.verdict.reason:
            return _ended(state)
    right, texts = True, []
    for args, case in zip(inputs(task.kernel), reference.cases, strict=True):
        one = replace(task, kernel=replace(task.kernel, hidden_args=(args,)))
        state = replace(state, task=one, reference=replace(reference, cases=(case,)), printed=(), runs=(), difference=("", ""))
        state = team_runs.run_all(state)
        reason = state.verdict.reason or state.difference[0]
        if reason not in ("", "wrong_output"):
            return _ended(state, reason)
        right = right and not reason
        texts.append(shown(case, state.printed[0][0]))
    return Agreement(float(right), digest(texts)[:16], "ok" if right else "wrong_output", agree_cpu_s=state.verdict.cpu_s)


def _ended(state: State, reason: str = "") -> Agreement:
    """A program that did not come through; what fails on our side, or cannot be checked, says nothing of it."""
    reason = reason or state.verdict.reason
    unknown = reason in ("infra_error", "not_checkable")
    return Agreement(float("nan") if unknown else 0.0, "", reason, agree_cpu_s=state.verdict.cpu_s)


def shown(case: Expected, lines: tuple[Line, ...]) -> list[list[str]]:
    """The compared tokens of what one run printed, numbers that are not whole with DIGITS digits."""
    return [[_token(token) for token in line.tokens] for line in output_comparison.aligned(case, lines)]


def _token(token: str | int | float) -> str:
    if isinstance(token, str):
        return token
    whole = isinstance(token, int) or (abs(token) < 1e15 and token == int(token))
    return str(int(token)) if whole else f"{token:.{DIGITS - 1}e}"
