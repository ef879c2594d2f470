"""Training: what it learns, two phases, exact accumulation, resuming after a kill, ridge against scikit-learn."""

import copy
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from parallax_lib import train
from parallax_lib.dataset import moments, prepare
from parallax_lib.losses import LOSSES
from parallax_lib.params import UserError
from parallax_lib.prm import PRMConfig, load, scores
from parallax_lib.ridge import ALPHAS, fit_ridge
from parallax_lib.train import TrainConfig, fit, fit_model

GRU = PRMConfig(backbone="gru", width=16, layers=1)
QUICK = TrainConfig(epochs=8, lr=5e-3, batch=32, unfreeze_step=5, backbone_lr_factor=1.0)
SHORT = TrainConfig(epochs=3, batch=20, device_batch=20, unfreeze_step=4, warmup=2, seed=5)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_rows(n=100, steps=4, width=12, seed=0):
    """(latents, targets, counts, groups, split); the outcome hangs on the first two latents along one axis."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // 5
    axis = rng.normal(size=width)
    axis /= 2 * np.linalg.norm(axis)
    latents = (3 + 2 * rng.normal(size=(n, steps, width))).astype(np.float16)
    drive = (latents[:, :2].astype(float) - 3) @ axis
    outcome = (rng.random(n) < 1 / (1 + np.exp(-4 * drive.sum(1)))).astype(float)
    split = np.select([groups % 5 < 3, groups % 5 == 3], ["train", "valid"], "test")
    targets = np.repeat(outcome[:, None], steps, 1)
    return latents, targets, np.ones((n, steps), int), groups, split


def auroc(model, data, step=-1):
    """On the test rows, after `step`."""
    test = data[4] == "test"
    return pairs_right(data[1][test, step], scores(model, data[0][test])[:, step].numpy())


def pairs_right(outcome, score):
    """Share of (good, bad) pairs in the right order: the AUROC."""
    return (score[outcome == 1][:, None] > score[outcome == 0]).mean()


def weights_of(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


# what it learns


@pytest.mark.parametrize("kind", ["transformer", "gru"])
def test_prm_learns_what_a_probe_of_one_latent_cannot(kind):
    data = make_rows(1000, seed=1)
    prm = PRMConfig(width=32, layers=1, heads=2)
    config = TrainConfig(epochs=12, lr=3e-3, unfreeze_step=10, backbone_lr_factor=1.0)
    model, history = fit_model(kind, *data, config=config, prm=prm)
    ridge, _ = fit_model("ridge", *data, config=config, prm=prm)
    auc = {m: [auroc(m, data, k) for k in range(4)] for m in (model, ridge)}
    assert min(auc[model][1:]) > 0.85 > auc[ridge][1] > 0.7  # at step 1 the probe sees half of the evidence
    assert max(auc[ridge][2:]) < 0.65  # and at steps 2 and 3 none
    assert 0.7 < auc[model][0] < 0.87
    assert history["valid_loss"].min() < 0.8 * history["valid_loss"].dropna().iloc[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_moves_the_scores_the_right_way(loss):
    data = make_rows(800, seed=2)
    model, _ = fit(*data, replace(QUICK, loss=loss), prm=GRU)
    assert model.config.loss == loss and auroc(model, data) > 0.75


def test_statistics_and_weights_come_from_training_rows_only():
    latents, targets, counts, groups, split = make_rows()
    config = replace(SHORT, patience=0, eval_every=10**9)
    model, _ = fit(latents, targets, counts, groups, split, config, prm=GRU)
    x = latents[split == "train"].astype(np.float64)
    np.testing.assert_allclose(model.mean, x.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(model.std, x.std((0, 1)), rtol=1e-6)
    train_rows = (split == "train")[:, None]
    other = np.where(train_rows[..., None], latents, -latents), np.where(train_rows, targets, 1 - targets)
    again, _ = fit(*other, counts, groups, split, config, prm=GRU)
    assert same(weights_of(model), weights_of(again))


def test_constant_features_are_left_alone():
    values = torch.randn(50, 3, 4)
    values[..., 2] = 7
    mean, std = moments(values, torch.ones(50, 3, dtype=torch.bool))
    assert std[2] == 1 and mean[2] == 7 and std[0] != 1


def test_pooled_context_is_used():
    latents, _, counts, groups, split = make_rows(800, seed=3)
    contexts = np.random.default_rng(4).normal(size=(800, 12)).astype(np.float32)
    targets = np.repeat((contexts[:, :1] > 0).astype(float), 4, 1)
    prm = replace(GRU, context="pooled")
    model, _ = fit(latents, targets, counts, groups, split, QUICK, prm=prm, contexts=contexts)
    test = split == "test"
    got = scores(model, latents[test], contexts[test])
    assert all(pairs_right(targets[test, k], got[:, k].numpy()) > 0.9 for k in range(4))


# two phases


def test_backbone_rests_until_unfreeze_step_then_moves():
    data = make_rows()
    rest, moved = (fit(*data, replace(SHORT, epochs=1, unfreeze_step=u, patience=0), prm=GRU)[0] for u in (9, 2))
    fresh = train.initial_model(prepare(*data), replace(GRU, latent_width=12), SHORT)
    assert same(weights_of(rest.backbone), weights_of(fresh.backbone))
    assert not torch.equal(rest.adapter[0].weight, fresh.adapter[0].weight)
    assert not any(torch.equal(v, fresh.backbone.state_dict()[k]) for k, v in moved.backbone.state_dict().items())


def test_unfreezing_keeps_the_first_groups_moments():
    data = prepare(*make_rows())
    model = train.initial_model(data, replace(GRU, latent_width=12), SHORT)
    optimizer = train.first_phase(model, SHORT)
    train.update(model, optimizer, data, [data.rows("train")], SHORT, 0)
    first = {p: dict(optimizer.state[p]) for p in optimizer.param_groups[0]["params"]}
    values = {p: s["exp_avg"].clone() for p, s in first.items()}
    train.unfreeze(model, optimizer, SHORT)
    for p, state in first.items():
        assert optimizer.state[p]["exp_avg"] is state["exp_avg"] and torch.equal(state["exp_avg"], values[p])
        assert optimizer.state[p]["step"] is state["step"] and state["step"] == 1
    train.update(model, optimizer, data, [data.rows("train")], SHORT, 1)
    assert {int(optimizer.state[p]["step"]) for p in first} == {2}
    assert {int(optimizer.state[p]["step"]) for p in model.backbone.parameters()} == {1}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


def test_history_shows_phases_and_learning_rates():
    seen = []
    config = replace(SHORT, warmup=0, lr=1e-2, backbone_lr_factor=0.25)
    _, history = fit(*make_rows(), config, prm=GRU, progress=seen.append)
    assert seen == history.to_dict("records") or str(seen) == str(history.to_dict("records"))
    assert list(history["step"]) == list(range(1, 10)) and list(history["phase"]) == [1] * 4 + [2] * 5
    done = (np.arange(9) // 3 + np.arange(9) % 3 / 3) / 3
    np.testing.assert_allclose(history["lr"], 1e-2 * (0.1 + 0.9 * (1 + np.cos(np.pi * done)) / 2))
    np.testing.assert_allclose(history["backbone_lr"], np.where(np.arange(9) < 4, 0, 0.25 * history["lr"]))
    assert list(history["valid_loss"].notna()) == [False, False, True] * 3 and history["train_loss"].notna().all()


def test_warm_up_starts_anew_for_the_backbone():
    config = replace(SHORT, warmup=3, lr=1.0, backbone_lr_factor=1.0, epochs=1, batch=6, device_batch=6)
    _, history = fit(*make_rows(), config, prm=GRU)
    ratio = history["backbone_lr"] / history["lr"]
    np.testing.assert_allclose(ratio[4:7], [1 / 3, 2 / 3, 1])


# batches


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_accumulated_gradients_equal_those_of_one_batch(loss, kind):
    latents, targets, counts, groups, split = make_rows(40, seed=6)
    targets[:, 1], counts[3:9, 2:] = 0.3, 0
    data, config = prepare(latents, targets, counts, groups, split), replace(SHORT, loss=loss)
    prm = PRMConfig(backbone=kind, width=16, heads=2, layers=1, latent_width=12, loss=loss)
    one = train.initial_model(data, prm, config)
    many, rows = copy.deepcopy(one), data.rows("train")
    micros = data.pack(rows, 7, loss == "listwise")
    assert len(micros) > 3
    results = []
    for model, parts in ((one, [rows]), (many, micros)):
        optimizer = train.first_phase(model, config)
        train.unfreeze(model, optimizer, config)
        results.append(train.update(model, optimizer, data, parts, config, 0))
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    size = max(p.grad.abs().max() for p in one.parameters())
    for (name, a), b in zip(one.named_parameters(), many.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6 * size), name


def test_an_epoch_visits_every_labelled_row_once_in_a_new_order():
    latents, targets, counts, groups, split = make_rows(60)
    counts[7] = 0
    data = prepare(latents, targets, counts, groups, split)
    rows, config = data.rows("train"), replace(SHORT, batch=8, device_batch=3, epochs=2)
    steps = [(e, last, torch.cat(m)) for e, _, last, m in train._updates(data, rows, config, 0)]
    orders = [torch.cat([r for e, _, r in steps if e == epoch]).tolist() for epoch in (0, 1)]
    want = [i for i in range(60) if split[i] == "train" and i != 7]
    assert [sorted(o) for o in orders] == [want, want] and orders[0] != orders[1] != want
    assert all(len(r) == 8 or last for _, last, r in steps) and sum(last for _, last, _ in steps) == 2
    later = [torch.cat(m) for *_, m in train._updates(data, rows, config, 3)]
    assert all(torch.equal(a, b[2]) for a, b in zip(later, steps[3:], strict=True))


def test_listwise_batches_never_cut_a_group():
    data = prepare(*make_rows(60))
    rows = data.rows("train")
    rng = np.random.default_rng(0)
    for size in (3, 8, 12):
        batches = data.pack(rows, size, True, rng)
        assert sorted(torch.cat(batches).tolist()) == rows.tolist()
        owners = [set(data.groups[b].tolist()) for b in batches]
        assert sum(map(len, owners)) == len(set.union(*owners))
        assert all(len(b) <= max(size, 5) for b in batches)


def test_rows_of_rollouts_weigh_a_prefix_as_often_as_it_was_tried():
    """Three rollouts, outcomes 1, 1, 0, share a prefix: three rows of weight 1 are one of target 2/3 and weight 3."""
    latents = np.zeros((4, 1, 2), np.float16)
    targets, counts = np.array([[2 / 3]] * 3 + [[1.0]]), np.array([[3]] * 3 + [[1]])
    groups, split, score = np.zeros(4), ["train"] * 4, torch.tensor([[0.4]] * 3 + [[-1.0]], dtype=torch.float64)
    rows = prepare(latents, targets, counts, groups, split)
    total, count = LOSSES["bce"].terms(score, rows.targets, rows.weights, rows.groups)
    outcomes = torch.tensor([[1.0], [1.0], [0.0], [1.0]], dtype=torch.float64)
    want = torch.nn.functional.binary_cross_entropy_with_logits(score, outcomes, reduction="sum")
    assert total.item() == pytest.approx(want.item(), rel=1e-6) and count == 4
    distinct = prepare(latents[2:], targets[2:], counts[2:], groups[2:], split[2:], "counts")
    again, _ = LOSSES["bce"].terms(score[2:], distinct.targets, distinct.weights, distinct.groups)
    assert again.item() == pytest.approx(want.item(), rel=1e-6)
    once = prepare(latents, targets, counts, groups, split, "prefixes")
    assert once.weights.sum().item() == pytest.approx(2)


# stopping and choosing


def test_the_model_with_the_best_valid_loss_is_returned_and_patience_stops():
    latents, _, counts, groups, split = make_rows(120, seed=8)
    targets = np.random.default_rng(9).integers(0, 2, (120, 4)).astype(float)  # nothing to learn: valid loss turns up
    config = TrainConfig(epochs=200, lr=1e-2, batch=16, unfreeze_step=4, patience=3)
    model, history = fit(latents, targets, counts, groups, split, config, prm=GRU)
    valid = history["valid_loss"].dropna()
    assert len(valid) < 100 and valid.idxmin() == valid.index[-4]  # three evaluations after the best one
    data = prepare(latents, targets, counts, groups, split)
    assert train.evaluate(model, data, data.rows("valid"), config) == pytest.approx(valid.min(), rel=1e-6)


def test_without_valid_rows_training_runs_to_its_end():
    latents, targets, counts, groups, split = make_rows()
    model, history = fit(latents, targets, counts, groups, np.where(split == "valid", "test", split), SHORT, prm=GRU)
    assert len(history) == 9 and history["valid_loss"].isna().all() and scores(model, latents).isfinite().all()


def test_same_seed_same_weights_and_the_callers_random_state_is_left_alone():
    torch.manual_seed(99)
    before = torch.get_rng_state()
    dropout = replace(GRU, dropout=0.3)
    a, b, c = (weights_of(fit(*make_rows(), replace(SHORT, seed=s), prm=dropout)[0]) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_weights_do_not_move_at_a_small_rate_but_ours_do(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    small = LlamaConfig(vocab_size=9, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    torch.manual_seed(0)
    LlamaForCausalLM(small).to(torch.bfloat16).save_pretrained(tmp_path)
    config = replace(SHORT, epochs=1, lr=1e-6, unfreeze_step=0, warmup=0, backbone_lr_factor=1.0, weight_decay=0)
    data, prm = prepare(*make_rows()), PRMConfig(backbone=str(tmp_path), latent_width=12)
    moved = {}
    for dtype in (torch.bfloat16, torch.float32):
        model = train.initial_model(data, prm, config)
        optimizer = train.first_phase(model.to(torch.bfloat16), config)  # makes float32 masters
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        train.unfreeze(model, optimizer, config)
        model.to(dtype)  # the control: the same steps on bfloat16 weights
        weight = model.backbone.body.layers[0].self_attn.q_proj.weight
        start = weight.detach().clone()
        for step in range(3):
            train.update(model, optimizer, data, [data.rows("train")], config, step)
        moved[dtype] = (weight != start).float().mean().item()
    assert moved[torch.bfloat16] < 0.05 and moved[torch.float32] > 0.95


def test_bfloat16_compute_trains_float32_weights():
    data = make_rows(800, seed=2)
    model, _ = fit(*data, replace(QUICK, precision="bf16"), prm=PRMConfig(width=16, heads=2, layers=1))
    assert {p.dtype for p in model.parameters()} == {torch.float32} and auroc(model, data) > 0.75


# checkpoints


class Stop(Exception):
    pass


def stop_at(step):
    def progress(row):
        if row["step"] == step:
            raise Stop

    return progress


CAREFUL = replace(SHORT, save_every=1, eval_every=2)
DROPOUT = replace(GRU, dropout=0.2)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 8])  # 4: the backbone joins at the next update
@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_an_interrupted_run_ends_with_the_same_weights(kind, step, tmp_path):
    prm = PRMConfig(backbone=kind, width=16, heads=2, layers=2, dropout=0.2)
    model, history = fit(*make_rows(), CAREFUL, prm=prm)
    with pytest.raises(Stop):
        fit(*make_rows(), CAREFUL, tmp_path, prm=prm, progress=stop_at(step))
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == [f"checkpoint-{s}" for s in (step - 1, step) if s]
    steps = []
    again, told = fit(*make_rows(), CAREFUL, tmp_path, prm=prm, progress=lambda row: steps.append(row["step"]))
    assert steps == list(range(step + 1, 10)) and same(weights_of(model), weights_of(again))
    assert told.equals(history)


KILLED = """
import sys, time, torch
sys.path[:0] = {paths!r}
torch.set_num_threads(1)
from test_train import BIG, DROPOUT, make_rows
from parallax_lib.train import fit
def progress(row):
    print(row["step"], flush=True)
    time.sleep(0.02)
