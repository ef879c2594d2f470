"""The branch-selection test against a plain loop, simulation, and cases worked by hand."""

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis.branch_selection import branch_selection
from parallax_lib.core.errors import UserError

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::FutureWarning", "error::DeprecationWarning")
METRICS = ["best", "gt", "ge", "reward", "regret", "gain", "pairwise"]


def make_branches(groups=60, seed=0, levels=5):
    rng = np.random.default_rng(seed)
    rows = []
    for g in range(groups):
        where = {"group": f"t{g}@{g % 3}", "direction": ["serial-omp", "omp-cuda"][g % 2], "depth": g % 3}
        original = rng.integers(0, 4)
        for b in range(4):
            reward, score = rng.integers(0, levels) / (levels - 1), rng.integers(0, 6) / 5
            rows.append(where | {"is_original": b == original, "score": score, "reward": reward})
    return pd.DataFrame(rows)


def pick_by_loop(group, rule):
    """The picked row: best score, the original among equals, else the first."""
    rows = group.to_dict("records")
    if rule == "original":
        return next(r for r in rows if r["is_original"])
    tied = [r for r in rows if r["score"] == max(x["score"] for x in rows)]
    return next((r for r in tied if r["is_original"]), tied[0])


def by_loop(branches, rule, tol):
    picked, original, most, right, pairs = [], [], [], 0.0, 0
    for _, group in branches.groupby("group"):
        picked.append(pick_by_loop(group, rule)["reward"])
        original.append(pick_by_loop(group, "original")["reward"])
        most.append(max(group["reward"]))
        rows = group.to_dict("records")
        for a in rows:
            for b in rows:
                if a["reward"] > b["reward"] + tol + 1e-9:
                    name = "score" if rule == "prm" else "is_original"
                    right += 1.0 if a[name] > b[name] else 0.5 if a[name] == b[name] else 0.0
                    pairs += 1
    n = len(picked)
    trio = list(zip(picked, original, most, strict=True))
    return {
        "best": sum(p >= m - tol - 1e-9 for p, _, m in trio) / n,
        "gt": sum(p > o + tol + 1e-9 for p, o, _ in trio) / n,
        "ge": sum(p >= o - tol - 1e-9 for p, o, _ in trio) / n,
        "reward": sum(picked) / n,
        "regret": sum(m - p for p, _, m in trio) / n,
        "gain": (sum(picked) - sum(original)) / (sum(most) - sum(original)),
        "pairwise": right / pairs,
    }


@pytest.mark.parametrize("tol", [0.0, 0.25, 0.3])
@pytest.mark.parametrize("picker", ["prm", "original"])
def test_every_slice_equals_a_plain_loop(tol, picker):
    branches = make_branches(seed=int(tol * 100))
    table = branch_selection(branches, tol)
    slices = {"all": branches, "serial-omp": branches[branches["direction"] == "serial-omp"]}
    slices |= {f"depth {d}": branches[branches["depth"] == d] for d in range(3)}
    assert set(table["slice"]) == {*slices, "omp-cuda"}
    for name, part in slices.items():
        row = table[(table["slice"] == name) & (table["picker"] == picker)].iloc[0]
        want = by_loop(part, picker, tol)
        assert {m: row[m] for m in METRICS} == pytest.approx(want)
        assert row["groups"] == part["group"].nunique() and row["best_low"] <= row["best"] <= row["best_high"]


def test_the_random_line_is_the_mean_of_many_random_picks():
    branches = make_branches(30, seed=5)
    row = branch_selection(branches, 0.25).set_index(["slice", "picker"]).loc[("all", "random")]
    rewards = np.stack([g["reward"] for _, g in branches.groupby("group")])  # (groups, branches)
    original = np.array([g.loc[g["is_original"], "reward"].item() for _, g in branches.groupby("group")])
    at = np.random.default_rng(6).integers(0, 4, (4000, 30))
    picked, most = rewards[np.arange(30), at], rewards.max(1)  # (draws, groups)
    seen = {"best": picked >= most - 0.25, "gt": picked > original + 0.25, "ge": picked >= original - 0.25}
    seen |= {"reward": picked, "regret": most - picked, "gain": (picked - original) / (most - original).mean()}
    for name, draws in seen.items():
        error = draws.mean(1).std() / np.sqrt(len(draws))
        assert row[name] == pytest.approx(draws.mean(), abs=4 * error), name
    assert row["pairwise"] == row["auroc"] == 0.5 and np.isnan(row["best_low"])


