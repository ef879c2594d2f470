"""Several small trainings at once: what they read is written once, each runs in a process with one thread of its own.

Knows rows, arrays, processes and memory.  Knows nothing of what a training does.

n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from parallax_lib.core import hardware, tables
from parallax_lib.core.executors import ExecutorConfig, ItemFailed, run_map
from parallax_lib.core.progress import looking

SMALL = 2**24  # bytes of latents; trainings on fewer are over before a process has started
BESIDES = 2**30  # bytes a process needs besides what it reads: torch, CUDA where there is one
TIMES = 7  # its latents in float16 that a training holds at its height (measured)
DAY = 24 * 3600
COUNTS = "counts"  # folder in the material's
TEXTS = ["code", "source_code", "log", "toolchain", "parallel_evidence"]  # columns that no training reads


@dataclass(frozen=True)
class Material:
    """Rollouts [n], what a PRM reads of their latents [n, K, .], and of their prompts [n, D] or None."""

    rows: pd.DataFrame
    vectors: np.ndarray
    contexts: np.ndarray | None = None
    counts: Path | None = None  # folder in which each training writes how many updates it has made

    def counter(self) -> Callable[[dict], None]:
        """Takes the history rows of one training, for `fit(progress=...)`."""
        if self.counts is None:
            return lambda row: None
        file = self.counts / f"{os.getpid()}-{secrets.token_hex(4)}"
        return lambda row: file.write_text(str(row["step"]))

    def write(self, folder: Path) -> None:
        (folder / COUNTS).mkdir(parents=True)
        self.rows.to_pickle(folder / "rows.pkl")
        for name in ("vectors", "contexts"):
            if getattr(self, name) is not None:
                np.save(folder / f"{name}.npy", getattr(self, name))

    @staticmethod
    @lru_cache(maxsize=1)
    def read(folder: Path) -> Material:
        """The latents stay on the disk, in pages that all processes share."""
        contexts = folder / "contexts.npy"
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        return Material(pd.read_pickle(folder / "rows.pkl"), vectors, np.load(contexts) if contexts.exists() else None, folder / COUNTS)


def at_once(material: Material, count: int) -> int:
    """Trainings side by side: as many as there are processor cores, as long as memory holds."""
    size = material.vectors.nbytes + (0 if material.contexts is None else material.contexts.nbytes)
    if size < SMALL:
        return 1
    return max(1, min(count, hardware.cores(), int(0.8 * hardware.free_memory()) // (TIMES * size + BESIDES), *_on_gpus()))


def _on_gpus() -> list[int]:
    """Half of what this process leaves of the GPUs' memory, in contexts."""
    import torch

    if not hardware.visible_gpus() or not torch.cuda.is_available():
        return []
    free = [torch.cuda.get_device_properties(i).total_memory - torch.cuda.memory_reserved(i) for i in range(torch.cuda.device_count())]
    return [sum(left // 2 // BESIDES for left in free)]


def each(
    work: Callable[[Material, Any], Any],
    material: Material,
    jobs: Sequence,
    folder: Path,
    alone: bool = False,
    updates: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[int, Any]]:
    """Yield (index, work(material, job)) as they end; here, one after another, if `alone` or where processes would not pay.

    work: importable, as are its jobs; a training takes one thread.  What all read lies in `folder` for the time of the call.
    updates(done) is called every second, from a thread, with the updates that trainings in processes have counted (`counter`).
    """
    material = replace(material, rows=material.rows.drop(columns=TEXTS, errors="ignore"))
    workers = 1 if alone else at_once(material, len(jobs))
    if workers == 1:
        yield from ((i, work(material, job)) for i, job in enumerate(jobs))
        return
    scratch = _fresh(folder)
    try:
        material.write(scratch)
        call, config = partial(_work_one, work, scratch, tables.pack_own()), ExecutorConfig(workers=workers, timeout_s=DAY, retries=1)
        counts = scratch / COUNTS
        with looking(lambda last: updates(sum(int(file.read_text() or 0) for file in counts.glob("*")))):
            for i, result in run_map(call, jobs, config):
                if isinstance(result, ItemFailed):
                    raise result
                yield i, result
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fresh(folder: Path) -> Path:
    """A name in `folder` of this process's own; what killed ones have left there goes."""
    for left in folder.glob("trainings-*"):
        pid = left.name.split("-")[1]
        if int(pid) == os.getpid() or not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return folder / f"trainings-{os.getpid()}"


def _work_one(work: Callable[[Material, Any], Any], scratch: Path, own: bytes, job: Any) -> Any:
    tables.enter_own(own)
    return work(Material.read(scratch), job)
