"""How much of the work that the reference shares among its threads does one thread of a translation do?

Knows builds that count what threads execute (probes/work.cpp), how counts compare, and the bound.  Knows nothing of times, printed
data or verdict levels.

A parallel region is no parallel work: a program can compute everything on one thread and copy it in a region, or do it all on whichever
thread comes first, beside threads that are busy with nothing.  So the counts of the busiest thread are compared, phase by phase, with
those of the kernel's own OpenMP program (which shares the work) and of its serial program (which does not).  What an input of any size
costs, such as tables or memory that is filled once, cancels: only the growth from the smallest input to the largest one is compared.
No time decides anything here, since times follow the load of the machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits, Outcome
from parallax_lib.tasks.task import Kernel
from parallax_lib.verdict import emulated_build, harness
from parallax_lib.verdict.build import LOCALISE, PROGRAM, execute
from parallax_lib.verdict.harness import BUILD_LIMITS
from parallax_lib.verdict.toolchain import Toolchain
from parallax_lib.verdict.ways import in_language, may_be_c

TIMES = 3  # counts of a program whose threads share work as they come
THREADS = 8  # of a region; also where the machine has fewer
SLOWER, LARGER = 10, 4  # CPU time and memory of a counted run against the plain one's limits
MEASURES = ("blocks", "reads", "writes")  # basic blocks, bytes, bytes
MEMORY = ("reads", "writes")
SHARED = 0.2  # of what the serial program does, the reference must share so much for a measure to tell anything
LEAST = 200_000  # and so much of it
BYTES_A_BLOCK = 2  # with fewer, memory is not what the work is about
ALL = 0.9  # a thread that does so much of what the reference shares does not share it
CALLS = ("-fsanitize=kernel-address", "-fsanitize-coverage=trace-pc", "-fno-tree-vectorize", "-U__SANITIZE_ADDRESS__")
PARAMETERS = ("asan-instrumentation-with-call-threshold=0", "asan-stack=0", "asan-globals=0", "asan-instrument-allocas=0")
COUNTED = (*CALLS, *(word for name in PARAMETERS for word in ("--param", name)))
LOOPS = "static dynamic guided runtime nonmonotonic_dynamic nonmonotonic_guided nonmonotonic_runtime maybe_nonmonotonic_runtime"
REGIONS = ("GOMP_parallel", "GOMP_parallel_sections", "GOMP_parallel_reductions", *(f"GOMP_parallel_loop_{how}" for how in LOOPS.split()))
BARRIERS = ("GOMP_barrier", "GOMP_barrier_cancel", "GOMP_loop_end", "GOMP_loop_end_cancel", "GOMP_sections_end", "GOMP_sections_end_cancel")

PREPROCESSED = {"c++": "c++-cpp-output", "c": "cpp-output"}
TOO_LITTLE = "the reference shares too little work to compare"
# No part of a program may be left out of the counts.
NOT_COUNTED = r"s/\b(__)?(no_sanitize(_[a-z_]+|__)?|no_address_safety_analysis(__)?)\b *(\([^()]*\))?/unused/g"
NO_PROGRAM = "the kernel has no OpenMP program of its own that shares work as it does here"
HIDING = "no_address_safety_analysis no_sanitize_address no_sanitize_coverage no_sanitize_thread no_sanitize_undefined".split()
NOT_HIDDEN = (  # the same where the emulator's own text is compiled with the program's
    "-Dno_sanitize(...)=unused", "-D__no_sanitize__(...)=unused",
    *(f"-D{mark}{name}{mark}=unused" for mark in ("", "__") for name in HIDING),
)  # fmt: skip
TEAM = ("OMP_NUM_THREADS", "OMP_TEAMS_THREAD_LIMIT", "KMP_TEAMS_THREAD_LIMIT")
Counts = dict[str, int]  # of the busiest thread, phase by phase; of a device's with "device_" before the measure


@dataclass(frozen=True)
class Place:
    """Where programs are counted: sandbox level, limits of a plain run, its environment."""

    level: Level
    limits: Limits
    env: dict[str, str]


@dataclass(frozen=True)
class Work:
    """Counts of one program on each input, () with the reason in `why_not`; and what counting cost."""

    counts: tuple[Counts, ...] = ()
    why_not: str = ""
    cpu_s: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Pair:
    """A kernel's own programs on the input with most work and, where there are several, the one with least.

    serial: the serial program, or the OpenMP one with a single thread; shared: the OpenMP one with THREADS.
    """

    inputs: tuple[tuple[str, ...], ...] = ()
    serial: tuple[Counts, ...] = ()
    shared: tuple[Counts, ...] = ()
    why_not: str = ""


def of_kernel(kernel: Kernel, toolchain: Toolchain, where: Place, inputs: tuple[tuple[str, ...], ...]) -> Pair:
    """Counts of the kernel's own programs, where it has an OpenMP one, on the inputs with most and with least work by count.

    The serial program is counted twice and the lesser count stands: one that is too large would let every program pass.
    """
    if "omp" not in kernel.sources or "omp" in kernel.unreliable:
        return Pair(why_not=NO_PROGRAM)

    def counted(api: str, which: tuple[tuple[str, ...], ...], threads: int, times: int) -> Work:
        return count(kernel.sources[api], toolchain, kernel.flags.get(api, ()), where, which, kernel.inputs, threads, times)

    serial = "serial" in kernel.sources and "serial" not in kernel.unreliable
    one = counted("serial" if serial else "omp", inputs, 1, 1)
    if one.why_not:
        return Pair(why_not=one.why_not)
    by_work = sorted(range(len(inputs)), key=lambda i: _weight(one.counts[i]), reverse=True)
    chosen = by_work[:1] + by_work[1:][-1:]
    asked = tuple(inputs[i] for i in chosen)
    again, shared = counted("serial" if serial else "omp", asked, 1, 1), counted("omp", asked, THREADS, TIMES)
    if again.why_not or shared.why_not:
        return Pair(why_not=again.why_not or shared.why_not)
    alone = tuple(min(one.counts[i], second, key=_weight) for i, second in zip(chosen, again.counts, strict=True))
    return Pair(asked, alone, shared.counts)


def count(
    code: str, toolchain: Toolchain, flags: tuple[str, ...], where: Place, inputs: tuple[tuple[str, ...], ...], files: dict[str, bytes],
    threads: int = THREADS, times: int = 1,
) -> Work:  # fmt: skip
    """Counts of a program on each of the inputs, of `times` runs the one in which it shared its work best.  `files` lie beside it."""
    program, built = _build(code, toolchain, flags, where.level)
    if not program:
        return _cost((), f"does not build for counting ({built.status})", [built])
    limits = replace(where.limits, cpu_s=SLOWER * where.limits.cpu_s, wall_s=0.0, memory_mb=LARGER * where.limits.memory_mb)
    spent, counts = [built], []
    env = {**where.env, **dict.fromkeys(TEAM, str(threads))}
    for args in inputs:
        tries = []
        for _ in range(times):
            ran = execute(program, toolchain, args, limits, where.level, env, files)
            spent.append(ran.outcome)
            if ran.reason != "ok":
                return _cost((), f"the counted run ends with {ran.reason}", spent)
            tries.append({name: int(n) for name, n in ran.proof.items() if name.removeprefix("device_") in MEASURES})
        counts.append(min(tries, key=_weight))
    return _cost(tuple(counts), "", spent)


def compared(counted: Callable[[], Work], pair: Pair) -> tuple[Work, bool, str]:
    """(what counting cost, whether one thread does it all, what was compared) of a program that `counted` counts on `pair.inputs`.

    Which thread takes a piece of work is chance where pieces are handed out: only a program that TIMES counts in a row show to use one
    thread is said to.
    """
    if not work_shared(pair):
        return Work(), False, TOO_LITTLE
    works: list[Work] = []
    alone, said = False, ""
    while len(works) < TIMES and (alone or not works):
        works.append(counted())
        cost = Work(works[-1].counts, works[-1].why_not, sum(w.cpu_s for w in works), sum(w.seconds for w in works))
        if cost.why_not:
            return cost, False, f"work not compared: {cost.why_not}"
        best = tuple(min(of_input, key=_weight) for of_input in zip(*(work.counts for work in works), strict=True))
        alone, said = one_does_it_all(best, pair)
    return cost, alone, said


def work_shared(pair: Pair) -> dict[str, int]:
    """By measure what the reference's busiest thread is spared, where that is enough to tell anything."""
    spared = {name: (_growth(pair.serial, name), _growth(pair.shared, name)) for name in MEASURES}
    return {name: serial - shared for name, (serial, shared) in spared.items() if serial - shared >= max(SHARED * serial, LEAST)}