def test_auroc_brier_and_ece_are_those_of_all_branches():
    from sklearn.metrics import roc_auc_score

    branches = make_branches(seed=7)
    row = branch_selection(branches).iloc[0]
    assert row["auroc"] == pytest.approx(roc_auc_score(branches["reward"] >= 0.5, branches["score"]))
    assert row["brier"] == pytest.approx(((branches["score"] - branches["reward"]) ** 2).mean())
    assert 0 < row["ece"] < 1


def test_always_original_scores_full_marks_on_ge_and_a_perfect_score_on_everything():
    branches = make_branches(seed=8)
    table = branch_selection(branches.assign(score=branches["reward"])).set_index(["slice", "picker"])
    original, perfect = table.loc[("all", "original")], table.loc[("all", "prm")]
    assert (original["ge"], original["gt"], original["gain"]) == (1, 0, 0)
    assert (perfect["best"], perfect["ge"], perfect["pairwise"], perfect["gain"]) == (1, 1, 1, pytest.approx(1))
    assert perfect["regret"] == pytest.approx(0) and perfect["gt"] > 0.5
    worst = branch_selection(branches.assign(score=-branches["reward"])).iloc[0]
    assert worst["pairwise"] == 0 and worst["reward"] < original["reward"] < perfect["reward"]


def hand(*rows):
    """One group of (is_original, score, reward)."""
    frame = pd.DataFrame(rows, columns=["is_original", "score", "reward"])
    return frame.assign(group="t@0", direction="serial-omp", depth=0)


def test_ties_go_to_the_original():
    row = branch_selection(hand((False, 0.5, 1.0), (True, 0.5, 0.0))).iloc[0]
    assert (row["reward"], row["best"], row["gt"], row["pairwise"]) == (0, 0, 0, 0.5)


def test_a_tolerance_equal_to_the_difference_counts_as_within_despite_rounding():
    assert 0.3 < 1.0 - 0.7
    row = branch_selection(hand((True, 0.1, 1.0), (False, 0.9, 0.3)), tol=0.7).iloc[0]
    assert (row["best"], row["ge"], row["gt"], row["pairs"]) == (1, 1, 0, 0)
    assert branch_selection(hand((True, 0.1, 1.0), (False, 0.9, 0.3)), tol=0.69).iloc[0]["best"] == 0
    row = branch_selection(hand((True, 0.1, 0.3), (False, 0.9, 0.9)), tol=0.6).iloc[0]
    assert (row["gt"], row["pairs"]) == (0, 0)


def test_unjudged_branches_leave_and_unusable_groups_are_counted():
    branches = make_branches(4)
    branches.loc[(branches["group"] == "t0@0") & branches["is_original"], "reward"] = np.nan
    branches.loc[(branches["group"] == "t1@1") & ~branches["is_original"], "reward"] = np.nan
    branches.loc[branches[branches["group"] == "t2@2"].index[:1], "is_original"] = True
    branches.loc[branches[branches["group"] == "t2@2"].index[1:], "is_original"] = False
    branches.loc[branches[branches["group"] == "t2@2"].index[3:], "reward"] = np.nan
    table = branch_selection(branches)
    assert table.loc[table["slice"] == "all", ["groups", "dropped"]].to_numpy().tolist() == [[2, 2]] * 3
    kept = branches[branches["group"].isin(["t2@2", "t3@0"])].dropna()
    assert table.iloc[0]["reward"] == pytest.approx(by_loop(kept, "prm", 0)["reward"])
    alone = table[table["slice"] == "depth 1"].iloc[0]
    assert (alone["groups"], alone["dropped"]) == (0, 1) and np.isnan(alone["best"])


def test_constant_rewards_and_no_groups_are_nan_not_errors():
    same = branch_selection(make_branches().assign(reward=1.0)).iloc[0]
    assert (same["best"], same["ge"], same["gt"], same["regret"], same["pairs"]) == (1, 1, 0, 0, 0)
    assert np.isnan(same[["gain", "pairwise", "auroc"]].to_numpy(float)).all()
    nothing = branch_selection(make_branches()[:0])
    assert nothing["groups"].tolist() == [0, 0, 0] and nothing["best"].isna().all()


def test_picker_names_the_scored_line_and_missing_scores_are_an_error():
    branches = make_branches()
    assert set(branch_selection(branches, picker="ridge")["picker"]) == {"ridge", "random", "original"}
    branches.loc[3, "score"] = np.nan
    with pytest.raises(UserError, match="1 of 240 branches have no score"):
        branch_selection(branches)
