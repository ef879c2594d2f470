"""How many processor cores and how much memory this process may use, within a container's or a batch job's limits.

Knows the system's files.  Knows nothing of what they are used for; `gpus` is the same for GPUs.
"""

from __future__ import annotations

from pathlib import Path

import joblib
import psutil

CGROUPS = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")


def cores() -> int:
    """Cores by affinity and the container's quota of processor time."""
    return joblib.cpu_count()


def free_memory() -> int:
    """Bytes that are free, of the machine and of each control group (v2) that this process is in."""
    return min([psutil.virtual_memory().available, *_left()])


def _left() -> list[int]:
    """Bytes that each control group with a limit has left; files that are only cached count as free."""
    try:
        path = next(line[3:] for line in OURS.read_text().splitlines() if line.startswith("0::")).strip("/")
    except (OSError, StopIteration):
        return []
    left = []
    for folder in (CGROUPS / path, *(CGROUPS / path).parents):
        if not folder.is_relative_to(CGROUPS):
            break
        try:
            most, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
            cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines()).get("inactive_file", 0)
        except (OSError, ValueError):  # no such file, or "max"
            continue
        left.append(max(0, most - used + int(cached)))
    return left
