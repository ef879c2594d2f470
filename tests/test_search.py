"""The arms against twins that recompute everything, and what each arm is charged."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from parallax_lib.core.config import dump, load
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import derive_seed
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import packed
from parallax_lib.search import arms, guided_search, policies, program_rows
from parallax_lib.search.rollouts import ask, token_limit
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.translator import alignment, models, proposals

SOURCE = "int main() { int s = 0; for (int i = 0; i < 9; i++) s += i; return s; }"


@pytest.fixture(scope="module")
def translator():
    model, tokenizer = models.random_model()
    return models.Translator(model.eval().requires_grad_(False), tokenizer, "random")


@pytest.fixture(scope="module")
def probe(translator):
    """A linear scorer with random weights: enough to disagree with row 0."""
    model = prm_model.build(prm_model.PRMConfig(backbone="ridge", latent_width=translator.width, steps=3))
    model.weight.copy_(torch.randn(3, translator.width, generator=torch.Generator().manual_seed(0)) * 0.1)
    return model


def task(i):
    text = SOURCE.replace("9", str(9 + i))
    return Task(Kernel(f"k{i}", "f", "minibench", {"serial": text, "omp": text, "cuda": text}, ("1",), (("1",),)), "serial", "omp")


def settings(**search_values):
    return load("x", latent={"steps": 3, "sigma": 2.0}, decode={"max_new_tokens": 12}, search={"branches": 4, "samples": 3} | search_values)


def last_state(translator, embeds):
    return translator.model.base_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[0, -1]


def naive_score(models, path, align, pooled):
    """Mean score of a prefix of states, each model reading what it was made to."""
    prefix, scores = torch.stack(path), []
    for model in models:
        seen = torch.cat([prefix, align(prefix)], 1) if model.config.reads == "both" else prefix
        scores.append(float(prm_model.scores(model, seen[None], pooled if model.config.context == "pooled" else None)[0, -1]))
    return sum(scores) / len(scores)


def naive_guided(translator, models, row, params):
    """One row, no cache: every prefix of every beam recomputed, every candidate by itself; (picks, score) of the best."""
    s, align = params.search, alignment.aligner(translator, params.latent)
    embeds = translator.model.get_input_embeddings()(torch.tensor(ask(translator, [row.task])[0]))
    context = translator.model.base_model(inputs_embeds=embeds[None]).last_hidden_state.mean(1)
    if s.choose == "trajectories":
        return naive_thoughts(translator, models, row, params, embeds, context)
    beams = [(0.0, [], [], embeds)]
    for t in range(params.latent.steps):
        found = []
        for slot, (_, picks, path, embeds) in enumerate(beams):
            draw = row.draw if slot == 0 else derive_seed(row.draw, "beam", slot)
            h = last_state(translator, embeds)
            for n, c in enumerate(proposals.propose(h[None], s.branches, params.latent, [derive_seed(draw, t)])[0]):
                longer = torch.cat([embeds, align(c)[None]])
                seen = [*path, c] + ([last_state(translator, longer)] if s.lookahead and t + 1 < params.latent.steps else [])
                value = naive_score(models, seen, align, context)
                found.append((value + (s.margin if n == 0 else 0), value, [*picks, n], [*path, c], longer))
        found.sort(key=lambda f: -f[0])  # stable: ties to the earlier one
        beams = [f[1:] for f in found[: s.beam]]
    return beams[0][1], beams[0][0]


def naive_thoughts(translator, models, row, params, prompt, context):
    """The first trajectory is unperturbed, the n-th that of the pool's n-th program; (picks, score) of the best."""
    s, align, found = params.search, alignment.aligner(translator, params.latent), []
    for n in range(s.branches):
        member, embeds, path, picks = program_rows.Row(row.task, "pool", n, row.seed), prompt, [], []
        for t in range(params.latent.steps):
            hidden, seed = last_state(translator, embeds)[None], derive_seed(member.draw, t)
            states = proposals.propose(hidden, s.branches, params.latent, [seed])[0]
            picks.append(derive_seed(member.draw, "pick", t) % s.branches if n else 0)
            path.append(states[picks[-1]])
            embeds = torch.cat([embeds, align(path[-1])[None]])
        value = naive_score(models, path, align, context)
        found.append((value + (s.margin if n == 0 else 0), picks, value))
    _, picks, value = max(found, key=lambda f: f[0])
    return picks, value


