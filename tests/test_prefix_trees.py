"""Rows packed by their beginnings, against the rows read one by one."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_rows import SHORT, make_rows, write_lm

from parallax_lib.core.halving import Shrinking
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import train
from parallax_lib.prm.dataset import prepare
from parallax_lib.prm.prefix_trees import NONE, keys_of, pack
from parallax_lib.prm.update import packs


@pytest.mark.parametrize("width", [3, 6, 11, 64])
def test_each_row_sees_its_own_tokens_in_order_and_no_others(width):
    rng = random.Random(width)
    rows = [[rng.randrange(3) for _ in range(rng.choice([1, 2, 4, 6]))] for _ in range(40)]
    packed = pack(rows, width)
    R, T = packed.positions.shape
    tokens, sees = {}, packed.mask().reshape(R * T, T)
    for (b, t), slot in zip(packed.first.tolist(), packed.slot.tolist(), strict=True):
        tokens[slot] = rows[b][t]
    assert len(tokens) == len(packed.slot) and T <= max(width, 6)
    for row, spots in zip(rows, packed.spots, strict=True):
        assert [tokens[s] for s in spots] == row and packed.positions.flat[spots].tolist() == list(range(len(row)))
        for t, spot in enumerate(spots):
            assert (np.flatnonzero(sees[spot]) + spot // T * T).tolist() == sorted(spots[: t + 1])
    alone = [s for s in range(R * T) if s not in tokens]
    assert all(np.flatnonzero(sees[s]).tolist() == [s % T] and packed.parents.flat[s] == NONE for s in alone)


def test_equal_beginnings_are_read_once_in_a_packed_row():
    rows = [[1, 2, 3], [9, 2, 3], [1, 2, 4], [1, 2, 3]]
    assert len(pack(rows, 100).slot) == 3 + 1 + 3  # 1 2 3, 4 after 1 2, 9 2 3
    assert pack(rows, 100).positions.shape == (1, 7) and pack(rows, 4).positions.shape == (2, 4)


def test_keys_are_equal_for_equal_vectors_only():
    values = torch.randn(4, 3, 8).half()
    values[2, 1], values[3] = values[0, 0], values[1]
    keys = keys_of(values)
    same = (values.view(12, 1, 8) == values.view(1, 12, 8)).all(-1).numpy()
    assert ((keys.reshape(12, 1) == keys.reshape(1, 12)) == same).all()


def siblings(n=40, context=False):
    """Rows of groups of five that share their first latents, and with a prompt's state that they share too."""
    latents, targets, counts, groups, split = make_rows(n, steps=4, width=12)
    for row in range(n):
        latents[row, : row % 4] = latents[row // 5 * 5, : row % 4]
    contexts = np.random.default_rng(1).standard_normal((n // 5, 12)).astype(np.float16)[np.arange(n) // 5] if context else None
    return prepare(latents, targets, counts, groups, split, contexts=contexts)


@pytest.mark.parametrize("context, rank, eager", [(False, 0, False), (True, 0, False), (True, 4, False), (False, 0, True)])
def test_a_packed_update_is_the_update_of_single_rows(context, rank, eager, tmp_path):
    """Losses within 1e-5, gradients within 1e-4 of the largest; fewer places are read."""
    write_lm(tmp_path, torch.float32, num_hidden_layers=2)
    data = siblings(context=context)
    shape = prm_model.PRMConfig(backbone=str(tmp_path), lora_rank=rank, latent_width=12, steps=4, context="pooled" if context else "none")
    read, results = [], {}
    for width in (0, 9, 64):
        config = replace(SHORT, pack=width)
        model = train.initial_model(data, shape, config)
        if eager:
            model.backbone.body.config._attn_implementation = "eager"
        optimizer = train.first_phase(model, config)
        train.unfreeze(model, optimizer, config)
        places = []
        model.backbone.body.register_forward_pre_hook(lambda m, a, k, to=places: to.append(k["inputs_embeds"].shape[:2]), with_kwargs=True)
        loss = train.update(model, optimizer, data, data.rows("train"), config, 0, Shrinking(64))
        results[width] = loss, [p.grad for p in model.parameters() if p.grad is not None]
        read.append(places[0])
    for width in (9, 64):
        assert results[width][0] == pytest.approx(results[0][0], rel=1e-5)
        size = max(g.abs().max() for g in results[0][1])
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * size) for a, b in zip(results[0][1], results[width][1], strict=True))
    alone = len(data.rows("train")), 4 + context
    assert read[0] == alone and read[1][1] <= 9 and read[2][0] * read[2][1] < alone[0] * alone[1]


def test_only_language_models_are_packed(tmp_path):
    write_lm(tmp_path)
    data = siblings()
    for backbone, packed in ((str(tmp_path), True), ("transformer", False), ("gru", False)):
        model = train.initial_model(data, prm_model.PRMConfig(backbone=backbone, width=16, heads=2, latent_width=12), SHORT)
        assert packs(model, SHORT) == packed and not packs(model, replace(SHORT, pack=0))
