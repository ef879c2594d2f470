"""Which NVIDIA GPUs this machine lends, by the names that CUDA_VISIBLE_DEVICES takes; one each for workers and for runs.

Knows device nodes and the environment.  Knows nothing of torch, programs or models.
"""

from __future__ import annotations

import glob
import itertools
import os

VISIBLE = "CUDA_VISIBLE_DEVICES"
_turn = itertools.count()


def visible() -> list[str]:
    """The GPUs of this process: those its environment names, else one for each device node."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def of_slot(slot: int) -> dict[str, str]:
    """Environment that shows the GPU of one of several workers; nothing without a GPU."""
    found = visible()
    return {VISIBLE: found[slot % len(found)]} if found else {}


def in_turn() -> dict[str, str]:
    """Environment that shows one GPU, the next one at every call, the first by process: runs spread over all of them."""
    return of_slot(os.getpid() + next(_turn))


def share(workers: int, whole: float) -> float:
    """Part of a GPU's memory for each of so many workers, when all that share it may take `whole`."""
    found = len(visible()) or 1
    return whole / -(-workers // found)
