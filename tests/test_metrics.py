"""Statistics against closed forms, enumeration, scipy and scikit-learn."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import binomtest, norm, spearmanr

from parallax_lib.analysis import metrics, pass_at_k
from parallax_lib.core.errors import UserError

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::FutureWarning", "error::DeprecationWarning")
Z = norm.ppf(0.975)


# rates and differences


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 76), (25, 76), (32, 76), (76, 76), (3, 10_000)])
def test_wilson_bounds_are_the_roots_of_its_quadratic_and_scipys(k, n):
    p = k / n
    roots = sorted(np.roots([1 + Z**2 / n, -(2 * p + Z**2 / n), p**2]).real)
    assert metrics.wilson(k, n) == pytest.approx(roots, abs=1e-12)
    assert metrics.wilson(k, n, 0.9) == pytest.approx(tuple(binomtest(k, n).proportion_ci(0.9, "wilson")), abs=1e-12)
    assert 0 <= metrics.wilson(k, n)[0] <= p <= metrics.wilson(k, n)[1] <= 1


def test_bootstrap_agrees_with_all_resamples_enumerated():
    a, b = np.array([1, 0.5, 0, 1, 0.25]), np.array([0, 0.5, 0.5, 0, 1])
    every = np.array([np.mean(c) for c in itertools.product(a - b, repeat=5)])  # 3125 equally likely resamples
    found = metrics.paired_bootstrap(a, b, draws=40_000)
    assert found.value == pytest.approx((a - b).mean())
    for q, bound in ((0.025, found.low), (0.975, found.high)):
        assert np.quantile(every, q - 0.01) <= bound <= np.quantile(every, q + 0.01)
    narrow = metrics.paired_bootstrap(a, b, draws=40_000, confidence=0.5)
    assert np.quantile(every, 0.23) <= narrow.low <= np.quantile(every, 0.27)


def test_a_bootstrap_of_clusters_agrees_with_all_resamples_enumerated():
    a, b, cluster = np.array([1, 0.5, 0, 1, 0.25, 1, 1]), np.array([0, 0.5, 0.5, 0, 1, 0, 0]), list("xyyzzzw")
    parts = [(a - b)[[c == name for c in cluster]] for name in "xyzw"]
    every = np.array([np.concatenate(drawn).mean() for drawn in itertools.product(parts, repeat=4)])  # 256 equally likely resamples
    found = metrics.cluster_bootstrap(a, b, cluster, draws=40_000)
    assert found.value == pytest.approx((a - b).mean())
    for q, bound in ((0.025, found.low), (0.975, found.high)):
        assert np.quantile(every, q - 0.015) <= bound <= np.quantile(every, q + 0.015)
    alone = metrics.cluster_bootstrap(a, b, range(7))
    assert alone == pytest.approx(metrics.paired_bootstrap(a, b))  # each task a cluster
    assert metrics.cluster_bootstrap([1.0, 0.0], [0.0, 0.0], ["x", "x"]) == (0.5, 0.5, 0.5)


def test_bootstrap_is_seeded_antisymmetric_and_paired():
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=200) * 10, rng.normal(size=200)
    one = metrics.paired_bootstrap(base + noise + 1, base, draws=2500, seed=3)
    assert one == metrics.paired_bootstrap(base + noise + 1, base, draws=2500, seed=3)
    assert one != metrics.paired_bootstrap(base + noise + 1, base, draws=2500, seed=4)
    assert one.high - one.low == pytest.approx(2 * Z / math.sqrt(200), rel=0.15)  # the shared spread of 10 cancels
    back = metrics.paired_bootstrap(base, base + noise + 1, draws=2500, seed=3)
    assert back == pytest.approx((-one.value, -one.high, -one.low))
    assert metrics.paired_bootstrap([1.0, 1.0], [0.0, 0.0]) == (1, 1, 1)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (3, 3), (20, 6), (2, 9), (0, 12)])
def test_sign_test_equals_the_sum_over_all_coin_flips_as_extreme(wins, losses):
    n = wins + losses
    extreme = sum(math.comb(n, i) for i in range(n + 1) if abs(2 * i - n) >= abs(wins - losses))
    assert metrics.sign_test(wins, losses) == pytest.approx(extreme / 2**n)


def test_mde_is_the_root_of_the_published_sample_size_formula():
    z_alpha, z_beta = Z, norm.ppf(0.8)
    for n, c in ((76, 0.3), (200, 0.4), (1000, 0.1)):
        d = metrics.mde(n, c)
        assert n == pytest.approx((z_alpha * math.sqrt(c) + z_beta * math.sqrt(c - d * d)) ** 2 / d**2, rel=1e-6)
        assert 0 < d < c
    assert metrics.mde(76, 0.3) > metrics.mde(152, 0.3) > metrics.mde(152, 0.2)
    assert metrics.mde(76, 0.3, power=0.9) > metrics.mde(76, 0.3) > metrics.mde(76, 0.3, alpha=0.1)


def test_mde_is_detected_four_times_in_five():
    n, c = 150, 0.3
    d = metrics.mde(n, c)
    rng = np.random.default_rng(1)
    better, worse, _ = rng.multinomial(n, [(c + d) / 2, (c - d) / 2, 1 - c], size=20_000).T
    found = (better - worse) / np.sqrt(better + worse) > Z
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_mde_without_a_difference_seen_takes_the_effect_itself_as_discordance():
    d = metrics.mde(76, 0.0)
    assert 76 == pytest.approx((Z * math.sqrt(d) + norm.ppf(0.8) * math.sqrt(d - d * d)) ** 2 / d**2, rel=1e-6)
    assert math.isnan(metrics.mde(3, 0.5)) and math.isnan(metrics.mde(0, 0.5)) and metrics.mde(4, 0.0) <= 1


# k of n samples


@pytest.mark.parametrize("n", [1, 4, 6])
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_correct_sample(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        outcomes = [1] * c + [0] * (n - c)
        want = np.mean([max(s) for s in itertools.combinations(outcomes, k)])
        assert pass_at_k.pass_at_k(n, c, k) == pytest.approx(want)
        assert pass_at_k.build_at_k(n, c, k) == pytest.approx(want)
    assert math.isnan(pass_at_k.pass_at_k(n, 0, n + 1))


def test_speedup_at_k_is_the_mean_best_of_all_subsets():
    speedups = [3.5, 0.0, 1.25, math.nan, 8.0, 1.25]
    clean = [0 if math.isnan(s) else s for s in speedups]
    for k in range(1, 7):
        want = np.mean([max(s) for s in itertools.combinations(clean, k)])
        assert pass_at_k.speedup_at_k(speedups, k) == pytest.approx(want)
        assert pass_at_k.efficiency_at_k(speedups, 4, k) == pytest.approx(want / 4)
    assert math.isnan(pass_at_k.speedup_at_k(speedups, 7)) and pass_at_k.speedup_at_k([0, 0], 1) == 0


# scores against outcomes


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_and_brier_equal_scikit_learn(levels):
    from sklearn.metrics import brier_score_loss, roc_auc_score

    rng = np.random.default_rng(levels)
    scores, labels = rng.integers(0, levels, 300) / levels, rng.random(300) < 0.3
    assert metrics.auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert metrics.brier(scores, labels) == pytest.approx(brier_score_loss(labels, scores))
    assert metrics.auroc(-scores, labels) == pytest.approx(1 - metrics.auroc(scores, labels))


@pytest.mark.parametrize("levels", [4, 1000])
def test_spearman_equals_scipy(levels):
    rng = np.random.default_rng(levels)
    a, b = rng.integers(0, levels, (2, 80))
    assert metrics.spearman(a, a + b) == pytest.approx(spearmanr(a, a + b).statistic)


def test_ece_equals_a_loop_over_equal_mass_bins():
    rng = np.random.default_rng(2)
    scores, targets = rng.random(500), rng.random(500) < 0.4
    order, want = np.argsort(scores), 0.0
    for part in range(10):
        rows = order[50 * part : 50 * part + 50]
        want += 0.1 * abs(np.mean([scores[i] for i in rows]) - np.mean([targets[i] for i in rows]))
    assert metrics.ece(scores, targets) == pytest.approx(want)
    table = metrics.calibration_table(scores, targets)
    assert table["count"].tolist() == [50] * 10 and table["bin"].tolist() == list(range(10))
    assert (table["high"][:-1].to_numpy() < table["low"][1:].to_numpy()).all()
    assert (table["count"] * table["target"]).sum() == pytest.approx(targets.sum())


def test_equal_scores_share_a_bin_whatever_the_order_of_rows():
    scores, targets = np.repeat([0.2, 0.7, 0.9], [37, 50, 13]), np.arange(100) % 4 == 0
    shuffle = np.random.default_rng(3).permutation(100)
    table = metrics.calibration_table(scores, targets)
    pd.testing.assert_frame_equal(table, metrics.calibration_table(scores[shuffle], targets[shuffle]))
    assert table["count"].tolist() == [37, 50, 13] and (table["low"] == table["high"]).all()
    want = sum(abs(targets[scores == s].mean() - s) * (scores == s).mean() for s in (0.2, 0.7, 0.9))
    assert metrics.ece(scores, targets) == pytest.approx(want)


def test_what_cannot_be_estimated_is_nan_and_silent():
    ones = np.ones(5)
    for value in (
        metrics.auroc(ones, ones > 0), metrics.auroc(ones, ones < 0), metrics.auroc([], []), metrics.brier([], []),
        metrics.ece([], []), metrics.spearman(ones, range(5)), metrics.spearman([], []), *metrics.wilson(0, 0),
        *metrics.paired_bootstrap([], []),
    ):  # fmt: skip
        assert math.isnan(value)
    assert metrics.auroc(ones, [1, 0, 1, 0, 0]) == 0.5
    assert metrics.ece(ones, ones) == metrics.brier(ones, ones) == 0


def make_scores(n=400):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"depth": rng.integers(0, 3, n), "model": rng.choice(["gru", "ridge"], n)})
    frame["target"], frame["score"] = rng.integers(0, 5, n) / 4, rng.random(n)
    return frame.assign(split=rng.choice(["test", "valid"], n), n=1)


def test_scores_by_depth_equals_each_slice_by_itself():
    from sklearn.metrics import roc_auc_score

    frame = make_scores()
    frame.loc[3:9, "target"] = np.nan
    table = metrics.scores_by_depth(frame)
    assert len(table) == 2 * 2 * 3
    for row in table.itertuples():
        part = frame[(frame.model == row.model) & (frame.depth == row.depth) & (frame.split == row.split)].dropna()
        good = part.target >= 0.5
        assert (row.n, row.base_rate) == (len(part), pytest.approx(good.mean()))
        assert row.auroc == pytest.approx(roc_auc_score(good, part.score))
        assert row.brier == pytest.approx(((part.score - part.target) ** 2).mean())
        assert row.ece == metrics.ece(part.score, part.target)
    strict = metrics.scores_by_depth(frame, threshold=0.6)
    assert (strict["base_rate"] < table["base_rate"]).all()
    one_class = metrics.scores_by_depth(frame.assign(target=1.0))
    assert one_class["auroc"].isna().all() and one_class["brier"].notna().all()
    assert metrics.scores_by_depth(frame[:0]).empty


def test_calibration_by_model_holds_every_models_own_table():
    frame = make_scores()
    table = metrics.calibration_by(frame)
    for model in ("gru", "ridge"):
        own = frame[frame["model"] == model]
        want = metrics.calibration_table(own["score"], own["target"])
        assert table[table["model"] == model].drop(columns="model").reset_index(drop=True).equals(want)
    assert {"model", "score", "target", "count"} <= set(metrics.calibration_by(frame[:0]).columns)


# arms


def results(rows):
    """(arm, task, level, reason) each; decode_tokens 100, 200, ..."""
    frame = pd.DataFrame(rows, columns=["arm", "task", "level", "reason"])
    frame["direction"] = frame["task"].str.split(".").str[1]
    return frame.assign(validated=frame["level"] == 5, decode_tokens=100 * (frame.index + 1), latent_steps=4)


ROWS = [
    ("guided", "a.serial-omp", 5, "ok"), ("guided", "b.serial-omp", 5, "ok"), ("guided", "c.omp-cuda", 2, "crash"),
    ("guided", "d.omp-cuda", 0, "infra_error"), ("guided", "e.omp-cuda", 5, "ok"),
    ("unguided", "a.serial-omp", 5, "ok"), ("unguided", "b.serial-omp", 1, "compile_error"),
    ("unguided", "c.omp-cuda", 5, "ok"), ("unguided", "d.omp-cuda", 5, "ok"), ("unguided", "e.omp-cuda", 4, "race"),
]  # fmt: skip


def test_arm_table_counts_judged_rows_and_means_the_budget():
    table = metrics.arm_table(results(ROWS)).set_index("arm")
    guided = table.loc["guided"]
    assert (guided["n"], guided["unjudged"], guided["validated"]) == (4, 1, 3)
    assert (guided["rate"], guided["decode_tokens"], guided["latent_steps"]) == (0.75, 300, 4)
    assert (guided["low"], guided["high"]) == pytest.approx(tuple(binomtest(3, 4).proportion_ci(method="wilson")))
    assert table.loc["unguided", "n"] == 5 and "prm_calls" not in table
    split = metrics.arm_table(results(ROWS), by_direction=True).set_index(["arm", "direction"])
    assert split["rate"].to_dict() == {("guided", "serial-omp"): 1.0, ("guided", "omp-cuda"): 0.5,
                                       ("unguided", "serial-omp"): 0.5, ("unguided", "omp-cuda"): 2 / 3}  # fmt: skip
    empty = metrics.arm_table(results(ROWS[3:4])).iloc[0]
    assert empty["n"] == 0 and math.isnan(empty["rate"]) and math.isnan(empty["low"])
    assert metrics.arm_table(results([])).empty


def test_clustered_takes_the_variance_of_few_clusters_without_bias():
    """Three tasks of four seeds with 4, 2 and 1 right: 7 of 12, and the mean of a task has the sample variance over m - 1."""
    values, rate = [1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0], 7 / 12
    trials = rate * (1 - rate) / (np.var([4 / 4, 2 / 4, 1 / 4], ddof=1) / 3)
    assert 3 < trials < 12
    assert metrics.clustered(values, np.repeat(["a", "b", "c"], 4)) == pytest.approx(metrics.wilson(rate * trials, trials))


def test_seeds_of_one_task_count_as_far_as_they_differ():
    """Equal seeds are one trial a task; independent ones as many trials as rows; between them, the bootstrap over tasks."""
    rng = np.random.default_rng(0)
    tasks = np.repeat(np.arange(300), 3)
    once = rng.random(300) < 0.4
    assert metrics.clustered(np.repeat(once, 3), tasks) == pytest.approx(metrics.wilson(once.sum(), 300))
    assert metrics.clustered(once, np.arange(300)) == metrics.wilson(once.sum(), 300)
    free = rng.random(900) < 0.4
    assert metrics.clustered(free, tasks) == pytest.approx(metrics.wilson(free.sum(), 900), abs=0.006)
    mixed = np.where(rng.random(900) < 0.5, np.repeat(once, 3), free)
    low, high = metrics.clustered(mixed, tasks)
    resampled = metrics.paired_bootstrap(mixed.reshape(300, 3).mean(1), np.zeros(300))
    assert (low, high) == pytest.approx(resampled[1:], abs=0.004)
    assert metrics.clustered(np.zeros(900), tasks) == metrics.wilson(0, 300) and metrics.clustered([1.0], ["a"]) == metrics.wilson(1, 1)
    assert all(map(math.isnan, metrics.clustered([], [])))


def test_paired_compares_tasks_judged_in_both_arms():
    told = metrics.paired(results(ROWS), "guided", "unguided")
    assert told["comparison"] == "guided - unguided"
    assert (told["tasks"], told["unpaired"]) == (4, 1)  # d was not judged in one arm
    assert (told["wins"], told["ties"], told["losses"]) == (2, 1, 1)
    assert (told["rate_a"], told["rate_b"], told["diff"]) == (0.75, 0.5, 0.25)
    assert told["p_value"] == 1.0 and told["mde"] == metrics.mde(4, 0.75) and told["low"] < 0.25 < told["high"]
    back = metrics.paired(results(ROWS), "unguided", "guided")
    assert (back["wins"], back["losses"], back["diff"]) == (1, 2, -0.25)


def test_paired_takes_a_task_once_however_many_seeds_it_ran():
    """Three seeds: a wins 2/3 against 1/3 on one task and ties on the other; the unit is the task."""
    rows = [("x", "t.s", 5, "ok"), ("x", "t.s", 5, "ok"), ("x", "t.s", 3, "wrong_output"), ("x", "u.s", 5, "ok")]
    rows += [("y", "t.s", 5, "ok"), ("y", "t.s", 2, "crash"), ("y", "t.s", 2, "crash"), ("y", "u.s", 5, "ok")]
    told = metrics.paired(results(rows), "x", "y")
    assert (told["tasks"], told["wins"], told["ties"], told["losses"]) == (2, 1, 1, 0)
    assert told["diff"] == pytest.approx(1 / 6) and told["rate_a"] == pytest.approx(5 / 6)


def test_paired_of_arms_without_common_tasks_is_nan_and_of_unknown_arms_an_error():
    told = metrics.paired(results([ROWS[0], ROWS[6]]), "guided", "unguided")
    assert told["tasks"] == 0 and math.isnan(told["diff"]) and math.isnan(told["mde"]) and told["p_value"] == 1
    with pytest.raises(UserError, match="no method 'magic'.*guided, unguided"):
        metrics.paired(results(ROWS), "magic", "guided")


def test_at_k_table_averages_the_subsets_of_each_task():
    levels = {"t": [5, 2, 0, 5], "u": [1, 2, 3, 0], "v": [5, 5]}
    rows = [("x", task, level, "ok" if level == 5 else "crash") for task, ls in levels.items() for level in ls]
    table = pass_at_k.at_k_table(results([*rows, ("x", "v", 0, "not_checkable")]).assign(direction="d"), ks=(1, 3))
    for row in table.itertuples():
        enough = [ls for ls in levels.values() if len(ls) >= row.k]
        assert row.tasks == len(enough) == {1: 3, 3: 2}[row.k]
        for got, rung in ((row.pass_at_k, 5), (row.build_at_k, 2)):
            best = [np.mean([max(s) >= rung for s in itertools.combinations(ls, row.k)]) for ls in enough]
            assert got == pytest.approx(np.mean(best))


def test_parallel_racefree_and_speedup_at_k_are_the_means_over_all_subsets():
    made = [("yes", "yes", "3.00x (2.90-3.10)"), ("yes", "not checked", "not counted"), ("unknown", "yes", "not checked")]
    made += [("no", "no", "9.00x (9.00-9.00)")]
    rows = pd.DataFrame(made, columns=["parallel", "race_free", "faster"])
    rows = rows.assign(arm="x", task="t", level=[5, 5, 5, 4], validated=[True, True, True, False], reason=["ok", "ok", "ok", "race"])
    table = pass_at_k.at_k_table(rows, ks=(1, 2, 3)).set_index("k")
    for k in (1, 2, 3):
        subsets = list(itertools.combinations(range(4), k))
        want = {"parallel_at_k": [1, 1, 0, 0], "racefree_at_k": [1, 0, 1, 0], "speedup_at_k": [3.0, 0, 0, 0]}
        for name, value in want.items():
            assert table.loc[k, name] == pytest.approx(np.mean([max(value[i] for i in s) for s in subsets]))
    unchecked = pass_at_k.at_k_table(rows.assign(parallel="unknown", race_free="not checked", faster="not checked"))
    assert unchecked[["parallel_at_k", "racefree_at_k", "speedup_at_k"]].isna().all(axis=None) and unchecked["pass_at_k"][0] == 0.75


# latent sensitivity


def test_latent_sensitivity_counts_programs_and_changed_outcomes():
    rows = [  # task, kind, sigma, code, level, reason
        ("a", "unperturbed", 0.0, "A", 5, "ok"), ("b", "unperturbed", 0.0, "B", 2, "crash"),
        ("c", "unperturbed", 0.0, "C", 0, "infra_error"),
        ("a", "noise", 0.5, "A", 5, "ok"), ("a", "noise", 0.5, "A2", 3, "wrong_output"),
        ("b", "noise", 0.5, "B", 2, "crash"), ("b", "noise", 0.5, "B", 2, "crash"), ("c", "noise", 0.5, "C2", 5, "ok"),
        ("a", "noise", 1.0, "A3", 5, "ok"), ("a", "noise", 1.0, "A4", 0, "not_checkable"),
        ("b", "noise", 1.0, "B2", 5, "ok"), ("b", "noise", 1.0, "B3", 2, "crash"),
        ("a", "re-decode", 0.0, "A5", 2, "crash"), ("b", "re-decode", 0.0, "B", 2, "crash"),
        ("stray", "noise", 1.0, "S", 5, "ok"),  # no unperturbed program: left out
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["task", "kind", "sigma", "code", "level", "reason"])
    table = metrics.latent_sensitivity(frame.assign(validated=frame["level"] == 5))
    got = table.set_index(["kind", "sigma"])
    assert list(got.index) == [("unperturbed", 0.0), ("noise", 0.5), ("noise", 1.0), ("re-decode", 0.0)]
    assert got["control"].tolist() == [False, False, False, True]
    assert got["programs"].tolist() == [3, 5, 4, 2] and got["tasks"].tolist() == [3, 3, 2, 2]
    assert got["distinct_programs"].tolist() == pytest.approx([1, (2 + 1 + 2) / 3, (3 + 3) / 2, (2 + 1) / 2])
    assert got["changed_rate"].tolist() == pytest.approx([0, 1 / 4, 1 / 3, 1 / 2])  # c is not judged unperturbed
    assert got["changed_outcomes"].tolist() == pytest.approx([0, 1 / 2, 1 / 2, 1 / 2])
    assert got["oracle_rate"].tolist() == pytest.approx([0.5, 0.5, 1.0, 0.5])
    assert got["rate"].tolist() == pytest.approx([0.5, 0.25, 2 / 3, 0])
    assert metrics.latent_sensitivity(frame[:0].assign(validated=[])).empty


def closed_testing(p):
    """Holm's procedure by its definition: a comparison is rejected where every set that holds it is, each by Bonferroni."""
    sets = [s for k in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), k)]
    return [max(min(1, len(s) * min(p[i] for i in s)) for s in sets if one in s) for one in range(len(p))]


