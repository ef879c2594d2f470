"""Processes of one machine that compute one thing together: what each is told, and how they meet.

Knows the environment as torchrun sets it, and torch's process groups.  Knows nothing of what is computed.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta

PATIENCE = timedelta(days=1)  # the first rank reads a model while the others wait; a call's own time limit ends it earlier


def environments(count: int) -> list[dict[str, str]]:
    """What `count` processes find in their environment, as from torchrun; one alone finds nothing."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def join() -> None:
    """Meets the other ranks: over NCCL, each on the GPU of its number, or over gloo where torch sees no GPU."""
    import torch
    import torch.distributed as dist

    if not torch.cuda.is_available():
        dist.init_process_group("gloo", timeout=PATIENCE)
        return
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", timeout=PATIENCE, device_id=device)
