"""Training: what it learns, two phases, exact accumulation, float32 masters."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_rows import GRU, QUICK, SHORT, auroc, make_rows, pairs_right, same, weights_of, write_lm

from parallax_lib.core.halving import Shrinking
from parallax_lib.prm import train
from parallax_lib.prm.dataset import prepare
from parallax_lib.prm.losses import LOSSES
from parallax_lib.prm.model import PRMConfig, learned, scores
from parallax_lib.prm.train import TrainConfig, fit, fit_model


def update(model, optimizer, data, config, step, most=64):
    """One update on all training rows, at most `most` in one forward."""
    return train.update(model, optimizer, data, data.rows("train"), config, step, Shrinking(most))


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


@pytest.mark.parametrize("reads", ["states", "both"])
def test_pooled_context_is_used(reads):
    latents, _, counts, groups, split = make_rows(800, seed=3)
    latents = np.concatenate([latents, latents], 2) if reads == "both" else latents
    contexts = np.random.default_rng(4).normal(size=(800, 12)).astype(np.float32)
    targets = np.repeat((contexts[:, :1] > 0).astype(float), 4, 1)
    prm = replace(GRU, context="pooled", reads=reads)
    model, _ = fit(latents, targets, counts, groups, split, QUICK, prm=prm, contexts=contexts)
    test = split == "test"
    got = scores(model, latents[test], contexts[test])
    assert all(pairs_right(targets[test, k], got[:, k].numpy()) > 0.9 for k in range(4))


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
    update(model, optimizer, data, SHORT, 0)
    first = {p: dict(optimizer.state[p]) for p in optimizer.param_groups[0]["params"]}
    values = {p: s["exp_avg"].clone() for p, s in first.items()}
    train.unfreeze(model, optimizer, SHORT)
    for p, state in first.items():
        assert optimizer.state[p]["exp_avg"] is state["exp_avg"] and torch.equal(state["exp_avg"], values[p])
        assert optimizer.state[p]["step"] is state["step"] and state["step"] == 1
    update(model, optimizer, data, SHORT, 1)
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


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_accumulated_gradients_equal_those_of_one_batch(loss, kind):
    latents, targets, counts, groups, split = make_rows(40, seed=6)
    targets[:, 1], counts[3:9, 2:] = 0.3, 0
    data, config = prepare(latents, targets, counts, groups, split), replace(SHORT, loss=loss)
    prm = PRMConfig(backbone=kind, width=16, heads=2, layers=1, latent_width=12, loss=loss)
    one = train.initial_model(data, prm, config)
    many, results = copy.deepcopy(one), []
    assert len(data.rows("train")) > 3 * 7
    for model, most in ((one, 100), (many, 7)):
        optimizer = train.first_phase(model, config)
        train.unfreeze(model, optimizer, config)
        results.append(update(model, optimizer, data, config, 0, most))
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    size = max(p.grad.abs().max() for p in one.parameters())
    for (name, a), b in zip(one.named_parameters(), many.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6 * size), name


@pytest.mark.parametrize("loss, most", [("bce", 7), ("listwise", 7), ("bce", 30)])
def test_an_update_that_runs_out_of_memory_is_made_again_with_half_of_the_rows(loss, most):
    """Forwards of more than 8 rows fail in the backward pass, when a part of the gradients is there; the update is the same."""
    data, config = prepare(*make_rows(40, seed=6)), replace(SHORT, loss=loss, device_batch=most)
    fresh = train.initial_model(data, replace(GRU, latent_width=12, loss=loss), config)
    models, sizes = [fresh, copy.deepcopy(fresh)], []

    def limited(module, given, out):
        if sizes[-1] > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    models[1].head.register_full_backward_hook(limited)
    models[1].register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    optimizers = [train.first_phase(model, config) for model in models]
    forward, losses = Shrinking(most), []
    for step in range(2):
        losses.append([update(models[0], optimizers[0], data, config, step, 100)])
        losses[-1].append(train.update(models[1], optimizers[1], data, data.rows("train"), config, step, forward))
    assert forward.most == 7 and (max(sizes) > 8) == (most > 8)
    assert [a for a, _ in losses] == pytest.approx([b for _, b in losses], rel=1e-5)
    whole, parts = ([p.grad for p in model.parameters() if p.grad is not None] for model in models)
    size = max(g.abs().max() for g in whole)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * size) for a, b in zip(whole, parts, strict=True))


def test_other_errors_of_an_update_are_raised():
    data = prepare(*make_rows(40, seed=6))
    model = train.initial_model(data, replace(GRU, latent_width=12), SHORT)
    forward, optimizer = Shrinking(64), train.first_phase(model, SHORT)
    for error in (RuntimeError("shapes differ"), torch.OutOfMemoryError("CUDA out of memory")):
        hook = model.register_forward_hook(lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            train.update(model, optimizer, data, data.rows("train"), SHORT, 0, forward)
        hook.remove()
        assert forward.most == (64 if type(error) is RuntimeError else 1)


def test_an_epoch_visits_every_labelled_row_once_in_a_new_order():
    latents, targets, counts, groups, split = make_rows(60)
    counts[7] = 0
    data = prepare(latents, targets, counts, groups, split)
    rows, config = data.rows("train"), replace(SHORT, batch=8, device_batch=3, epochs=2)
    steps = [(e, last, m) for e, _, last, m in train._updates(data, rows, config, 0)]
    orders = [torch.cat([r for e, _, r in steps if e == epoch]).tolist() for epoch in (0, 1)]
    want = [i for i in range(60) if split[i] == "train" and i != 7]
    assert [sorted(o) for o in orders] == [want, want] and orders[0] != orders[1] != want
    assert all(len(r) == 8 or last for _, last, r in steps) and sum(last for _, last, _ in steps) == 2
    later = [m for *_, m in train._updates(data, rows, config, 3)]
    assert all(torch.equal(a, b[2]) for a, b in zip(later, steps[3:], strict=True))


def test_bfloat16_weights_do_not_move_at_a_small_rate_but_ours_do(tmp_path):
    write_lm(tmp_path)
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
            update(model, optimizer, data, config, step)
        moved[dtype] = (weight != start).float().mean().item()
    assert moved[torch.bfloat16] < 0.05 and moved[torch.float32] > 0.95


def test_lora_learns_and_leaves_what_lies_beneath(tmp_path):
    write_lm(tmp_path, hidden_size=32)
    data, config = make_rows(800, seed=2), replace(QUICK, unfreeze_step=2)
    prm = PRMConfig(backbone=str(tmp_path), lora_rank=4)
    model, history = fit(*data, config, prm=prm)
    fresh = train.initial_model(prepare(*data), replace(prm, latent_width=12), config)
    before, after = weights_of(fresh), weights_of(model)
    beneath = [name for name in after if name not in learned(model)]
    assert len(beneath) == 10 and all(torch.equal(before[name], after[name]) for name in beneath)
    assert {after[name].dtype for name in beneath} == {torch.bfloat16}
    assert not any(torch.equal(before[name], after[name]) for name in after if "lora_" in name)
    assert auroc(model, data) > 0.75 and (history["backbone_lr"] > 0).sum() == len(history) - 2


def test_bfloat16_compute_trains_float32_weights():
    data = make_rows(800, seed=2)
    model, _ = fit(*data, replace(QUICK, precision="bf16"), prm=PRMConfig(width=16, heads=2, layers=1))
    assert {p.dtype for p in model.parameters()} == {torch.float32} and auroc(model, data) > 0.75
