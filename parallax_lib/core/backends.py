"""Where one call runs, and how hard to try: this process, or processes of this machine.

A place is a blocking `Call`, safe to use from many threads; `remote` has those on other machines.  Knows nothing of what the
functions do.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallax_lib.core import hardware
from parallax_lib.core.errors import UserError

Call = Callable[[Callable, tuple, dict], Any]  # (function, args, kwargs) -> result
KINDS = ("local", "dask", "modal")
TLS = ("tls_ca", "tls_cert", "tls_key")


@dataclass(frozen=True)
class ExecutorConfig:
    """Where to run and how hard to try.  Fields from `gpu` on matter on Modal only."""

    kind: str = "local"  # local | dask | modal
    workers: int = 1  # calls in flight; local: 1 is this process, more are processes; dask: at most as many as its workers
    timeout_s: float = 3600  # of one call, from when it is handed over; not enforced when the call runs in this process
    retries: int = 2  # further attempts after a failed one
    backoff_s: float = 1.0  # wait before the first retry, doubled before each next one
    address: str = ""  # of a Dask scheduler: tls://host:8786 or tcp://, or the file that it was started with as --scheduler-file
    tls_ca: str = ""  # files in PEM format for a Dask cluster that speaks TLS; all empty: what Dask's own configuration says
    tls_cert: str = ""
    tls_key: str = ""
    gpu: str = ""  # as Modal spells it: "A100-80GB", "H100:2"
    volume: str = ""  # a Modal Volume, made if missing, that keeps downloaded weights
    mount: str = "/weights"  # where it appears; the model hub's cache points there
    packages: tuple[str, ...] = ()  # Python packages beyond the project's own
    folders: tuple[str, ...] = ()  # folders of the repository that the function reads, such as an adapter's
    max_containers: int = 0  # 0: as many as workers

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"executor.kind: {self.kind!r} is not one of {', '.join(KINDS)}")
        for name, least in (("workers", 1), ("timeout_s", 1), ("retries", 0), ("backoff_s", 0), ("max_containers", 0)):
            if getattr(self, name) < least:
                raise UserError(f"executor.{name}: {getattr(self, name)} must be at least {least}")

        for name in TLS if any(getattr(self, name) for name in TLS) else ():
            file = Path(getattr(self, name)).expanduser()
            if not file.is_file():
                raise UserError(f"executor.{name}: {getattr(self, name) or 'empty'} is no file; TLS takes all of {', '.join(TLS)}")

    @property
    def runs_here(self) -> bool:
        return self.kind == "local" and self.workers == 1


class WorkerDied(RuntimeError):
    """The process or container ended without an answer: it crashed, or was killed for memory."""


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

    The processes share the cores, and take the machine's GPUs in turn: each sees one, a replacement that of the process before it.
    """
    if config.runs_here:
        yield lambda fn, args, kwargs: fn(*args, **kwargs)
        return
    thread, everyone, lock, closed, slots = threading.local(), [], threading.Lock(), threading.Event(), itertools.count()
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, hardware.cores() // config.workers))}

    def call(fn: Callable, args: tuple, kwargs: dict) -> Any:
        with lock:
            if closed.is_set():
                raise CancelledError
            if not hasattr(thread, "slot"):
                thread.slot = next(slots)
            if not (hasattr(thread, "worker") and thread.worker.process.is_alive()):
                thread.worker = Worker(hardware.gpu_of_slot(thread.slot) | threads)
                everyone.append(thread.worker)
        return thread.worker.call(fn, args, kwargs, config.timeout_s)

    try:
        yield call
    finally:
        with lock:
            closed.set()
        for worker in everyone:
            worker.stop()


class Worker:
    """A process that answers one call at a time over a pipe.  Spawned: a forked one would inherit torch's threads."""

    def __init__(self, env: dict[str, str] | None = None):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, env or {}))
        self.process.start()
        theirs.close()

    def call(self, fn: Callable, args: tuple, kwargs: dict, timeout_s: float) -> Any:
        try:
            self.pipe.send((fn, args, kwargs))
            if not self.pipe.poll(timeout_s):
                self.stop()
                raise TimeoutError(f"no result after {timeout_s:g} s")
            ok, value = self.pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.join()
            raise WorkerDied(f"the worker process ended with exit code {self.process.exitcode}") from None
        if ok:
            return value
        raise value

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def _serve(pipe, env: dict[str, str]) -> None:
    os.environ.update(env)  # before anything asks for a GPU
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
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
