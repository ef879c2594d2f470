"""Whether a command may have failed because others had used up the processes that it was promised.

Knows the kernel's count of processes and threads of one user.  Knows nothing of sandboxes, programs or verdicts.

RLIMIT_NPROC is two limits.  Inside the sandbox's user namespace it counts the run alone; outside it counts everything of
the same user id, other runs among it, against the limit that the harness was started with.  The second one strikes by no
fault of the program: fork and pthread_create fail, and it ends as if it had crashed.  Counted is when it has ended: a
squeeze that has passed by then leaves no count, so a run that failed under a tight limit is made once more.
"""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

COUNTS = re.compile(rb"^Uid:\s+(\d+).*?^Threads:\s+(\d+)", re.M | re.S)


def ceiling(wanted: int) -> int:
    """`wanted`, or less where this process may not ask for so much."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


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
    return uid, limit, sum(threads for owner, threads in map(_counts, Path("/proc").glob("[0-9]*/status")) if owner == uid)


def _counts(path: Path) -> tuple[int, int]:
    """(real user id, threads) of a process; nobody's when it is gone."""
    try:
        found = COUNTS.search(path.read_bytes())
    except OSError:
        return -1, 0
    return (int(found[1]), int(found[2])) if found else (-1, 0)
