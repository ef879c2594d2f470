"""The timing lane: how much faster is a correct program than the source it translates?

Knows wall time of runs, a lock and ratios.  Knows of correctness only that a timed run prints what a judged one has to.

One pair of runs at a time on the whole machine (a file lock; judging elsewhere waits for it), source and translation in
turn, the build left out, on the largest input that was checked.  A ratio that no machine of this many threads can give
is shown but counts as no speed-up.  Wall time is that of the program itself, from the marker's first line to its last, by the
supervisor's clock; a program whose own marker tells another time is not counted.  Timed runs have the environment of judged ones.
"""

from __future__ import annotations

import fcntl
import math
import os
import platform
import re
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from parallax_lib.sandbox import scratch
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import offload, output_comparison
from parallax_lib.verdict.build import Built, Ran, build
from parallax_lib.verdict.output_comparison import Expected
from parallax_lib.verdict.reference import Bench, Reference, inputs, run_once
from parallax_lib.verdict.toolchain import gpu_name
from parallax_lib.verdict.ways import GPU

PAIRS = 7
BEYOND_THREADS, BEYOND_ANY = 1.5, 1000.0
SLACK, SLACK_S = 1.25, 0.05  # between the supervisor's clock and the marker's
LOCKS: Path | None = None  # where its locks lie; None: TMPDIR


@dataclass(frozen=True)
class Timed:
    """`faster` as a row shows it ("not checked" when nothing was measured), what is to be flagged, and the cost.

    reason: of a program whose timed runs print what is not right, "" for others.
    """

    faster: str
    note: str = ""
    reason: str = ""
    cpu_s: float = 0.0
    seconds: float = 0.0


@contextmanager
def shared() -> Iterator[None]:
    """Held while anything is judged; excludes the timing lane in every process of this user."""
    with ExitStack() as held:
        with _locked("turn", fcntl.LOCK_EX):  # whoever waits for the lane holds this, so that judging cannot starve it
            held.enter_context(_locked("lane", fcntl.LOCK_SH))
        yield


@contextmanager
def exclusive() -> Iterator[None]:
    """Held while something is timed; waits until no judging goes on.  Not to be taken inside `shared`."""
    with _locked("turn", fcntl.LOCK_EX), _locked("lane", fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(name: str, kind: int) -> Iterator[None]:
    fd = scratch.lock_file(f"parallax-{name}-{os.getuid()}.lock", LOCKS)
    try:
        fcntl.flock(fd, kind)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough where a forked child still holds the descriptor
        os.close(fd)


def machine(bench: Bench, task: Task) -> list:
    """What changes a timing besides the programs; nothing while the lane is off."""
    if bench.timing != "on":
        return []
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return [found[1] if found else platform.machine(), os.cpu_count(), gpu_name() if may_use_gpu(task, bench) else "", PAIRS]


def may_use_gpu(task: Task, bench: Bench) -> bool:
    return "cuda" in task.direction or ("omp" in task.direction and bench.toolchains["omp"].offloaded is not None)


def measure(
    program: bytes, task: Task, bench: Bench, reference: Reference, checked: tuple[tuple[str, ...], ...], offloaded: bool = False
) -> Timed:
    """Median ratio of source and translation over interleaved pairs, on the first of the `checked` inputs.

    Where target regions can run on a GPU, the source's do; `offloaded`: so do the program's.
    """
    tools, kernel = bench.toolchains, task.kernel
    if not (tools[task.source].can_run and tools[task.target].can_run):
        return Timed("not checked", f"timing needs {task.source} and {task.target} to run here")
    if tools[task.source].emulated or tools[task.target].emulated:
        return Timed("not checked", "emulated CUDA says nothing of speed")
    source, of_source = _source(task, bench)
    of_program = offload.on_gpu(bench) if offloaded else bench
    if source.reason != "ok":
        return Timed("not checked", f"the source does not build: {source.reason}")
    args, threads = checked[0], min(os.cpu_count() or 1, 64)
    spent, pairs = [source.outcome], []
    expected = reference.cases[inputs(kernel).index(args)]
    with exclusive():
        for _ in range(1 + PAIRS):  # the first pair warms caches
            two = [run_once(source.program, task.source, args, threads, of_source, kernel.inputs)]
            two += [run_once(program, task.target, args, threads, of_program, kernel.inputs)]
            spent += [ran.outcome for ran in two]
            if any(ran.reason != "ok" for ran in two):
                return Timed("not checked", "a timed run did not end well", "", *_cost(spent))
            if wrong := wrongly_timed(two[1], expected, kernel.oracle):
                return Timed("not checked", wrong[1], wrong[0], *_cost(spent))
            pairs.append(tuple(ran.outcome.said_s for ran in two))
    unbounded = offloaded or source.regions == GPU or "cuda" in task.direction
    faster, note = summary(pairs[1:], 0 if unbounded else threads)
    return Timed(faster, note, "", *_cost(spent))


def wrongly_timed(ran: Ran, expected: Expected, oracle: str) -> tuple[str, ...]:
    """(reason, why) of a timed run that printed other data, or whose marker tells another time than the supervisor's clock; () if right."""
    reason, where = output_comparison.differs(expected, [output_comparison.READ[oracle](ran.text)])
    if reason:
        return reason, f"a timed run: {where}"
    claimed, measured = int(ran.proof["wall_us"]) / 1e6, ran.outcome.said_s
    if max(claimed, measured) > SLACK * min(claimed, measured) + SLACK_S:
        return "cheat_suspected", f"a timed run says that it took {claimed:.3f} s, {measured:.3f} s were seen from outside"
    return ()


def _source(task: Task, bench: Bench) -> tuple[Built, Bench]:
    """The source and the bench that runs it: on the GPU what clang builds for it and what needs no memory shared with the host."""
    code, api = task.kernel.sources[task.source], task.source
    flags = task.kernel.flags.get(api, ())
    if offload.applies(code, replace(task, target=api), bench) and not offload.unusable(bench.toolchains["omp"].offloaded, bench.level):
        offloaded = offload.build_for_gpu(code, flags, bench)
        if offloaded.reason == "ok" and not offload.shares_memory(offloaded.source):
            return offloaded, offload.on_gpu(bench)
    return build(code, bench.toolchains[api], flags, bench.level, task.kernel.gives_results), bench


def summary(pairs: list[tuple[float, float]], threads: int) -> tuple[str, str]:
    """("1.92x (1.80-2.01)", flag): median and interquartile range of source / translation.  `threads` 0: no bound by them.

    An implausible median gives "not counted" instead.
    """
    ratios = [source / max(own, 1e-9) for source, own in pairs]
    middle = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else (middle,) * 3
    text = f"{middle:.2f}x ({low:.2f}-{high:.2f})"
    if middle > BEYOND_ANY or threads and middle > BEYOND_THREADS * threads:
        bound = BEYOND_THREADS * threads if threads else BEYOND_ANY
        return "not counted", f"implausible speed-up {text}: over {bound:g}"
    return text, ""


def ratio(faster: str) -> float:
    """The number of a `faster` cell; NaN where nothing was measured or counted."""
    head = faster.split("x", 1)[0]
    return float(head) if head.replace(".", "", 1).isdigit() else math.nan


def _cost(outcomes: list) -> tuple[float, float]:
    return sum(o.cpu_s for o in outcomes), sum(o.wall_s for o in outcomes)
