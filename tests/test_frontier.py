"""The frontier's table on a small hand-made study, and its front against the plain definition."""

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis import comparisons, frontier, metrics
from parallax_lib.analysis.figures import frontier as figures

SPENT = {"prefill_tokens": 100, "latent_steps": 0, "prm_calls": 0, "decode_tokens": 10}
LEVELS = {"a": (4, 5), "b": (4, 4), "c": (5, 5), "d": (1, 5)}  # of the pool's two programs, by task; tasks a and b are one family


def row(task, arm, sample, level):
    family = {"a": "ab", "b": "ab"}.get(task, task)
    reason = {1: "compile_error", 4: "crash", 5: "ok"}[level]  # a crash is shown by a program's own run
    facts = {"task": task, "family": family, "seed": 0, "arm": arm, "sample": sample, "level": 2 if level == 4 else level, "reason": reason}
    return facts | SPENT | {"validated": level == 5, "mean_logprob": 0.0, "score": np.nan, "cost": 110.0, "repair": 0, "looked_at": 1,
                            "compiles": 0, "validator_runs": 0}  # fmt: skip


def study(arm="pool"):
    pool = pd.DataFrame([row(task, arm, i, level) for task, levels in LEVELS.items() for i, level in enumerate(levels)])
    plain = [row(task, "unguided", 0, levels[0]) for task, levels in LEVELS.items()]
    guided = [row(task, "guided", 0, levels[1]) | {"cost": 115.0} for task, levels in LEVELS.items()]
    chosen = [row(task, "first_survivor", 0, 5) for task in LEVELS]  # the pool tells it again, for every N
    return pd.DataFrame([*plain, *guided, *chosen]), pool


def test_every_method_and_number_of_programs_is_counted_by_hand():
    results, pool = study()
    table = frontier.table(frontier.rows(results, pool)).set_index(["arm", "N"])
    assert table.index.is_unique and set(table.index.get_level_values("arm")) == {
        "unguided", "guided", "best_of_n", "compile_filter", "execution_filter", "first_survivor", "oracle"}  # fmt: skip
    columns = ["prm", "tasks", "rate", "looked_at", "compiles", "validator_runs", "checks", "cost"]
    assert table.loc[("unguided", 1), columns].tolist() == [False, 4, 0.25, 1, 0, 0, 0, 110]
    assert table.loc[("guided", 1), columns].tolist() == [True, 4, 0.75, 1, 0, 0, 0, 115]
    # a: crash, right; b: crash, crash; c: right; d: no compile, right: 7 programs, 6 of them run
    assert table.loc[("first_survivor", 2), columns].tolist() == [False, 4, 0.75, 1.75, 1.75, 1.5, 3.25, 117.5]
    assert table.loc[("oracle", 2), columns].tolist() == [False, 4, 0.75, 2, 2, 1.75, 3.75, 120]
    assert table.loc[table["on_checks_front"]].index.tolist() == [("guided", 1)]
    assert table.loc[table["on_cost_front"]].index.tolist() == [("unguided", 1), ("guided", 1)]


def test_the_difference_to_unguided_is_the_planned_comparison():
    results, pool = study()
    taken = frontier.rows(results, pool)
    table = frontier.table(taken).set_index(["arm", "N"])
    both = taken[(taken["arm"] == "unguided") | ((taken["arm"] == "first_survivor") & (taken["N"] == 2))]
    wanted = comparisons.planned(both, [("first_survivor", "unguided")]).iloc[0]
    assert table.loc[("first_survivor", 2), ["diff", "low", "high"]].tolist() == wanted[["diff", "low", "high"]].tolist()
    assert wanted["diff"] == 0.5 and (wanted["tasks"], wanted["clusters"]) == (4, 3)


def test_both_pools_and_whole_repair_rounds_stand_in_one_table():
    results, pool = study()
    _, sampled = study("sampled_pool")
    later = results[results["arm"] == "unguided"].assign(repair=1, validated=True, looked_at=2, compiles=1)
    rounds = pd.concat([results, later])
    table = frontier.table(frontier.rows(results, pool, sampled, rounds=rounds)).set_index(["arm", "N"])
    twins = [table.loc[(f"{prefix}first_survivor", 2)].drop("prm").tolist() for prefix in ("", "sampled:")]
    assert twins[0] == twins[1]
    assert table.loc[("unguided+repair1", 2), ["rate", "compiles"]].tolist() == [1, 1]
    part = frontier.rows(results, pool, rounds=rounds[rounds["task"] != "a"])
    assert not part["arm"].str.contains("repair").any()  # made for some tasks only
    fig = figures.frontier(table.reset_index())
    dashed = {trace.name for trace in fig.data if trace.line.dash == "dash"}
    starred = {trace.name for trace in fig.data if trace.marker.symbol == "star"}
    said = "Execution filter (first survivor)"
    assert f"{said}, sampled pool" in dashed and said not in dashed and starred == {"PRM-guided"}


