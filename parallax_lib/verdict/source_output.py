"""Does a program print what its task's source program prints?  In translation the source can be run, on inputs that anyone may make.

Knows programs, made inputs and how outputs are compared.  Knows nothing of the hidden inputs' outputs, and none of a verdict's other rules.

Made inputs are never the hidden ones where a kernel says how its inputs vary: they are drawn as those are, by another seed.  Where inputs
are fixed, the ones that may be shown are taken, and a row says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from parallax_lib.core.storage import digest
from parallax_lib.tasks.task import Kernel, Task, drawn
from parallax_lib.verdict import output_comparison, stages, timing, validate
from parallax_lib.verdict.output_comparison import Expected, Line
from parallax_lib.verdict.reference import HARNESS_VERSION, Bench, Reference, inputs, make_reference, reference_key, tool_facts
from parallax_lib.verdict.result import Verdict
from parallax_lib.verdict.stages import State

DRAWN, PUBLIC, SAME = "drawn", "public", "as hidden"  # where made inputs come from; as hidden: a kernel has no others
DIGITS = 4  # of a printed number that isn't whole, for the digest: rounding errors are smaller


@dataclass(frozen=True)
class Agreement:
    """agrees: 1 the program prints what the source program does on every made input, 0 not, NaN: nobody knows, `agree_reason` says why.

    printed: digest of what it prints on all of them, "" where it does not run or its own runs differ.  made_inputs: DRAWN, PUBLIC or SAME.
    """

    agrees: float = float("nan")
    printed: str = ""
    agree_reason: str = ""
    made_inputs: str = ""
    agree_cpu_s: float = 0.0


def prepared(code: str, task: Task, bench: Bench) -> tuple[str, Task, str]:
    """The program as it is compiled; its task with made inputs and no program but the source; where the inputs come from."""
    code, whole = validate.prepared(code, task, bench)
    cases, origin = made_inputs(task.kernel, bench.draw)
    kernel = replace(whole.kernel, hidden_args=cases, printed=())
    # The source alone says what is right; how it shares its work is not looked at.
    kernel = replace(kernel, sources={task.source: kernel.sources[task.source]}, unreliable=(task.source,))
    return code or "", replace(whole, kernel=kernel), origin


def made_inputs(kernel: Kernel, draw: int) -> tuple[tuple[tuple[str, ...], ...], str]:
    """(arguments of every made run, where they come from) beside hidden inputs that are drawn by `draw`."""
    hidden = inputs(drawn(kernel, draw))
    if kernel.varies:
        cases = [case for case in drawn(kernel, draw + 1).hidden_args if case not in hidden]
        if cases:
            return tuple(cases), DRAWN
    public = tuple(kernel.public_args)
    return (public,), SAME if public in hidden else PUBLIC


def key(code: str, task: Task, bench: Bench) -> str:
    """sha256 of everything that can change the agreement; of `prepared` ones."""
    flags = task.kernel.flags.get(task.target, ())
    tools = tool_facts(bench.toolchains[task.target])
    return digest([HARNESS_VERSION, DIGITS, code, task.target, tools, flags, reference_key(task.kernel, task.source, bench)])


def agreement(code: str, task: Task, origin: str, bench: Bench, reference: Reference | None = None) -> Agreement:
    """From the journal, or made now and put there; of a `prepared` program, task and origin."""
    name = key(code, task, bench)
    known = bench.journal.get("agreement", name) if bench.journal else None
    if known:
        return Agreement(**{field: float("nan") if value is None else value for field, value in known.items()})
    with timing.shared():
        reference = reference or make_reference(task.kernel, task.source, bench)
        found = replace(_observed(code, task, bench, reference), made_inputs=origin)
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
        state = stages.run_inputs(state)
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
