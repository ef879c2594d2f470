"""The same binary once more with its parallel regions switched off: a result that stays right did not come from them.

Knows the OpenMP runtime's entry points and how to stub them.  Knows nothing of tolerances or verdict levels.

A preloaded library answers every call that opens a region, makes a task or launches a target region by doing nothing.
It finds regions whose results nobody reads (empty ones, junk work, repeated work), which no count of threads or time
can find.  It does not find regions that one thread fills: that is the run-time proof's part.
"""

from __future__ import annotations

import functools

from parallax_lib import sandbox
from parallax_lib.build import BUILD_LIMITS, Ran, execute
from parallax_lib.params import UserError
from parallax_lib.sandbox import JOB, Level, Limits
from parallax_lib.toolchain import Toolchain

SCHEDULES = "static dynamic guided runtime nonmonotonic_dynamic nonmonotonic_guided nonmonotonic_runtime maybe_nonmonotonic_runtime"
NAMES = (
    "GOMP_parallel", "GOMP_parallel_sections", "GOMP_parallel_reductions", "GOMP_task", "GOMP_taskloop", "GOMP_taskloop_ull",
    "GOMP_teams_reg", "GOMP_target", "GOMP_target_ext", "__kmpc_fork_call", "__kmpc_fork_call_if", "__kmpc_fork_teams",
    "__kmpc_omp_task", "__kmpc_omp_task_with_deps", "__kmpc_taskloop", "__tgt_target_kernel",
    *(f"GOMP_parallel_loop_{schedule}" for schedule in SCHEDULES.split()),
)  # fmt: skip
LIBRARY = "idle.so"
SWITCHABLE = ("omp",)


def run_idle(
    program: bytes, toolchain: Toolchain, args: tuple[str, ...], limits: Limits, level: Level, env: dict[str, str],
    files: dict[str, bytes] | None = None,
) -> Ran:  # fmt: skip
    """One run of a built program whose parallel regions do nothing.  Raises UserError where the stub cannot be built."""
    preload = {**env, "LD_PRELOAD": f"{JOB}/{LIBRARY}"}
    return execute(program, toolchain, args, limits, level, preload, {LIBRARY: library(toolchain.compiler, level), **(files or {})})


@functools.cache
def library(compiler: str, level: Level) -> bytes:
    """The shared library of idle entry points, built once a process in the sandbox."""
    source = "".join(f'extern "C" long {name}() {{ return 0; }}\n' for name in NAMES)
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", f"{JOB}/idle.cpp", "-o", LIBRARY]
    out = sandbox.run(command, {"idle.cpp": source.encode()}, BUILD_LIMITS, level, outputs=(LIBRARY,))
    if out.status != "ok" or LIBRARY not in out.files:
        raise UserError(f"{compiler} cannot build the idle OpenMP library: {out.stderr[:200]}")
    return out.files[LIBRARY]