@pytest.mark.parametrize("seed", range(5))
def test_a_point_is_on_the_front_if_no_other_one_is_better_and_as_cheap(seed):
    rng = np.random.default_rng(seed)
    cost, rate = pd.Series(rng.integers(0, 5, 30).astype(float)), pd.Series(rng.integers(0, 5, 30) / 5)
    cost[3] = np.nan
    beaten = [any((cost[j] <= cost[i] and rate[j] > rate[i]) or (cost[j] < cost[i] and rate[j] == rate[i]) for j in range(30))
              for i in range(30)]  # fmt: skip
    first = pd.DataFrame({"c": cost, "r": rate}).duplicated()  # of equal points one stands for all
    assert frontier.on_front(cost, rate).tolist() == [not (b or d or np.isnan(c)) for b, d, c in zip(beaten, first, cost, strict=True)]


def test_what_an_order_saves_is_read_between_two_numbers_of_programs():
    """`a` reaches 1/4, 3/4 and 1 with 1, 2 and 4 compiles, `b` 1/2 at last with 6: a needs 1.5, which saves three quarters."""
    good = {"a": {1: 1, 2: 3, 3: 4}, "b": {1: 1, 2: 2, 3: 2}}
    compiles = {"a": {1: 1, 2: 2, 3: 4}, "b": {1: 2, 2: 4, 3: 6}}
    taken = pd.DataFrame([
        {"arm": arm, "N": n, "task": f"t{i}", "family": "f", "validated": i < good[arm][n], "compiles": compiles[arm][n]}
        for arm in "ab" for n in (1, 2, 3) for i in range(4)])  # fmt: skip
    row = frontier.saved(taken, "a", "b", draws=50)
    assert [row[name] for name in ("rate", "spent", "needed", "saved", "low", "high", "unreached")] == [0.5, 6, 1.5, 0.75, 0.75, 0.75, 0]
    back = frontier.saved(taken, "b", "a", draws=50)  # b never validates as many
    assert back["rate"] == 1 and np.isnan(back["needed"]) and back["unreached"] == 1 and np.isnan(back["low"])


def test_the_interval_of_what_is_saved_resamples_families():
    rng = np.random.default_rng(0)
    taken = pd.DataFrame([
        {"arm": arm, "N": n, "task": f"t{i}", "family": f"f{i // 3}", "compiles": float(n),
         "validated": bool(rng.random() < 0.2 * n + 0.2 * (arm == "a"))}
        for arm in "ab" for n in (1, 2, 3) for i in range(30)])  # fmt: skip
    row = frontier.saved(taken, "a", "b", draws=40, seed=3)
    found, families = [], [f"f{i}" for i in range(10)]
    for times in metrics.resamples(10, 40, 3):
        drawn = [(f, k) for f, t in zip(families, times, strict=True) for k in range(t)]
        again = pd.concat([taken[taken["family"] == f].assign(family=f"{f}/{k}") for f, k in drawn])
        found.append(frontier.saved(again, "a", "b", draws=1)["saved"])
    kept = [each for each in found if not np.isnan(each)]
    assert row["unreached"] == pytest.approx(1 - len(kept) / 40)
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(kept, [0.025, 0.975]))


def test_numbers_of_programs_enter_the_names_for_planned_comparisons():
    results, pool = study()
    named = frontier.numbered(frontier.rows(results, pool))
    assert {"unguided", "guided", "first_survivor N=1", "first_survivor N=2"} <= set(named["arm"])
    assert comparisons.planned(named, [("first_survivor N=2", "first_survivor N=1")])["diff"].tolist() == [0.5]


def test_a_program_that_nobody_could_judge_counts_as_the_plan_says():
    results, pool = study()
    results.loc[(results["arm"] == "guided") & (results["task"] == "d"), ["reason", "validated"]] = ["infra_error", False]
    pair = [("guided", "unguided")]
    left_out, failed = (comparisons.planned(results, pair, unjudged_fail=fail).iloc[0] for fail in (False, True))
    assert (left_out["tasks"], failed["tasks"]) == (3, 4) and (left_out["rate_a"], failed["rate_a"]) == pytest.approx((2 / 3, 1 / 2))
