"""Where one call runs on Modal: containers that an app of its own starts.

Knows Modal's client.  Knows nothing of what the functions do, and retries nothing.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from parallax_lib.core import hardware, parcels
from parallax_lib.core.backends import NO_PACKAGE, Call, ExecutorConfig, WorkerDied, invoke
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError

NO_TOKEN = "modal: no token; run `modal token new` or set executor.kind: local"


@contextmanager
def open_modal(config: ExecutorConfig) -> Iterator[Call]:
    """A Modal app for as long as the context lasts.  Modal is called only from threads other than the caller's: a
    notebook runs a loop in its own, where Modal warns, and raises from `map`; and the app would swallow Ctrl-C."""
    try:
        import modal
    except ImportError:
        raise UserError(NO_PACKAGE.format("modal")) from None
    app = modal.App("parallax", image=modal_image(config), include_source=False)
    volumes = {config.mount: modal.Volume.from_name(config.volume, create_if_missing=True)} if config.volume else {}
    choices = config.gpu_choices
    more = {
        "gpu": choices if len(choices) > 1 else config.gpu or None,
        "memory": int(config.memory_gib * 1024) or None,
        "secrets": [modal.Secret.from_name(name) for name in config.secrets],
        "startup_timeout": int(config.start_s) or None,
    }
    function = app.function(
        name="invoke",
        serialized=True,  # the app is made inside a function: there is no module the container could import it from
        timeout=int(config.timeout_s),
        max_containers=config.max_containers or config.workers,
        volumes=volumes,
        **more,
    )(_invoke)
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
    """One remote call; Modal's names for a lost container and a passed time limit become those of the local kind.

    A container that lacks files gets them along with another call, whichever container takes it.
    """
    from modal import exception

    try:
        wanted, every = frozenset(), parcels.inside((args, kwargs))
        while True:  # ends: each answer names files that were not sent along yet
            sent = {parcel.sha256: b"".join(piece for _, piece in parcels.pieces(parcel)) for parcel in every if parcel.sha256 in wanted}
            answer = function.remote(sent, fn, args, kwargs)
            if not isinstance(answer, parcels.Lacking):
                return answer
            wanted |= answer.hashes
    except exception.FunctionTimeoutError as error:
        raise TimeoutError(str(error)) from None
    except (exception.RemoteError, exception.InternalFailure) as error:
        raise WorkerDied(str(error)) from None


def _invoke(sent: dict[str, bytes], fn: Callable, args: tuple, kwargs: dict) -> Any:
    """What a container runs, once it has every file that the call names."""
    for sha256, data in sent.items():
        if parcels.lacking([sha256]):
            parcels.put(sha256, len(data), 0, data, tempfile.gettempdir())
    if missing := parcels.lacking(parcel.sha256 for parcel in parcels.inside((args, kwargs))):
        return parcels.Lacking("", missing)
    return invoke(fn, args, kwargs)


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
    image = image.env(hardware.passive_waiting() | ({"HF_HOME": config.mount} if config.volume else {}))
    image = image.add_local_python_source("parallax_lib")
    for folder in config.folders:
        image = image.add_local_dir(ROOT / folder, f"/root/{folder}")  # /root holds parallax_lib, so ROOT is /root
    return image