def one_does_it_all(own: tuple[Counts, ...], pair: Pair) -> tuple[bool, str]:
    """Whether one thread of a program does what the reference shares, and what was compared.  `own`: counts on `pair.inputs`.

    Bytes decide where the shared work reads or writes some in every block, since a loop can be unrolled to fewer blocks; else blocks.
    """
    whole = work_shared(pair)
    if not whole:
        return False, TOO_LITTLE
    parts = {
        name: (_growth(own, name) + _growth(own, f"device_{name}") - _growth(pair.shared, name)) / work for name, work in whole.items()
    }
    telling = [name for name in MEMORY if whole.get(name, 0) >= BYTES_A_BLOCK * whole.get("blocks", 0) > 0] or list(parts)[:1]
    said = ", ".join(f"{name} {part:.2f}" for name, part in parts.items())
    return all(parts[name] >= ALL for name in telling), f"of the work that the reference shares one thread does: {said}"


def _weight(count: Counts) -> int:
    """As probes/work.cpp weighs threads: a block stands for eight bytes."""
    return 8 * count.get("blocks", 0) + count.get("reads", 0) + count.get("writes", 0)


def _growth(counts: tuple[Counts, ...], name: str) -> int:
    """From the input with least work to the one with most; all of it where there is one input."""
    return counts[0].get(name, 0) - (counts[1].get(name, 0) if len(counts) > 1 else 0)


