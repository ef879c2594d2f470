"""Plain functions for the executor tests to run; small, because every spawned worker imports this file."""

import hashlib
import os
import signal
import time
from pathlib import Path

from parallax_lib.core import parcels


def double(x):
    return {"double": 2 * x, "pid": os.getpid(), "remote": "MODAL_IS_REMOTE" in os.environ}


def lent(names, together):
    """The named environment variables; returns only when `together` calls have begun, each in a process of its own."""
    folder = Path(os.environ["TEST_MEET"])
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < together:
        time.sleep(0.01)
    return {name: os.environ.get(name) for name in names}


def refuse(x):
    raise ValueError(f"bad input {x}")


def odd_fails(item):
    return refuse(item["n"]) if item["n"] % 2 else item["n"]


def count_try(file) -> int:
    """How often this was called with `file`, this call included; counted across processes."""
    with open(file, "a") as out:
        out.write(".")
    return len(Path(file).read_text())


def ends_with_7(size, shrink=1):
    """The process ends so until a quarter of the size is asked for."""
    if shrink < 4:
        os._exit(7)
    return size // shrink


def succeeds_at(file, attempt):
    tries = count_try(file)
    if tries < attempt:
        raise OSError(f"try {tries}")
    return tries


def needs_memory(file, batch, shrink=1):
    """Runs out of memory until at most 8 rows are asked for."""
    count_try(file)
    if batch // shrink > 8:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    return batch // shrink


def needs_memory_without_hint(file, attempt):
    if count_try(file) < attempt:
        raise MemoryError("out of memory")
    return "fits now"


def dies_once(file):
    if count_try(file) == 1:
        os._exit(3)
    return "alive"


def killed_unless_halved(file, size, shrink=1):
    """The kernel kills the process as it does one that takes too much memory, until half of the size is asked for."""
    if shrink < 2:
        count_try(file)
        os.kill(os.getpid(), signal.SIGKILL)
    return size // shrink


def reads(item):
    """sha256 of a parcel's bytes, and who read them."""
    return hashlib.sha256(parcels.bytes_of(item["files"]["weights"])).hexdigest(), os.getpid()


def sleeps(seconds):
    time.sleep(seconds)


def touches_and_sleeps(file, seconds):
    Path(file).touch()
    time.sleep(seconds)


def hangs_once(file):
    if count_try(file) == 1:
        time.sleep(600)
    return "awake"


def echo(payload):
    return payload


def bad_for_the_user(file):
    from parallax_lib.core.config import UserError

    count_try(file)
    raise UserError("translator.model: no such folder")


class TwoPart(Exception):
    """Pickles, but cannot be unpickled: its arguments are not what the constructor takes."""

    def __init__(self, part, other):
        super().__init__(f"{part} and {other}")


def raises_two_part():
    raise TwoPart("this", "that")


def number():
    """Which rank this is, how many there are, and a sum over all of them."""
    import torch
    import torch.distributed as dist

    total = torch.tensor([10.0 ** dist.get_rank()])
    dist.all_reduce(total)
    return dist.get_rank(), dist.get_world_size(), float(total), os.getpid()


def one_fails(how):
    """The second of two ranks fails so; the first waits for it in vain."""
    import torch.distributed as dist

    if dist.get_rank() == 1:
        if how == "dies":
            os._exit(5)
        raise MemoryError("out of memory")
    time.sleep(600)
