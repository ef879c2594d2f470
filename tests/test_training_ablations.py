"""Small trainings: what each one may see, and what is measured on what."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis import branch_selection, subgroups
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal
from parallax_lib.prm import labels as reward_labels
from parallax_lib.prm.parallel_training import Material
from parallax_lib.study import run as runs
from parallax_lib.study import training as prm_training
from parallax_lib.study import training_ablations
from parallax_lib.tasks.synthetic.generator import HELDOUT_FAMILIES
from parallax_lib.tasks.task import split_of

STEPS, WIDTH = 3, 8


@pytest.fixture
def run():
    name = f"test-variations-{os.getpid()}"
    card = {"losses": ["mse", "rank"], "shares": [0.5, 1.0]}
    prm = {"kind": "gru", "baselines": ["ridge"], "epochs": 6, "width": 8, "layers": 1, "lr": 0.01}
    yield runs.open_run(name, overrides={"prm": prm, "report": card})
    shutil.rmtree(ROOT / "data" / "runs" / name, ignore_errors=True)


def learnable(run, tasks=30):
    """Originals and two branch-offs a task; the reward hangs on the sign of the last latent's first coordinate."""
    rng, rows, latents = np.random.default_rng(0), [], []
    families = {split_of(name, run.params.suite): name for name in HELDOUT_FAMILIES + ("reduction", "stencil", "graph", "sparse", "nbody")}
    families["train"] = "map"
    for i in range(tasks):
        split = ("train", "train", "valid", "test")[i % 4]
        for v, r in ((-1, 0), (0, 0), (2, 0)):
            path = rng.normal(size=(STEPS, WIDTH))
            name = f"k{i}" if v < 0 else f"k{i}_v{v}_r{r}"
            rows.append({"capture_id": name, "root": f"k{i}", "task": f"k{i}", "kernel": f"k{i}", "family": families[split], "split": split,
                         "direction": "serial-omp", "branch_depth": v, "resample": r, "reward": float(path[-1, 0] > 0)})  # fmt: skip
            latents.append(path)
    return pd.DataFrame(rows), np.array(latents, np.float16)


def test_a_prm_is_trained_anew_when_other_families_are_held_out(run, monkeypatch):
    """Checkpoints of the training before belong to other rows, and are no reason to stop."""
    rows, latents = learnable(run)
    monkeypatch.setattr(prm_training, "refuse_leaks", lambda *given: None)
    small = run.params.prm.model_copy(update={"batch": 4, "device_batch": 4, "epochs": 12})
    run = replace(run, params=run.params.model_copy(update={"prm": small}))
    seen = []
    for splits in ({}, {"valid": "test", "test": "valid"}):
        model, history = prm_training.train_prm(run, "gru", rows.assign(split=rows["split"].replace(splits)), latents)
        seen.append(history["valid_loss"].dropna().tolist())
    assert len(history) > 50 and seen[0] != seen[1]


def test_every_variation_is_trained_once_and_kept(run, monkeypatch):
    rows, latents = learnable(run)
    table = training_ablations.table(run, rows, latents)
    settings = {"loss": ["mse", "rank"], "model": ["gru", "ridge"], "share": ["0.5", "1"]}
    settings["split"] = [training_ablations.FAMILIES, training_ablations.LEAKING]
    assert table.groupby("study")["setting"].apply(list).to_dict() == settings
    own = table[table["setting"].isin(["mse", "gru", "1", training_ablations.FAMILIES])]
    assert len(own) == 4 and own["auroc"].nunique() == 1  # one training, the run's own
    assert table[table["setting"] == "0.5"]["train_tasks"].item() == round(0.5 * own["train_tasks"].iloc[0])
    assert len(run.journal.rows("variation")) == 5

    other = replace(run, params=run.params.model_copy(update={"seed": 1}))
    training_ablations.table(other, rows, latents)
    monkeypatch.setattr(training_ablations, "refuse_leaks", lambda *given: None)
    training_ablations.table(run, rows.assign(split=rows["split"].map({"train": "train", "valid": "test", "test": "valid"})), latents)
    assert len(run.journal.rows("variation")) == 15  # another seed, another split: trained anew

    def refuse(work, material, jobs, *more):
        assert not jobs, "trained again"
        return iter(())

    monkeypatch.setattr(training_ablations, "each", refuse)
    pd.testing.assert_frame_equal(training_ablations.table(run, rows, latents), table)
    told = subgroups.by_setting(table)
    assert told["setting"].tolist() == table["setting"].tolist() and (told["auroc_low"] <= told["auroc_high"]).all()


def test_trainings_that_end_in_another_order_are_told_apart(run, monkeypatch):
    rows, latents = learnable(run)
    other = replace(run, journal=Journal(run.folder / "other.sqlite"))
    each = training_ablations.each
    monkeypatch.setattr(training_ablations, "each", lambda *given: reversed(list(each(*given))))
    backwards = training_ablations.table(other, rows, latents)
    monkeypatch.setattr(training_ablations, "each", each)
    pd.testing.assert_frame_equal(training_ablations.table(run, rows, latents), backwards)


def test_what_can_be_learned_is_learned(run):
    rows, latents = learnable(run, 120)
    v = training_ablations.Variation("model", "ridge", "ridge", "mse", 1.0, training_ablations.FAMILIES, 0)
    told = training_ablations.measure(run.params, Material(rows, latents), v)
    assert told["pairwise"] > 0.75 and told["gain"] > 0.5


def test_the_split_by_rows_leaks_and_the_split_by_families_does_not(run):
    rows, _ = learnable(run)
    base = training_ablations.Variation("split", "", "gru", "mse", 1.0, training_ablations.LEAKING, 0)
    leaking = rows.assign(split=training_ablations.resplit(rows, base))
    assert leaking["split"].value_counts().to_dict() == rows["split"].value_counts().to_dict()
    assert leaking.groupby("root")["split"].nunique().max() > 1
    share = rows.assign(
        split=training_ablations.resplit(rows, training_ablations.Variation("share", "", "gru", "mse", 0.5, training_ablations.FAMILIES, 0))
    )
    assert share.groupby("root")["split"].nunique().max() == 1
    assert set(share.loc[share["split"] == "train", "root"]) < set(rows.loc[rows["split"] == "train", "root"])
    assert (share["split"] == "test").equals(rows["split"] == "test")


def test_a_leaked_row_stops_every_variation(run):
    rows, latents = learnable(run)
    rows.loc[rows["split"] == "test", "split"] = "train"
    with pytest.raises(UserError, match="belongs to test"):
        training_ablations.table(run, rows, latents)


def test_groups_whose_siblings_fare_alike_change_neither_figure(run):
    rows, _ = learnable(run)
    test = rows[rows["split"] == "test"].reset_index(drop=True)
    scores = np.random.default_rng(1).random((len(test), STEPS))
    whole = branch_selection.branch_selection(reward_labels.branch_groups(test, scores), tol=0.05).iloc[0]
    assert training_ablations.picked(test, scores) == pytest.approx({"pairwise": whole["pairwise"], "gain": whole["gain"]})
    assert training_ablations.picked(test.assign(reward=1.0), scores) == {"pairwise": None, "gain": None}