fit(*make_rows(), BIG, {out!r}, prm=DROPOUT, progress=progress)
"""
BIG = replace(SHORT, epochs=6, save_every=3, unfreeze_step=7, eval_every=2)


def run_and_kill(out, step):
    """Train in another process and end it by SIGKILL once it has done `step`; the steps it did."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", KILLED.format(paths=paths, out=str(out))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        steps = []
        for line in child.stdout:
            steps.append(int(line))
            if steps[-1] == step:
                os.kill(child.pid, signal.SIGKILL)
                break
        child.stdout.read()
    assert child.returncode == -signal.SIGKILL
    return steps


def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(tmp_path):
    fit(*make_rows(), BIG, tmp_path / "calm", prm=DROPOUT)
    out = tmp_path / "killed"
    assert run_and_kill(out, 11) == list(range(1, 12))  # in phase 2
    assert {"checkpoint-9"} <= {p.name for p in out.iterdir()} <= {f"checkpoint-{s}" for s in (6, 9, 12)}
    (out / "checkpoint-15.tmp").mkdir()  # as if killed while writing
    (out / "checkpoint-15.tmp" / "model.safetensors").write_bytes(b"half")
    _, history = fit(*make_rows(), BIG, out, prm=DROPOUT)
    for name in ("model.safetensors", "history.csv", "training.json", "prm.json"):
        assert (out / "final" / name).read_bytes() == (tmp_path / "calm" / "final" / name).read_bytes()
    assert list(history["step"]) == list(range(1, 19))


