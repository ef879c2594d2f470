"""Processor cores, memory and GPUs that this process may use, within a container's or a batch job's limits.

Knows the system's files, device nodes and the environment.  Knows nothing of torch, programs or models.
GPUs are named as CUDA_VISIBLE_DEVICES takes them.
"""

from __future__ import annotations

import fcntl
import glob
import itertools
import os
import re
import socket
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import joblib
import psutil

from parallax_lib.core.errors import UserError

CGROUPS = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")
VISIBLE = "CUDA_VISIBLE_DEVICES"
CPU = "cpu"  # named instead of a GPU: so many processes on processor cores, to try what several GPUs do
GPU_GIB = {  # memory that torch finds there, rounded down
    "T4": 14, "L4": 22, "A10": 22, "L40S": 44, "A100": 39, "A100-40GB": 39, "A100-80GB": 79, "H100": 79, "H200": 139, "B200": 178,
}  # fmt: skip
TAKEN = "{}: {} of its {} GPUs are free of other workers, {} needed; start a worker less, or give each its own in " + VISIBLE
_turn = itertools.count()
_claimed: list[TextIO] = []  # lock files of this process's GPUs, open while it lives


def cores() -> int:
    """Cores by affinity and the container's quota of processor time."""
    return joblib.cpu_count()


def idle_cores(seconds: float = 0.3) -> int:
    """Physical cores, of `cores`, that nobody used for a moment, at least one; OMP_NUM_THREADS is the most.

    Threads that meet at barriers wait for the slowest: beside other work one thread is faster than two (39 minutes against some
    three were measured for the same programs).  Two threads of one physical core multiply matrices no faster than one.
    """
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count()
    idle = physical - psutil.cpu_count() * psutil.cpu_percent(seconds) / 100  # a busy thread has a physical core of its own where it can
    most = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(round(idle), cores(), int(most) if most.isdecimal() else cores()))


def passive_waiting() -> dict[str, str]:
    """Environment of a process in which waiting threads sleep, where nothing else is said: beside other work spinning ones starve it.

    OpenMP reads it when torch is loaded.
    """
    name = "OMP_WAIT_POLICY"
    return {name: os.environ.get(name, "PASSIVE")}


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


def visible_gpus() -> list[str]:
    """The GPUs of this process: those its environment names, else one for each device node."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def gpus_asked(text: str) -> tuple[str, int]:
    """(name, how many for one model) of GPUs as Modal spells them: "H200:2" is ("H200", 2), "" is ("", 1).  UserError for another text."""
    name, colon, count = text.partition(":")
    if colon and not (name and count.isdecimal() and int(count)):
        raise UserError(f"executor.gpu: {text!r} is neither NAME nor NAME:COUNT; write H200 or H200:2")
    return name, int(count or 1)


def gpus_of_slot(slot: int, count: int = 1) -> dict[str, str]:
    """Environment that shows the `count` GPUs of one of several workers; nothing without a GPU.  UserError if there are fewer."""
    found = visible_gpus()
    if found and count > len(found):
        raise UserError(f"executor.gpu: a model over {count} GPUs, but this machine shows {len(found)}; name as many as there are")
    first = slot % (len(found) // count) * count if found else 0
    return {VISIBLE: ",".join(found[first : first + count])} if found else {}


def next_gpu() -> dict[str, str]:
    """Environment that shows one GPU, the next one at every call, the first by process: runs spread over all of them."""
    return gpus_of_slot(os.getpid() + next(_turn))


def gpu_memory_share(workers: int, whole: float, count: int = 1) -> float:
    """Part of a GPU's memory for each of so many workers of `count` GPUs, when all that share it may take `whole`."""
    groups = len(visible_gpus()) // count or 1
    return whole / -(-workers // groups)


def claim_gpus(count: int = 1, folder: str | Path = "") -> None:
    """Narrow the GPUs that this process sees to `count` that no other process of this user on this machine has claimed.

    The claim is a lock that ends with the process, however that ends.  Once is for all: later calls change nothing.  Where the
    environment names no more than `count` it is obeyed.  To be called before torch asks for GPUs.  UserError where fewer are free.
    """
    found = visible_gpus()
    if _claimed or not found:
        return
    home = Path(folder or Path(tempfile.gettempdir()) / f"parallax-gpus-{os.getuid()}")
    home.mkdir(mode=0o700, exist_ok=True)
    about = home.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise UserError(f"{home}: is not a folder of this user's alone, so no GPU can be claimed there; remove it, or set another TMPDIR")
    with (home / "claiming").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # so that two which want several do not each take one of the other's
        free = _locked(home, found, count)
    named = os.environ.get(VISIBLE) is not None and len(found) <= count
    if len(free) < count and not named:
        for file in free.values():
            file.close()
        raise UserError(TAKEN.format(socket.gethostname(), len(free), len(found), count))
    _claimed.extend(free.values())
    if not named:
        os.environ[VISIBLE] = ",".join(free)


def _locked(home: Path, names: Sequence[str], most: int) -> dict[str, TextIO]:
    """The first `most` of the GPUs that nobody has locked -> their lock files, open and now locked."""
    free: dict[str, TextIO] = {}
    for name in names:
        file = (home / re.sub(r"\W", "-", name)).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        free[name] = file
        if len(free) == most:
            break
    return free
