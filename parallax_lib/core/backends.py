"""Where one call runs, and how hard to try: this process, or processes of this machine.

A place is a blocking `Call`, safe to use from many threads; `dask_workers` and `modal_containers` have those on other machines.
Knows nothing of what the functions do.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from parallax_lib.core import hardware
from parallax_lib.core.errors import UserError
from parallax_lib.core.ranks import Rank, meet, ranks

Call = Callable[[Callable, tuple, dict], Any]  # (function, args, kwargs) -> result
KINDS = ("local", "dask", "modal")
NO_PACKAGE = "{0}: not installed; run `pip install -c constraints.txt -e .[{0}]` or set executor.kind: local"
LEAST = {"workers": 1, "timeout_s": 1} | dict.fromkeys(("retries", "backoff_s", "max_containers", "memory_gib", "start_s"), 0)
TLS = ("tls_ca", "tls_cert", "tls_key")
GRACE_S = 10  # for the other ranks once one has failed: they may wait for it in vain
DAEMON = "dask: its workers may start no processes, which several GPUs need; start them with DASK_DISTRIBUTED__WORKER__DAEMON=False"


@dataclass(frozen=True)
class ExecutorConfig:
    """Where to run and how hard to try.  Fields from `gpu_else` on matter on Modal only."""

    kind: str = "local"  # local | dask | modal
    workers: int = 1  # calls in flight; local: 1 is this process, more are processes; dask: at most as many as its workers
    timeout_s: float = 3600  # of one call, from when it is handed over; not enforced when the call runs in this process
    retries: int = 2  # further attempts after a failed one
    backoff_s: float = 1.0  # wait before the first retry, doubled before each next one
    oom_exit_code: int = -9  # a worker process that ends so counts as out of memory; -9: killed, as the kernel does
    address: str = ""  # of a Dask scheduler: tls://host:8786 or tcp://, or the file that it was started with as --scheduler-file
    tls_ca: str = ""  # files in PEM format for a Dask cluster that speaks TLS; all empty: what Dask's own configuration says
    tls_cert: str = ""
    tls_key: str = ""
    gpu: str = ""  # as Modal spells it: "A100-80GB"; "H100:2": each call runs in two processes, a GPU each, which hold one model together
    gpu_else: tuple[str, ...] = ()  # names of GPUs to take where none of `gpu` is free, in this order; of each as many
    memory_gib: float = 0  # of a container; 0: what Modal gives
    secrets: tuple[str, ...] = ()  # Modal Secrets whose variables a container sees, such as one that holds HF_TOKEN
    start_s: float = 0  # for a container to be there, its image included; 0: timeout_s, as Modal has it
    volume: str = ""  # a Modal Volume, made if missing, that keeps downloaded weights
    mount: str = "/weights"  # where it appears; the model hub's cache points there
    packages: tuple[str, ...] = ()  # Python packages beyond the project's own
    folders: tuple[str, ...] = ()  # folders of the repository that the function reads, such as an adapter's
    max_containers: int = 0  # 0: as many as workers

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"executor.kind: {self.kind!r} is not one of {', '.join(KINDS)}")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise UserError(f"executor.{name}: {getattr(self, name)} must be at least {least}")

        self._check_gpus()
        for name in TLS if any(getattr(self, name) for name in TLS) else ():
            file = Path(getattr(self, name)).expanduser()
            if not file.is_file():
                raise UserError(f"executor.{name}: {getattr(self, name) or 'empty'} is no file; TLS takes all of {', '.join(TLS)}")

    def _check_gpus(self) -> None:
        hardware.gpus_asked(self.gpu or "")
        for name in self.gpu_else:
            if not self.gpu or not name or ":" in name:
                raise UserError(f"executor.gpu_else: {name!r}: write NAME alone, and the first choice with its count in executor.gpu")

    @property
    def gpu_choices(self) -> list[str]:
        """`gpu` and what is taken instead of it, as Modal spells them."""
        count = f":{self.gpus}" if self.gpus > 1 else ""
        return [self.gpu, *(name + count for name in self.gpu_else)] if self.gpu else []

    @property
    def runs_here(self) -> bool:
        return self.kind == "local" and self.workers == 1 and self.gpus == 1

    @property
    def gpus(self) -> int:
        """GPUs, and processes, of one call."""
        return hardware.gpus_asked(self.gpu or "")[1]


class WorkerDied(RuntimeError):
    """The process or container ended without an answer: it crashed, or was killed for memory.  exit_code: of a process."""

    def __init__(self, text: str, exit_code: int | None = None):
        super().__init__(text)
        self.exit_code = exit_code


def invoke(fn: Callable, args: tuple, kwargs: dict) -> Any:
    """What a worker runs.  An exception that would not survive the way back becomes a RuntimeError with its text."""
    try:
        return fn(*args, **kwargs)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise


@contextmanager
def open_local(config: ExecutorConfig) -> Iterator[Call]:
    """Direct calls, or one spawned process for each calling thread, replaced after it died or overran its time.

    The processes share the cores, and take the machine's GPUs in turn: each sees those of its call, a replacement those of the process
    before it.  One worker over several GPUs outlasts the context.
    """
    if config.runs_here:
        yield lambda fn, args, kwargs: fn(*args, **kwargs)
        return
    if config.workers == 1:
        try:
            yield lambda fn, args, kwargs: together(config.gpu, config.timeout_s, fn, args, kwargs)
        except BaseException:
            _lasting(config.gpu).stop()  # what it is busy with is wanted no more
            raise
        return
    thread, everyone, lock, closed, slots = threading.local(), [], threading.Lock(), threading.Event(), itertools.count()

    def call(fn: Callable, args: tuple, kwargs: dict) -> Any:
        with lock:
            if closed.is_set():
                raise CancelledError
            if not hasattr(thread, "slot"):
                thread.slot = next(slots)
            if not (hasattr(thread, "worker") and thread.worker.alive):
                thread.worker = start_worker(config.gpu, thread.slot, config.workers)
                everyone.append(thread.worker)
        return thread.worker.call(fn, args, kwargs, config.timeout_s)

    try:
        yield call
    finally:
        with lock:
            closed.set()
        for worker in everyone:
            worker.stop()


def start_worker(gpu: str, slot: int = 0, workers: int = 1) -> Worker:
    """One of `workers` workers, with its GPUs and its share of the cores."""
    name, count = hardware.gpus_asked(gpu or "")
    seen = {hardware.VISIBLE: ""} if name == hardware.CPU else hardware.gpus_of_slot(slot, count)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, hardware.cores() // (workers * count)))
    return Worker(hardware.passive_waiting() | seen | {"OMP_NUM_THREADS": threads}, ranks(count))


def together(gpu: str, timeout_s: float, fn: Callable, args: tuple, kwargs: dict) -> Any:
    """The call in ranks, one for each GPU, which last as long as this process: they hold a model that takes minutes to read."""
    if multiprocessing.current_process().daemon:
        raise UserError(DAEMON)
    if not _lasting(gpu).alive:
        _lasting.cache_clear()
    return _lasting(gpu).call(fn, args, kwargs, timeout_s)


@functools.cache
def _lasting(gpu: str) -> Worker:
    worker = start_worker(gpu)
    atexit.register(worker.stop)
    return worker


class Worker:
    """Processes that answer one call at a time over pipes: one, or several ranks, which all run it and of which the first answers.

    Spawned: a forked one would inherit torch's threads.
    """

    def __init__(self, env: dict[str, str], members: Sequence[Rank]):
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in members:
            ours, theirs = context.Pipe()
            self.pipes.append(ours)
            self.processes.append(context.Process(target=_serve, args=(theirs, env, rank)))
            self.processes[-1].start()
            theirs.close()

    @property
    def alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def call(self, fn: Callable, args: tuple, kwargs: dict, timeout_s: float) -> Any:
        try:
            for pipe in self.pipes:
                pipe.send((fn, args, kwargs))
            answers = self._answers(timeout_s)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            ended = connection.wait([process.sentinel for process in self.processes])[0]
            dead = next(process for process in self.processes if process.sentinel == ended)
            dead.join()
            code = dead.exitcode
            self.stop()
            raise WorkerDied(f"the worker process ended with exit code {code}", code) from None
        failed = [value for ok, value in answers.values() if not ok]
        if len(answers) < len(self.pipes):
            self.stop()
            raise failed[0] if failed else TimeoutError(f"no result after {timeout_s:g} s")
        if failed:
            raise failed[0]
        return answers[self.pipes[0]][1]

    def _answers(self, timeout_s: float) -> dict[connection.Connection, tuple[bool, Any]]:
        """(whether it went well, result or error) of each process that answers in time."""
        answers, end = {}, time.monotonic() + timeout_s
        while len(answers) < len(self.pipes):
            ready = connection.wait([p for p in self.pipes if p not in answers], max(0.0, end - time.monotonic()))
            if not ready:
                break
            for pipe in ready:
                answers[pipe] = pipe.recv()
                if not answers[pipe][0]:
                    end = min(end, time.monotonic() + GRACE_S)
        return answers

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()


def _serve(pipe, env: dict[str, str], rank: Rank) -> None:
    os.environ.update(env)  # before anything asks for a GPU
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    meet(rank)
    while True:
        try:
            fn, args, kwargs = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, invoke(fn, args, kwargs)))
        except Exception as error:  # of the function, or of a result that cannot be pickled
            error.add_note(f"in the worker process:\n{traceback.format_exc()}")
            pipe.send((False, error))