def test_holm_is_closed_testing_by_bonferroni():
    rng = np.random.default_rng(0)
    for n in (1, 2, 5):
        p = rng.uniform(0, 0.3, n).round(2)
        assert metrics.holm(p).tolist() == pytest.approx(closed_testing(p))
    assert metrics.holm([0.01, np.nan, 0.04]).tolist() == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


def test_a_cluster_p_value_is_the_share_of_all_resamples_beyond_zero():
    gain, clusters = [0.5, 1, -0.5, 0.25, 0.5, -0.25], ["a", "a", "b", "c", "c", "d"]
    sums = {c: [g for g, k in zip(gain, clusters, strict=True) if k == c] for c in "abcd"}
    means = [np.mean(sum((sums[c] for c in drawn), [])) for drawn in itertools.product("abcd", repeat=4)]
    wanted = 2 * min(np.mean([m <= 0 for m in means]), np.mean([m >= 0 for m in means]))
    assert metrics.cluster_p_value(gain, np.zeros(6), clusters, draws=40_000) == pytest.approx(wanted, abs=0.01)
    assert metrics.cluster_p_value([1, 1], [0, 0], ["a", "b"], draws=999) == pytest.approx(0.002)
    assert metrics.cluster_p_value([0, 0], [0, 0], ["a", "b"]) == 1 and np.isnan(metrics.cluster_p_value([], [], []))


