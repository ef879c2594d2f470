"""The arms against twins that recompute everything, and what each arm is charged."""

import pytest
import torch

from parallax_lib import latents, models, prm, search
from parallax_lib.collect import ask, token_limit
from parallax_lib.kernels import Kernel, Task
from parallax_lib.params import load

SOURCE = "int main() { int s = 0; for (int i = 0; i < 9; i++) s += i; return s; }"


@pytest.fixture(scope="module")
def translator():
    model, tokenizer = models.random_model()
    return models.Translator(model.eval().requires_grad_(False), tokenizer, "random")


@pytest.fixture(scope="module")
def probe(translator):
    """A linear scorer with random weights: enough to disagree with row 0."""
    model = prm.build(prm.PRMConfig(backbone="ridge", latent_width=translator.width, steps=3))
    model.weight.copy_(torch.randn(3, translator.width, generator=torch.Generator().manual_seed(0)) * 0.1)
    return model


def task(i):
    text = SOURCE.replace("9", str(9 + i))
    return Task(Kernel(f"k{i}", "f", "minibench", {"serial": text, "omp": text, "cuda": text}, ("1",), (("1",),)), "serial", "omp")


def settings(**search_values):
    return load("x", latent={"steps": 3, "sigma": 2.0}, decode={"max_new_tokens": 12}, search={"branches": 4, "samples": 3} | search_values)


def naive_guided(translator, probe, row, params):
    """One row, no cache, every prefix recomputed, every candidate scored with the full path."""
    align = latents.aligner(translator, params.latent)
    embeds = translator.model.get_input_embeddings()(torch.tensor(ask(translator, [row.task])[0]))
    path, picks = [], []
    for t in range(params.latent.steps):
        h = translator.model.base_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[:, -1]
        rivals = latents.propose(h, params.search.branches, params.latent, [search.derive_seed(row.draw, t)])[0]
        values = [float(prm.scores(probe, torch.stack([*path, c])[None])[0, -1]) for c in rivals]
        best = max(range(len(values)), key=lambda i: (values[i], -i))
        picks.append(best)
        path.append(rivals[best])
        embeds = torch.cat([embeds, align(rivals[best])[None]])
    return picks, values[best]


def test_guided_rows_equal_the_recomputing_twin(translator, probe):
    params = settings()
    rows = [search.Row(task(i), arm, 0, 0) for i in range(3) for arm in ("guided", "random", "unguided")]
    results = search.translate(translator, probe, rows, params)
    for row, result in zip(rows, results, strict=True):
        if row.arm == "guided":
            picks, score = naive_guided(translator, probe, row, params)
            assert result["picks"] == " ".join(map(str, picks))
            assert result["score"] == pytest.approx(score, abs=1e-4)
        if row.arm == "unguided":
            assert result["picks"] == "0 0 0"
    assert any(r["picks"] != "0 0 0" for r in results if r["arm"] == "guided")


def test_the_pool_begins_with_the_unguided_and_the_random_program(translator, probe):
    params = settings(arms=["unguided", "random", "oracle"])
    rows = search.plan_rows([task(0)], params)
    found = {(r["arm"], r["sample"]): r for r in search.translate(translator, probe, rows, params)}
    for arm, sample in (("unguided", 0), ("random", 1)):
        assert found[arm, 0]["picks"] == found["pool", sample]["picks"]
        assert found[arm, 0]["code"] == found["pool", sample]["code"]


def test_ties_and_small_gains_go_to_the_original():
    values = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.55, 0.4], [0.5, 0.9, 0.95]])
    assert search.select(values, 0.0).tolist() == [0, 1, 2]
    assert search.select(values, 0.1).tolist() == [0, 0, 2]


def test_random_picks_are_uniform_and_do_not_depend_on_the_batch():
    rows = [search.Row(task(0), "random", 0, seed) for seed in range(3000)]
    choose, _ = search.chooser(rows, None, 0.0, "cpu")
    picks = choose(1, torch.zeros(3000, 4, 2))
    assert torch.bincount(picks, minlength=4).tolist() == pytest.approx([750] * 4, abs=100)
    alone, _ = search.chooser(rows[7:8], None, 0.0, "cpu")
    assert alone(1, torch.zeros(1, 4, 2))[0] == picks[7]


def test_a_repair_row_reads_the_failed_program_and_is_decoded_within_the_tasks_own_limit(translator, probe):
    params = settings()
    past = ("int main() { return fail; }", "error: 'fail' was not declared")
    row = search.Row(task(0), "guided", 0, 0, 1, past)
    text = translator.tokenizer.decode(search.ask_row(translator, row))
    assert all(part in text for part in past) and text.index(past[0]) < text.index(past[1])
    first, again = search.translate(translator, probe, [search.Row(task(0), "guided", 0, 0), row], params)
    assert again["attempt"] == 1 and first["attempt"] == 0
    assert again["prefill_tokens"] == len(search.ask_row(translator, row)) > first["prefill_tokens"]
    assert again["decode_tokens"] <= token_limit(first["prefill_tokens"], params)


def test_a_repair_does_not_depend_on_its_batch(translator, probe):
    params, past = settings(), ("int main() {}", "it fails")
    rows = [search.Row(task(i), arm, 0, 0, 1, past) for i in range(2) for arm in ("guided", "unguided")]
    together = search.translate(translator, probe, rows, params)
    assert [r["code"] for r in together] == [search.translate(translator, probe, [row], params)[0]["code"] for row in rows]


def test_groups_keep_a_tasks_rows_together_and_count_distinct_programs():
    params = settings(arms=["unguided", "random", "guided", "best_of_n"], seeds=[0, 1])
    rows = search.plan_rows([task(i) for i in range(5)], params)  # 4 distinct programs a task: 3 of the pool, guided
    groups = search.grouped(rows, 8)
    assert [row for group in groups for row in group] == rows
    assert [len({r.program for r in group}) for group in groups] == [8, 8, 8, 8, 8]
    assert search.grouped(rows, 1) == [rows[i : i + 6] for i in range(0, 60, 6)]


def test_cost_counts_forwarded_tokens_and_weighs_the_prm_by_its_parameters(translator, probe):
    params = settings()
    rows = [search.Row(task(0), arm, 0, 0) for arm in ("guided", "unguided")]
    guided, plain = search.translate(translator, probe, rows, params)
    tokens = [r["prefill_tokens"] + 3 + r["decode_tokens"] for r in (guided, plain)]
    weight = (2 * 64 + 3 * 64 + 3) / sum(p.numel() for p in translator.model.parameters())  # mean, std, three probes
    assert plain["cost"] == tokens[1] and guided["cost"] == pytest.approx(tokens[0] + 12 * weight)