@pytest.fixture(scope="module")
def reader(translator):
    """An untrained PRM that reads the prompt as well."""
    torch.manual_seed(0)
    config = prm_model.PRMConfig(backbone="gru", latent_width=translator.width, width=16, steps=3, context="pooled", loss="bce")
    model = prm_model.build(config).eval()
    model.head.weight.data *= 8  # so that scores differ by more than a margin
    return model


@pytest.fixture(scope="module")
def word_reader(translator):
    """An untrained PRM that reads the prompt, every state and the embedding that it is aligned to."""
    torch.manual_seed(1)
    config = prm_model.PRMConfig(
        backbone="gru", latent_width=2 * translator.width, width=16, steps=3, reads="both", context="pooled", loss="bce"
    )
    model = prm_model.build(config).eval()
    model.head.weight.data *= 8
    return model


def other_cost(translator, models, row, result, params):
    """Tokens of the prompt, of the latents, of the answer, and every model's calls by its size."""
    fed, calls = program_rows.thinking_cost(row, params)
    sizes = [sum(v.numel() for v in m.state_dict().values()) for m in models]
    weight = sum(sizes) / sum(p.numel() for p in translator.model.parameters())
    return result["prefill_tokens"] + fed + result["decode_tokens"] + weight * calls


VARIANTS = [
    {},
    {"choose": "trajectories"},
    {"choose": "trajectories", "margin": 0.02},
    {"margin": 0.02},
    {"lookahead": 1},
    {"beam": 2},
    {"beam": 3, "lookahead": 1, "margin": 0.01},
]


@pytest.mark.parametrize("scorer", [["probe"], ["reader"], ["word_reader"], ["reader", "probe", "word_reader"]], ids="+".join)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_guided_rows_equal_the_recomputing_twin(translator, variant, scorer, request):
    models, params = [request.getfixturevalue(name) for name in scorer], settings(**variant)
    count = 5 if "choose" in variant else 2  # an untrained scorer may like the first of a few trajectories
    rows = [program_rows.Row(task(i), arm, 0, 0) for i in range(count) for arm in ("guided", "random", "unguided")]
    results = guided_search.translate(translator, models, rows, params)
    alone = guided_search.translate(translator, [], [r for r in rows if r.arm != "guided"], params)
    others = iter(alone)
    for row, result in zip(rows, results, strict=True):
        if row.arm == "guided":
            picks, score = naive_guided(translator, models, row, params)
            assert result["picks"] == " ".join(map(str, picks))
            assert result["score"] == pytest.approx(score, abs=1e-4)
            assert result["prm_calls"] == len(models) * program_rows.thinking_cost(row, params)[1]
            once = other_cost(translator, models, row, result, params)
            assert result["cost"] == pytest.approx(once)
        else:
            other = next(others)
            assert (result["picks"], result["code"], result["cost"]) == (other["picks"], other["code"], other["cost"])
    assert any(r["picks"] != "0 0 0" for r in results if r["arm"] == "guided")


class LastTwo(torch.nn.Module):
    """A PRM of one's own: linear in a latent and in the one before it."""

    def __init__(self, width):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.randn(2, width, generator=torch.Generator().manual_seed(2)) * 0.01)

    def forward(self, latents):  # (B, K, D)
        before = torch.nn.functional.pad(latents, (0, 0, 1, 0))[:, :-1]
        return 0.5 + latents @ self.weights[0] + before @ self.weights[1]


def test_a_module_of_ones_own_guides_as_the_recomputing_twin_says(translator):
    module = LastTwo(translator.width)
    for variant in ({}, {"choose": "trajectories"}, {"beam": 2, "lookahead": 1}):
        params, rows = settings(**variant), [program_rows.Row(task(i), "guided", 0, 0) for i in range(3)]
        results = guided_search.translate(translator, [module], rows, params)
        for row, result in zip(rows, results, strict=True):
            picks, score = naive_guided(translator, [prm_model.as_prm(module)], row, params)
            assert result["picks"] == " ".join(map(str, picks)) and result["score"] == pytest.approx(score, abs=1e-4)
        assert any(r["picks"] != "0 0 0" for r in results)
    with pytest.raises(UserError, match=r"gives \[24, 64\] for latents .* forward takes \[B, K, D\] and returns \[B, K\]"):
        guided_search.translate(translator, [torch.nn.Flatten()], rows, params)
    with pytest.raises(UserError, match="no PRM; give an nn.Module"):
        guided_search.translate(translator, ["gru"], rows, params)


