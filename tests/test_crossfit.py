"""Families held out in turn: what each model may see, and what each chooser takes, against hand-made cases."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

from parallax_lib import crossfit, modelling, study
from parallax_lib.forge import HELDOUT_FAMILIES, TRAIN_FAMILIES
from parallax_lib.params import ROOT, UserError

FAMILIES = (*HELDOUT_FAMILIES[:6], *TRAIN_FAMILIES[:2])


@pytest.fixture
def run():
    name = f"test-crossfit-{os.getpid()}"
    yield study.open_run(name, prm={"kind": "ridge", "folds": 3})
    shutil.rmtree(ROOT / "data" / "runs" / name, ignore_errors=True)


def learnable(tasks=96):
    """Four thoughts a task; the program is right where the last latent's first coordinate is positive."""
    rng, rows, latents = np.random.default_rng(0), [], []
    for i in range(tasks):
        for v, r in ((-1, 0), (0, 0), (0, 1), (1, 0)):
            path = rng.normal(size=(2, 8))
            name, good = (f"k{i}" if v < 0 else f"k{i}_v{v}_r{r}"), float(path[-1, 0] > 0)
            rows.append({"capture_id": name, "root": f"k{i}", "task": f"k{i}", "kernel": f"k{i}", "family": FAMILIES[i % len(FAMILIES)],
                         "direction": "serial-omp", "branch_depth": v, "resample": r, "reward": good, "validated": bool(good),
                         "reason": "ok", "mean_logprob": -rng.random()})  # fmt: skip
            latents.append(path)
    return pd.DataFrame(rows), np.array(latents, np.float16)


def test_every_unseen_family_is_tested_once_by_models_of_other_families(run, monkeypatch):
    rows, latents = learnable()
    trained, trial = [], modelling.trial

    def watch(run, kind, rows, vectors, split, contexts, **other):
        trained.append({side: set(rows.loc[split == side, "family"]) for side in ("train", "valid", "test")})
        return trial(run, kind, rows, vectors, split, contexts, **other)

    monkeypatch.setattr(crossfit, "trial", watch)
    score = crossfit.scores(run, rows, latents)
    assert len(trained) == 3
    for sides in trained:
        assert not sides["test"] & (sides["train"] | sides["valid"]) and set(FAMILIES[6:]) <= sides["train"]
    assert sorted(f for sides in trained for f in sides["test"]) == sorted(FAMILIES[:6])
    assert np.isnan(score[rows["family"].isin(FAMILIES[6:])]).all() and np.isfinite(score[rows["family"].isin(FAMILIES[:6])]).all()
    np.testing.assert_array_equal(crossfit.scores(run, rows, latents), score)
    assert len(trained) == 3  # the second time from the journal


def test_a_score_that_generalises_is_worth_its_oracle(run):
    rows, latents = learnable(240)
    rate = crossfit.choices(rows, crossfit.scores(run, rows, latents)).groupby("arm")["validated"].mean()
    assert rate["oracle"] - rate["guided"] < 0.05 < 0.2 < rate["guided"] - rate["unguided"]


@pytest.mark.parametrize("count", [1, 7])
def test_folds_that_leave_nothing_to_train_or_test_are_refused(count):
    with pytest.raises(UserError, match="prm.folds: .* for 6 families"):
        crossfit.folds(FAMILIES, count)


def test_choosers_by_hand():
    rows = pd.DataFrame({
        "task": ["a"] * 3 + ["b"] * 2 + ["c"], "family": ["f", "f", "f", "g", "g", "f"], "branch_depth": [0, -1, 0, -1, 1, 0],
        "resample": [0, 0, 1, 0, 0, 0], "reward": [1.0, 0.0, np.nan, 1.0, 0.0, 1.0], "mean_logprob": [-3.0, -2.0, -1.0, -2.0, -1.0, 0.0],
    })  # fmt: skip
    chosen = crossfit.choices(rows.assign(validated=rows["reward"] == 1), np.array([0.9, 0.1, 1.0, 0.5, 0.5, 1.0]))
    took = chosen.pivot(index="task", columns="arm", values="reward")
    assert took.index.tolist() == ["a", "b"]  # c has lost its original; a's unjudged thought is nobody's
    assert took.loc["a"].drop("random").to_dict() == {"unguided": 0, "guided": 1, "best_of_n": 0, "oracle": 1}
    assert took.loc["b"].drop("random").to_dict() == {"unguided": 1, "guided": 1, "best_of_n": 0, "oracle": 1}  # the tie to the original
    assert crossfit.by_family(chosen)[["family", "tasks", "guided", "unguided"]].values.tolist() == [["f", 1, 1.0, 0.0], ["g", 1, 1.0, 1.0]]
    assert crossfit.over_families(chosen).value == 0.5
