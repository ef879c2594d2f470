"""Small training sets for the PRM tests, and what they measure on a model."""

import numpy as np
import torch
import transformers

from parallax_lib.prm.model import PRMConfig, scores
from parallax_lib.prm.train import TrainConfig

GRU = PRMConfig(backbone="gru", width=16, layers=1)
QUICK = TrainConfig(epochs=8, lr=5e-3, batch=32, unfreeze_step=5, backbone_lr_factor=1.0)
SHORT = TrainConfig(epochs=3, batch=20, device_batch=20, unfreeze_step=4, warmup=2, seed=5)


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


def write_lm(folder, dtype=torch.bfloat16, **sizes):
    """A random Llama in `folder`, as a download would lie there; the model."""
    shape = {"vocab_size": 9, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape | sizes)).to(dtype)
    model.save_pretrained(folder)
    return model


def noise():
    """Nothing to learn: the valid loss turns up."""
    latents, _, counts, groups, split = make_rows(120, seed=8)
    return latents, np.random.default_rng(9).integers(0, 2, (120, 4)).astype(float), counts, groups, split


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
