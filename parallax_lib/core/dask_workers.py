"""Where one call runs on other machines that have a Dask cluster: its workers, each a call at a time.

Knows Dask's client and worker.  Knows nothing of what the functions do, and retries nothing.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from parallax_lib.core import hardware, parcels
from parallax_lib.core.backends import NO_PACKAGE, Call, ExecutorConfig, WorkerDied, invoke, together
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError

NO_ADDRESS = "executor.address: empty; name a Dask scheduler (tcp://host:8786, or the file of its --scheduler-file)"
CONNECT_S = 30  # for the scheduler to answer, and again for a first worker
SIGN_OFF_S = 10  # for the scheduler to let a worker go
ANSWER_S = 60  # for the scheduler to answer a worker
THREADS = "dask: the worker on {} runs {} calls in one process; start workers with --nthreads 1, one a GPU"
NO_NANNY = "dask: the worker on {} has no nanny, so a call past its time could not be ended; start it without --no-nanny"
OTHER_CODE = "dask: {} another parallax_lib than this process; install the same commit there and start it again"
LOST = "dask: the scheduler at {} is gone; start it and its workers again, then run the same command: what is done is kept"


@contextmanager
def open_dask(config: ExecutorConfig) -> Iterator[Call]:
    """A running Dask cluster, one call at a time on each worker.  A call past its time, or that nobody waits for any more, ends
    with its worker, which its nanny starts anew.  A call whose worker died is not run again by the cluster: it is a WorkerDied here."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(NO_PACKAGE.format("dask")) from None
    if not config.address:
        raise UserError(NO_ADDRESS)
    try:
        security = dask_security(config)
        address = _listening(config.address, security)
        client = Client(address, timeout=CONNECT_S, set_as_default=False, security=security)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:  # time-outs, and plain text where TLS is wanted
        raise UserError(f"executor.address: no Dask scheduler answers at {config.address}: {error}") from None
    running, lock, closed, delivery = set(), threading.Lock(), threading.Event(), threading.Lock()

    def submit(fn: Callable, args: tuple, kwargs: dict) -> Any:
        with lock:
            if closed.is_set():
                raise CancelledError
            future = client.submit(_invoke, code(), f"begun-{uuid.uuid4()}", fn, args, kwargs, pure=False)
            running.add(future)
        try:
            return _dask_result(client, future, config.timeout_s)
        except CancelledError:
            if closed.is_set():
                raise
            raise UserError(LOST.format(config.address)) from None
        finally:
            running.discard(future)

    def call(fn: Callable, args: tuple, kwargs: dict) -> Any:
        while isinstance(answer := submit(fn, args, kwargs), parcels.Lacking):
            with delivery:
                _deliver(client, answer, parcels.inside((args, kwargs)))
        return answer

    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError:
            raise UserError(f"dask: the scheduler at {config.address} has no worker; start some: dask worker --nthreads 1 ...") from None
        try:
            yield call
        finally:
            with lock:
                closed.set()
            client.cancel(list(running), force=True)


def dask_security(config: ExecutorConfig) -> Any:
    """distributed.Security of the settings' TLS files, which then allows nothing unencrypted; without them Dask's own configuration."""
    from distributed import Security

    if not config.tls_ca:
        return Security()
    ca, cert, key = (str(Path(name).expanduser()) for name in (config.tls_ca, config.tls_cert, config.tls_key))
    return Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)


def _listening(address: str, security: Any) -> str:
    """A scheduler's address, from its file if that is one; raises where no scheduler answers.

    A Client that fails to connect leaves threads behind and blocks the next one from its finaliser, so none is made then.
    """
    from distributed.comm import connect
    from distributed.comm.addressing import get_address_host_port

    for file in (Path(address).expanduser(), ROOT / address):
        if file.is_file():
            address = json.loads(file.read_text())["address"]
    host, port = get_address_host_port(address, strict=True)
    if address.startswith(("tcp:", "tls:")):
        socket.create_connection((host, port), CONNECT_S).close()  # refused at once where Dask tries again until its time is up

    async def knock() -> None:
        await (await connect(address, timeout=CONNECT_S, **security.get_connection_args("client"))).close()

    with ThreadPoolExecutor(1) as thread:  # in a notebook this thread has a running loop
        thread.submit(asyncio.run, knock()).result()
    return address


