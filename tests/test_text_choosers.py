"""Choosers that see no latent: a table against counts by hand, and a made world in which only plan and source together decide."""

import class_holdout
import numpy as np
import pandas as pd
import pytest
import text_choosers

from parallax_lib.study import cross_validation

FAMILIES = [f"unseen{i}" for i in range(5)]


def world(tasks=40, seed=0):
    """Per task an original and three branch-offs.  A scatter source wants `atomic`, a map source `parallel`; all else fails."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(tasks * len(FAMILIES)):
        scatter = bool(rng.integers(2))
        source = "void f() { for (int i = 0; i < n; i++) " + ("y[idx[i]] += x[i]; }" if scatter else "y[i] = x[i]; }") + "\nint main() {}"
        for j, word in enumerate(["serial", *rng.permutation(["parallel", "atomic", "scan"])]):
            good = word == ("atomic" if scatter else "parallel")
            rows.append({
                "task": f"t{i}.serial-omp", "root": f"t{i}", "family": FAMILIES[i % 5], "direction": "serial-omp", "source_code": source,
                "plan": f"{word} none", "reward": float(good), "validated": good, "branch_depth": -1 if j == 0 else 0, "resample": j,
                "mean_logprob": 0.0, "level": 4 + good, "reason": "ok" if good else "wrong_output", "tokens": 1, "capture_id": f"{i}-{j}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_only_the_model_with_both_words_and_source_finds_what_needs_both():
    rate = text_choosers.choices(world()).groupby("arm")["validated"].mean()
    assert rate["unguided"] == 0
    assert rate["plan_text"] > 0.95
    assert rate["plan_table"] < 0.75  # atomic or parallel, whichever was commoner: right about every second time
    assert rate["untrained_rule"] == 1  # this world is the one that the rule describes


def test_the_table_is_the_smoothed_mean_of_training_rows():
    rows = world(4)
    split = cross_validation.splits(rows, cross_validation.folds(rows["family"].unique(), 5), 0)
    train = rows[split == "train"]
    mean = train["reward"].mean()
    for plan, score in zip(rows["plan"], text_choosers.plan_table(rows, split), strict=True):
        same = train.loc[train["plan"] == plan, "reward"]
        assert score == pytest.approx((same.sum() + text_choosers.ROWS * mean) / (len(same) + text_choosers.ROWS))


def test_what_became_of_a_tested_family_is_not_read():
    rows = world()
    fold_of = cross_validation.folds(rows["family"].unique(), 5)
    first = cross_validation.splits(rows, fold_of, 0) == "test"
    turned = rows.assign(reward=rows["reward"].where(~first, 1 - rows["reward"]))
    picks = [text_choosers.choices(frame).query("arm in ['plan_table', 'plan_text']") for frame in (rows, turned)]
    tested = [frame[frame["family"].map(fold_of) == 0].set_index(["arm", "task"])["capture_id"].sort_index() for frame in picks]
    pd.testing.assert_series_equal(*tested)


def test_names_and_numbers_of_a_source_do_not_matter():
    a = "for (int i = 0; i < n; i++) heat[i] += 2.5 * load[i];\nint main() { a }"
    b = "for (int k = 1; k < m; k++) out[k] += 7 * in[k];\nint main() { b }"
    assert text_choosers.grams(a) == text_choosers.grams(b) != text_choosers.grams(a.replace("+=", "="))


def test_a_class_of_families_is_held_out_whole_and_its_control_is_of_the_same_size():
    rows = pd.concat([world().assign(family="sums"), world()], ignore_index=True)
    rows = rows.assign(task=rows["family"] + rows["task"])
    loop = "void f() { double s = 0; for (int i = 0; i < n; i++) "
    plain, summing = (f"{loop}{body}; }}\nint main() {{}}" for body in ("y[i] = 1", "s += y[i]"))
    rows["source_code"] = np.where(rows["family"] == "sums", summing, plain)
    held_out = class_holdout.families_that_accumulate(rows)
    assert held_out == {"sums"}
    split = class_holdout.class_split(rows, held_out)
    assert set(rows.loc[split == "test", "family"]) == held_out and {"train", "valid"} <= set(split[rows["family"] != "sums"])
    splits = class_holdout.control_splits(rows, held_out, tasks=30)
    tested = [set(rows.loc[part == "test", "family"]) for part in splits]
    assert [each for each in tested if each] == [held_out]
    for part, test in zip(splits, tested, strict=True):
        assert rows.loc[part == "train", "task"].nunique() == 30
        assert not test & set(rows.loc[np.isin(part, ["train", "valid"]), "family"])