def test_final_folder_holds_what_was_returned(tmp_path):
    data = make_rows()
    model, history = fit(*data, SHORT, tmp_path, prm=GRU)
    again = load(tmp_path / "final", latent_width=12)
    assert torch.equal(scores(model, data[0]), scores(again, data[0]))
    assert len((tmp_path / "final" / "history.csv").read_text().splitlines()) == len(history) + 1
    with pytest.raises(UserError, match="it holds final: give one of these"):
        load(tmp_path)


def test_a_checkpoint_of_other_settings_or_data_is_refused_unless_told_to_start_over(tmp_path):
    data = make_rows()
    fit(*data, CAREFUL, tmp_path, prm=GRU)
    other = make_rows(seed=1)
    for rows, config, prm in ((data, replace(CAREFUL, lr=0.5), GRU), (other, CAREFUL, GRU), (data, CAREFUL, DROPOUT)):
        with pytest.raises(UserError, match="checkpoint-9 belongs to a training with other settings or data") as e:
            fit(*rows, config, tmp_path, prm=prm)
        assert "\n" not in str(e.value)
    model, _ = fit(*other, CAREFUL, tmp_path, prm=GRU, resume=False)
    assert same(weights_of(model), weights_of(fit(*other, CAREFUL, prm=GRU)[0]))