def test_whole_trajectories_are_those_of_the_pools_programs(translator, probe):
    params = settings(choose="trajectories", samples=4)
    rows = program_rows.plan_rows([task(i) for i in range(4)], params)
    results = guided_search.translate(translator, [probe], rows, params)
    by_task = {}
    for row, result in zip(rows, results, strict=True):
        by_task.setdefault(row.task.id, {})[row.arm, row.sample] = result
    chosen = []
    for made in by_task.values():
        pool = [made["pool", i] for i in range(4)]
        chosen.append([p["picks"] for p in pool].index(made["guided", 0]["picks"]))
        assert made["guided", 0]["code"] == pool[chosen[-1]]["code"]
        assert made["guided", 0]["latent_steps"] == made["guided", 0]["prm_calls"] == 3 * 4
    assert set(chosen) != {0}


def test_beams_and_lookahead_change_what_is_found(translator, probe):
    rows = [program_rows.Row(task(i), "guided", 0, 0) for i in range(4)]
    found = [guided_search.translate(translator, [probe], rows, settings(**v)) for v in ({}, {"lookahead": 1}, {"beam": 3})]
    assert len({tuple(r["picks"] for r in results) for results in found}) == 3


def counted(variant):
    """(fed, scored) of one guided row by walking the search: 3 steps, 4 candidates."""
    if "choose" in variant:
        every = [(trajectory, step) for trajectory in range(4) for step in range(3)]  # each state is fed once and scored once
        return len(every), len(every)
    fed = scored = 0
    prefixes = 1
    for step in range(3):
        candidates = [(p, n) for p in range(prefixes) for n in range(4)]
        scored += len(candidates)
        prefixes = variant.get("beam", 1)
        if variant.get("lookahead") and step < 2:
            fed, scored = fed + len(candidates), scored + len(candidates)
        else:
            fed += prefixes
    return fed, scored


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_thinking_is_charged_for_what_the_search_needs(variant):
    params = settings(**variant)
    assert program_rows.thinking_cost(program_rows.Row(task(0), "guided", 0, 0), params) == counted(variant)
    assert program_rows.thinking_cost(program_rows.Row(task(0), "unguided", 0, 0), params) == (3, 0)


def test_a_kept_translation_is_of_the_same_search():
    """Settings that change what is written change the recipe; how many are written does not."""
    same, others = (
        guided_search.recipe(settings()),
        [{"branches": 5}, {"choose": "trajectories"}, {"margin": 0.1}, {"lookahead": 1}, {"beam": 2}],
    )
    assert all(guided_search.recipe(settings(**other)) != same for other in others)
    assert all(guided_search.recipe(settings(**other)) == same for other in ({"limit": 9}, {"samples": 7}, {"repair": 2}, {"seeds": [3]}))
    scored = [guided_search.recipe(settings(choose="trajectories", samples=n)) for n in (3, 4, 9)]
    assert scored[0] != scored[1] == scored[2]  # with four the pool's trajectories are all that guidance scores


@pytest.mark.parametrize("more", [{"beam": 2}, {"lookahead": 1}])
def test_whole_trajectories_take_no_beam_and_no_lookahead(more):
    with pytest.raises(UserError, match="no beam and no lookahead"):
        settings(choose="trajectories", **more)


def test_a_beam_wider_than_the_candidates_is_refused():
    with pytest.raises(UserError, match="search.beam 5 is over search.branches 4"):
        settings(beam=5)


def test_the_pool_begins_with_the_unguided_and_the_random_program(translator, probe):
    params = settings(arms=["unguided", "random", "oracle"])
    rows = program_rows.plan_rows([task(0)], params)
    found = {(r["arm"], r["sample"]): r for r in guided_search.translate(translator, [probe], rows, params)}
    for arm, sample in (("unguided", 0), ("random", 1)):
        assert found[arm, 0]["picks"] == found["pool", sample]["picks"]
        assert found[arm, 0]["code"] == found["pool", sample]["code"]


