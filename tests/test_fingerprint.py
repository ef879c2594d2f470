"""What lies behind a path: other weights give other names, other files other stage keys, and the bundled adapter keeps its own."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from parallax_lib.core import fingerprint
from parallax_lib.core.config import ROOT
from parallax_lib.core.settings import Params
from parallax_lib.search import guided_search, rollouts
from parallax_lib.study import cross_validation, pipeline
from parallax_lib.study.run import Run
from parallax_lib.tasks import suites
from parallax_lib.tasks import task as task_module

TASK = task_module.tasks(suites.read_folder(suites.MINIBENCH, "minibench"), ("serial-omp",))[0]


def adapter(folder, seed, size=100):
    folder.mkdir(exist_ok=True)
    save_file({"a": np.random.default_rng(seed).normal(size=size).astype(np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    return folder


def given(folder, **more):
    return Params.model_validate({"translator": {"model": "random", "adapter": str(folder)}, **more})


@pytest.mark.parametrize("size", [100, 6_000_000])  # read whole, and in blocks
def test_other_weights_in_the_same_folder_give_other_rollouts_and_translations(tmp_path, size):
    def names():
        params = given(tmp_path / "adapter")
        return rollouts.capture_id(TASK, params, 0, 0), str(guided_search.recipe(params))

    adapter(tmp_path / "adapter", 1, size)
    first = names()
    adapter(tmp_path / "adapter", 2, size)
    second = names()
    assert first[0] != second[0] and first[1] != second[1]
    shutil.rmtree(tmp_path / "adapter")
    adapter(tmp_path / "adapter", 1, size)
    assert names() == first  # by content: not by when it was written


def test_a_folder_in_another_place_holds_the_same(tmp_path):
    one = fingerprint.content(adapter(tmp_path / "a", 1))
    assert fingerprint.content(adapter(tmp_path / "b", 1)) == one
    (tmp_path / "b" / "notes.txt").write_text("not read by a model")
    assert fingerprint.content(tmp_path / "b") == one
    (tmp_path / "b" / "adapter_config.json").write_text('{"r": 8}')
    assert fingerprint.content(tmp_path / "b") != one


def test_the_bundled_adapter_is_the_one_that_wrote_the_shipped_rollouts():
    """Another one is given marks of its own; `BUNDLED` changes together with data/rollouts."""
    assert fingerprint.content(ROOT / "data" / "adapter") == fingerprint.BUNDLED
    assert fingerprint.weights(given("data/adapter")) == [] == fingerprint.weights(given(""))


def test_every_file_that_a_run_reads_changes_the_first_stages_key(tmp_path, monkeypatch):
    copy = tmp_path / "root"
    copies = [copy / folder.relative_to(ROOT) for folder in fingerprint.ASKED_AND_JUDGED]
    for folder, to in zip(fingerprint.ASKED_AND_JUDGED, copies, strict=True):
        shutil.copytree(folder, to)
    monkeypatch.setattr(fingerprint, "ASKED_AND_JUDGED", copies)
    params = given(adapter(tmp_path / "adapter", 1), collect={"shipped": str(adapter(tmp_path / "shipped", 1))})
    seen = {fingerprint.inputs(params)}
    assert fingerprint.inputs(params) in seen
    changed = [*copies, tmp_path / "adapter", tmp_path / "shipped"]
    for folder in changed:
        file = next(path for path in sorted(folder.rglob("*")) if path.is_file())
        file.write_bytes(file.read_bytes() + b" ")
        seen.add(fingerprint.inputs(params))
    os.utime(file, (1, 1))
    seen.add(fingerprint.inputs(params))
    assert len(seen) == len(changed) + 2
    stage = pipeline.stages("01")[0]
    assert len({stage.key(params, mark) for mark in seen}) == len(seen)


def test_trainings_are_named_by_what_they_read(tmp_path):
    rows = pd.DataFrame({"capture_id": ["a"], "reward": [1.0], "family": ["f"]})
    run = Run(given("", prm={"folds": 2}), tmp_path, None, print)
    zeros = np.zeros((1, 2, 3), np.float16)
    names = [cross_validation.trainings(run, rows, vectors, 0) for vectors in (zeros, zeros + 1, zeros.copy())]
    assert names[0] == names[2] and not set(names[0]) & set(names[1])
    pooled = Run(given(adapter(tmp_path / "adapter", 1), prm={"folds": 2, "context": "pooled"}), tmp_path, None, print)
    before = cross_validation.trainings(pooled, rows, zeros, 0)
    adapter(tmp_path / "adapter", 2)
    assert not set(before) & set(cross_validation.trainings(pooled, rows, zeros, 0))
