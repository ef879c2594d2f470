"""How the processes of one worker, its ranks, meet to compute one thing together.

Knows torch's process groups.  Knows nothing of what is computed.  torchrun is not needed: the executor starts the ranks.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import NamedTuple

HOST = "127.0.0.1"
PATIENCE = timedelta(days=1)  # the first rank reads a model while the others wait; a call's own time limit ends it earlier


class Rank(NamedTuple):
    """One of `count` processes that meet at a port of this machine; on GPUs each has the one of its number."""

    number: int
    count: int
    port: int


def ranks(count: int) -> list[Rank]:
    """The ranks of one worker, which meet at a free port."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return [Rank(number, count, free.getsockname()[1]) for number in range(count)]


def meet(rank: Rank) -> None:
    """Wait for the others, and be one process group with them: NCCL's, or gloo's where torch sees no GPU.  One alone does nothing."""
    if rank.count == 1:
        return
    import torch
    import torch.distributed as dist

    store = dist.TCPStore(HOST, rank.port, rank.count, is_master=rank.number == 0, timeout=PATIENCE)
    group = {"store": store, "rank": rank.number, "world_size": rank.count, "timeout": PATIENCE}
    if not torch.cuda.is_available():
        dist.init_process_group("gloo", **group)
        return
    device = torch.device("cuda", rank.number)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", device_id=device, **group)
