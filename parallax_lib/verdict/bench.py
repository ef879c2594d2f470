"""Where verdicts are made, and one run of a built program there: its environment, the files beside it.

Knows compilers, limits and runtimes' variables.  Knows nothing of kernels, references or verdicts.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from parallax_lib.core.storage import Journal
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.verdict import cupti, whole_teams
from parallax_lib.verdict.build import Ran, execute
from parallax_lib.verdict.llvm import MANDATORY
from parallax_lib.verdict.toolchain import Toolchain

RUN_ENV = {"OMP_DYNAMIC": "false", "OMP_STACKSIZE": "16M", "OMP_WAIT_POLICY": "passive", "CUDA_CACHE_DISABLE": "1"}
RUN_ENV["MALLOC_PERTURB_"] = "165"  # fresh heap memory is never zero by luck
RUN_ENV |= {"KMP_LOCK_KIND": "tas"}  # LLVM's default lock took 8 s CPU where this takes 0.09 s and g++'s runtime 0.03 s
ONE_QUEUE = {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}  # instead of 8 to the GPU: an H200 starts 14 processes a second instead of 5
RUN_ENV |= {"LIBOMP_NUM_HIDDEN_HELPER_THREADS": "0"}  # in those a target region with nowait is serial


@dataclass(frozen=True)
class Bench:
    """Where verdicts are made: compilers, sandbox level, limits of a run, the journal that remembers, optional stages."""

    toolchains: dict[str, Toolchain]
    level: Level
    limits: Limits = field(default_factory=Limits)
    journal: Journal | None = None
    races: str = "off"  # on | auto: where the tools are | off
    timing: str = "off"
    admission: str = ""  # of the check that this machine passed; journal rows carry it
    draw: int = 0  # seed of the hidden inputs, where a kernel says how they vary; 0: as they are written


def draw_of(journal: Journal | None) -> int:
    """The seed that hidden inputs are drawn by: one for all that a journal remembers, a new one where nothing is remembered."""
    seed = 1 + secrets.randbelow(2**31)
    if journal is None:
        return seed
    journal.put("draw", "inputs", {"seed": seed})  # the first write wins
    return journal.get("draw", "inputs")["seed"]


def run_once(
    program: bytes, api: str, args: tuple[str, ...], threads: int, bench: Bench, files: dict[str, bytes] | None = None, fresh: str = ""
) -> Ran:
    """One run of a built program on one input with that many OpenMP threads; emulated CUDA: in schedule 1 or 2.

    The program sees `files` read-only in ../job/inputs/.  On a GPU CUPTI watches where it can, and target regions run there or nowhere.
    A bench that times programs gives every run as many queues to the GPU as the driver does, since with one its streams wait for each
    other: a program must not learn from its environment which of its runs is timed.  `fresh`: the byte of fresh heap memory.
    """
    toolchain = bench.toolchains[api]
    watch, library = cupti.given(toolchain, bench.level) if toolchain.gpu else ({}, {})
    watch = {**watch, **MANDATORY} if toolchain.gpu and api == "omp" else watch
    queues = ONE_QUEUE if toolchain.gpu and bench.timing != "on" else {}
    schedule = {"CUDACPU_SCHEDULE": str(threads)} if api == "cuda" else {}
    env = {**run_env(threads), **watch, **queues, **schedule, **({"MALLOC_PERTURB_": fresh} if fresh else {})}
    return execute(program, toolchain, args, bench.limits, bench.level, env, {**library, **beside(files)})


def run_as_stacks(program: bytes, args: tuple[str, ...], turn: int, bench: Bench, files: dict[str, bytes]) -> Ran:
    """One run of a host build of target regions with every thread of its teams, in one of two orders (`whole_teams.run`)."""
    tool, env = whole_teams.host(bench.toolchains["omp"]), run_env(whole_teams.TEAM)
    return whole_teams.run(program, tool, args, bench.limits, bench.level, env, beside(files), turn)


def run_env(threads: int) -> dict[str, str]:
    """RUN_ENV with that many OpenMP threads, in a league as well: its teams times their threads, before a num_threads clause.

    LLVM gives a league the machine's cores: on one core no region with teams is parallel, and on many, where each team then asks
    for hundreds of threads, its runtime aborts.
    """
    return {**RUN_ENV, **dict.fromkeys(("OMP_NUM_THREADS", "OMP_TEAMS_THREAD_LIMIT", "KMP_TEAMS_THREAD_LIMIT"), str(threads))}


def beside(files: dict[str, bytes] | None) -> dict[str, bytes]:
    return {f"inputs/{name}": data for name, data in (files or {}).items()}
