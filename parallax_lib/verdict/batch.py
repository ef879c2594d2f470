"""Many verdicts: references first, equal programs once, by threads or by processes.

Knows pools and the journal's order.  Knows no rule of a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import llvm, timing, toolchain, validate
from parallax_lib.verdict.reference import Bench, Reference, draw_of, make_reference, reference_key
from parallax_lib.verdict.result import Verdict
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

    Every verdict is journalled as it falls, so a killed call resumes where it was.  `progress(done, total)` counts
    references and distinct programs.  `draw`, `parts`: as for `validate.judge`.
    """
    bench = Bench(toolchains, level, limits, journal, draw=draw_of(journal) if draw is None else draw, **parts)
    items = [(code, validate.on_drawn_inputs(task, bench)) for code, task in items]
    keys = [_identity(code, task, bench) for code, task in items]
    distinct = dict(zip(keys, items, strict=True))
    pool = _pool(min(workers, len(distinct)))
    try:
        tasks = [task for code, task in distinct.values() if code]
        wanted = {reference_key(t.kernel, t.source, bench): t for t in tasks}
        total = len(wanted) + len(distinct)
        references = _fallen({key: pool.submit(_reference, t, bench) for key, t in wanted.items()}, lambda done: progress(done, total))
        futures = {}
        for key, (code, task) in distinct.items():
            reference = references.get(reference_key(task.kernel, task.source, bench))
            futures[key] = pool.submit(validate.judged, code, task, bench, reference)
        verdicts = _fallen(futures, lambda done: progress(len(wanted) + done, total))
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


def _fallen(futures: dict[str, Future], progress: Callable[[int], None]) -> dict:
    """Their results, counted as they fall."""
    for done, future in enumerate(as_completed(futures.values()), 1):
        future.result()  # raises what it met
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
