"""Processes that torchrun started: the first executes the command, the others wait until it calls them to work together.

The first process, or a notebook's kernel that it has started, calls `lead`; the others are in `follow` meanwhile.  Each piece of
common work has a process group of its own.

Knows torchrun's environment and torch.distributed.  Knows nothing of the work.
"""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from parallax_lib.core import tables
from parallax_lib.core.errors import UserError

WAIT = timedelta(days=30)  # for the next piece of work
STEP = timedelta(hours=2)  # for one exchange: the first process may write a large checkpoint meanwhile
END = b"end"


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Which of them this is, or has started this one."""
    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


def together() -> int:
    """How many processes work together at this moment; 1 outside `lead` and `follow`."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def first() -> bool:
    """Whether this process writes the files of the common work."""
    return together() == 1 or rank() == 0


def lead(work: Callable, given: Sequence, **own: Any) -> Any:
    """work(*given, **own) here while every other process does work(*given); the result of this one.

    work is importable, and what is given can be pickled.  UserError of `work` must come up in all processes alike.
    """
    message = pickle.dumps((tables.pack_own(), work, tuple(given)))
    with _group(_announce(b"work")):
        _broadcast(message)
        return work(*given, **own)


def follow() -> int:
    """Take part in all common work until the first process has ended; an exit status."""
    number, store = 0, _store()
    while True:
        number += 1
        if store.get(f"work/{number}") == END:
            return 0
        with _group(number):
            methods, work, given = pickle.loads(_broadcast(b""))
            tables.enter_own(methods)
            try:
                work(*given)
            except UserError:
                pass  # the first process has it too, and says it
        del given
        gc.collect()  # a split model holds itself, and a GPU's memory with it


def dismiss() -> None:
    """The first process has ended: the others may."""
    if processes() > 1:
        _announce(END)


def refuse_others(command: str, able: Sequence[str]) -> None:
    """UserError if torchrun started a command that has no work for several processes."""
    if processes() > 1 and command not in able:
        problem = f"torchrun started {processes()} processes of {command!r}; only {' and '.join(able)} use several"
        raise UserError(f"{problem}: start it without torchrun")


def from_first(call: Callable[[], Any]) -> Any:
    """What call() gives in the first process, in all of them; its UserError too."""
    if together() == 1:
        return call()
    result, error = None, None
    if first():
        try:
            result = call()
        except UserError as e:
            error = e
    result, error = pickle.loads(_broadcast(pickle.dumps((result, error)) if first() else b""))
    if error is not None:
        raise error
    return result


def added(*numbers: float) -> tuple[float, ...]:
    """Each number summed over the processes that work together."""
    if together() == 1:
        return numbers
    import torch

    total = torch.tensor(numbers, dtype=torch.float64)
    torch.distributed.all_reduce(total)
    return tuple(total.tolist())


def dealt(items: Sequence) -> list[tuple[Any, int]]:
    """(item, 1) for each item of this process, and (items[0], 0) where it has one fewer than others: all compute as often, and
    what is multiplied by 0 does not count."""
    count = together()
    mine = range(rank() if count > 1 else 0, -(-len(items) // count) * count, count)
    return [(items[i], 1) if i < len(items) else (items[0], 0) for i in mine]


def evenly(rows: int, most: int) -> int:
    """Rows of one forward, `most` at most, such that every process has as many forwards."""
    share = max(1, -(-rows // together()))
    return -(-share // -(-share // most))


def device_of(device: str) -> str:
    """Where this process computes when the first one computes on `device`: on a GPU of its own, or on the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device.startswith("cuda") else device


def _announce(what: bytes) -> int:
    """Tell the others what comes next; its number."""
    store = _store()
    number = store.add("announced", 1)
    store.set(f"work/{number}", what)
    return number


def _store():
    """torchrun's key-value store, which every process and its children reach."""
    import torch.distributed as dist

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UserError("this torchrun keeps no store (TORCH_DISABLE_SHARE_RDZV_TCP_STORE): unset that variable")
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"parallax/{attempt}", dist.TCPStore(address, port, is_master=False, timeout=WAIT))


@contextmanager
def _group(number: int) -> Iterator[None]:
    """A process group of its own for the piece of work of that number: the first process may be another one each time."""
    import torch
    import torch.distributed as dist

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(device_of("cuda"))
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    store = dist.PrefixStore(f"group/{number}", _store())
    dist.init_process_group(backend, store=store, rank=rank(), world_size=processes(), timeout=STEP)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _broadcast(data: bytes) -> bytes:
    """The bytes of the first process, in all of them."""
    import torch
    import torch.distributed as dist

    size = torch.tensor([len(data)])
    dist.broadcast(size, 0)
    held = torch.frombuffer(bytearray(data), dtype=torch.uint8) if rank() == 0 else torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(held, 0)
    return held.numpy().tobytes()
