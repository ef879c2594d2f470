"""Training rows: statistics, weights, batches of whole groups, and bad input in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_rows import GRU, SHORT, make_rows

from parallax_lib.core.errors import UserError
from parallax_lib.prm.dataset import moments, prepare
from parallax_lib.prm.losses import LOSSES
from parallax_lib.prm.train import fit


def test_statistics_leave_unlabelled_positions_out():
    values, live = torch.randn(50, 3, 4), torch.rand(50, 3) < 0.5
    mean, std = moments(values.half(), live)
    x = values.half().numpy().astype(np.float64)[live.numpy()]
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std, x.std(0), rtol=1e-5)


def test_constant_features_are_left_alone():
    values = torch.randn(50, 3, 4)
    values[..., 2] = 7
    mean, std = moments(values, torch.ones(50, 3, dtype=torch.bool))
    assert std[2] == 1 and mean[2] == 7 and std[0] != 1


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
        ({}, {"loss": "hinge"}, "it takes mse, huber"),
        ({}, {"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({}, {"lr": 0.0}, "lr is 0.0"),
        ({}, {"precision": "fp8"}, "choose 'fp32', 'bf16' or 'bf16-weights'"),
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
