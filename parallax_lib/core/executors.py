"""Run a plain function over many items: in this thread, in local processes, on a Dask cluster, or on Modal.

Every kind is the same machine: threads that each make one blocking call at a time through a `Call`, and one retry loop
around it.  Knows nothing of what the functions do.  A function must be importable; load what is heavy once a process.

    config = ExecutorConfig(kind="dask", workers=8, address="tcp://login1:8786")
    for index, result in run_map(translate, items, config): ...
"""

from __future__ import annotations

import inspect
import reprlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from parallax_lib.core.backends import Call, ExecutorConfig, WorkerDied, open_local, together
from parallax_lib.core.dask_workers import open_dask
from parallax_lib.core.errors import UserError
from parallax_lib.core.modal_containers import open_modal

__all__ = ["ExecutorConfig", "ItemFailed", "WorkerDied", "open_executor", "run_map"]
HALVED = "out of memory ({}): the call is made again in {} parts, and so are those after it"
OPENERS = {"local": open_local, "dask": open_dask, "modal": open_modal}


class ItemFailed(Exception):
    """One item's failure after all attempts; `index` and `item` say which, `__cause__` says why."""

    def __init__(self, index: int, item: Any, error: BaseException):
        super().__init__(f"item {index} ({reprlib.repr(item)}): {type(error).__name__}: {error}")
        self.index, self.item, self.__cause__ = index, item, error


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_map(
    fn: Callable,
    items: Iterable,
    config: ExecutorConfig,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Iterator[tuple[int, Any]]:
    """Yield `(index, fn(item))` as they complete; a failed item yields `(index, ItemFailed)` and stops nothing else.

    `progress(done, total)` is called in the caller's thread, `say(line)` in any when memory ran out and an item is made smaller.
    A UserError is raised: every item would meet the same.
    """
    items = list(items)
    waiting, running, done = enumerate(items), {}, 0
    ahead = 1 if config.workers == 1 else 2 * config.workers
    with open_executor(config, say) as executor:
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
def open_executor(config: ExecutorConfig, say: Callable[[str], None] = to_stderr) -> Iterator[Executor]:
    """An executor whose `submit` and `map` work alike for every kind.  Leaving by an exception cancels what waits."""
    with OPENERS[config.kind](config) as call:
        here = config.kind == "local" or config.gpus == 1
        with RetryingExecutor(call if here else partial(_together, call, config), config, say) as executor:
            yield executor


def _together(call: Call, config: ExecutorConfig, fn: Callable, args: tuple, kwargs: dict) -> Any:
    """The call on a remote worker that has several GPUs."""
    return call(together, (config.gpu, config.timeout_s, fn, args, kwargs), {})


class RetryingExecutor(Executor):
    """Threads that retry one blocking call at a time; calls of this process run inside `submit`: Ctrl-C stops them."""

    def __init__(self, call: Call, config: ExecutorConfig, say: Callable[[str], None]):
        self._call, self._config, self._say = call, config, say
        self._shrink = 1  # what the latest call that ran out of memory needed; those after it start with that
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
        shrink = self._shrink if _takes_shrink(fn) else 1
        for attempt in range(self._config.retries + 1):
            hint = {"shrink": shrink} if shrink > 1 else {}
            try:
                return self._call(fn, args, kwargs | hint)
            except Exception as error:
                if attempt == self._config.retries or isinstance(error, UserError):  # bad input stays bad
                    raise
                if self._ran_out(error) and _takes_shrink(fn):
                    shrink *= 2
                    self._shrink = max(self._shrink, shrink)
                    self._say(HALVED.format(f"{type(error).__name__}: {error}".splitlines()[0][:120], shrink))
                traceback.clear_frames(error.__traceback__)  # they hold the tensors that left no room
            if self._closing.wait(self._config.backoff_s * 2**attempt):
                raise CancelledError

    def _ran_out(self, error: Exception) -> bool:
        """Of memory, as far as can be known: where nobody tells how a worker ended, it most likely was killed for it."""
        if isinstance(error, WorkerDied):
            return error.exit_code in (None, self._config.oom_exit_code)
        return is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError and for what torch raises on any device (by its text, so torch is not imported)."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())


def _takes_shrink(fn: Callable) -> bool:
    return "shrink" in inspect.signature(fn).parameters
