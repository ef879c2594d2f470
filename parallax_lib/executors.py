"""Run a plain function over many items: in this thread, in local processes, or on Modal.

Every kind is the same machine: threads that each make one blocking call at a time through a `Call`, and one retry loop
around it.  Knows nothing of what the functions do.  A function must be importable; load what is heavy once a process.

    config = ExecutorConfig(kind="modal", workers=4, gpu="A100-80GB", volume="weights")
    for index, result in run_map(translate, items, config): ...
"""

from __future__ import annotations

import inspect
import itertools
import multiprocessing
import os
import pickle
import reprlib
import signal
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from parallax_lib import gpus
from parallax_lib.params import ROOT, UserError

Call = Callable[[Callable, tuple, dict], Any]  # (function, args, kwargs) -> result
NO_TOKEN = "modal: no token; run `modal token new` or set executor.kind: local"
NO_PACKAGE = "modal: not installed; run `pip install -c constraints.txt -e .[modal]` or set executor.kind: local"


@dataclass(frozen=True)
class ExecutorConfig:
    """Where to run and how hard to try.  Fields from `gpu` on matter on Modal only."""

    kind: str = "local"  # local | modal
    workers: int = 1  # calls in flight; local: 1 is this process, more are processes
    timeout_s: float = 3600  # of one call; not enforced when the call runs in this process
    retries: int = 2  # further attempts after a failed one
    backoff_s: float = 1.0  # wait before the first retry, doubled before each next one
    gpu: str = ""  # as Modal spells it: "A100-80GB", "H100:2"
    volume: str = ""  # a Modal Volume, made if missing, that keeps downloaded weights
    mount: str = "/weights"  # where it appears; the model hub's cache points there
    packages: tuple[str, ...] = ()  # Python packages beyond the project's own
    folders: tuple[str, ...] = ()  # folders of the repository that the function reads, such as an adapter's
    max_containers: int = 0  # 0: as many as workers

    def __post_init__(self):
        if self.kind not in OPENERS:
            raise UserError(f"executor.kind: {self.kind!r} is not one of {', '.join(OPENERS)}")
        for name, least in (("workers", 1), ("timeout_s", 1), ("retries", 0), ("backoff_s", 0), ("max_containers", 0)):
            if getattr(self, name) < least:
                raise UserError(f"executor.{name}: {getattr(self, name)} must be at least {least}")

    @property
    def runs_here(self) -> bool:
        return self.kind == "local" and self.workers == 1


class ItemFailed(Exception):
    """One item's failure after all attempts; `index` and `item` say which, `__cause__` says why."""

    def __init__(self, index: int, item: Any, error: BaseException):
        super().__init__(f"item {index} ({reprlib.repr(item)}): {type(error).__name__}: {error}")
        self.index, self.item, self.__cause__ = index, item, error


class WorkerDied(RuntimeError):
    """The process or container ended without an answer: it crashed, or was killed for memory."""