# ridge


@pytest.mark.parametrize("weighting", ["rollouts", "counts"])
def test_ridge_equals_scikit_learn_and_picks_alpha_by_the_valid_split(weighting):
    from sklearn.linear_model import Ridge

    latents, targets, counts, groups, split = make_rows(300, seed=11)
    counts = np.random.default_rng(1).integers(0, 4, counts.shape)
    data = prepare(latents, targets, counts, groups, split, weighting)
    model, history = fit_ridge(data, PRMConfig(latent_width=12, steps=4))
    w, y = data.weights.numpy().astype(float), data.targets.numpy().astype(float)
    x = (latents.astype(float) - model.mean.numpy()) / model.std.numpy()
    fits, losses = {}, []
    for alpha in ALPHAS:
        error = 0.0
        for k in range(4):
            here, there = ((split == s) & (w[:, k] > 0) for s in ("train", "valid"))
            probe = Ridge(alpha * w[here, k].sum(), solver="cholesky").fit(x[here, k], y[here, k], w[here, k])
            fits[alpha, k] = probe
            error += (w[there, k] * (probe.predict(x[there, k]) - y[there, k]) ** 2).sum()
        losses.append(error / w[split == "valid"].sum())
    np.testing.assert_allclose(history["valid_loss"], losses, rtol=1e-6)
    best = ALPHAS[int(np.argmin(losses))]
    assert history.loc[history["chosen"], "alpha"].tolist() == [best] and 0 < np.argmin(losses) < len(ALPHAS) - 1
    for k in range(4):
        np.testing.assert_allclose(model.weight[k], fits[best, k].coef_, atol=1e-6)
        assert model.bias[k].item() == pytest.approx(fits[best, k].intercept_, abs=1e-6)


