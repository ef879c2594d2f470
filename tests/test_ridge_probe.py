"""Ridge probes against scikit-learn."""

import numpy as np
import pytest
import torch
from training_rows import SHORT, make_rows

from parallax_lib.prm.dataset import prepare
from parallax_lib.prm.model import PRMConfig, load, scores
from parallax_lib.prm.ridge_probe import ALPHAS, fit_ridge
from parallax_lib.prm.train import fit_model


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
