"""Losses against naive loops in double precision and the published formula."""

import math
from functools import partial

import pytest
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.prm.losses import ACTIVATIONS, LOSSES, soft_clip, to_probability

THRESHOLD, ZETA, DELTA, TAU, TAU_TARGET = 0.4, 2.5, 0.3, 0.7, 0.2
OPTIONS = {"threshold": THRESHOLD, "zeta": ZETA, "delta": DELTA, "tau": TAU, "tau_target": TAU_TARGET}


def softplus(x):
    return math.log1p(math.exp(x))


def cross_entropy(score, target):
    return target * softplus(-score) + (1 - target) * softplus(score)


def pointwise(each):
    def naive(s, y, w, g):
        rows, steps = range(len(s)), range(len(s[0]))
        total = sum(w[b][k] * each(s[b][k], y[b][k]) for b in rows for k in steps if w[b][k] > 0)
        return total / sum(map(sum, w))
    return naive


def naive_huber(score, target):
    error = abs(score - target)
    return error * error / 2 if error <= DELTA else DELTA * (error - DELTA / 2)


def naive_orm(s, y, w, g):
    total = weight = 0.0
    for b in range(len(s)):
        live = [k for k in range(len(s[b])) if w[b][k] > 0]
        if live:
            total += w[b][live[-1]] * cross_entropy(s[b][live[-1]], y[b][live[-1]])
            weight += w[b][live[-1]]
    return total / weight


def naive_rank(s, y, w, g):
    rows = []
    for b in range(len(s)):
        live = [k for k in range(len(s[b])) if w[b][k] > 0]
        positive = [k for k in live if y[b][k] >= THRESHOLD]
        negatives = sum(math.exp(s[b][k] + ZETA) for k in live if k not in positive)
        terms = [-math.log(1 / (1 + negatives))] if len(positive) < len(live) else []
        for t in positive:
            here, before = math.exp(s[b][t]), sum(math.exp(s[b][i]) for i in positive if i < t)
            terms.append(-math.log(here / (here + 1 + before + negatives)))
        if terms:
            rows.append(sum(terms) / len(terms))
    return sum(rows) / len(rows)


def naive_listwise(s, y, w, g):
    lists = []
    for k in range(len(s[0])):
        for name in sorted(set(g)):
            rows = [b for b in range(len(s)) if g[b] == name and w[b][k] > 0]
            if len(rows) > 1:
                p = [math.exp(s[b][k] / TAU) for b in rows]
                q = [math.exp(y[b][k] / TAU_TARGET) for b in rows]
                lists.append(-sum(b / sum(q) * math.log(a / sum(p)) for a, b in zip(p, q, strict=True)))
    return sum(lists) / len(lists)


NAIVE = {
    "mse": pointwise(lambda s, y: (s - y) ** 2),
    "huber": pointwise(naive_huber),
    "bce": pointwise(cross_entropy),
    "orm": naive_orm,
    "rank": naive_rank,
    "listwise": naive_listwise,
}


def example(seed=0, rows=9, steps=5):
    make = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(rows, steps, generator=make, dtype=torch.float64)
    targets = torch.randint(0, 4, (rows, steps), generator=make).double() / 3
    weights = torch.randint(0, 3, (rows, steps), generator=make).double()
    weights[0] = 0  # a row of nothing but padding
    targets[1], targets[2] = 1, 0  # a row without negatives, a row without positives
    return scores, targets, weights, torch.randint(0, 3, (rows,), generator=make)


def test_every_loss_equals_its_naive_loop():
    for name in LOSSES:
        for seed in range(4):
            scores, targets, weights, group = example(seed)
            want = NAIVE[name](scores.tolist(), targets.tolist(), weights.tolist(), group.tolist())
            assert LOSSES[name](scores, targets, weights, group, **OPTIONS).item() == pytest.approx(want, rel=1e-12)


def _of_scores(loss, rest, scores):
    return loss(scores, *rest, **OPTIONS)


def test_gradients_match_finite_differences():
    for name in LOSSES:
        scores, *rest = example(5, rows=5, steps=4)
        scores.requires_grad_()
        assert torch.autograd.gradcheck(partial(_of_scores, LOSSES[name], rest), scores)


def test_ignored_positions_may_hold_nan():
    for name in LOSSES:
        scores, targets, weights, group = example(6)
        clean = LOSSES[name](scores, targets, weights, group)
        dirty = torch.where(weights > 0, scores, torch.nan).requires_grad_()
        loss = LOSSES[name](dirty, torch.where(weights > 0, targets, torch.nan), weights, group)
        loss.backward()
        assert loss.item() == clean.item()
        assert dirty.grad.isfinite().all() and (dirty.grad[weights == 0] == 0).all() and dirty.grad.abs().sum() > 0


def test_nothing_to_learn_from_is_zero_not_nan():
    for name in LOSSES:
        scores, targets, weights, group = example(7)
        scores.requires_grad_()
        loss = LOSSES[name](scores, targets, 0 * weights, group)
        loss.backward()
        assert loss.item() == 0 and (scores.grad == 0).all()


