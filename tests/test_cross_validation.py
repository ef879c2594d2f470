"""Families held out in turn: what each model may see, and what each chooser takes, against hand-made cases."""

import dataclasses
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis import comparisons
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Report
from parallax_lib.study import cross_validation
from parallax_lib.study import run as runs
from parallax_lib.study import training as prm_training
from parallax_lib.tasks.synthetic.generator import HELDOUT_FAMILIES, TRAIN_FAMILIES

FAMILIES = (*HELDOUT_FAMILIES[:6], *TRAIN_FAMILIES[:2])


@pytest.fixture
def run():
    name = f"test-cross_validation-{os.getpid()}"
    yield runs.open_run(name, overrides={"prm": {"kind": "ridge", "folds": 3}})
    shutil.rmtree(ROOT / "data" / "runs" / name, ignore_errors=True)


def learnable(tasks=96):
    """Four trajectories a task; the program is right where the last latent's first coordinate is positive."""
    rng, rows, latents = np.random.default_rng(0), [], []
    for i in range(tasks):
        for v, r in ((-1, 0), (0, 0), (0, 1), (1, 0)):
            path = rng.normal(size=(2, 8))
            name, good = (f"k{i}" if v < 0 else f"k{i}_v{v}_r{r}"), float(path[-1, 0] > 0)
            rows.append({"capture_id": name, "root": f"k{i}", "task": f"k{i}", "kernel": f"k{i}", "family": FAMILIES[i % len(FAMILIES)],
                         "direction": "serial-omp", "branch_depth": v, "resample": r, "reward": good, "validated": bool(good),
                         "reason": "ok", "mean_logprob": -rng.random(), "level": 5, "tokens": 10})  # fmt: skip
            latents.append(path)
    return pd.DataFrame(rows), np.array(latents, np.float16)


def test_every_unseen_family_is_tested_once_by_models_of_other_families(run, monkeypatch):
    rows, latents = learnable()
    trained, trial = [], prm_training.trial

    def watch(params, kind, material, split, **other):
        trained.append({side: set(material.rows.loc[split == side, "family"]) for side in ("train", "valid", "test")})
        return trial(params, kind, material, split, **other)

    watch.version = 1  # what it has seen is no part of a training's name
    monkeypatch.setattr(cross_validation, "trial", watch)
    score = cross_validation.scores(run, rows, latents)
    assert len(trained) == 3
    for sides in trained:
        assert not sides["test"] & (sides["train"] | sides["valid"]) and set(FAMILIES[6:]) <= sides["train"]
    assert sorted(f for sides in trained for f in sides["test"]) == sorted(FAMILIES[:6])
    assert np.isnan(score[rows["family"].isin(FAMILIES[6:])]).all() and np.isfinite(score[rows["family"].isin(FAMILIES[:6])]).all()
    np.testing.assert_array_equal(cross_validation.scores(run, rows, latents), score)
    assert len(trained) == 3  # the second time from the journal


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_fold_after_the_tested_one_says_when_to_stop_and_the_first_follows_the_last(count):
    fold_of = {family: k for k, family in enumerate("abcd"[:count])}
    rows = pd.DataFrame({"family": [*fold_of, "seen"]})
    for k in range(count):
        split = dict(zip(rows["family"], cross_validation.splits(rows, fold_of, k), strict=True))
        assert split.pop("seen") == "train" and split.pop("abcd"[k]) == "test" and split.pop("abcd"[(k + 1) % count]) == "valid"
        assert set(split.values()) <= {"train"}


def test_a_score_that_generalises_is_worth_its_oracle(run):
    rows, latents = learnable(240)
    rate = cross_validation.choices(rows, cross_validation.scores(run, rows, latents)).groupby("arm")["validated"].mean()
    assert rate["oracle"] - rate["guided"] < 0.05 < 0.2 < rate["guided"] - rate["unguided"]


@pytest.mark.parametrize("count", [1, 7])
def test_folds_that_leave_nothing_to_train_or_test_are_refused(count):
    with pytest.raises(UserError, match="prm.folds: .* for 6 families"):
        cross_validation.folds(FAMILIES, count)


def spent_by(chosen, task, arm):
    columns = ["latent_steps", "decode_tokens", "looked_at", "compiles", "validator_runs"]
    return chosen.set_index(["task", "arm"]).loc[(task, arm), columns].tolist()