def run_map(
    fn: Callable, items: Iterable, config: ExecutorConfig, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield `(index, fn(item))` as they complete; a failed item yields `(index, ItemFailed)` and stops nothing else.

    `progress(done, total)` is called in the caller's thread.  A UserError is raised: every item would meet the same.
    """
    items = list(items)
    waiting, running, done = enumerate(items), {}, 0
    ahead = 1 if config.workers == 1 else 2 * config.workers
    with open_executor(config) as executor:
        while done < len(items):
            for index, item in islice(waiting, ahead - len(running)):
                running[executor.submit(fn, item)] = index
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, error, done = running.pop(future), future.exception(), done + 1
                if isinstance(error, UserError):
                    raise error
                if progress:
                    progress(done, len(items))
                yield index, ItemFailed(index, items[index], error) if error else future.result()


@contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """An executor whose `submit` and `map` work alike for every kind.  Leaving by an exception cancels what waits."""
    with OPENERS[config.kind](config) as call, RetryingExecutor(call, config) as executor:
        yield executor


class RetryingExecutor(Executor):
    """Threads that retry one blocking call at a time; calls of this process run inside `submit`: Ctrl-C stops them."""

    def __init__(self, call: Call, config: ExecutorConfig):
        self._call, self._config = call, config
        self._threads = None if config.runs_here else ThreadPoolExecutor(config.workers)
        self._closing = threading.Event()

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        if self._threads:
            return self._threads.submit(self._attempts, fn, args, kwargs)
        future: Future = Future()
        try:
            future.set_result(self._attempts(fn, args, kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._closing.set()
        if self._threads:
            self._threads.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, error_type, *_) -> None:
        self.shutdown(wait=error_type is None, cancel_futures=error_type is not None)

    def _attempts(self, fn: Callable, args: tuple, kwargs: dict) -> Any:
        """Call until it succeeds.  Out of memory: the next attempt gets `shrink=2`, then 4, if `fn` takes `shrink`."""
        shrink = 1
        for attempt in range(self._config.retries + 1):
            hint = {"shrink": shrink} if shrink > 1 and _takes_shrink(fn) else {}
            try:
                return self._call(fn, args, kwargs | hint)
            except Exception as error:
                if attempt == self._config.retries or isinstance(error, UserError):  # bad input stays bad
                    raise
                if is_out_of_memory(error):
                    shrink *= 2
                    traceback.clear_frames(error.__traceback__)  # they hold the tensors that left no room
            if self._closing.wait(self._config.backoff_s * 2**attempt):
                raise CancelledError


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError and for what torch raises on any device (by its text, so torch is not imported)."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())


def _takes_shrink(fn: Callable) -> bool:
    return "shrink" in inspect.signature(fn).parameters


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
    mine, everyone, lock, closed, slots = threading.local(), [], threading.Lock(), threading.Event(), itertools.count()
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // config.workers))}

    def call(fn: Callable, args: tuple, kwargs: dict) -> Any:
        with lock:
            if closed.is_set():
                raise CancelledError
            if not hasattr(mine, "slot"):
                mine.slot = next(slots)
            if not (hasattr(mine, "worker") and mine.worker.process.is_alive()):
                mine.worker = Worker(gpus.of_slot(mine.slot) | threads)
                everyone.append(mine.worker)
        return mine.worker.call(fn, args, kwargs, config.timeout_s)

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


@contextmanager
def open_modal(config: ExecutorConfig) -> Iterator[Call]:
    """A Modal app for as long as the context lasts.  Modal is called only from threads other than the caller's: a
    notebook runs a loop in its own, where Modal warns, and raises from `map`; and the app would swallow Ctrl-C."""
    try:
        import modal
    except ImportError:
        raise UserError(NO_PACKAGE) from None
    app = modal.App("parallax", image=modal_image(config), include_source=False)
    volumes = {config.mount: modal.Volume.from_name(config.volume, create_if_missing=True)} if config.volume else {}
    function = app.function(
        name="invoke",
        serialized=True,  # the app is made inside a function: there is no module the container could import it from
        gpu=config.gpu or None,
        timeout=int(config.timeout_s),
        max_containers=config.max_containers or config.workers,
        volumes=volumes,
    )(invoke)
    running = app.run()
    with ThreadPoolExecutor(1) as aside:
        try:
            aside.submit(running.__enter__).result()
        except modal.exception.Error as error:
            raise UserError(NO_TOKEN if isinstance(error, modal.exception.AuthError) else f"modal: {error}") from None
        try:
            yield partial(_modal_call, function)
        finally:
            aside.submit(running.__exit__, None, None, None).result()


def _modal_call(function: Any, fn: Callable, args: tuple, kwargs: dict) -> Any:
    """One remote call; Modal's names for a lost container and a passed time limit become those of the local kind."""
    from modal import exception

    try:
        return function.remote(fn, args, kwargs)
    except exception.FunctionTimeoutError as error:
        raise TimeoutError(str(error)) from None
    except (exception.RemoteError, exception.InternalFailure) as error:
        raise WorkerDied(str(error)) from None


def modal_image(config: ExecutorConfig) -> Any:
    """The project's dependencies at the lock's versions, on this Python (pickled functions need the same one)."""
    import modal

    lock = ROOT / "constraints.txt"
    if not lock.exists():
        raise UserError(f"modal: there is no {lock}; install the project from a checkout with `pip install -e`")
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    image = modal.Image.debian_slim(python_version="{}.{}".format(*sys.version_info))
    image = image.add_local_file(lock, f"/lock/{lock.name}", copy=True)
    image = image.uv_pip_install(*dependencies, *config.packages, extra_options=f"--constraints /lock/{lock.name}")
    image = image.env({"HF_HOME": config.mount} if config.volume else {}).add_local_python_source("parallax_lib")
    for folder in config.folders:
        image = image.add_local_dir(ROOT / folder, f"/root/{folder}")  # /root holds parallax_lib, so ROOT is /root
    return image


OPENERS = {"local": open_local, "modal": open_modal}
