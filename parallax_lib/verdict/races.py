"""Does a correct program race?  Built again with a sanitizer and run on one input with four threads, on all cores and on one.

Knows clang's ThreadSanitizer with Archer (OpenMP) and compute-sanitizer (CUDA).  Knows nothing of oracles or levels.

Only a run in which Archer announced itself says anything: without it ThreadSanitizer does not see OpenMP's own
synchronisation.  clang is given the text that the judged program's own compiler saw, macros and conditions resolved, so that a program
cannot show it other code.  g++'s ThreadSanitizer is never used, since it reports races in correct programs.  A run that ends badly
for another reason says "not checked".
"""

from __future__ import annotations

import os
import random
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

from parallax_lib.core.cpp_text import BOM
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Outcome
from parallax_lib.verdict import harness, own_text
from parallax_lib.verdict.bench import Bench, beside, run_env
from parallax_lib.verdict.harness import BUILD_LIMITS
from parallax_lib.verdict.toolchain import Toolchain
from parallax_lib.verdict.ways import has_target, in_language

THREADS = 4
STAGE = "race stage"
FLAGS = ("-fsanitize=thread", "-g", "-O1", "-std=c++17", "-fopenmp")
SEEN = ("-Dno_sanitize(...)=annotate(\"\")", "-D__no_sanitize__(...)=annotate(\"\")", *(  # what would hide a function from the stage
    f"-D{mark}{name}{mark}=unused" for mark in ("", "__") for name in ("no_sanitize_thread", "disable_sanitizer_instrumentation")
))  # fmt: skip
BANNER = "Archer detected OpenMP application with TSan"
LEAGUE = b"__kmpc_fork_teams"  # Archer does not follow the start and end of its teams
RACE = re.compile(r"WARNING: ThreadSanitizer: data race")
PLACE = re.compile(r"main\.cpp:(\d+)")
SLOWER, LARGER = 8, 6  # CPU time and memory of a sanitized run against the plain one's limits
THREADS_A_CORE = 4
TSAN = "ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66:report_signal_unsafe=0:history_size=4"
COUNTED = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:errors?|hazards? displayed)")
CUDA_PLACE = re.compile(r"main\.cu:(\d+)")


@dataclass(frozen=True)
class Checked:
    """race_free: yes, no or not checked; `evidence` says where or why not; what the stage cost."""

    race_free: str
    evidence: str
    cpu_s: float = 0.0
    seconds: float = 0.0


def applies(bench: Bench, api: str) -> bool:
    """Whether the stage is to run: "auto" asks for it only where its tools are."""
    return bench.races == "on" or bench.races == "auto" and not why_not(bench.toolchains[api], bench.level.name)


def why_not(toolchain: Toolchain, level: str) -> str:
    """What is missing on this machine at this sandbox level, "" when the stage can run."""
    if STAGE in toolchain.off:
        return "switched off: a known program failed there"
    if toolchain.api == "omp":
        lib = toolchain.llvm
        return "" if lib.tsan and lib.archer else "clang++ with ThreadSanitizer and Archer are not installed"
    if toolchain.api == "cuda" and level == "degraded":
        return "compute-sanitizer reaches its program through a socket, which level degraded refuses"
    if toolchain.api == "cuda":
        return "" if toolchain.can_run and toolchain.compiler.endswith("/nvcc") else "compute-sanitizer needs a GPU"
    return f"no race stage for {toolchain.api}"


def check(
    code: str, api: str, args: tuple[str, ...], flags: tuple[str, ...], bench: Bench, files: dict[str, bytes] | None = None,
    language: str = "c++", view: tuple[str, ...] = (),
) -> Checked:  # fmt: skip
    """Race check of a correct program on one input, in the sandbox; it sees the kernel's input `files` as in every judged run.

    `language`, `view`: as which it was built, and what preprocesses it as it was (build.Built); () for the toolchain's own compiler.
    Failures of the stage come back as "not checked".
    """
    toolchain = bench.toolchains[api]
    missing = why_not(toolchain, bench.level.name)
    if missing:
        return Checked("not checked", missing)
    code = code.removeprefix(BOM)
    if api == "cuda":
        return _cuda(code, args, flags, bench, beside(files))
    view = view or (toolchain.compiler, *in_language(language, (*toolchain.flags, *flags)))
    return _openmp(code, args, flags, bench, beside(files), language, view)


