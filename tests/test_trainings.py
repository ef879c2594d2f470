"""Trainings side by side against the same ones after another, to the last bit; and what becomes of those that fail."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from parallax_lib import gpus, params, trainings
from parallax_lib.executors import ItemFailed
from parallax_lib.modelling import trial
from parallax_lib.prm import learned
from parallax_lib.trainings import Material

SHAPE = {"kind": "transformer", "width": 8, "layers": 1, "heads": 2, "epochs": 3, "dropout": 0.3, "context": "pooled"}
PARAMS = params.load("tiny", prm=SHAPE)


@pytest.fixture
def material():
    rng, n = np.random.default_rng(0), 40
    rows = pd.DataFrame({"capture_id": [f"k{i}" for i in range(n)], "root": [f"k{i}" for i in range(n)], "branch_depth": -1, "resample": 0,
                         "reward": rng.integers(0, 2, n).astype(float), "code": "int main() {}"})  # fmt: skip
    return Material(rows, rng.normal(size=(n, 3, 8)).astype(np.float16), rng.normal(size=(n, 8)).astype(np.float32))


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(trainings, "SMALL", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})


def train(material, seed):
    """All weights of a model, and which process trained it."""
    split = np.where(np.arange(len(material.rows)) % 4 == 0, "valid", "train")
    model = trial(PARAMS, "transformer", material, split, seed=seed)
    return os.getpid(), {name: value.numpy() for name, value in learned(model).items()}


def fail(material, job):
    if job == 1:
        raise KeyError("second job")
    return len(material.rows)


def die_once(material, job):
    mark = Path(job)
    if not mark.exists():
        mark.touch()
        os._exit(9)
    return os.getpid()


def test_processes_make_the_same_models(material, tmp_path, at_once, monkeypatch):
    there = dict(trainings.each(train, material, [3, 4, 5], tmp_path / "scratch"))
    assert os.getpid() not in {pid for pid, _ in there.values()} and not (tmp_path / "scratch").exists()
    monkeypatch.setattr(trainings, "SMALL", 2**40)
    here = dict(trainings.each(train, material, [3, 4, 5], tmp_path / "scratch"))
    assert {pid for pid, _ in here.values()} == {os.getpid()} and sorted(here) == sorted(there) == [0, 1, 2]
    for i in here:
        for name, value in here[i][1].items():
            np.testing.assert_array_equal(value, there[i][1][name])
    assert any((here[0][1][name] != value).any() for name, value in here[1][1].items())


def test_one_that_fails_is_told_and_leaves_nothing_behind(material, tmp_path, at_once):
    with pytest.raises(ItemFailed, match="KeyError"):
        list(trainings.each(fail, material, [0, 1], tmp_path / "scratch"))
    assert not list(tmp_path.iterdir())


def test_a_process_that_dies_is_replaced(material, tmp_path, at_once):
    made = dict(trainings.each(die_once, material, [str(tmp_path / "a"), str(tmp_path / "b")], tmp_path / "scratch"))
    assert sorted(made) == [0, 1]


def test_memory_and_cores_bound_how_many_run(material, monkeypatch):
    monkeypatch.setattr(gpus, "visible", lambda: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    big = Material(material.rows, np.empty((2**20, 4, 64), np.float16))  # 512 MiB, never touched
    free = psutil.virtual_memory()._replace(available=40 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert trainings.at_once(big, 100) == 9  # 3.5 GiB each
    assert trainings.at_once(big, 4) == 4 and trainings.at_once(material, 100) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert trainings.at_once(big, 100) == 1