def test_choosers_by_hand():
    rows = pd.DataFrame({
        "task": ["a"] * 3 + ["b"] * 2 + ["c"], "family": ["f", "f", "f", "g", "g", "f"], "branch_depth": [0, -1, 0, -1, 1, 0],
        "resample": [0, 0, 1, 0, 0, 0], "reward": [1.0, 0.0, np.nan, 1.0, 0.0, 1.0], "mean_logprob": [-3.0, -2.0, -1.0, -2.0, -1.0, 0.0],
        "level": [5, 4, 1, 5, 1, 5], "reason": ["ok", "nondeterministic", "compile_error", "ok", "compile_error", "ok"],
        "tokens": [7, 5, 3, 2, 4, 9],
    })  # fmt: skip
    rows = rows.assign(root=rows["task"])
    chosen = cross_validation.choices(rows.assign(validated=rows["reward"] == 1), np.array([0.9, 0.1, 1.0, 0.5, 0.5, 1.0]), steps=3)
    took = chosen.pivot(index="task", columns="arm", values="reward")
    assert took.index.tolist() == ["a", "b"]  # c has lost its original; a's unjudged trajectory is nobody's
    assert took.loc["a"].drop("random").to_dict() == {
        "unguided": 0, "guided": 1, "best_of_n": 0, "compile_filter": 0, "execution_filter": 1, "first_survivor": 1, "guided_filter": 1,
        "oracle": 1}  # fmt: skip
    tie_to_the_original = {"unguided": 1, "guided": 1, "best_of_n": 0, "compile_filter": 1, "execution_filter": 1, "first_survivor": 1,
                           "guided_filter": 1, "oracle": 1}  # fmt: skip
    assert took.loc["b"].drop("random").to_dict() == tie_to_the_original
    assert comparisons.by_family(chosen)[["family", "tasks", "guided", "unguided"]].values.tolist() == [
        ["f", 1, 1.0, 0.0],
        ["g", 1, 1.0, 1.0],
    ]
    assert comparisons.over_families(chosen).value == 0.5
    assert spent_by(chosen, "a", "execution_filter") == [6, 12, 2, 2, 2]
    spent = chosen.set_index(["task", "arm"])[["latent_steps", "decode_tokens", "looked_at", "compiles", "validator_runs"]]
    assert spent.loc[("a", "guided")].tolist() == [6, 7, 1, 0, 0]  # two trajectories, one program
    assert spent.loc[("a", "best_of_n")].tolist() == [6, 12, 2, 0, 0]
    assert spent.loc[("a", "unguided")].tolist() == [3, 5, 1, 0, 0]
    assert spent.loc[("b", "oracle")].tolist() == [6, 6, 2, 2, 1]
    assert spent.loc[("a", "first_survivor")].tolist() == [6, 12, 2, 2, 2]
    assert spent.loc[("b", "first_survivor")].tolist() == [3, 2, 1, 1, 1]
    assert spent.loc[("a", "guided_filter")].tolist() == [6, 7, 1, 1, 1]  # the best-scored survives at once; both were thought


def test_nothing_that_compiles_leaves_the_filters_the_likeliest():
    rows = pd.DataFrame({"task": "a", "root": "a", "family": "f", "branch_depth": [-1, 0], "resample": 0, "reward": [0.0, 0.0],
                         "validated": False, "mean_logprob": [-2.0, -1.0], "level": 1, "reason": "compile_error", "tokens": 1,
                         "capture_id": ["original", "branch"]})  # fmt: skip
    chosen = cross_validation.choices(rows, np.zeros(2)).set_index("arm")["capture_id"]
    assert chosen["compile_filter"] == chosen["execution_filter"] == chosen["best_of_n"] == "branch"


def test_every_seed_trains_anew_and_stands_in_the_table(run, monkeypatch):
    rows, latents = learnable()
    used, trial = [], prm_training.trial

    def watch(*args, **other):
        used.append(other["seed"])
        return trial(*args, **other)

    watch.version = 1
    monkeypatch.setattr(cross_validation, "trial", watch)
    both = dataclasses.replace(run, params=run.params.model_copy(update={"report": Report(seeds=(0, 1))}))
    chosen = cross_validation.table(both, rows, latents)
    assert used == [0, 0, 0, 1, 1, 1]
    assert sorted(chosen["seed"].unique()) == [0, 1] and (chosen.groupby(["seed", "arm"])["task"].nunique() == 72).all()
    chosen = chosen[chosen["arm"] != cross_validation.TOGETHER]
    for seed in (0, 1):
        alone = cross_validation.choices(rows, cross_validation.scores(run, rows, latents, seed), seed, 2)
        pd.testing.assert_frame_equal(chosen[chosen["seed"] == seed].reset_index(drop=True), alone)
    draws = chosen[chosen["arm"] == "random"].pivot(index="task", columns="seed", values="capture_id")
    assert (draws[0] != draws[1]).any()


def test_several_trainings_pick_together_by_their_mean_score(run, monkeypatch):
    rows, latents = learnable(24)
    read = np.random.default_rng(1).random((2, len(rows)))
    monkeypatch.setattr(cross_validation, "scores", lambda run, rows, vectors, seed: read[seed])
    both = dataclasses.replace(run, params=run.params.model_copy(update={"report": Report(seeds=(0, 1))}))
    chosen = cross_validation.table(both, rows, latents)
    took = chosen[chosen["arm"] == cross_validation.TOGETHER].set_index("task")["capture_id"].to_dict()
    by_task = rows.assign(total=read[0] + read[1], least=read.min(axis=0)).groupby("task")
    assert took == {task: part.loc[part["total"].idxmax(), "capture_id"] for task, part in by_task}
    assert took != {task: part.loc[part["least"].idxmax(), "capture_id"] for task, part in by_task}