def _openmp(
    code: str, args: tuple[str, ...], flags: tuple[str, ...], bench: Bench, given: dict[str, bytes], language: str, view: tuple[str, ...]
) -> Checked:  # fmt: skip
    lib = bench.toolchains["omp"].llvm
    preprocessed = sandbox.run(
        [*view, "-E", "-dI", "-x", language, f"{JOB}/main.cpp", "-o", "seen.ii"], {"main.cpp": code.encode("utf-8", errors="replace")},
        BUILD_LIMITS, bench.level, outputs=("seen.ii",), roots=bench.toolchains["omp"].roots,
    )  # fmt: skip
    text = own_text.again(preprocessed.files.get("seen.ii", b"").decode("utf-8", errors="replace"), "main.cpp")
    wipe = [lib.clang, *FLAGS, "-c", f"{JOB}/wipe.cpp", "-o", "wipe.o"]  # C++ also beside a program in C, with another standard
    wiped, _ = harness.made(shlex.join(wipe), {"wipe.cpp": harness.text("wipe.cpp")}, ("wipe.o",), bench.level, lib.clang)
    source = ["-x", language, f"{JOB}/main.cpp", "-x", "none", f"{JOB}/wipe.o", f"-Wl,-rpath,{lib.folder}", "-lm"]
    command = [lib.clang, *in_language(language, FLAGS), *SEEN, *in_language(language, flags), *source, "-o", "program", *flags]
    files = {"main.cpp": text.encode("utf-8", errors="replace"), **wiped}
    built = sandbox.run(command, files, BUILD_LIMITS, bench.level, outputs=("program",))
    if "program" not in built.files:
        return _spent("not checked", "does not build with clang and ThreadSanitizer", preprocessed, built)
    env = {**run_env(THREADS), "OMP_TOOL_LIBRARIES": lib.archer, "TSAN_OPTIONS": TSAN}
    env |= {"ARCHER_OPTIONS": "verbose=1", "OMP_TARGET_OFFLOAD": "DISABLED"}
    limits = replace(bench.limits, cpu_s=SLOWER * bench.limits.cpu_s, wall_s=0.0, memory_mb=LARGER * bench.limits.memory_mb)
    spent, on_host = [preprocessed, built], "; target regions on the host" if has_target(code) else ""
    for where in (nullcontext, one_core):  # of accesses at the very same time the sanitizer misses some; on one core there are none
        with where():
            ran = sandbox.run([f"{JOB}/program", *args], {"program": built.files["program"], **given}, limits, bench.level, env=env)
        spent.append(ran)
        race_free, evidence = _archer_says(ran, LEAGUE in built.files["program"])
        if race_free != "yes":
            return _spent(race_free, f"{evidence}{on_host if race_free == 'no' else ''}", *spent)
    return _spent("yes", f"ThreadSanitizer with Archer: no race seen in two runs with {THREADS} threads{on_host}", *spent)


def _archer_says(ran: Outcome, league: bool) -> tuple[str, str]:
    """(race_free, evidence) of one run."""
    said = ran.stdout + ran.stderr
    if BANNER not in said:
        return "not checked", f"Archer did not announce itself ({ran.status})"
    if RACE.search(said) and league:
        return "not checked", "Archer reports races between the teams of a league that are none"
    if RACE.search(said):
        return "no", f"ThreadSanitizer with Archer: data race at {first_place(said)}"
    if ran.status != "ok":
        return "not checked", f"the run under ThreadSanitizer ended with {ran.status}"
    return "yes", ""


@contextmanager
def one_core() -> Iterator[None]:
    """What this thread starts shares one of the cores that it may use; all of them where the machine does not allow that."""
    cores = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, {random.choice(sorted(cores))})
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, cores)


def _cuda(code: str, args: tuple[str, ...], flags: tuple[str, ...], bench: Bench, given: dict[str, bytes]) -> Checked:
    """memcheck, then racecheck, which sees shared memory only."""
    toolchain = bench.toolchains["cuda"]
    command = [toolchain.compiler, *toolchain.flags, "-lineinfo", *flags, f"{JOB}/main.cu", "-o", "program", *flags]
    files = {"main.cu": code.encode("utf-8", errors="replace")}
    env = {"PATH": f"{toolchain.compiler.rpartition('/')[0]}:{sandbox.BASE_ENV['PATH']}"}
    shown = {"roots": toolchain.roots, "env": env}
    built = sandbox.run(["/bin/sh", "-ec", shlex.join(command)], files, BUILD_LIMITS, bench.level, outputs=("program",), **shown)
    if "program" not in built.files:
        return _spent("not checked", "does not build with -lineinfo", built)
    env |= {"LD_LIBRARY_PATH": ":".join(toolchain.libraries), "OMP_NUM_THREADS": "1"}
    threads = bench.limits.processes + THREADS_A_CORE * (os.cpu_count() or 1)  # racecheck's own analysis
    limits = replace(bench.limits, cpu_s=SLOWER * bench.limits.cpu_s, wall_s=0.0, processes=threads)
    limits = replace(limits, memory_mb=LARGER * bench.limits.memory_mb)
    outcomes = [built]
    for tool in ("memcheck", "racecheck"):
        argv = ["compute-sanitizer", "--tool", tool, f"{JOB}/program", *args]
        ran = sandbox.run(argv, {"program": built.files["program"], **given}, limits, bench.level, gpu=True, **shown)
        outcomes.append(ran)
        race_free, evidence = sanitizer_says(tool, ran.status, ran.stdout + ran.stderr)
        if race_free != "yes":
            return _spent(race_free, evidence, *outcomes)
    return _spent("yes", "memcheck: no error; racecheck (shared memory only): no hazard", *outcomes)


def sanitizer_says(tool: str, status: str, said: str) -> tuple[str, str]:
    """(race_free, evidence) of one run under compute-sanitizer.  A run that ended badly has found nothing: not checked."""
    found = COUNTED.search(said)
    if found and int(found[1]):
        place = CUDA_PLACE.search(said)
        return "no", f"{tool}: {found[1]} errors, first at {place[0] if place else 'an unknown line'}"
    if found and status == "ok":
        return "yes", f"{tool}: none found"
    last = (said.strip().splitlines() or ["it said nothing"])[-1][:120]
    return "not checked", f"{tool} did not end well ({status}: {last})"


def first_place(said: str) -> str:
    """main.cpp:LINE of the first frame of the first report that lies in the program."""
    place = PLACE.search(said[RACE.search(said).start() :])
    return place[0] if place else "a place outside the program's file"


def _spent(race_free: str, evidence: str, *outcomes: Outcome) -> Checked:
    return Checked(race_free, evidence, sum(o.cpu_s for o in outcomes), sum(o.wall_s for o in outcomes))