def test_ridge_without_valid_rows_refits_on_all_training_rows(tmp_path):
    from sklearn.linear_model import Ridge

    latents, targets, counts, groups, split = make_rows(300, seed=11)
    split = np.where(split == "valid", "test", split)
    model, history = fit_model("ridge", latents, targets, counts, groups, split, config=SHORT, out_dir=tmp_path)
    alpha = history.loc[history["chosen"], "alpha"].item()
    x = ((latents.astype(float) - model.mean.numpy()) / model.std.numpy())[split == "train"]
    probe = Ridge(alpha * len(x), solver="cholesky").fit(x[:, 1], targets[split == "train", 1])
    np.testing.assert_allclose(model.weight[1], probe.coef_, atol=1e-6)
    assert torch.equal(scores(load(tmp_path / "final"), latents), scores(model, latents))


def test_ridge_of_a_position_without_labels_predicts_the_mean():
    latents, targets, counts, groups, split = make_rows()
    counts[:, 3] = 0
    model, _ = fit_model("ridge", latents, targets, counts, groups, split, config=SHORT)
    want = targets[split == "train", :3].mean()
    assert torch.allclose(scores(model, latents)[:, 3], torch.tensor(want, dtype=torch.float32))


# errors


def bad(**change):
    rows = dict(zip(("latents", "targets", "counts", "groups", "split"), make_rows(), strict=True))
    return rows | {k: f(rows[k]) for k, f in change.items()}


