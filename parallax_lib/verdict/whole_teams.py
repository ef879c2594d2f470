"""A host build of target regions whose thread numbers stand for CUDA's indices, run with every thread that its teams ask for.

Knows g++'s OpenMP entry points, the library of probes/teams.cpp that stands in for those of a region, and which programs it serves.
Knows nothing of tolerances or verdict levels.

Hundreds of threads that meet at barriers take seconds on a few cores where stacks of one thread take milliseconds.  These run from
barrier to barrier in order, in a second run in the order turned round, so that threads which need a barrier and have none print two
things.  A program that calls more of the runtime than HANDLED, locks or threads of its own gets real threads, in both runs.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from parallax_lib.core.errors import UserError
from parallax_lib.cuda_emulation import rewrite
from parallax_lib.sandbox.sandbox import JOB, Level, Limits
from parallax_lib.verdict import compiler_files, harness
from parallax_lib.verdict.build import Built, Ran, execute
from parallax_lib.verdict.llvm import Llvm
from parallax_lib.verdict.serialised_control import LEVELS, WIPE
from parallax_lib.verdict.toolchain import Toolchain

TEAM = 1024  # threads of a team, at most; a thread_limit clause asks for fewer
LIBRARY = "teams.so"
HANDLED = frozenset(
    "GOMP_parallel GOMP_barrier GOMP_single_start GOMP_critical_start GOMP_critical_end GOMP_critical_name_start GOMP_critical_name_end"
    " GOMP_atomic_start GOMP_atomic_end GOMP_teams4 GOMP_target_ext GOMP_target_data_ext GOMP_target_end_data GOMP_target_update_ext"
    " GOMP_target_enter_exit_data".split()
)
CALLS = re.compile(rf"^ *U (GOMP_\w+|omp_\w*lock\w*|{LEVELS}|pthread_\w+)", re.M)


def host(toolchain: Toolchain) -> Toolchain:
    """g++ alone, whose own runtime runs one team after the other."""
    return replace(toolchain, llvm=Llvm(), offloaded=None)


def as_stacks(built: Built) -> bool:
    """Whether the threads of a program's regions can be stacks of one thread."""
    return {*CALLS.findall(built.symbols)} <= HANDLED and "threadprivate" not in built.source


def run(
    program: bytes, toolchain: Toolchain, args: tuple[str, ...], limits: Limits, level: Level, env: dict[str, str],
    files: dict[str, bytes], turn: int,
) -> Ran:  # fmt: skip
    """One run as stacks; turn 0: from each team's first thread to its last, 1: from the last to the first."""
    preloaded = {LIBRARY: library(toolchain.compiler, level, turn), **files}
    return execute(program, toolchain, args, limits, level, {**env, "LD_PRELOAD": f"{JOB}/{LIBRARY}"}, preloaded)


def library(compiler: str, level: Level, turn: int) -> bytes:
    """The shared library in whose regions threads are stacks.  UserError where it cannot be built."""
    files = {"teams.cpp": harness.text("teams.cpp") + WIPE.encode(), "stacks.inc": (rewrite.HEADERS / "stacks.inc").read_bytes()}
    command = [compiler, "-shared", "-fPIC", "-O2", "-w", f"-DBACKWARDS={turn}", f"{JOB}/teams.cpp", "-o", LIBRARY]
    built, said = harness.made(shlex.join(command), files, (LIBRARY,), level, compiler, compiler_files.needed(compiler))
    if said:
        raise UserError(f"{compiler} cannot build the library of whole teams: {said[:200]}")
    return built[LIBRARY]
