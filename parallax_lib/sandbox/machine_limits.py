"""Limits that a run inherits from its surroundings: the shell's (ulimit), and the container's or batch job's control groups.

Knows rlimits and cgroup files of both versions.  Knows nothing of sandboxes, programs or verdicts.

A run that such a limit ends has not broken its own: that is no verdict, and the remedy is the user's.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from parallax_lib.sandbox.supervisor import Limits

CGROUPS, OURS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
MIB = 1 << 20
UNLIMITED = resource.RLIM_INFINITY
SPACE_MB = 1 << 16  # address space that a program with 256 threads can do with; ThreadSanitizer and CUDA need all


def at_most(kind: int, value: int) -> int:
    """`value`, or less where this process may not ask for so much."""
    hard = resource.getrlimit(kind)[1]
    return value if hard == UNLIMITED else min(value, hard)


def lifted() -> list[str]:
    """prlimit's options that lift the soft limits of memory: the tree's memory is counted, not its address space."""
    options = []
    for name in ("as", "data"):
        soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
        if soft != hard:
            options.append(f"--{name}={'unlimited' if hard == UNLIMITED else hard}:{'unlimited' if hard == UNLIMITED else hard}")
    return options


def shortages(*needed: Limits) -> list[str]:
    """A line for each limit of the surroundings that is below what runs under these limits need, with its remedy."""
    lines = []
    files, cpu = max(limits.tmp_mb for limits in needed) * MIB, max(limits.cpu_s for limits in needed) + 2
    stack, processes = max(limits.stack_mb for limits in needed) * MIB, max(limits.processes for limits in needed)
    memory = max(limits.memory_mb for limits in needed)
    asked = (("f", "FSIZE", files, 1024, "KiB", "a file"), ("t", "CPU", cpu, 1, "s", "CPU time"),
             ("s", "STACK", stack, 1024, "KiB", "a stack"),
             ("v", "AS", SPACE_MB * MIB, 1024, "KiB", "address space"), ("d", "DATA", SPACE_MB * MIB, 1024, "KiB", "data"))  # fmt: skip
    for letter, name, least, unit, word, what in asked:
        soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        limit = soft if name == "FSIZE" else hard  # the harness writes files itself
        if limit != UNLIMITED and limit < least:
            problem = f"process limit ulimit -{letter}: {what} of at most {limit // unit} {word}, a run needs {int(least) // unit}"
            lines.append(f"{problem}; raise it: ulimit -{letter} unlimited")
    room = room_mb()
    if room is not None and room < memory:
        lines.append(f"memory limit of the container or batch job: {room} MiB are left, a run may use {memory}; "
                     "raise it, or lower validation.memory_mb and validation.workers")  # fmt: skip
    left = processes_left()
    if left is not None and left < processes:
        lines.append(f"process limit of the container or batch job (pids.max): {left} are left, a run may start {processes}; "
                     "raise it, or lower validation.processes")  # fmt: skip
    return lines


def room_mb() -> int | None:
    """MiB that the tightest control group has left, files that are only cached counted as free; None without a limit."""
    room = []
    for folder in _folders("memory"):
        most = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if most is not None and used is not None and most < 1 << 60:
            cached = (_word(folder / "memory.stat", name) for name in ("inactive_file", "total_inactive_file"))  # version 2, version 1
            room.append(most - used + max(cached))
    return max(0, min(room)) // MIB if room else None


def processes_left() -> int | None:
    """Processes and threads that the tightest control group still allows; None without a limit."""
    left = [(_number(folder / "pids.max"), _number(folder / "pids.current")) for folder in _folders("pids")]
    known = [most - used for most, used in left if most is not None and used is not None]
    return max(0, min(known)) if known else None


def strikes() -> tuple[int, int]:
    """How often the control groups' limits have struck: (processes killed for memory, forks refused)."""
    files = (folder / name for folder in _folders("memory") for name in ("memory.events", "memory.oom_control"))
    killed = max((_word(file, "oom_kill") for file in files), default=0)
    return killed, max((_word(folder / "pids.events", "max") for folder in _folders("pids")), default=0)


def struck(before: tuple[int, int], returncode: int) -> str:
    """Why a run that ended badly since `before` may have been ended by a control group's limit, "" otherwise."""
    killed, refused = (now - then for now, then in zip(strikes(), before, strict=True))
    if killed > 0 and returncode in (137, -9):
        return "killed by the memory limit of the container or batch job"
    return "refused a process by the process limit (pids.max) of the container or batch job" if refused > 0 else ""


def _folders(controller: str) -> Iterator[Path]:
    """Folders of the control groups that bind this process, from its own to the top."""
    try:
        lines = OURS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        base = CGROUPS if not names else CGROUPS / controller
        if names and controller not in names.split(","):
            continue
        inside = base / path.strip("/")
        yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(base) and folder.is_dir())


def _number(*files: Path) -> int | None:
    for file in files:
        try:
            return int(file.read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


def _word(file: Path, word: str) -> int:
    try:
        return int(dict(line.split() for line in file.read_text().splitlines()).get(word, 0))
    except (OSError, ValueError):
        return 0
