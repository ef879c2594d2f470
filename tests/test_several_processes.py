"""A language model as PRM, trained by two processes that torchrun starts (gloo, on the CPU), against one process on the same rows."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from training_rows import make_rows, write_lm

from parallax_lib.__main__ import main
from parallax_lib.core import config, torchrun
from parallax_lib.core.config import ROOT
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import sharded
from parallax_lib.prm.shape import PRMConfig
from parallax_lib.search.published_format import export_layout
from parallax_lib.study.training import processes_text

TOLERANCE = 1e-4  # relative, of losses; absolute, of weights: sums in another order, and what Adam makes of them
SETTINGS = {"dropout": 0, "device_batch": 7, "unfreeze_step": 7, "batch": 20, "epochs": 4, "width": 8}  # 90 rows, 5 updates an epoch


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a tiny language model and two files of rows."""
    folder = tmp_path_factory.mktemp("several")
    write_lm(folder / "lm", num_hidden_layers=2)
    for name, seed in (("rows", 0), ("others", 1)):
        latents, targets, _, groups, split = make_rows(100, seed=seed)
        of = {"task": [f"t{g}" for g in groups], "root": [f"t{g}" for g in groups], "family": [f"f{g}" for g in groups]}
        ids = [f"{name}{i}" for i in range(100)]
        rows = pd.DataFrame({"capture_id": ids, **of, "direction": "serial-omp", "branch_depth": -1, "reward": targets[:, -1]})
        export_layout(folder / name, rows.assign(split=split), latents)
    return folder


def launch(processes, beneath="whole"):
    if beneath == "split":
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "tests/split_all.py"]
    many = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"] if processes > 1 else []
    return [sys.executable, "-m", *many, "parallax_lib"]


def train(home, out, processes, rows="rows", beneath="whole", **settings):
    sets = {f"prm.{name}": value for name, value in (SETTINGS | settings).items()}
    words = ["train", "--jsonl", str(home / rows / "dataset.jsonl"), "--out", str(out)]
    words += [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    if processes == 1:
        assert main(words) == 0
        return out
    done = subprocess.run([*launch(processes, beneath), *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def run_stage_02(home, name, processes, **settings):
    """The folder of a run whose PRM is trained in notebook 02."""
    sets = {"run": name, "prm.train_jsonl": home / "rows" / "dataset.jsonl", "prm.baselines": "[ridge]", "prm.folds": 0}
    sets |= {f"prm.{key}": value for key, value in (SETTINGS | settings).items()}
    words = ["run", "params/tiny.yaml", "--only", "02", *(word for key, value in sets.items() for word in ("--set", f"{key}={value}"))]
    done = subprocess.run([*launch(processes), *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return ROOT / "data" / "runs" / name, done.stdout


def same(a, b):
    """Loss curve, learning rates and weights of two trainings; how many updates they made."""
    histories = [pd.read_csv(out / "final" / "history.csv") for out in (a, b)]
    pd.testing.assert_frame_equal(*histories, rtol=TOLERANCE)
    weights = [load_file(out / "final" / "model.safetensors") for out in (a, b)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=TOLERANCE, msg=name)
    return len(histories[0])


def stopped_at(step, of, to):
    """The folder of a training that was killed after the checkpoint of that update."""
    shutil.copytree(of / f"checkpoint-{step}", to / f"checkpoint-{step}")
    return to


def trained_by_one_and_two(home, tmp_path, **settings):
    """The folders of the same training by one process and by two."""
    one, two = (train(home, tmp_path / name, count, **settings) for name, count in (("one", 1), ("two", 2)))
    updates = same(one, two)
    assert updates >= 15 and pd.read_csv(one / "final" / "history.csv")["phase"].max() == 2
    names = [sorted(path.name for path in out.glob("*/*")) for out in (one, two)]
    assert names[0] == names[1] and "optimizer.pt" in names[0]
    return one, two


@pytest.mark.slow
def test_two_processes_train_adapters_as_one_and_continue_each_others_checkpoints(home, tmp_path):
    settings = {"kind": home / "lm", "loss": "listwise", "lora_rank": 4, "recompute": True}
    one, two = trained_by_one_and_two(home, tmp_path, **settings)
    for step in (5, 10):  # before and after the backbone has joined
        if step == 10:
            same(one, train(home, stopped_at(step, one, tmp_path / "one-two"), 2, beneath="split", **settings))
        same(one, train(home, stopped_at(step, two, tmp_path / f"two-one-{step}"), 1, **settings))


@pytest.mark.slow
def test_a_whole_prm_that_was_trained_is_trained_on_with_other_rows(home, tmp_path):
    settings = {"kind": home / "lm", "loss": "mse"}
    before = train(home, tmp_path / "before", 1, **settings, epochs=1)
    two = trained_by_one_and_two(home, tmp_path, **settings, init=before / "final", rows="others")[1]
    fresh = train(home, tmp_path / "fresh", 1, **settings, rows="others", epochs=1)  # its first update is compared
    first = [pd.read_csv(out / "final" / "history.csv")["train_loss"][0] for out in (two, fresh)]
    assert abs(first[0] - first[1]) > 0.01


@pytest.fixture
def name():
    yield (named := f"test-several-{os.getpid()}")
    shutil.rmtree(ROOT / "data" / "runs" / named, ignore_errors=True)


@pytest.mark.slow
def test_notebook_02_trains_over_two_processes(home, name):
    folder, said = run_stage_02(home, name, 2, kind=home / "lm")
    history = pd.read_csv(next(folder.glob("prm-lm-*")) / "final" / "history.csv")
    assert len(history) >= 10 and history["phase"].max() == 2 and history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert "is split over all of them" in said


def test_small_prms_are_trained_by_the_first_process_alone(home, monkeypatch):
    monkeypatch.setattr(torchrun, "processes", lambda: 2)
    for kind, large in (("transformer", False), ("gru", False), (str(home / "lm"), True)):
        shape = PRMConfig(backbone=kind, latent_width=12, width=16, heads=2)
        assert sharded.worthwhile(prm_model.build(shape)) == large
        said = processes_text(config.load("tiny", prm={"kind": kind}))
        assert ("split over all" in said, "alone" in said) == (large, not large)


def test_rows_are_dealt_evenly_and_each_counts_once(monkeypatch):
    for count in (1, 2, 3):
        monkeypatch.setattr(torchrun, "together", lambda count=count: count)
        for rows in range(1, 40):
            size = torchrun.evenly(rows, 7)
            micros = [range(i, min(i + size, rows)) for i in range(0, rows, size)]
            assert size <= 7 and len(micros) <= count * -(-rows // (7 * count))
            shares = []
            for rank in range(count):
                monkeypatch.setattr(torchrun, "rank", lambda rank=rank: rank)
                shares.append(torchrun.dealt(micros))
            assert len({len(share) for share in shares}) == 1
            counted = [row for share in shares for micro, once in share if once for row in micro]
            assert sorted(counted) == list(range(rows))


def test_a_command_for_one_process_refuses_several(monkeypatch):
    monkeypatch.setattr(torchrun, "processes", lambda: 2)
    with pytest.raises(Exception, match="started 2 processes of 'tools'; only run and train"):
        torchrun.refuse_others("tools", ("run", "train"))
    torchrun.refuse_others("run", ("run", "train"))
