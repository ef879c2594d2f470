"""The report card's tables against enumeration, naive loops and hand-worked cases."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis import comparisons
from parallax_lib.core.errors import UserError


def results(by_arm, seeds=1):
    """Validated share of each task, in `seeds` rows a task: {"guided": [1, 0.5, ...], ...}."""
    rows = []
    for arm, shares in by_arm.items():
        for i, share in enumerate(shares):
            good = round(share * seeds)
            rows += [{"arm": arm, "task": f"t{i}", "seed": s, "validated": s < good, "reason": "ok"} for s in range(seeds)]
    return pd.DataFrame(rows)


def test_every_other_arm_is_compared_with_the_guided_one():
    table = comparisons.differences(results({"unguided": [0, 0, 1], "guided": [1, 0.5, 1], "oracle": [1, 1, 1]}, seeds=2))
    assert table["against"].tolist() == ["unguided", "oracle"] and table["diff"].tolist() == pytest.approx([0.5, -1 / 6])
    assert table["wins"].tolist() == [2, 0] and table["losses"].tolist() == [0, 1]
    assert comparisons.differences(results({"unguided": [0, 1]})).empty


def test_seeds_of_a_task_are_not_taken_as_independent():
    few = comparisons.differences(results({"unguided": [0, 0, 1, 0], "guided": [1, 0, 1, 0]}, seeds=1)).iloc[0]
    many = comparisons.differences(results({"unguided": [0, 0, 1, 0], "guided": [1, 0, 1, 0]}, seeds=9)).iloc[0]
    assert (few["low"], few["high"], few["tasks"]) == (many["low"], many["high"], many["tasks"])


def test_gap_by_hand_and_its_interval_by_enumeration():
    """Four tasks: all 256 resamples, those without a gap left out."""
    unguided, guided, oracle = [0, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]
    row = comparisons.gap_closed(results({"unguided": unguided, "guided": guided, "oracle": oracle})).iloc[0]
    assert (row["arm"], row["tasks"], row["gap"], row["closed"]) == ("guided", 4, 0.5, 0.5)
    gain, gap = np.subtract(guided, unguided), np.subtract(oracle, unguided)
    picks = [list(p) for p in itertools.product(range(4), repeat=4)]
    ratios = [gain[p].sum() / gap[p].sum() for p in picks if gap[p].sum() > 0]
    assert row["no_gap"] == pytest.approx(1 - len(ratios) / 256, abs=0.01)
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), abs=1e-9)


def test_without_a_gap_nothing_can_be_closed():
    row = comparisons.gap_closed(results({"unguided": [1, 0], "guided": [1, 0], "oracle": [1, 0]})).iloc[0]
    assert row["gap"] == 0 and math.isnan(row["closed"])
    assert "+0.0 points; there is no gap" in comparisons.headline(pd.DataFrame(), pd.DataFrame([row]))
    assert comparisons.gap_closed(results({"guided": [1, 0]})).empty


def group(rng, size, name="g", depth=1):
    """Scores on a coarse grid, so that ties occur."""
    frame = pd.DataFrame({"group": name, "task": name, "depth": depth, "score": rng.integers(0, 4, size) / 4})
    original = int(rng.integers(0, size))
    return frame.assign(is_original=np.arange(size) == original, reward=rng.integers(0, 3, size) / 2)


def naive_pick(frame):
    """Index of the highest score, ties to the original, then to the first."""
    top = frame[frame["score"] == frame["score"].max()]
    return top.index[top["is_original"]][0] if top["is_original"].any() else top.index[0]


@pytest.mark.parametrize("seed", range(12))
def test_breadth_equals_the_enumeration_of_every_draw(seed):
    rng = np.random.default_rng(seed)
    frame = group(rng, 6)
    others, first = frame.index[~frame["is_original"]], frame.index[frame["is_original"]][0]
    table = comparisons.breadth(frame).set_index("n")
    for n in range(1, 7):
        drawn = [frame.loc[sorted([first, *some])] for some in itertools.combinations(others, n - 1)]
        assert table.loc[n, "prm"] == pytest.approx(np.mean([d.loc[naive_pick(d), "reward"] for d in drawn]))
        assert table.loc[n, "oracle"] == pytest.approx(np.mean([d["reward"].max() for d in drawn]))
        assert table.loc[n, "random"] == pytest.approx(np.mean([d["reward"].mean() for d in drawn]))
        assert table.loc[n, "original"] == frame.loc[first, "reward"]


def test_thoughts_admit_branch_offs_step_by_step_and_score_them_after_the_last_latent():
    rollouts = pd.DataFrame(
        {"capture_id": ["a", "a0", "a1", "a2", "b"], "root": ["a", "a", "a", "a", "b"], "task": "t",
         "branch_depth": [-1, 0, 1, 1, -1], "reward": [0, 1, 1, np.nan, 1]}
    )  # fmt: skip
    scores = pd.DataFrame(
        [{"capture_id": c, "depth": d, "model": m, "split": "train" if c == "b" else "test", "score": d + i / 10}
         for i, c in enumerate(rollouts["capture_id"]) for d in range(2) for m in ("prm", "gru")]
    )  # fmt: skip
    table = comparisons.trajectories(rollouts, scores, "prm")
    assert table.groupby("depth")["score"].apply(list).to_dict() == {1: [1.0, 1.1], 2: [1.0, 1.1, 1.2]}
    assert table["is_original"].tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("seed", range(4))
def test_margin_sweep_equals_a_naive_loop(seed):
    rng = np.random.default_rng(seed)
    branches = pd.concat([group(rng, 4, f"g{i}") for i in range(9)], ignore_index=True)
    branches["task"] = branches["group"].map({f"g{i}": f"t{i // 2}" for i in range(9)})
    table = comparisons.margin_sweep(branches, [0.0, 0.3, 2.0])
    for row in table.itertuples():
        gains = {}
        for _, g in branches.groupby("group"):
            at = g.index[g["is_original"]][0]
            pick = naive_pick(g)
            pick = pick if g.loc[pick, "score"] - g.loc[at, "score"] > row.margin else at
            gains.setdefault(g["task"].iloc[0], []).append(g.loc[pick, "reward"] - g.loc[at, "reward"])
        assert row.gain == pytest.approx(np.mean([np.mean(v) for v in gains.values()]))
        assert row.low <= row.gain <= row.high and row.gain <= row.possible
    assert table["moved"].iloc[-1] == 0 and table["gain"].iloc[-1] == 0


def test_the_headline_says_a_null_with_its_size():
    told = results({"unguided": [0, 1] * 20, "guided": [1, 0] * 20, "oracle": [1, 1] * 20})
    text = comparisons.headline(comparisons.differences(told), comparisons.gap_closed(told))
    assert "guided - unguided: +0.0 points" in text and "would have been" in text and "guided closes 0 %" in text


def test_planned_comparisons_resample_families_and_are_corrected_together():
    by_arm = {"unguided": [0, 0, 0, 0, 1, 0, 0, 0], "guided": [1, 1, 1, 1, 1, 1, 1, 0], "rule": [0, 1, 0, 0, 1, 0, 0, 1]}
    rows = results(by_arm)
    rows["family"] = rows["task"].map({f"t{i}": f"f{i // 2}" for i in range(8)})
    table = comparisons.planned(rows, [("guided", "unguided"), ("rule", "unguided"), ("guided", "rule")])
    assert table["comparison"].tolist() == ["guided - unguided", "rule - unguided", "guided - rule"]
    assert (table["tasks"] == 8).all() and (table["clusters"] == 4).all()
    whole = comparisons.over_families(rows, "guided", "unguided")
    assert table.loc[0, ["diff", "low", "high"]].tolist() == list(whole)
    assert ((table["p_value"] < 0.05) == ((table["low"] > 0) | (table["high"] < 0))).all()
    assert table["p_holm"].tolist() == pytest.approx(comparisons.metrics.holm(table["p_value"]))
    assert table["verdict"].iloc[0] == "gain" and "points would have been" in table["verdict"].iloc[1]
    with pytest.raises(UserError, match="no method 'other' in the results; they hold guided, rule, unguided"):
        comparisons.planned(rows, [("guided", "other")])