def test_terms_of_parts_add_up_to_the_whole():
    for name in LOSSES:
        scores, targets, weights, group = example(8)
        order = group.argsort(stable=True)  # a sibling list is never cut
        cut = int((group[order] == 0).sum())
        parts = [LOSSES[name].terms(scores[i], targets[i], weights[i], group[i]) for i in (order[:cut], order[cut:])]
        total, count = (sum(p) for p in zip(*parts, strict=True))
        assert (total / count).item() == pytest.approx(LOSSES[name](scores, targets, weights, group).item(), rel=1e-12)


def test_rank_equals_the_published_expression_on_the_papers_example():
    """C = {1, 2}, W = {3, 4}: sum over |C| + 1 terms, the virtual start included (eq. 10 of arXiv 2410.11287)."""
    a, b, c, d = 0.3, 1.1, -0.4, 0.2
    e, bad = math.exp, math.exp(c + 4) + math.exp(d + 4)
    want = -(math.log(1 / (1 + bad)) + math.log(e(a) / (1 + e(a) + bad)) + math.log(e(b) / (1 + e(a) + e(b) + bad))) / 3
    scores = torch.tensor([[a, b, c, d]], dtype=torch.float64)
    got = LOSSES["rank"](scores, torch.tensor([[1, 1, 0, 0]]), torch.ones_like(scores), torch.zeros(1).long())
    assert got.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_rank_survives_logits_at_which_exp_overflows(size):
    scores = torch.tensor([[size, -size, size, 0.0]], requires_grad=True)  # float32
    targets = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    assert torch.isinf(scores.exp()).any() == (size > 88)
    loss = LOSSES["rank"](scores, targets, torch.ones(1, 4), torch.zeros(1).long())
    loss.backward()
    # start: size+4; t=1: 2 size+4; t=2: log(1+e^4); t=3: log of (e^(size+4) + e^size) = size + log(e^4+1)
    want = (size + 4 + 2 * size + 4 + math.log1p(math.exp(4)) + size + math.log1p(math.exp(4))) / 4
    assert loss.item() == pytest.approx(want, rel=1e-6) and scores.grad.isfinite().all()


def test_the_published_code_overflows_where_ours_does_not():
    scores = torch.tensor([[100.0, 100.0]])
    naive = -torch.log(scores.exp() / (scores.exp() + 1))
    assert naive.isnan().all()
    ours = LOSSES["rank"](scores, torch.ones(1, 2), torch.ones(1, 2), torch.zeros(1).long())
    assert ours.item() == pytest.approx(math.log(2) / 2, rel=1e-6)


def test_listwise_compares_within_a_group_and_a_depth_only():
    scores, targets, weights, group = example(9)
    weights = torch.ones_like(weights)
    shifted = scores + 10.0 * group[:, None] + 3.0 * torch.arange(scores.shape[1])
    before, after = (LOSSES["listwise"](s, targets, weights, group).item() for s in (scores, shifted))
    assert after == pytest.approx(before, rel=1e-9)
    assert LOSSES["listwise"](shifted, targets, weights, 0 * group).item() != pytest.approx(before, rel=1e-3)


def test_listwise_takes_sibling_ids_per_depth():
    scores, targets, weights, group = example(10)
    wide = group[:, None].repeat(1, scores.shape[1])
    same = [LOSSES["listwise"](scores, targets, weights, g).item() for g in (group, wide)]
    assert same[0] == same[1]
    wide[:, 2] = torch.arange(len(wide))  # no siblings at depth 2: as if that depth were ignored
    muted = weights.clone()
    muted[:, 2] = 0
    got = LOSSES["listwise"](scores, targets, weights, wide).item()
    assert got == pytest.approx(LOSSES["listwise"](scores, targets, muted, group).item(), rel=1e-12)


def test_probabilities_keep_order_and_range():
    for name in LOSSES:
        scores = torch.linspace(-1.5, 2.5, 81, dtype=torch.float64)
        p = to_probability(name, scores)
        assert (p > 0).all() and (p < 1).all() and (p.diff() > 0).all()
        if ACTIVATIONS[name] == "clip":
            inside = (scores >= 0.05) & (scores <= 0.95)
            assert torch.equal(p[inside], scores[inside])


def test_soft_clip_has_no_jump_and_keeps_float32_ties_apart():
    assert soft_clip(torch.tensor([0.95 - 1e-6, 0.95 + 1e-6])).diff().item() == pytest.approx(2e-6, rel=0.1)
    assert (soft_clip(torch.tensor([1.0, 1.1, 1.2, 1.3])).diff() > 0).all()
    assert soft_clip(torch.tensor([-1e4, 1e4])).tolist() == [0.0, 1.0]


def test_unknown_loss_names_the_known_ones():
    with pytest.raises(UserError, match="'msee'; did you mean 'mse'"):
        to_probability("msee", torch.zeros(1))