def _dask_result(client: Any, future: Any, timeout_s: float) -> Any:
    """Dask's names for a lost worker, a passed time limit and a call that was cancelled become those of the local kind."""
    from distributed import KilledWorker
    from distributed import TimeoutError as Late
    from distributed.client import FutureCancelledError

    try:
        return future.result(timeout=timeout_s)
    except KilledWorker as error:
        raise WorkerDied(str(error)) from None
    except FutureCancelledError:
        raise CancelledError from None
    except Late:
        if future.status == "error":  # raised by the function itself
            raise
        client.cancel([future], force=True)
        raise TimeoutError(f"no result after {timeout_s:g} s") from None
    except (ImportError, AttributeError, RuntimeError) as error:  # the call could not be read there
        if "deserialization of the task graph" in str(error) or ("parallax_lib" in str(error) and not isinstance(error, RuntimeError)):
            raise UserError(OTHER_CODE.format("the scheduler or a worker has")) from None
        raise


def _deliver(client: Any, answer: parcels.Lacking, sent: list[parcels.Parcel]) -> None:
    """Send a worker what it lacks, past its queue: what it has in hand does not hold this up."""
    on = {"workers": [answer.worker]}
    try:
        missing = client.run(parcels.lacking, answer.hashes, **on)[answer.worker]  # another call's delivery may have brought them
        for parcel in (parcel for parcel in sent if parcel.sha256 in missing):
            for at, piece in parcels.pieces(parcel):
                client.run(_keep, parcel.sha256, parcel.size, at, piece, **on)
    except (OSError, KeyError) as error:  # it has died meanwhile
        raise WorkerDied(f"the worker at {answer.worker} was lost while it was sent {len(answer.hashes)} files: {error}") from None


def _keep(sha256: str, size: int, at: int, piece: bytes, dask_worker: Any) -> None:
    parcels.put(sha256, size, at, piece, dask_worker.local_directory)


def _invoke(expected: str, begun: str, fn: Callable, args: tuple, kwargs: dict) -> Any:
    """What a Dask worker runs; refused where the library's source is not this process's.  Models and adapters are not compared.

    begun: name of an event that is the call's own.
    """
    from distributed import get_worker

    worker, done = get_worker(), threading.Event()
    if worker.state.nthreads > 1:
        raise UserError(THREADS.format(socket.gethostname(), worker.state.nthreads))
    if code() != expected:
        raise UserError(OTHER_CODE.format(f"the worker on {socket.gethostname()} has"))
    if not worker.nanny:
        raise UserError(NO_NANNY.format(socket.gethostname()))
    if missing := parcels.lacking(parcel.sha256 for parcel in parcels.inside((args, kwargs))):
        return parcels.Lacking(worker.address, missing)
    _refuse_again(worker, begun)
    _claim_gpus(fn, args)
    threading.Thread(target=_leave_when_unwanted, args=(worker, worker.get_current_task(), done), daemon=True).start()
    try:
        return invoke(fn, args, kwargs)
    finally:
        done.set()
        with suppress(Exception):  # it is then a name that the scheduler keeps
            _at_scheduler(worker, "event_clear", begun)


def _claim_gpus(fn: Callable, args: tuple) -> None:
    """The GPUs of this process, for as long as it lives: one, or as many as `together` is told by its first argument."""
    name, count = hardware.gpus_asked((args[0] or "") if fn is together else "")
    if name != hardware.CPU:
        hardware.claim_gpus(count)


def _refuse_again(worker: Any, begun: str) -> None:
    """WorkerDied where the cluster runs a call again whose worker died: who asked for it makes it smaller, and this worker lives."""
    if _at_scheduler(worker, "event_is_set", begun):
        _at_scheduler(worker, "event_clear", begun)
        raise WorkerDied("the Dask worker that ran it died")
    _at_scheduler(worker, "event_set", begun)


def _at_scheduler(worker: Any, what: str, name: str) -> Any:
    return asyncio.run_coroutine_threadsafe(getattr(worker.scheduler, what)(name=name), worker.loop.asyncio_loop).result(ANSWER_S)


def _leave_when_unwanted(worker: Any, key: str, done: threading.Event) -> None:
    """Ends this process, which its nanny starts anew, once nobody waits for its call: a thread cannot be interrupted.

    The scheduler is told first: a call that it gave to this worker meanwhile runs on another, and is not blamed for this end."""
    while not done.wait(0.5):
        task = worker.state.tasks.get(key)
        if (task is None or task.state == "cancelled") and not done.is_set():
            try:
                asyncio.run_coroutine_threadsafe(_sign_off(worker), worker.loop.asyncio_loop).result(SIGN_OFF_S)
            finally:
                os._exit(1)


async def _sign_off(worker: Any) -> None:
    worker.nanny = None  # a worker that is let go closes, and would have its nanny close too: it is to start this one anew
    await worker.scheduler.unregister(address=worker.address, stimulus_id="call-unwanted", expected=True)


@functools.cache
def code() -> str:
    """sha256 of the library's source files."""
    library = Path(__file__).parents[1]
    files = sorted(library.rglob("*.py"))
    return hashlib.sha256(b"".join(f"{file.relative_to(library)}\0".encode() + file.read_bytes() for file in files)).hexdigest()
