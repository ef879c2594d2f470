"""kill -9 during the data build, then the same command again: the tables of an undisturbed run."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from parallax_lib.core.config import ROOT
from parallax_lib.core.storage import read_vectors

TIMED = {"cpu_s", "seconds"}


def command(run: str, out: Path) -> list[str]:
    collected = ["collect.limit=6", "collect.sensitivity_limit=1", "collect.shipped=''"]
    sets = [f"run={run}", *collected, "decode.batch=4", "decode.max_new_tokens=8", "translator.dtype=float32"]
    base = [sys.executable, "-m", "parallax_lib", "collect", "params/tiny.yaml", "--out", str(out)]
    return [*base, *(x for s in sets for x in ("--set", s))]


def rows(out: Path) -> list[dict]:
    text = gzip.decompress((out / "rollouts.jsonl.gz").read_bytes()).decode()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in text.splitlines()]


@pytest.fixture
def runs():
    names = [f"test-resume-{os.getpid()}-{name}" for name in ("killed", "whole")]
    yield names
    for name in names:
        shutil.rmtree(ROOT / "data" / "runs" / name, ignore_errors=True)


@pytest.mark.slow
def test_a_killed_build_resumes_to_the_same_tables(runs, tmp_path):
    killed, whole = runs
    shards = ROOT / "data" / "runs" / killed / "vectors"
    process = subprocess.Popen(command(killed, tmp_path / killed), cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(shards.glob("*.safetensors"))) < 2:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(shards.glob("*.safetensors")))
    assert 2 <= kept < 6
    for name in (killed, whole):
        subprocess.run(command(name, tmp_path / name), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert rows(tmp_path / killed) == rows(tmp_path / whole)
    ids = [row["capture_id"] for row in rows(tmp_path / whole)]
    assert len(ids) == len(set(ids)) == 6 * 4
    np.testing.assert_array_equal(*(read_vectors(tmp_path / name / "latents-0.safetensors.gz") for name in (killed, whole)))
