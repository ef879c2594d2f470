"""The arms against twins that recompute everything, and what each arm is charged."""

import pandas as pd
import pytest
import torch

from parallax_lib import latents, models, prm, search
from parallax_lib.collect import ask
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


def results_frame():
    rows = []
    for i, (logprob, level) in enumerate([(-0.1, 1), (-0.2, 4), (-0.3, 5)]):
        rows.append({"task": "a", "seed": 0, "arm": "pool", "sample": i, "mean_logprob": logprob, "level": level, "validated": level == 5,
                     "latent_steps": 3, "decode_tokens": 10 + i, "prm_calls": 0, "validator_runs": 0})  # fmt: skip
    rows.append(rows[0] | {"arm": "unguided"})
    return pd.DataFrame(rows)


def test_pool_arms_choose_and_pay_for_everything_they_looked_at():
    table = search.derive_arms(results_frame(), ["unguided", "best_of_n", "compile_filter", "oracle"]).set_index("arm")
    assert table["sample"].to_dict() == {"unguided": 0, "best_of_n": 0, "compile_filter": 1, "oracle": 2}
    assert table.loc["best_of_n", "decode_tokens"] == table.loc["oracle", "decode_tokens"] == 33
    assert table["validator_runs"].to_dict() == {"unguided": 0, "best_of_n": 0, "compile_filter": 3, "oracle": 3}
    assert table.loc["unguided", "decode_tokens"] == 10


def test_an_oracle_without_a_passing_program_fails():
    frame = results_frame()
    frame["validated"] = False
    assert not search.derive_arms(frame, ["oracle"])["validated"].any()