def test_the_detectable_difference_counts_clusters_and_not_tasks():
    rng = np.random.default_rng(1)
    gain = rng.normal(size=40)
    paired = (stats.t.ppf(0.975, 39) + stats.t.ppf(0.8, 39)) * gain.std(ddof=1) / math.sqrt(40)
    alone = metrics.cluster_mde(gain, np.zeros(40), np.arange(40))
    assert alone == pytest.approx(paired)
    nine = metrics.cluster_mde(np.repeat(gain, 9), np.zeros(360), np.repeat(np.arange(40), 9))  # nine tasks that are one
    assert nine == pytest.approx(alone) and np.isnan(metrics.cluster_mde([1, 0], [0, 0], ["a", "a"]))


def test_a_difference_of_that_size_is_seen_four_times_in_five():
    """20 families of unlike sizes with an effect of their own, 400 studies, t test of whole families."""
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(20), rng.integers(1, 6, 20))

    def gains(effect):
        return effect + rng.normal(0, 0.5, 20)[clusters] + rng.normal(0, 0.5, len(clusters))

    size = np.mean([metrics.cluster_mde(gains(0), 0 * clusters, clusters) for _ in range(100)])
    seen = 0
    for _ in range(400):
        found = gains(size)
        error = metrics.cluster_mde(found, 0 * clusters, clusters) / (stats.t.ppf(0.975, 19) + stats.t.ppf(0.8, 19))
        seen += found.mean() / error > stats.t.ppf(0.975, 19)
    assert 0.7 < seen / 400 < 0.88
