"""Trainings side by side against the same ones after another, to the last bit; and what becomes of those that fail."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parallax_lib.core import config, hardware
from parallax_lib.core.executors import ItemFailed
from parallax_lib.prm import parallel_training
from parallax_lib.prm.model import learned
from parallax_lib.prm.parallel_training import Material
from parallax_lib.study import training as prm_training
from parallax_lib.study.training import trial

SHAPE = {"kind": "transformer", "width": 8, "layers": 1, "heads": 2, "epochs": 3, "dropout": 0.3, "context": "pooled"}
PARAMS = config.load("tiny", prm=SHAPE)


@pytest.fixture
def material():
    rng, n = np.random.default_rng(0), 40
    rows = pd.DataFrame({"capture_id": [f"k{i}" for i in range(n)], "root": [f"k{i}" for i in range(n)], "branch_depth": -1, "resample": 0,
                         "reward": rng.integers(0, 2, n).astype(float), "code": "int main() {}"})  # fmt: skip
    return Material(rows, rng.normal(size=(n, 3, 8)).astype(np.float16), rng.normal(size=(n, 8)).astype(np.float32))


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(parallel_training, "at_once", lambda material, count: 2)


def train(material, seed):
    """All weights of a model, and which process trained it."""
    split = np.where(np.arange(len(material.rows)) % 4 == 0, "valid", "train")
    model = trial(PARAMS, "transformer", material, split, seed=seed)
    return os.getpid(), {name: value.cpu().numpy() for name, value in learned(model).items()}


def work(material, job):
    """Dies the first time where `job` is a path, and always fails where it is "wrong"."""
    assert "code" not in material.rows
    if job == "wrong":
        time.sleep(2)  # the other one has died by then
        raise KeyError(job)
    if os.sep in job and not Path(job).exists():
        Path(job).touch()
        os._exit(9)
    return len(material.rows)


def whose(material, job):
    return os.getpid()


@pytest.mark.slow
def test_processes_make_the_same_models(material, tmp_path, two, monkeypatch):
    heard = []
    there = dict(parallel_training.each(train, material, [3, 4, 5], tmp_path, updates=heard.append))
    assert heard == sorted(heard) and heard[-1] == 3 * SHAPE["epochs"]  # one batch an epoch
    assert os.getpid() not in {pid for pid, _ in there.values()} and not list(tmp_path.iterdir())
    monkeypatch.setattr(parallel_training, "at_once", lambda material, count: 1)
    here = dict(parallel_training.each(train, material, [3, 4, 5], tmp_path))
    assert {pid for pid, _ in here.values()} == {os.getpid()} and sorted(here) == sorted(there) == [0, 1, 2]
    for i in here:
        for name, value in here[i][1].items():
            np.testing.assert_array_equal(value, there[i][1][name])
    assert any((here[0][1][name] != value).any() for name, value in here[1][1].items())


def test_one_that_fails_is_told_and_one_that_dies_is_replaced(material, tmp_path, two):
    scratch = tmp_path / "run"
    (scratch / "trainings-999999999").mkdir(parents=True)  # of a process that was killed
    with pytest.raises(ItemFailed, match="KeyError: 'wrong'"):
        for _, size in parallel_training.each(work, material, [str(tmp_path / "mark"), "wrong"], scratch):
            assert size == len(material.rows)
    assert (tmp_path / "mark").exists() and not list(scratch.iterdir())


def test_whoever_stops_listening_leaves_nothing_behind(material, tmp_path, two):
    first = parallel_training.each(work, material, ["right"] * 4, tmp_path)
    next(first)
    assert (tmp_path / f"trainings-{os.getpid()}").exists()
    first.close()
    assert not list(tmp_path.iterdir())


def test_a_language_model_trains_alone(material, tmp_path, two):
    assert prm_training.alone(config.load("tiny", prm={"kind": "some/model"})) and not prm_training.alone(PARAMS)
    assert prm_training.alone(config.load("tiny", translator={"device": "cuda:1"}))
    assert {pid for _, pid in parallel_training.each(whose, material, [1, 2], tmp_path, alone=True)} == {os.getpid()}


def test_memory_and_cores_bound_how_many_run(material, monkeypatch):
    monkeypatch.setattr(hardware, "visible_gpus", lambda: [])
    monkeypatch.setattr(hardware, "cores", lambda: 64)
    monkeypatch.setattr(hardware, "free_memory", lambda: 45 * 2**30)
    big = Material(material.rows, np.empty((2**20, 4, 64), np.float16))  # 512 MiB, never touched
    assert parallel_training.at_once(big, 100) == 8  # 4.5 GiB each, of 36
    assert parallel_training.at_once(big, 4) == 4 and parallel_training.at_once(material, 100) == 1
    monkeypatch.setattr(hardware, "cores", lambda: 1)
    assert parallel_training.at_once(big, 100) == 1


def test_a_batch_jobs_memory_is_what_its_control_groups_leave(tmp_path, monkeypatch):
    job = tmp_path / "slurm" / "job_7"
    job.mkdir(parents=True)
    for folder, most, used in ((job.parent, 900, 100), (job, 500, 300)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 7\ninactive_file 50\n")
    (tmp_path / "ours").write_text("0::/slurm/job_7\n")
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path)
    monkeypatch.setattr(hardware, "OURS", tmp_path / "ours")
    assert hardware.free_memory() == 250
    (job / "memory.max").write_text("max\n")
    assert hardware.free_memory() == 850
    (tmp_path / "ours").write_text("1:name=old:/\n")
    assert hardware.free_memory() > 2**20
