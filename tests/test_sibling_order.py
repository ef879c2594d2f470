"""Does a score order siblings?  Measures against naive twins, and what the study of losses trains on."""

import numpy as np
import pandas as pd
import pytest
import torch

from parallax_lib.analysis import metrics, sibling_order
from parallax_lib.core.config import ROOT, load_file
from parallax_lib.search.rollout_files import write_rollouts
from parallax_lib.tasks.task import split_of


@pytest.fixture
def real_losses(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import real_losses

    return real_losses


def rollouts(tasks=40, seed=0):
    """An unperturbed program, three branch-offs at the first latent and one at the second, for each task of ten families."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(tasks):
        easy = rng.random()
        for depth, draw in ((-1, 0), (0, 0), (0, 1), (0, 2), (1, 0)):
            rows.append({"capture_id": f"k{i}_{depth}_{draw}", "root": f"k{i}", "task": f"k{i}", "kernel": f"k{i}", "family": f"f{i % 10}",
                         "direction": ("serial-omp", "omp-cuda")[i % 2], "branch_depth": depth, "resample": draw, "easy": easy,
                         "plan": rng.choice(["loop none", "map none"]), "reward": float(rng.random() < easy)})  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def test_a_score_that_only_knows_the_task_ranks_programs_and_orders_no_siblings():
    rows = rollouts()
    of_task, of_program = (rows[name].to_numpy()[:, None] for name in ("easy", "reward"))
    table = sibling_order.table(rows, {"bce": [of_task], "right": [of_program], "wrong": [-of_program]}, {"bce": "right"}).set_index(
        "score"
    )
    assert table.loc["bce", "auroc"] > 0.7 and (table.loc["bce", ["order", "first", "equal_first", "equal_last"]] == 0.5).all()
    assert table.loc["bce", "diff"] == table.loc["bce", "diff_first"] == 0  # of equal scores the unperturbed one
    assert (table.loc["right", ["auroc", "order", "first", "equal_last"]] == 1).all() and table.loc["wrong", "equal_last"] == 0
    assert table.loc["right", "pick"] == rows.groupby("task")["reward"].max().mean()
    assert table.loc["wrong", "pick_first"] == rows[rows["branch_depth"] <= 0].groupby("task")["reward"].min().mean()
    assert table.loc["bce", "over_control"] == -0.5 and np.isnan(table.loc["right", "over_control"])


def test_pairs_are_those_of_one_task_among_the_rows_asked_for():
    rows, rng = rollouts(seed=1), np.random.default_rng(2)
    scores, among = [rng.integers(0, 4, (len(rows), 2)).astype(float) for _ in range(2)], (rows["branch_depth"] == 0).to_numpy()
    wanted = []
    for a in np.flatnonzero(among):
        for b in np.flatnonzero(among & (rows["task"] == rows["task"][a]).to_numpy()):
            if rows["reward"][a] > rows["reward"][b]:
                votes = [1.0 if s[a, 1] > s[b, 1] else 0.5 if s[a, 1] == s[b, 1] else 0.0 for s in scores]
                wanted.append((rows["family"][a], sum(votes) / 2))
    family, share = sibling_order.right(rows, scores, among, 1)
    assert sorted(zip(family, share, strict=True)) == sorted(wanted) and len(wanted) > 20


def test_auroc_resampled_by_families_is_that_of_the_rows_written_out():
    rows, draws = rollouts(tasks=12), 60
    score = rows["easy"].to_numpy().round(1)
    found = sibling_order.auroc(rows, [score], draws)
    members = [np.flatnonzero(rows["family"] == family) for family in sorted(set(rows["family"]))]
    naive = []
    for times in metrics.resamples(len(members), draws, 0):
        at = np.concatenate([np.tile(where, count) for where, count in zip(members, times, strict=True)])
        naive.append(metrics.auroc(score[at], rows["reward"].to_numpy()[at] == 1))
    wanted = (metrics.auroc(score, rows["reward"] == 1), *np.quantile(naive, [0.025, 0.975]))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_the_favourite_of_one_constant_word_has_no_entropy():
    rows = rollouts().assign(direction="serial-omp")
    found = sibling_order.favourites(rows, [(rows["plan"] == "map none").to_numpy(float)])
    has = rows.assign(map=rows["plan"] == "map none").groupby("task")["map"].any().mean()
    assert found["word_omp"] == "map" and found["share_omp"] == pytest.approx(has)
    assert found["bits_omp"] == pytest.approx(-sum(p * np.log2(p) for p in (has, 1 - has) if p))
    assert sibling_order.favourites(rows.assign(plan="loop"), [np.zeros(len(rows))])["bits_omp"] == 0


def test_the_loss_on_pairs_is_the_mean_over_siblings_and_sees_no_other_task(real_losses):
    g = torch.Generator().manual_seed(0)
    scores, targets = torch.randn(8, 3, generator=g, dtype=torch.float64, requires_grad=True), torch.rand(8, 3, generator=g)
    weights, group = torch.ones(8, 3), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    weights[1, 2] = 0
    total, count, at = 0.0, 0.0, scores.detach()
    for t in range(3):
        for i in range(8):
            for j in range(8):
                gap = float(targets[i, t] - targets[j, t])
                if group[i] == group[j] and gap > 0 and weights[i, t] and weights[j, t]:
                    total, count = total + gap * float(torch.log1p(torch.exp(at[j, t] - at[i, t]))), count + gap
    loss = real_losses.pairs(scores, targets, weights, group)
    assert loss.item() == pytest.approx(total / count, rel=1e-6)
    moved = scores.detach() + torch.tensor([3.0, 3, 3, -2, -2, -2, 0, 0])[:, None]  # whole tasks up or down
    assert real_losses.pairs(moved, targets, weights, group).item() == pytest.approx(loss.item(), rel=1e-6)
    loss.backward()
    assert scores.grad[1, 2] == 0 and scores.grad.abs().sum() > 0


def test_centred_rewards_say_nothing_of_a_task_and_shuffled_ones_nothing_else(real_losses):
    rows = rollouts()
    rows.loc[0, "reward"] = np.nan  # not judged
    centred = real_losses.rewards(rows, real_losses.LOSSES["bce, centred"], 0)
    assert np.isnan(centred[0]) and centred.between(0, 1).sum() == len(rows) - 1
    np.testing.assert_allclose(centred.groupby(rows["task"]).mean(), 0.5)
    apart = rows["reward"] - rows.groupby("task")["reward"].transform("mean")
    np.testing.assert_allclose(2 * centred - 1, apart, atol=1e-12)
    one, other = (real_losses.rewards(rows, real_losses.CONTROLS["bce, shuffled"], seed) for seed in (0, 1))
    assert not one.equals(rows["reward"]) and not one.equals(other)
    pd.testing.assert_series_equal(one.groupby(rows["task"]).sum(), rows["reward"].groupby(rows["task"]).sum())


def test_no_row_of_a_test_cluster_is_left(real_losses, tmp_path):
    suite = load_file(ROOT / "params" / "qwen_picks.yaml").suite
    families = ["cluster-affine", "cluster-adjacent", "spmv", "cluster-heat2d"]
    rows = rollouts(4).assign(family=lambda t: t["task"].str[1:].astype(int).map(dict(enumerate(families))), source_code="", code="")
    vectors = np.arange(len(rows), dtype=np.float16)[:, None, None] + np.zeros((1, 2, 3), np.float16)
    write_rollouts(tmp_path, rows, vectors, {})
    kept, read = real_losses.training_side(str(tmp_path), suite)
    wanted = [family for family in families if split_of(family, suite) != "test"]
    assert sorted(set(kept["family"])) == sorted(wanted) and "cluster-adjacent" not in wanted and "cluster-affine" in wanted
    np.testing.assert_array_equal(read[:, 0, 0], vectors[rows["family"].isin(wanted), 0, 0])


def test_the_decision_asks_for_all_that_was_fixed(real_losses):
    fine = {"kind": "loss", "diff": 0.02, "p_holm": 0.01, "pick": 0.7, "equal_last": 0.7, "equal_last_low": 0.6}
    fine |= {"over_control_low": 0.1, "over_base_low": 0.01}
    rule = {"score": "least noise", "kind": "rule", "pick": 0.68, "equal_last": 0.6}
    cases = {"guide": {}, "order only": {"p_holm": 0.2}, "none": {"p_holm": 0.2, "over_control_low": -0.1}}
    table = pd.DataFrame([*(fine | {"score": name} | change for name, change in cases.items()), rule])
    assert real_losses.decided(table).to_dict() == {name: name for name in cases}
    better = pd.DataFrame([fine | {"score": "a"}, rule | {"pick": 0.9, "equal_last": 0.9}])
    assert real_losses.decided(better).tolist() == ["none"]