def _cost(counts: tuple[Counts, ...], why_not: str, spent: list[Outcome]) -> Work:
    return Work(counts, why_not, sum(o.cpu_s for o in spent), sum(o.wall_s for o in spent))


def _build(code: str, toolchain: Toolchain, flags: tuple[str, ...], level: Level) -> tuple[bytes, Outcome]:
    """The counted program; OpenMP programs by g++ with its own runtime, target regions on the host, CUDA ones emulated.

    The text is preprocessed as the judged program's is, so that it cannot see that it is counted.
    """
    files = _probe(toolchain.compiler, toolchain.emulated, level)
    if toolchain.emulated:
        script, more = emulated_build.job(code, replace(toolchain, gate=()), flags, level, (*COUNTED, *NOT_HIDDEN))
        files |= more
    else:
        files["main.cpp"] = code.encode("utf-8", errors="replace")
        script = _script(toolchain, flags, "c++")
        if may_be_c(code, toolchain):  # as it is built itself: C where it is no C++
            script = f"({script}\n) || (\n{_script(toolchain, flags, 'c')}\n)"
    out = sandbox.run(["/bin/sh", "-ec", script], files, BUILD_LIMITS, level, outputs=(PROGRAM,), roots=toolchain.roots)
    return out.files.get(PROGRAM, b""), replace(out, files={})


def _script(toolchain: Toolchain, extra: tuple[str, ...], language: str) -> str:
    host = [toolchain.compiler, *(flag for flag in toolchain.flags if not flag.startswith("-foffload")), "-foffload=disable"]
    spoken, wraps = in_language(language, [*host, *extra]), [f"-Wl,--wrap={name}" for name in (*REGIONS, *BARRIERS)]
    steps = (
        shlex.join([*spoken, "-x", language, "-E", f"{JOB}/main.cpp"]) + f" | sed -E {shlex.quote(NOT_COUNTED)} > main.ii",
        shlex.join([*spoken, *COUNTED, "-x", PREPROCESSED[language], "-c", "main.ii", "-o", "main.o"]),
        *([shlex.join(LOCALISE)] if language == "c" else []),
        shlex.join([*host, f"{JOB}/marker.o", "main.o", f"{JOB}/work.o", *wraps, "-o", PROGRAM, *extra]),
    )
    return " &&\n".join(steps)  # `set -e` says nothing inside of ||


def _probe(compiler: str, emulated: bool, level: Level) -> dict[str, bytes]:
    """work.o of probes/work.cpp and marker.o; {} where they do not compile."""
    words = [f"-DTOLD_BY={'parallax_work' if emulated else 'parallax_proof'}"]
    for kind, names in (("REGION", REGIONS), ("BARRIER", BARRIERS)):
        words.append(f"-D{kind}S=" + ("" if emulated else " ".join(f"{kind}({name})" for name in names)))
    steps = (
        [compiler, "-O2", "-w", "-c", f"{JOB}/work.cpp", *words, "-o", "work.o"],
        [compiler, "-O2", "-c", f"{JOB}/marker.cpp", "-o", "marker.o"],
    )
    files = {name: harness.text(name) for name in ("work.cpp", "marker.cpp")}
    return harness.made("\n".join(map(shlex.join, steps)), files, ("work.o", "marker.o"), level, compiler)[0]
