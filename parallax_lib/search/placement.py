"""Where programs are written: the executor of the settings, the share of a GPU, and what travels to other processes.

Knows the settings of `executor`.  Knows nothing of what is written.
"""

from __future__ import annotations

from collections.abc import Callable

from parallax_lib.core import hardware, tables
from parallax_lib.core.executors import ExecutorConfig, to_stderr
from parallax_lib.core.progress import Meter
from parallax_lib.core.settings import Params
from parallax_lib.translator.models import GPU_SHARE


def gpu_share(params: Params, gpus: int = 0) -> float:
    """Part of a GPU's memory for a translator: local ones leave each other, and programs judged beside them, room.

    gpus: over which it lies, instead of as many as `executor.gpu` names.
    """
    e = params.executor
    return hardware.gpu_memory_share(e.workers, GPU_SHARE, gpus or hardware.gpus_asked(e.gpu)[1]) if e.kind == "local" else 1.0


def gpus(params: Params) -> dict:
    """What an item carries of the GPUs that it is written on: how many, and the share of each."""
    return {"gpus": hardware.gpus_asked(params.executor.gpu)[1], "gpu_share": gpu_share(params)}


def own_methods(params: Params) -> bytes:
    """Functions of one's own for the processes that generate; none where that is this one."""
    return b"" if executor_config(params).runs_here else tables.pack_own()


def heard(params: Params, meter: Meter) -> dict:
    """What an item carries so that its work is counted while it runs: nothing where that is in another process, or no Meter counts."""
    return {"inside": meter.inside} if executor_config(params).runs_here and isinstance(meter, Meter) else {}


def said(meter: Meter) -> Callable[[str], None]:
    """What `run_map` says of work that is made smaller: a line of the work's own progress, else of the terminal."""
    return (lambda text: meter.inside(text, 0)) if isinstance(meter, Meter) else to_stderr


def executor_config(params: Params) -> ExecutorConfig:
    """Where generation runs; a Modal container gets the adapter's folder along."""
    e, adapter, basis = params.executor, params.translator.adapter, params.latent.pca if params.latent.proposal == "pca" else ""
    return ExecutorConfig(
        kind=e.kind,
        workers=e.workers,
        address=e.address,
        tls_ca=e.tls_ca,
        tls_cert=e.tls_cert,
        tls_key=e.tls_key,
        gpu=e.gpu or None,
        timeout_s=e.timeout_s,
        retries=e.retries,
        backoff_s=e.backoff_s,
        oom_exit_code=e.oom_exit_code,
        gpu_else=e.gpu_else,
        memory_gib=e.memory_gib,
        secrets=e.secrets,
        start_s=e.start_s,
        volume=e.volume or None,
        folders=tuple(filter(None, (adapter, basis))) if e.kind == "modal" else (),
    )
