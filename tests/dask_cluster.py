"""A Dask cluster as the README starts one: a scheduler and workers in processes of their own."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parent


@contextmanager
def serve(folder: Path, workers: int = 2, threads: int = 1, more: tuple[str, ...] = (), tls: tuple[str, ...] = ()):
    """Its address.  `tls`: options of both commands."""
    env = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    file, begun = folder / "scheduler.json", []

    def start(*words):
        log = (folder / f"{words[0]}.log").open("w")
        begun.append(subprocess.Popen([sys.executable, "-m", "dask", *words], env=env, cwd=folder, stdout=log, stderr=log))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file), *tls)
        while not (file.exists() and file.read_text().endswith("}")):
            assert begun[0].poll() is None, (folder / "scheduler.log").read_text()
            time.sleep(0.05)
        if workers:
            counts = ("--nthreads", str(threads), "--nworkers", str(workers))
            start("worker", "--scheduler-file", str(file), *counts, "--no-dashboard", *more, *tls)
        while workers and (folder / "worker.log").read_text().count("Registered to") < workers:
            assert begun[1].poll() is None, (folder / "worker.log").read_text()
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(begun):
            process.terminate()
            process.wait()
