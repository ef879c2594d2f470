"""Several small trainings at once: what they read is written once, each runs in a process with one thread of its own.

Knows rows, arrays, processes and memory.  Knows nothing of what a training does.

n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from parallax_lib import gpus
from parallax_lib.executors import ExecutorConfig, ItemFailed, run_map

SMALL = 2**24  # bytes of latents; trainings on fewer are over before a process has started
BESIDES = 2**30  # bytes a process needs besides what it reads: torch, CUDA where there is one
DAY = 24 * 3600
TEXTS = ["code", "log", "prompt", "output"]  # columns that no training reads


@dataclass(frozen=True)
class Material:
    """Rollouts [n], what a PRM reads of their latents [n, K, .], and of their prompts [n, D] or None."""

    rows: pd.DataFrame
    vectors: np.ndarray
    contexts: np.ndarray | None = None

    def write(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.rows.drop(columns=TEXTS, errors="ignore").to_pickle(folder / "rows.pkl")
        for name in ("vectors", "contexts"):
            if getattr(self, name) is not None:
                np.save(folder / f"{name}.npy", getattr(self, name))

    @staticmethod
    @lru_cache(maxsize=1)
    def read(folder: Path) -> Material:
        """The latents stay on the disk, in pages that all processes share."""
        contexts = folder / "contexts.npy"
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        return Material(pd.read_pickle(folder / "rows.pkl"), vectors, np.load(contexts) if contexts.exists() else None)


def at_once(material: Material, count: int) -> int:
    """Trainings side by side: as many as there are processor cores, as long as memory holds."""
    if material.vectors.nbytes < SMALL:
        return 1
    each = 5 * material.vectors.nbytes + BESIDES  # float16 as float32, and again while it is made
    room = [count, len(os.sched_getaffinity(0)), int(0.8 * psutil.virtual_memory().available) // each]
    if gpus.visible():
        import torch

        totals = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
        room.append(sum(total // 2 // BESIDES for total in totals) or count)
    return max(1, min(room))


def each(work: Callable[[Material, Any], Any], material: Material, jobs: Sequence, scratch: Path) -> Iterator[tuple[int, Any]]:
    """Yield (index, work(material, job)) as they end; here, one after another, where processes would not pay.

    work: importable, as are its jobs; a training takes one thread.  `scratch` is a folder made for the time of the call.
    """
    workers = at_once(material, len(jobs))
    if workers == 1:
        yield from ((i, work(material, job)) for i, job in enumerate(jobs))
        return
    material.write(scratch)
    try:
        for i, result in run_map(partial(_there, work, scratch), jobs, ExecutorConfig(workers=workers, timeout_s=DAY, retries=1)):
            if isinstance(result, ItemFailed):
                raise result
            yield i, result
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _there(work: Callable[[Material, Any], Any], scratch: Path, job: Any) -> Any:
    return work(Material.read(scratch), job)