def test_a_sampled_pool_differs_and_the_unguided_program_does_not_depend_on_the_other_arms(translator):
    params = settings(samples=5).model_copy(update={"latent": settings().latent.model_copy(update={"proposal": "none"})})
    params = params.model_copy(update={"decode": params.decode.model_copy(update={"temperature": 1.0, "max_new_tokens": 24})})
    wanted = [program_rows.Row(task(0), "unguided", 0, 0), program_rows.Row(task(0), "random", 0, 0)]
    pool = [program_rows.Row(task(0), "pool", i, 0) for i in range(5)]
    made = guided_search.translate(translator, [], wanted + pool, params)
    likely = [round(row["mean_logprob"], 6) for row in made]
    assert likely[:2] == likely[2:4] and len(set(likely[2:])) == 5
    alone = guided_search.translate(translator, [], wanted[:1], params)[0]
    assert alone["mean_logprob"] == pytest.approx(made[0]["mean_logprob"], abs=1e-5)


def test_the_sampled_pool_is_drawn_again_and_again_from_the_unperturbed_latents(translator):
    params = settings(arms=["unguided", "sampled:oracle"], sampled=4)
    params = params.model_copy(update={"decode": params.decode.model_copy(update={"sample_temperature": 1.0, "max_new_tokens": 12})})
    rows = program_rows.plan_rows([task(0), task(1)], params)
    assert [(r.task.id, r.arm, r.sample) for r in rows[-8:]] == [(task(i).id, "sampled_pool", j) for i in range(2) for j in range(4)]
    made = guided_search.translate(translator, [], rows, params)
    for i in range(2):
        plain, *sampled = [r for r in made if r["task"] == task(i).id and r["arm"] in ("unguided", "sampled_pool")]
        assert {(r["picks"], r["plan"]) for r in sampled} == {(plain["picks"], plain["plan"])}
        assert len({round(r["mean_logprob"], 6) for r in (plain, *sampled)}) == 5
        assert [r["latent_steps"] for r in sampled] == [plain["latent_steps"], 0, 0, 0]
        assert [r["cost"] - r["decode_tokens"] - r["prefill_tokens"] for r in sampled] == [plain["latent_steps"], 0, 0, 0]
    alone = guided_search.translate(translator, [], rows[-1:], params)[0]
    assert alone["mean_logprob"] == pytest.approx(made[-1]["mean_logprob"], abs=1e-5) and alone["code"] == made[-1]["code"]
    greedy = params.model_copy(update={"decode": params.decode.model_copy(update={"sample_temperature": 1e-4})})
    assert guided_search.translate(translator, [], rows[-1:], greedy)[0]["mean_logprob"] == pytest.approx(plain["mean_logprob"], abs=1e-5)


def test_a_sampled_pool_leaves_what_was_kept_without_it():
    """What was written before is grouped as it was, under the same recipe; the sampled programs' holds their temperature."""
    plain, more = settings(), settings(sampled=3)
    warmer = more.model_copy(update={"decode": more.decode.model_copy(update={"sample_temperature": 0.5})})
    before, after = (program_rows.plan_rows([task(0), task(1)], p) for p in (plain, more))
    assert after[: len(before)] == before and len(after) == len(before) + 6
    assert guided_search.recipe(plain) == guided_search.recipe(more) == guided_search.recipe(warmer)
    assert len({str(guided_search.recipe(p, sampled=True)) for p in (plain, more, warmer)}) == 2
    assert guided_search.recipe(more, sampled=True) != guided_search.recipe(more)


def test_guided_decodes_a_sampled_thought_as_the_pool_does(translator, probe):
    params = settings(choose="trajectories", samples=4)
    params = params.model_copy(update={"decode": params.decode.model_copy(update={"temperature": 1.0, "max_new_tokens": 12})})
    chosen = set()
    for i in range(4):
        rows = program_rows.plan_rows([task(i)], params)
        written = guided_search.translate(translator, [probe], rows, params)
        made = {(row.arm, row.sample): result for row, result in zip(rows, written, strict=True)}
        pool = [made["pool", s]["mean_logprob"] for s in range(4)]
        assert len(set(pool)) == 4
        chosen.add(min(range(4), key=lambda s: abs(pool[s] - made["guided", 0]["mean_logprob"])))
        assert min(abs(p - made["guided", 0]["mean_logprob"]) for p in pool) < 1e-5
    assert chosen != {0}


