"""Labels against a brute-force tree, splits against leaks."""

import numpy as np
import pandas as pd
import pytest

from parallax_lib.core.errors import UserError
from parallax_lib.prm import labels as reward_labels


def tree(reward_of, steps=3, resamples=2, tasks=("a", "b")):
    rows = []
    for task in tasks:
        for v in range(-1, steps):
            for r in range(1 if v < 0 else resamples):
                name = task if v < 0 else f"{task}_v{v}_r{r}"
                rows.append({"capture_id": name, "root": task, "task": task, "direction": "serial-omp", "branch_depth": v, "resample": r,
                             "reward": reward_of(task, v, r), "split": "train", "kernel": task, "family": task, "code": name})  # fmt: skip
    return pd.DataFrame(rows)


def brute_force(frame, steps):
    """Walk every pair of rollouts: which share the prefix through depth t?"""
    targets, counts = np.zeros((len(frame), steps)), np.zeros((len(frame), steps))
    rows = frame.to_dict("records")
    for i, a in enumerate(rows):
        for t in range(steps):
            beneath = []
            for b in rows:
                same_trunk = a["root"] == b["root"] and all(x["branch_depth"] < 0 or x["branch_depth"] > t for x in (a, b))
                if (a["capture_id"] == b["capture_id"] or same_trunk) and not np.isnan(b["reward"]):
                    beneath.append(b["reward"])
            targets[i, t], counts[i, t] = (np.mean(beneath), len(beneath)) if beneath else (0, 0)
    return targets, counts


@pytest.mark.parametrize("seed", range(4))
def test_labels_equal_the_brute_force_tree(seed):
    rng = np.random.default_rng(seed)
    frame = tree(lambda *_: rng.choice([0.0, 1.0, 0.55, np.nan]))
    frame = frame.sample(frac=1, random_state=seed, ignore_index=True)
    targets, counts = reward_labels.label(frame, 3)
    expected = brute_force(frame, 3)
    np.testing.assert_allclose(targets, expected[0])
    np.testing.assert_array_equal(counts, expected[1])


def test_reward_specs():
    rows = pd.DataFrame(
        {
            "level": [0, 1, 2, 3, 4, 5, 2, 1],
            "reason": ["no_code", "compile_error", "crash", "wrong_output", "wrong_output", "ok", "not_checkable", "infra_error"],
        }
    )
    assert reward_labels.rewards(rows, "executable").tolist()[:6] == [0, 0, 0, 0, 0, 1]
    assert reward_labels.rewards(rows, "paper").tolist()[:6] == pytest.approx([0, 0, 0.30, 0.55, 0.55, 1.0])
    assert reward_labels.rewards(rows, "paper").isna().tolist() == [False] * 6 + [True, True]


def test_a_leaked_family_or_kernel_is_refused():
    frame = tree(lambda *_: 1.0)
    reward_labels.check_leakage(frame)
    frame.loc[0, "split"] = "test"
    with pytest.raises(UserError, match="split: kernel 'a' is in test, train"):
        reward_labels.check_leakage(frame)
    with pytest.raises(UserError, match="family 'b' of the rollouts is in no split"):
        reward_labels.assign_split(frame, {"a": "train"})


def test_what_is_removed_from_training_is_listed_with_its_reason():
    frame = tree(lambda task, v, r: np.nan if (task, v) == ("a", 0) else 1.0)
    frame.loc[frame["task"] == "b", "split"] = "test"
    frame.loc[0, "code"] = frame.loc[frame["task"] == "b", "code"].iloc[0]
    kept, removed = reward_labels.filter_training(frame)
    assert sorted(removed["why"].unique()) == ["no verdict", "same program as a test row"]
    assert len(kept) + len(removed) == len(frame) and not kept["reward"].isna().any()


def test_branch_groups_hold_the_original_once_and_its_siblings():
    frame = tree(lambda task, v, r: float(v == 1), tasks=("a",))
    scores = np.arange(len(frame) * 3).reshape(-1, 3)
    groups = reward_labels.branch_groups(frame, scores)
    assert groups.groupby("group")["is_original"].sum().tolist() == [1, 1, 1]
    assert groups.groupby("group").size().tolist() == [3, 3, 3]
    original = groups[groups["is_original"] & (groups["depth"] == 2)].iloc[0]
    assert original["score"] == scores[0, 2]


def test_two_roots_of_a_task_are_groups_of_their_own():
    once = tree(lambda task, v, r: float(v == 1), tasks=("a",))
    again = once.assign(root="other", capture_id="other " + once["capture_id"], reward=1 - once["reward"])
    scores = np.random.default_rng(0).random((len(once) * 2, 3))
    both = reward_labels.branch_groups(pd.concat([once, again], ignore_index=True), scores)
    assert both.groupby("group")["is_original"].sum().tolist() == [1] * 6 and both["task"].nunique() == 1
    alone = reward_labels.branch_groups(again, scores[len(once) :])
    pd.testing.assert_frame_equal(both[both["group"].isin(alone["group"])].reset_index(drop=True), alone)


def test_a_whole_test_family_among_training_rows_is_refused():
    rows = tree(lambda *_: 1.0)
    reward_labels.check_families(rows, {"a": "train", "b": "train"})
    reward_labels.check_leakage(rows)  # sees nothing: no row of b stands elsewhere
    with pytest.raises(UserError, match="rollout b is in train, but its family 'b' belongs to test"):
        reward_labels.check_families(rows, {"a": "train", "b": "test"})
    with pytest.raises(UserError, match="family 'b' has no split"):
        reward_labels.check_families(rows, {"a": "train"})