def test_choosers_that_run_n_programs_are_those_of_a_plain_loop():
    rng, n = np.random.default_rng(0), 6
    fates = [(1, "compile_error"), (3, "nondeterministic"), (4, "wrong_output"), (5, "ok")]
    rows = pd.DataFrame([
        {"task": f"t{i}", "root": f"t{i}", "family": f"f{i % 3}", "direction": "serial-omp", "branch_depth": j - 1, "resample": 0,
         "mean_logprob": -float(rng.integers(0, 4)), "score": float(rng.integers(0, 4)),
         **dict(zip(("level", "reason"), fates[rng.integers(4)], strict=True))}
        for i in range(20) for j in range(n)
    ])  # fmt: skip
    rows = rows.assign(validated=rows["level"] == 5, reward=(rows["level"] == 5).astype(float))
    taken = cross_validation.filtered(rows.sample(frac=1, random_state=0), rows.sample(frac=1, random_state=0)["score"].to_numpy())
    assert len(taken) == 20 * n * 3
    for (task, count, arm), got in taken.set_index(["task", "N", "arm"])["validated"].items():
        seen = [row for row in rows.to_dict("records") if row["task"] == task]
        if arm == "guided_filter":
            seen.sort(key=lambda row: -row["score"])
        seen = seen[:count]
        kept = [row for row in seen if row["reason"] in ("ok", "wrong_output")] or seen
        best = max(kept, key=lambda row: row["mean_logprob"]) if arm == "execution_filter" else kept[0]
        assert got == best["validated"], (task, count, arm)
    table = comparisons.by_programs(taken).set_index(["against", "N"])
    assert table.index.tolist() == [(arm, count) for arm in ("execution_filter", "first_survivor") for count in range(1, n + 1)]
    for (against, count), row in table.iterrows():
        part = taken[taken["N"] == count].groupby("arm")
        shares, written = part["validated"].mean(), part["looked_at"].mean()
        assert row["rate_a"] == pytest.approx(shares["guided_filter"]) and row["programs_b"] == pytest.approx(written[against])
        assert row["diff"] == pytest.approx(shares["guided_filter"] - shares[against])
        assert row["families_low"] <= row["diff"] <= row["families_high"]


def test_two_roots_of_a_task_are_chosen_among_apart():
    """The same task collected twice, as another adapter or seed would: each original has its own branch-offs."""
    rows = pd.DataFrame([
        {"task": "a", "root": root, "family": "f", "direction": "serial-omp", "branch_depth": depth, "resample": 0, "level": level,
         "reason": "ok" if level == 5 else "wrong_output", "reward": float(level == 5), "validated": level == 5, "tokens": 1,
         "mean_logprob": -1.0, "score": score}
        for root, depth, level, score in [("x", -1, 4, 0.1), ("x", 0, 5, 0.2), ("y", -1, 5, 0.9), ("y", 0, 4, 0.8), ("y", 1, 4, 0.7)]
    ])  # fmt: skip
    for chooser in (cross_validation.choices, cross_validation.filtered):
        parts = [part.reset_index(drop=True) for _, part in rows.groupby("root")]
        alone = pd.concat([chooser(part, part["score"].to_numpy()) for part in parts], ignore_index=True)
        mixed = rows.sample(frac=1, random_state=1, ignore_index=True)
        pd.testing.assert_frame_equal(chooser(mixed, mixed["score"].to_numpy()), alone)


def test_programs_without_a_likelihood_are_taken_as_they_come():
    rows = pd.DataFrame({"task": "a", "root": "a", "family": "f", "branch_depth": [-1, 0], "resample": 0, "level": [1, 5], "tokens": 1,
                         "reason": ["compile_error", "ok"], "reward": [0.0, 1.0], "validated": [False, True],
                         "mean_logprob": np.nan})  # fmt: skip
    took = cross_validation.choices(rows, np.zeros(2)).set_index("arm")["branch_depth"]
    assert took["best_of_n"] == -1 and took["compile_filter"] == took["execution_filter"] == 0


def test_scores_of_texts_choose_among_collected_programs_where_rows_have_them():
    rows = learnable(12)[0]
    rows = rows.assign(score_program=rows["reward"], score_plan=-rows["reward"], level=5, reason="ok", mean_logprob=-0.1)
    taken = cross_validation.choices(rows, np.zeros(len(rows)), chosen_by=["plan_prm", "program_prm"]).groupby("arm")["reward"].sum()
    by_task = rows.groupby("task")["reward"]
    assert taken.to_dict() == {"plan_prm": by_task.min().sum(), "program_prm": by_task.max().sum()}
    without = cross_validation.choices(rows.drop(columns="score_plan"), np.zeros(len(rows)), chosen_by=["plan_prm", "unguided"])
    assert set(without["arm"]) == {"unguided"}