def test_ties_and_small_gains_go_to_the_original():
    values = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.55, 0.4], [0.5, 0.9, 0.95]])
    assert policies.select(values, 0.0).tolist() == [0, 1, 2]
    assert policies.select(values, 0.1).tolist() == [0, 0, 2]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_chooses_nothing(score):
    with pytest.raises(UserError, match="no finite score"):
        policies.select(torch.tensor([[0.5, score, 0.9]]), 0.0)


def test_random_picks_are_uniform_and_do_not_depend_on_the_batch():
    rows = [program_rows.Row(task(0), "random", 0, seed) for seed in range(3000)]
    choose, _ = policies.by_steps(rows, None, settings().search, "cpu")
    picks = choose(1, torch.zeros(3000, 4, 2))
    assert torch.bincount(picks, minlength=4).tolist() == pytest.approx([750] * 4, abs=100)
    alone, _ = policies.by_steps(rows[7:8], None, settings().search, "cpu")
    assert alone(1, torch.zeros(1, 4, 2))[0] == picks[7]


def test_a_repair_row_reads_the_failed_program_and_is_decoded_within_the_tasks_own_limit(translator, probe):
    params = settings()
    past = ("int main() { return fail; }", "error: 'fail' was not declared")
    row = program_rows.Row(task(0), "guided", 0, 0, 1, past)
    text = translator.tokenizer.decode(guided_search.ask_row(translator, row))
    assert all(part in text for part in past) and text.index(past[0]) < text.index(past[1])
    first, again = guided_search.translate(translator, [probe], [program_rows.Row(task(0), "guided", 0, 0), row], params)
    assert again["attempt"] == 1 and first["attempt"] == 0
    assert again["prefill_tokens"] == len(guided_search.ask_row(translator, row)) > first["prefill_tokens"]
    assert again["decode_tokens"] <= token_limit(first["prefill_tokens"], params)


def test_a_repair_does_not_depend_on_its_batch(translator, probe):
    params, past = settings(), ("int main() {}", "it fails")
    rows = [program_rows.Row(task(i), arm, 0, 0, 1, past) for i in range(2) for arm in ("guided", "unguided")]
    together = guided_search.translate(translator, [probe], rows, params)
    assert [r["code"] for r in together] == [guided_search.translate(translator, [probe], [row], params)[0]["code"] for row in rows]


def test_the_pools_thoughts_have_the_scores_that_guidance_read(translator, probe, word_reader):
    params = settings(choose="trajectories", arms=["unguided", "guided", "oracle"], samples=6)
    results = guided_search.translate(
        translator, [probe, word_reader], program_rows.plan_rows([task(i) for i in range(3)], params), params
    )
    fewer = settings(choose="trajectories", arms=["guided", "oracle"], samples=3)
    few = guided_search.translate(translator, [probe, word_reader], program_rows.plan_rows([task(0)], fewer), fewer)
    assert [np.isnan(r["score"]) for r in few] == [r["arm"] != "guided" for r in few]  # the fourth trajectory has no program in the pool
    for i in range(3):
        mine = [r for r in results if r["task"] == task(i).id]
        guided, pool = next(r for r in mine if r["arm"] == "guided"), [r for r in mine if r["arm"] == "pool"]
        scores = [r["score"] for r in pool]
        assert max(scores[:4]) == guided["score"] and np.isnan(scores[4:]).all()  # branches: 4
        assert pool[int(np.argmax(scores[:4]))]["picks"] == guided["picks"] and len(set(scores[:4])) > 1
        assert np.isnan(next(r["score"] for r in mine if r["arm"] == "unguided"))


def test_choosing_by_steps_scores_no_thought_of_the_pool(translator, probe):
    params = settings(arms=["guided", "oracle"])
    results = guided_search.translate(translator, [probe], program_rows.plan_rows([task(0)], params), params)
    assert [np.isnan(r["score"]) for r in results] == [r["arm"] == "pool" for r in results]


