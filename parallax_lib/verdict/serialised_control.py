"""The same binary once more with its parallel work switched off: a result that stays right did not come from it.

Knows the OpenMP runtime's entry points and how to stub them, and the emulator's switch.  Knows nothing of tolerances or
verdict levels.

A preloaded library answers every call that opens a region, makes a task or launches a target region by doing nothing, or
runs one thread of every region alone; the CUDA emulator does the same with kernels.  On a GPU kernels are switched off, and
what one thread of every launch does alone is seen on the emulator, where it takes the program.
It finds regions and kernels whose results nobody reads (empty ones, junk work, repeated work), which no count of threads
or time can find, and those whose results come from one thread while others are busy with nothing.

One OpenMP thread alone may rightly do all of a dynamic loop, of tasks or of a queue.  So that switch is used only where
the object code can share work by thread numbers alone: of the runtime's calls it has only those in BY_NUMBER, no lock and
no atomic update of memory.  Regions then get MANY threads, so that one of them has next to nothing of the work.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

from parallax_lib.core.errors import UserError
from parallax_lib.sandbox.sandbox import JOB, Level, Limits
from parallax_lib.verdict import compiler_files, harness
from parallax_lib.verdict.build import PROGRAM, Ran, execute
from parallax_lib.verdict.toolchain import Toolchain

SCHEDULES = "static dynamic guided runtime nonmonotonic_dynamic nonmonotonic_guided nonmonotonic_runtime maybe_nonmonotonic_runtime"
NAMES = (
    "GOMP_parallel", "GOMP_parallel_sections", "GOMP_parallel_reductions", "GOMP_task", "GOMP_taskloop", "GOMP_taskloop_ull",
    "GOMP_teams_reg", "GOMP_target", "GOMP_target_ext", "__kmpc_fork_call", "__kmpc_fork_call_if", "__kmpc_fork_teams",
    "__kmpc_omp_task", "__kmpc_omp_task_with_deps", "__kmpc_taskloop", "__tgt_target_kernel",
    *(f"GOMP_parallel_loop_{schedule}" for schedule in SCHEDULES.split()),
)  # fmt: skip
OF_TARGET = ("GOMP_target", "GOMP_target_ext", "__tgt_target_kernel")
LIBRARY = "idle.so"
ALONE_BY = ("first", "last")
MANY = 256  # threads of a region of which one runs
BY_NUMBER = frozenset("GOMP_parallel GOMP_barrier GOMP_single_start".split())
LEVELS = r"omp_get_(?:level|active_level|ancestor_\w+|team_size)"
SHARES = re.compile(rf"^ *U (GOMP_\w+|__kmpc_\w+|omp_\w*lock\w*|{LEVELS}|pthread_\w+|__aarch64_\w+|__atomic_\w+)|^@(atomic)", re.M)
ALONE = r"""
static int active, mine, team = 1;
extern "C" int omp_get_max_threads();
extern "C" int omp_get_max_active_levels();
extern "C" int omp_get_thread_num() { return mine; }
extern "C" int omp_get_num_threads() { return team; }
extern "C" int omp_in_parallel() { return active > 0; }
extern "C" void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned) {
  int outer_mine = mine, outer_team = team;
  team = active >= omp_get_max_active_levels() ? 1 : threads ? threads : omp_get_max_threads();
  mine = LAST ? team - 1 : 0;
  active += team > 1;
  body(data);
  active -= team > 1, mine = outer_mine, team = outer_team;
}
"""
# The judged program must not see that it is watched: what preloaded the library is wiped before its constructors run, but
# not in the commands that start it.
WIPE = rf"""
extern "C" void *memset(void *, int, unsigned long);
extern "C" unsigned long strlen(const char *);
extern "C" int strcmp(const char *, const char *);
extern "C" int strncmp(const char *, const char *, unsigned long);
__attribute__((constructor)) static void wipe(int, char **argv, char **env) {{
  if (strcmp(argv[0], "{JOB}/{PROGRAM}")) return;
  char **kept = env;
  for (; *env; env++)
    if (strncmp(*env, "LD_PRELOAD=", 11)) *kept++ = *env;
    else memset(*env, 0, strlen(*env));
  *kept = 0;
}}
"""
TARGETS = re.compile(r"\bU (?:__tgt_target_kernel|GOMP_target_ext|GOMP_target)\b")
OPENMP = {
    "": "with its parallel regions switched off",
    "target": "with its target regions switched off",
    "first": f"with the first of {MANY} threads of every region alone",
    "last": f"with the last of {MANY} threads of every region alone",
}
CUDA = {  # value of CUDACPU_KERNELS
    "0": "with its kernels switched off",
    "first": "with the first thread of every launch alone",
    "last": "with the last thread of every launch alone",
}


SCHEDULES = {"cuda": (2, 1)}  # fresh device memory holds another pattern in each; most checks fail at once in the second


@dataclass(frozen=True)
class Spent:
    """evidence: how the program did without its parallel work, "" when it did not; failure: of ours; and the cost."""

    evidence: str = ""
    failure: str = ""
    cpu_s: float = 0.0
    seconds: float = 0.0


def without(
    inputs: Iterable[tuple], run: Callable[..., Ran], is_right: Callable[..., bool], words_of: dict[str, str], schedules: tuple[int, ...]
) -> Spent:
    """Whether the program stays right on every input without its parallel work, by one of the switches in `words_of`.

    `inputs`: (arguments, what is expected).  `run(switch, arguments, schedule)` is `run_idle` on the program;
    `is_right(expected, ran)`.  What is right in one of the schedules only reads memory that its kernels were to write.
    """
    inputs, cpu, seconds = tuple(inputs), 0.0, 0.0
    for switch, words in words_of.items():
        for (args, expected), schedule in product(inputs, schedules):
            ran = run(switch, args, schedule)
            cpu, seconds = cpu + ran.outcome.cpu_s, seconds + ran.outcome.wall_s
            if ran.reason == "infra_error":
                return Spent("", ran.log, cpu, seconds)
            if ran.reason != "ok" or not is_right(expected, ran):
                break
        else:
            return Spent(f"{words} the program prints the same right data", "", cpu, seconds)
    return Spent("", "", cpu, seconds)


def switches(toolchain: Toolchain, symbols: str) -> dict[str, str]:
    """Switch -> its words, for what can be switched off in this toolchain's program with these `symbols` (build.Built).

    Of a program with target regions these alone come first: with all regions off a check in a region of the host compares nothing with
    nothing.
    """
    if toolchain.api == "omp":
        if TARGETS.search(symbols):
            return {"target": OPENMP["target"]}
        named = {next(filter(None, found)) for found in SHARES.findall(symbols)}
        return {how: OPENMP[how] for how in (("", "first", "last") if named <= BY_NUMBER else ("",))}
    if toolchain.api == "cuda":
        return CUDA if toolchain.emulated else {"0": CUDA["0"]}
    return {}  # serial


def run_idle(
    program: bytes, toolchain: Toolchain, args: tuple[str, ...], limits: Limits, level: Level, env: dict[str, str],
    files: dict[str, bytes] | None = None, switch: str = "", schedule: int = 1,
) -> Ran:  # fmt: skip
    """One run of a built program without its parallel work.  Raises UserError where the stub cannot be built."""
    assert switch in (OPENMP if toolchain.api == "omp" else CUDA), (toolchain.api, switch)
    if toolchain.api == "cuda":
        how = {"CUDACPU_KERNELS": switch, "CUDACPU_SCHEDULE": str(schedule)}
        return execute(program, toolchain, args, limits, level, {**env, **how}, files)
    preload = {**env, "LD_PRELOAD": f"{JOB}/{LIBRARY}"} | ({"OMP_NUM_THREADS": str(MANY)} if switch in ALONE_BY else {})
    beside = {LIBRARY: library(toolchain.compiler, level, switch), **(files or {})}
    return execute(program, toolchain, args, limits, level, preload, beside)


def library(compiler: str, level: Level, switch: str = "") -> bytes:
    """The shared library of idle entry points, or of those that run one thread."""
    idle = "".join(f'extern "C" long {name}() {{ return 0; }}\n' for name in (OF_TARGET if switch == "target" else NAMES))
    source = WIPE + (f"enum {{ LAST = {int(switch == 'last')} }};\n{ALONE}" if switch in ALONE_BY else idle)
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", f"{JOB}/idle.cpp", "-o", LIBRARY]
    roots = compiler_files.needed(compiler)
    built, said = harness.made(shlex.join(command), {"idle.cpp": source.encode()}, (LIBRARY,), level, compiler, roots)
    if said:
        raise UserError(f"{compiler} cannot build the idle OpenMP library: {said[:200]}")
    return built[LIBRARY]
