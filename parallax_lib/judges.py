"""Many verdicts: references first, equal programs once, by threads or by processes.

Knows pools and the journal's order.  Knows no rule of a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context

from parallax_lib import timing, validate
from parallax_lib.kernels import Task
from parallax_lib.params import UserError
from parallax_lib.reference import Bench, Reference, make_reference, reference_key
from parallax_lib.sandbox import Level, Limits
from parallax_lib.store import Journal
from parallax_lib.toolchain import Toolchain
from parallax_lib.verdict import Verdict

THREADED = 4  # so many workers are threads; more are processes: Python's share of a verdict, 0.15 s of CPU, would let one do seven a second


def judge_many(
    items: list[tuple[str | None, Task]],
    toolchains: dict[str, Toolchain],
    level: Level,
    limits: Limits,
    journal: Journal | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **stages: str,
) -> list[Verdict]:
    """Verdicts in the order of `items`; references come first and equal items are judged once.

    Every verdict is journalled as it falls, so a killed call resumes where it was.  `progress(done, total)` counts
    distinct programs.
    """
    bench = Bench(toolchains, level, limits, journal, **stages)
    keys = [_identity(code, task, bench) for code, task in items]
    distinct = dict(zip(keys, items, strict=True))
    pool = _pool(min(workers, len(distinct)))
    try:
        references = _references([task for code, task in distinct.values() if code], bench, pool)
        futures = {}
        for key, (code, task) in distinct.items():
            reference = references.get(reference_key(task.kernel, task.source, bench))
            futures[pool.submit(validate.judged, code, task, bench, reference)] = key
        verdicts = {}
        for done, future in enumerate(as_completed(futures), 1):
            verdicts[futures[future]] = future.result()
            progress(done, len(futures))
    except BrokenProcessPool:
        raise UserError("validation.workers: a judging process was killed (memory?); run again with fewer, verdicts are kept") from None
    finally:
        pool.shutdown(cancel_futures=True)
    return [verdicts[key] for key in keys]


def _pool(workers: int) -> Executor:
    if workers <= THREADED:
        return ThreadPoolExecutor(max_workers=max(1, workers))
    context = get_context("forkserver")  # a fork of this process would take its threads' locks along
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(max_workers=workers, mp_context=context)


def _references(tasks: list[Task], bench: Bench, pool: Executor) -> dict[str, Reference]:
    wanted = {reference_key(t.kernel, t.source, bench): t for t in tasks}
    made = pool.map(partial(_reference, bench=bench), wanted.values())
    return dict(zip(wanted, made, strict=True))


def _reference(task: Task, bench: Bench) -> Reference:
    with timing.shared():
        return make_reference(task.kernel, task.source, bench)


def _identity(code: str | None, task: Task, bench: Bench) -> str:
    return validate.verdict_key(code, task, bench) if code and code.strip() else "no code"