def test_groups_keep_a_tasks_rows_together_and_count_the_prefixes_that_think_at_once():
    params = settings(arms=["unguided", "random", "guided", "best_of_n"], seeds=[0, 1])
    rows = program_rows.plan_rows([task(i) for i in range(5)], params)  # 4 distinct programs a task: 3 of the pool, guided
    groups = program_rows.grouped(rows, 8, params)
    assert [row for group in groups for row in group] == rows
    assert [len({r.program for r in group}) for group in groups] == [8, 8, 8, 8, 8]
    assert program_rows.grouped(rows, 1, params) == [rows[i : i + 6] for i in range(0, 60, 6)]
    trajectories = settings(arms=["unguided", "random", "guided", "best_of_n"], seeds=[0, 1], choose="trajectories")
    assert [len(group) for group in program_rows.grouped(rows, 14, trajectories)] == [12] * 5  # 3 programs, and guided's 4 trajectories
    assert [len(group) for group in program_rows.grouped(rows, 13, trajectories)] == [6] * 10


def test_a_group_with_a_long_task_has_fewer_rows():
    params = settings(arms=["unguided", "random", "guided", "best_of_n"])
    long = replace(task(2), kernel=replace(task(2).kernel, sources={"serial": "/" * 3 * 5000, "omp": ""}))  # counts double
    rows = program_rows.plan_rows([task(0), task(1), long, task(3), task(4)], params)
    groups = program_rows.grouped(rows, 8, params)  # four programs a task
    assert [list(dict.fromkeys(r.task.kernel.name for r in group)) for group in groups] == [["k0", "k1"], ["k2"], ["k3", "k4"]]


def test_cost_counts_forwarded_tokens_and_weighs_the_prm_by_its_parameters(translator, probe):
    params = settings()
    rows = [program_rows.Row(task(0), arm, 0, 0) for arm in ("guided", "unguided")]
    guided, plain = guided_search.translate(translator, [probe], rows, params)
    tokens = [r["prefill_tokens"] + 3 + r["decode_tokens"] for r in (guided, plain)]
    weight = (2 * 64 + 3 * 64 + 3) / sum(p.numel() for p in translator.model.parameters())  # mean, std, three probes
    assert plain["cost"] == tokens[1] and guided["cost"] == pytest.approx(tokens[0] + 12 * weight)


def test_after_memory_ran_out_a_group_is_written_in_parts_and_is_the_same(tmp_path, monkeypatch):
    params = load("x", translator={"model": "random", "dtype": "float32"}, latent={"steps": 3}, decode={"max_new_tokens": 3, "batch": 288},
                  search={"branches": 4, "samples": 3, "arms": ["unguided", "guided", "oracle"]})  # fmt: skip
    model = prm_model.build(prm_model.PRMConfig(latent_width=576, steps=3, width=16, layers=1, heads=2))
    item = {"params": dump(params), "gpu_share": 1.0, "prms": [packed.pack(prm_model.save(model, tmp_path / "prm"))]}
    item["rows"] = program_rows.grouped(program_rows.plan_rows([task(i) for i in range(40)], params), 8, params)[0]
    sizes, translate = [], guided_search.translate
    monkeypatch.setattr(guided_search, "translate", lambda *given: sizes.append(len(given[2])) or translate(*given))
    whole, parts = guided_search.translate_item(item), guided_search.translate_item(item, shrink=2)
    assert sizes[0] == len(item["rows"]) == sum(sizes[1:]) and len(sizes) > 2
    assert [(r["task"], r["arm"], r["code"], r["picks"]) for r in whole] == [(r["task"], r["arm"], r["code"], r["picks"]) for r in parts]


def test_a_repair_of_what_a_method_took_from_a_pool_is_guided_where_its_order_was():
    policies_of = {name: program_rows.Row(task(0), name, 2, 0, 1, ("", "")).policy for name in arms.ARMS}
    assert {name for name, policy in policies_of.items() if policy == "guided"} == {"guided", "guided_filter", "guided_agreeing"}
    warm = settings().decode.model_copy(update={"temperature": 0.1, "sample_temperature": 0.9, "redecode_temperature": 0.5})
    heats = {name: program_rows.Row(task(0), name, 1, 0).heat(warm) for name in ("sampled_pool", "pool", "redecode", "sampled:oracle")}
    assert heats == {"sampled_pool": 0.9, "pool": 0.1, "redecode": 0.5, "sampled:oracle": 0.1}
