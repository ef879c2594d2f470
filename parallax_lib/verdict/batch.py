"""Many verdicts: references first, equal programs once, by threads or by processes.

Knows pools and the journal's order, and when the machine is looked at.  Knows no rule of a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Any

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import admission, llvm, readmission, source_output, timing, toolchain, validate
from parallax_lib.verdict.bench import Bench, draw_of
from parallax_lib.verdict.reference import Reference, make_reference, reference_key
from parallax_lib.verdict.result import Verdict
from parallax_lib.verdict.source_output import Agreement
from parallax_lib.verdict.toolchain import Toolchain

THREADED = 4  # so many workers are threads; more are processes: Python's share of a verdict, 0.15 s of CPU, would let one do seven a second


def judge_many(
    items: list[tuple[str | None, Task]],
    toolchains: dict[str, Toolchain],
    level: Level,
    limits: Limits,
    journal: Journal | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
    draw: int | None = None,
    **parts: str,
) -> list[Verdict]:
    """Verdicts in the order of `items`; references come first and equal items are judged once.

    Known programs are judged before them and every few hundred verdicts (admission).  UserError where this machine judges
    those wrongly; what was judged since the last good check is then forgotten.

    Every verdict is journalled as it falls, so a killed call resumes where it was.  `progress(done, total)` counts
    references and distinct programs.  `draw`, `parts`: as for `validate.judge`.
    """
    bench = Bench(toolchains, level, limits, journal, draw=draw_of(journal) if draw is None else draw, **parts)
    admitted = admission.needed(bench, items)
    bench = admission.admit(bench, admitted, validate.judged).bench if items else bench
    items = [validate.prepared(code, task, bench) for code, task in items]
    keys = [_identity(code, task, bench) for code, task in items]
    distinct = dict(zip(keys, items, strict=True))
    new = set(distinct) - (journal.known("verdict", distinct) if journal else set())
    needed = {reference_key(t.kernel, t.source, bench): t for code, t in distinct.values() if code}
    verdicts, total = {}, len(needed) + len(distinct)
    with _judging(min(workers, len(distinct))) as pool:
        references = _fallen({key: pool.submit(_reference, t, bench) for key, t in needed.items()}, lambda done: progress(done, total))
        for some in batched(distinct.items(), readmission.EVERY):  # not more than are judged between two looks at the machine
            start = len(needed) + len(verdicts)
            futures = _submit(pool, some, references, bench)
            verdicts |= _watched(pool, futures, new, admitted, bench, lambda done, start=start: progress(start + done, total))
    return [verdicts[key] for key in keys]


def _watched(
    pool: Executor, futures: dict[str, Future], new: set[str], admitted: set[str], bench: Bench, progress: Callable[[int], None]
) -> dict[str, Verdict]:
    """The verdicts to come, with a look at the machine when the `new` ones among them ask for it; `readmission.Broken` forgets these."""

    def fallen(key: str, verdict: Verdict) -> None:
        if key in new and readmission.watch(bench).note(key, verdict):
            readmission.look(bench, admitted, validate.judged)

    try:
        return _fallen(futures, progress, fallen)
    except readmission.Broken:
        pool.shutdown(cancel_futures=True)  # what is in hand is written before it is forgotten
        readmission.forget(bench, [key for key in futures if key in new])
        raise


def agree_many(
    items: list[tuple[str, Task]],
    toolchains: dict[str, Toolchain],
    level: Level,
    limits: Limits,
    journal: Journal | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
    draw: int | None = None,
) -> list[Agreement]:
    """Whether each program prints what its task's source program prints on made inputs (`source_output`), in the order of `items`.

    The source programs are run first, and equal items once.  Journalled as it falls: a killed call resumes where it was.  `draw`: of
    the hidden inputs, as for `judge_many`.
    """
    bench = Bench(toolchains, level, limits, journal, draw=draw_of(journal) if draw is None else draw)
    bench = admission.admit(bench, admission.needed(bench, items), validate.judged).bench if items else bench
    codes = [validate.prepared(code, task, bench)[0] or "" for code, task in items]
    by_task = {id(task): source_output.name_of(task, bench) for task in {id(task): task for _, task in items}.values()}
    names = [by_task[id(task)] for _, task in items]
    needed, distinct = dict(zip(names, (task for _, task in items), strict=True)), list(dict.fromkeys(zip(codes, names, strict=True)))
    total = len(needed) + len(distinct)
    with _judging(min(workers, len(distinct))) as pool:
        sources = {name: pool.submit(source_output.settled, task, bench) for name, task in needed.items()}
        settled = _fallen(sources, lambda done: progress(done, total))
        futures = {(code, name): pool.submit(source_output.agreement, code, settled[name], bench) for code, name in distinct}
        found = _fallen(futures, lambda done: progress(len(needed) + done, total))
    return [found[key] for key in zip(codes, names, strict=True)]


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Lists of so many items, the last one shorter."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


KILLED = (
    "verdicts are kept: run again, with fewer where memory ran out; a script of your own that judges begins its work "
    'under `if __name__ == "__main__":`'
)


@contextmanager
def _judging(workers: int) -> Iterator[Executor]:
    """Threads or processes that judge.  What is not begun is dropped at the end; UserError when a process is killed or cannot start."""
    pool = _pool(workers)
    try:
        yield pool
    except BrokenProcessPool:
        raise UserError(f"validation.workers: a judging process was killed or could not start; {KILLED}") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> Executor:
    if workers <= THREADED:
        return ThreadPoolExecutor(max_workers=max(1, workers))
    context = get_context("forkserver")  # a fork of this process would take its threads' locks along
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(max_workers=workers, mp_context=context)


def _submit(pool: Executor, items: list[tuple[str, tuple]], references: dict[str, Reference], bench: Bench) -> dict[str, Future]:
    """A verdict to come for each of the items (key, (code, task))."""
    futures = {}
    for key, (code, task) in items:
        reference = references.get(reference_key(task.kernel, task.source, bench))
        futures[key] = pool.submit(validate.judged, code, task, bench, reference)
    return futures


def _fallen(futures: dict[str, Future], progress: Callable[[int], None], each: Callable[[str, Any], None] = lambda key, got: None) -> dict:
    """Their results, counted and handed to `each` as they fall."""
    names = {future: key for key, future in futures.items()}
    for done, future in enumerate(as_completed(names), 1):
        each(names[future], future.result())  # raises what it met
        progress(done)
    return {key: future.result() for key, future in futures.items()}


def _reference(task: Task, bench: Bench) -> Reference:
    with timing.shared():
        return make_reference(task.kernel, task.source, bench)


def _identity(code: str | None, task: Task, bench: Bench) -> str:
    return validate.verdict_key(code, task, bench) if code and code.strip() else "no code"


def machine_text() -> str:
    """Compilers, GPU and sandbox level of this machine."""
    tools = toolchain.detect()
    lines = [f"{api:7} {toolchain.describe(t)}" for api, t in tools.items()]
    return "\n".join([*lines, f"openmp  {llvm.describe((tools['omp'].offloaded or tools['omp']).llvm)}", f"sandbox {sandbox.probe().name}"])
