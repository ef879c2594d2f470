"""Stopping, choosing the best model, and going on after an interruption or a kill with the same weights."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_rows import GRU, SHORT, make_rows, noise, same, weights_of, write_lm

from parallax_lib.core.errors import UserError
from parallax_lib.core.halving import Shrinking
from parallax_lib.prm import train
from parallax_lib.prm.dataset import prepare
from parallax_lib.prm.model import PRMConfig, load, scores
from parallax_lib.prm.train import TrainConfig, fit


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


HASTY = TrainConfig(epochs=200, lr=1e-2, batch=16, unfreeze_step=4, patience=3)


class Stop(Exception):
    pass


def stop_at(step):
    def progress(row):
        if row["step"] == step:
            raise Stop

    return progress


CAREFUL = replace(SHORT, save_every=1, eval_every=2)
DROPOUT = replace(GRU, dropout=0.2)
BIG = replace(SHORT, epochs=6, save_every=3, unfreeze_step=7, eval_every=2)


def test_the_model_with_the_best_valid_loss_is_returned_and_patience_stops():
    model, history = fit(*noise(), HASTY, prm=GRU)
    valid = history["valid_loss"].dropna()
    assert len(valid) < 100 and valid.idxmin() == valid.index[-4]  # three evaluations after the best one
    data = prepare(*noise())
    assert train.evaluate(model, data, data.rows("valid"), HASTY, Shrinking(HASTY.device_batch)) == pytest.approx(valid.min(), rel=1e-6)


def test_patience_begins_when_the_backbone_has_joined():
    _, history = fit(*noise(), replace(HASTY, unfreeze_step=60), prm=GRU)
    assert history["step"].max() > 60 and (history["phase"] == 2).sum() <= 4 * 5
    first = history[history["phase"] == 1]["valid_loss"].dropna()
    assert len(first) - first.argmin() > 4  # it would have stopped


def test_without_valid_rows_training_runs_to_its_end():
    latents, targets, counts, groups, split = make_rows()
    model, history = fit(latents, targets, counts, groups, np.where(split == "valid", "test", split), SHORT, prm=GRU)
    assert len(history) == 9 and history["valid_loss"].isna().all() and scores(model, latents).isfinite().all()


def test_same_seed_same_weights_and_the_callers_random_state_is_left_alone():
    torch.manual_seed(99)
    before = torch.get_rng_state()
    dropout = replace(GRU, dropout=0.3)
    a, b, c = (weights_of(fit(*make_rows(), replace(SHORT, seed=s), prm=dropout)[0]) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 8])  # 4: the backbone joins at the next update
@pytest.mark.parametrize("kind", ["gru", "transformer", "lora"])
def test_an_interrupted_run_ends_with_the_same_weights(kind, step, tmp_path):
    lm, tmp_path = tmp_path / "lm", tmp_path / "run"
    prm = PRMConfig(backbone=kind, width=16, heads=2, layers=2, dropout=0.2)
    if kind == "lora":
        write_lm(lm)
        prm = PRMConfig(backbone=str(lm), lora_rank=2, dropout=0.2)
    model, history = fit(*make_rows(), CAREFUL, prm=prm)
    with pytest.raises(Stop):
        fit(*make_rows(), CAREFUL, tmp_path, prm=prm, progress=stop_at(step))
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == [f"checkpoint-{s}" for s in (step - 1, step) if s]
    steps = []
    again, told = fit(*make_rows(), CAREFUL, tmp_path, prm=prm, progress=lambda row: steps.append(row["step"]))
    assert steps == list(range(step + 1, 10)) and same(weights_of(model), weights_of(again))
    assert told.equals(history)


def test_patience_outlives_an_interruption(tmp_path):
    config = replace(HASTY, save_every=1)
    model, history = fit(*noise(), config, prm=GRU)
    with pytest.raises(Stop):
        fit(*noise(), config, tmp_path, prm=GRU, progress=stop_at(len(history) - 2))
    again, told = fit(*noise(), config, tmp_path, prm=GRU)
    assert told.equals(history) and same(weights_of(again), weights_of(model))


KILLED = """
import sys, time, torch
sys.path[:0] = {paths!r}
torch.set_num_threads(1)
from test_checkpoints import BIG, DROPOUT
from training_rows import make_rows
from parallax_lib.prm.train import fit
def progress(row):
    print(row["step"], flush=True)
    time.sleep(0.02)
fit(*make_rows(), BIG, {out!r}, prm=DROPOUT, progress=progress)
"""


def run_and_kill(out, step):
    """Train in another process and end it by SIGKILL once it has done `step`; the steps it did."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", KILLED.format(paths=paths, out=str(out))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        steps = []
        for line in child.stdout:
            steps.append(int(line))
            if steps[-1] == step:
                os.kill(child.pid, signal.SIGKILL)
                break
        child.stdout.read()
    assert child.returncode == -signal.SIGKILL
    return steps


def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(tmp_path):
    fit(*make_rows(), BIG, tmp_path / "calm", prm=DROPOUT)
    out = tmp_path / "killed"
    assert run_and_kill(out, 11) == list(range(1, 12))  # in phase 2
    assert {"checkpoint-9"} <= {p.name for p in out.iterdir()} <= {f"checkpoint-{s}" for s in (6, 9, 12)}
    (out / "checkpoint-15.tmp").mkdir()  # as if killed while writing
    (out / "checkpoint-15.tmp" / "model.safetensors").write_bytes(b"half")
    _, history = fit(*make_rows(), BIG, out, prm=DROPOUT)
    for name in ("model.safetensors", "history.csv", "training.json", "prm.json"):
        assert (out / "final" / name).read_bytes() == (tmp_path / "calm" / "final" / name).read_bytes()
    assert list(history["step"]) == list(range(1, 19))


def test_final_folder_holds_what_was_returned(tmp_path):
    data = make_rows()
    model, history = fit(*data, SHORT, tmp_path, prm=GRU)
    again = load(tmp_path / "final", latent_width=12)
    assert torch.equal(scores(model, data[0]), scores(again, data[0]))
    assert len((tmp_path / "final" / "history.csv").read_text().splitlines()) == len(history) + 1
    with pytest.raises(UserError, match="it holds final: give one of these"):
        load(tmp_path)


def test_a_checkpoint_of_other_settings_or_data_is_refused_unless_told_to_start_over(tmp_path):
    data = make_rows()
    fit(*data, CAREFUL, tmp_path, prm=GRU)
    other = make_rows(seed=1)
    for rows, config, prm in ((data, replace(CAREFUL, lr=0.5), GRU), (other, CAREFUL, GRU), (data, CAREFUL, DROPOUT)):
        with pytest.raises(UserError, match="checkpoint-9 belongs to a training with other settings, data or code") as e:
            fit(*rows, config, tmp_path, prm=prm)
        assert "\n" not in str(e.value)
    model, _ = fit(*other, CAREFUL, tmp_path, prm=GRU, resume=False)
    assert same(weights_of(model), weights_of(fit(*other, CAREFUL, prm=GRU)[0]))
