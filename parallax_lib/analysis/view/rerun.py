"""Build a stored program again, run it on every hidden input, and lay what it prints beside the reference.

Knows how to ask `verdict`.  Decides nothing itself.  The verdict is `validate.judge`'s; the outputs are of runs of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parallax_lib.analysis import closeness
from parallax_lib.analysis.decisions import program_key
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.tasks.hecbench import masked
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import stages, validate
from parallax_lib.verdict.build import build
from parallax_lib.verdict.reference import HARNESS_VERSION, THREADS, Bench, inputs, reference_apis, run_once
from parallax_lib.verdict.result import visible
from parallax_lib.verdict.toolchain import Toolchain

KIND = "rerun"  # of journal rows
MOST = 2000  # lines of one output that are sent; how many more there are is said


@dataclass(frozen=True)
class Workshop:
    """What judging takes: tasks by id, toolchains, sandbox level, limits of a run, and the parts of `validate.judge`."""

    tasks: Mapping[str, Task]
    toolchains: dict[str, Toolchain]
    level: Level
    limits: Limits
    parts: Mapping[str, str]


class Rerunner:
    """Runs programs again and remembers what came of it.  `workshop` is called once, when the first program is run."""

    def __init__(self, journal: Journal, workshop: Callable[[], Workshop]):
        self.journal, self.make, self.workshop = journal, workshop, None

    def known(self, row: Mapping) -> dict | None:
        """What came of the program the last time it was run here."""
        return self.journal.get(KIND, program_key(row))

    def measured(self) -> dict[str, float]:
        """{program key: relative difference of the first output that differed}."""
        return {key: row["closeness"] for key, row in self.journal.rows(KIND).items() if row.get("closeness") is not None}

    def run(self, row: Mapping) -> dict:
        """Judge and run the row's program; UserError where this machine or the suite cannot."""
        if masked.digest_of(row.get("code")):
            raise UserError(f"{row['task']}: the program does not ship, it holds text of HeCBench; collect it from a checkout first")
        self.workshop = self.workshop or self.make()
        shop, code = self.workshop, row.get("code")
        task = shop.tasks.get(str(row["task"]))
        if task is None:
            raise UserError(f"{row['task']}: the suite of these settings has no such task; open the folder with the run's manifest")
        if not isinstance(code, str) or not code.strip():
            raise UserError(f"{row['task']}: the row holds no program to run")
        source = row.get("source_code")
        if isinstance(source, str) and source and not masked.digest_of(source) and source != task.source_code:
            raise UserError(f"{row['task']}: the suite's source is not the one this program was written from")
        verdict = validate.judge(code, task, shop.toolchains, shop.level, shop.limits, self.journal, draw=0, **shop.parts)
        kept = {"verdict": validate.to_row(verdict), "harness": HARNESS_VERSION} | _outputs(code, task, shop)
        self.journal.put_many(KIND, [(program_key(row), kept)], replace=True)
        return kept


def _outputs(code: str, task: Task, shop: Workshop) -> dict:
    """{"inputs": [{"args", "runs": [{"threads", "ended", ...}]}], "closeness": of the first run that differs or None}."""
    bench = Bench(shop.toolchains, shop.level, shop.limits)
    built = build(code, shop.toolchains[task.target], task.kernel.flags.get(task.target, ()), shop.level)
    if built.reason != "ok":
        return {"inputs": [], "closeness": None, "build": visible(built.log)}
    api, expected = _reference(task.kernel, task.source, bench)
    outputs, gap = [], None
    for i, args in enumerate(inputs(task.kernel)):
        reference = run_once(expected, api, args, THREADS[api][0], bench, task.kernel.inputs)
        if reference.reason != "ok":
            raise UserError(f"{task.id}: the reference ended with {reference.reason} on input {i + 1}: {visible(reference.log)[:200]}")
        runs = []
        for threads in dict.fromkeys(stages.THREADS[task.target][min(i, 1)]):
            ran = run_once(built.program, task.target, args, threads, bench, task.kernel.inputs)
            difference = closeness.outputs(visible(reference.text), visible(ran.text)) if ran.reason == "ok" else {}
            gap = difference["largest"] if gap is None and difference.get("first") is not None else gap
            runs.append({"threads": threads, "ended": ran.reason, "log": visible(ran.log)} | _cut(difference))
        outputs.append({"args": list(args), "runs": runs})
    return {"inputs": outputs, "closeness": gap, "build": visible(built.log)}


def _cut(difference: dict) -> dict:
    rows = difference.get("rows", [])
    return difference | {"rows": rows[:MOST], "more": max(0, len(rows) - MOST)}


def _reference(kernel: Kernel, source: str, bench: Bench) -> tuple[str, bytes]:
    """(API, built program) of what says what is right."""
    api = reference_apis(kernel, source)[0]
    built = build(kernel.sources[api], bench.toolchains[api], kernel.flags.get(api, ()), bench.level)
    if built.reason != "ok":
        raise UserError(f"{kernel.name}: its {api} program does not build here: {visible(built.log)[:200]}")
    return api, built.program
