"""CPU time of each thread of a process that has stopped at its end, read from outside it.

Knows /proc and the process clock.  Knows nothing of pipes, limits or what the threads did.

A judged process says its last line and stops itself (SIGSTOP); nothing that it holds or prints changes what is read here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Threads:
    """CPU seconds: of the first thread, of each other one that still lived (busiest first), of those that had ended."""

    first: float = 0.0
    others: tuple[float, ...] = ()
    ended: float = 0.0

    @property
    def total(self) -> float:
        return self.first + sum(self.others) + self.ended


def stopped(pids: Iterable[int]) -> int | None:
    """The oldest of these processes that has stopped itself, None for none."""
    found = [(start, pid) for pid in pids for state, start in [_state(pid)] if state == b"T"]
    return min(found)[1] if found else None


def read(pid: int) -> Threads:
    """What the threads of a stopped process used; empty where it is gone or the kernel does not tell."""
    with suppress(OSError, ValueError):
        times = {int(task): _seconds(pid, task) for task in os.listdir(f"/proc/{pid}/task")}
        total = time.clock_gettime(~pid << 3 | 2)  # the process's own CPU clock (CPUCLOCK_SCHED): ended threads included
        first = times.pop(pid, 0.0)
        return Threads(first, tuple(sorted(times.values(), reverse=True)), max(0.0, total - first - sum(times.values())))
    return Threads()


def _seconds(pid: int, task: str) -> float:
    with open(f"/proc/{pid}/task/{task}/schedstat", "rb") as f:
        return int(f.read().split()[0]) / 1e9


def _state(pid: int) -> tuple[bytes, int]:
    """(state letter, start time); (b"", 0) for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            parts = f.read().rpartition(b")")[2].split()
    except OSError:
        return b"", 0
    return parts[0], int(parts[19])
