"""Limits on a user's processes: whose they count, and whether a command may have failed because others had used them up.

Knows the kernel's count of processes and threads of one user.  Knows nothing of sandboxes, programs or verdicts.

RLIMIT_NPROC is two limits.  Inside the sandbox's user namespace it counts the run alone; outside it counts everything of
the same user id, other runs among it, against the limit that the harness was started with.  The second one strikes by no
fault of the program: fork and pthread_create fail, and it ends as if it had crashed.  Counted is when it has ended: a
squeeze that has passed by then leaves no count, so a run that failed under a tight limit is made once more.
Without a user namespace root gives each run a user id of its own; anyone else has to leave room for what else runs.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parallax_lib.sandbox import scratch

USERS = range(65000, 65256)  # otherwise unused user ids
PATIENCE_S = 30.0
OTHERS = 256  # processes that a user may start beside a run without being in its way
COUNTS = re.compile(rb"^Uid:\s+(\d+).*?^Threads:\s+(\d+)", re.M | re.S)


def ceiling(count: int) -> int:
    """`count`, or less where this process may not ask for so much."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return count if hard == resource.RLIM_INFINITY else min(count, hard)


def beside(promised: int) -> int:
    """A limit for a run that shares this process's user id: room for `promised` beside what runs now and may start meanwhile."""
    return ceiling(_count(os.getuid()) + promised + OTHERS)


@contextmanager
def own_user() -> Iterator[int]:
    """A user id that nothing else of this machine runs as.  For root; OSError when none gets free."""
    until = time.monotonic() + PATIENCE_S
    for user in itertools.cycle(USERS):
        if user == USERS[-1]:
            time.sleep(0.05)
            if time.monotonic() > until:
                raise OSError(f"none of the user ids {USERS[0]} to {USERS[-1]} is free")
        fd = scratch.lock_file(f"parallax-user-{user}.lock")
        try:
            if _taken(fd) or _count(user):
                continue
            yield user
            return
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough where a forked child still holds the descriptor
            os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def shortage(user: int | None, promised: int) -> str:
    """Why a run as `user` (None: this one) may not have got its `promised` processes, "" when it could have all of them."""
    uid, limit, others = _use(user)
    if not uid or others + promised <= limit:
        return ""
    return f"a process limit of {limit} (ulimit -u), of which user {uid} uses {others} elsewhere, cannot give a run {promised}"


def tight(user: int | None, promised: int) -> bool:
    """Whether others of the user may well have used up the limit for a moment: more than half of it is spoken for."""
    uid, limit, others = _use(user)
    return uid != 0 and 2 * (others + promised) > limit


def _use(user: int | None) -> tuple[int, int, int]:
    """(user id, 0 where no limit binds it; the limit; processes and threads of the user)."""
    uid = os.getuid() if user is None else user
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if uid == 0 or limit == resource.RLIM_INFINITY:
        return 0, limit, 0
    return uid, limit, _count(uid)


def _count(uid: int) -> int:
    """Processes and threads of a user."""
    return sum(threads for owner, threads in map(_counts, processes()) if owner == uid)


def processes() -> list[Path]:
    """Folders of the processes that run now.  (A glob for a file in them raises where one ends meanwhile.)"""
    return [Path("/proc", name) for name in os.listdir("/proc") if name.isdigit()]


def _counts(process: Path) -> tuple[int, int]:
    """(real user id, threads) of a process; nobody's when it is gone."""
    try:
        found = COUNTS.search((process / "status").read_bytes())
    except OSError:
        return -1, 0
    return (int(found[1]), int(found[2])) if found else (-1, 0)