def with_nan(latents):
    latents[17, 2, 3] = np.nan
    return latents


@pytest.mark.parametrize(
    ("rows", "config", "words"),
    [
        ({"latents": with_nan}, {}, "latent 17 holds NaN or infinity at step 2"),
        ({"targets": lambda t: 2 * t}, {}, "targets run from 0 to 2"),
        ({"targets": lambda t: t[:, :3]}, {}, "[100, 4] but targets [100, 3]"),
        ({"split": lambda s: s[1:]}, {}, "[100, 4] but split [99, 4]"),
        (
            {"split": lambda s: ["test"] * 100},
            {},
            "no labelled row of split 'train' among 100 rows; splits present: ['te",
        ),
        ({"latents": lambda x: x[:, 0]}, {}, "expected [n, K, D]"),
        ({}, {"loss": "hinge"}, "choose one of mse, huber"),
        ({}, {"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({}, {"lr": 0.0}, "lr is 0.0"),
        ({}, {"precision": "fp8"}, "choose 'fp32' or 'bf16'"),
        ({}, {"weighting": "all"}, "choose one of counts, prefixes, rollouts"),
        ({}, {"lr": 1e30, "clip": 1e30, "warmup": 0}, "lower lr"),
    ],
)
def test_bad_input_is_one_line(rows, config, words):
    with pytest.raises(UserError) as e:
        fit(**bad(**rows), config=replace(SHORT, **config), prm=GRU)
    assert words in str(e.value) and "\n" not in str(e.value)


def test_unlabelled_rows_may_hold_anything():
    latents, targets, counts, groups, split = make_rows()
    others = (np.delete(x, 17, 0) for x in (latents, targets, counts, groups, split))
    want, _ = fit(*others, SHORT, prm=GRU)
    counts[17], targets[17] = 0, np.nan
    got, _ = fit(with_nan(latents), targets, counts, groups, split, SHORT, prm=GRU)
    assert torch.allclose(want.mean, got.mean) and all(v.isfinite().all() for v in got.state_dict().values())
