"""The PRM and its baselines: incremental scoring against the full forward, saving, and errors in one line."""

import json
import math

import pytest
import torch
import transformers
from training_rows import write_lm

from parallax_lib.core.errors import UserError
from parallax_lib.prm import incremental_scoring
from parallax_lib.prm.engine_states import EngineStates
from parallax_lib.prm.incremental_scoring import start
from parallax_lib.prm.model import PRM, PRMConfig, build, learned, load, save, scores, size

D, K, B, N = 24, 6, 3, 4
SMALL = {"latent_width": D, "width": 32, "heads": 2, "layers": 2}


@pytest.fixture(scope="module")
def causal_lm(tmp_path_factory):
    """A folder that holds a whole Qwen2 causal LM with vocabulary, as a hub download would."""
    torch.manual_seed(7)
    sizes = {"hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    folder = tmp_path_factory.mktemp("lm")
    transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes, num_key_value_heads=2, vocab_size=99)).save_pretrained(folder)
    return folder


def make(kind, loss="bce", seed=0, **more):
    """A model with all weights random, statistics included, so that nothing passes by being zero."""
    torch.manual_seed(seed)
    rank = 3 if isinstance(kind, WithLora) else 0
    model = build(PRMConfig(backbone=str(kind), loss=loss, steps=K, lora_rank=rank, **(SMALL | more)))
    with torch.no_grad():
        for name, value in learned(model).items():
            value.add_(0.3 * torch.rand(value.shape) if "std" in name else 0.3 * torch.randn(value.shape))
    return model.eval()


def draw(seed=1, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def guided(scorer, candidates):
    """Drive a scorer as search does; the scores it gave [K, B, N] and the latents it kept [B, K, D]."""
    seen, kept = [], []
    for step in candidates:
        seen.append(scorer.score_next(step))
        best = seen[-1].argmax(1)
        kept.append(step[torch.arange(B), best])
        scorer.keep(torch.arange(B) * N + best)
    return torch.stack(seen), torch.stack(kept, 1)


KINDS = ["transformer", "gru", "ridge", "causal_lm", "lora"]


class WithLora(str):
    """A causal LM's folder that is to be trained by adapters."""


@pytest.fixture(params=KINDS)
def kind(request, causal_lm):
    return {"causal_lm": causal_lm, "lora": WithLora(causal_lm)}.get(request.param, request.param)


@pytest.mark.parametrize("context", ["none", "pooled"])
def test_incremental_scores_equal_full_forwards_of_every_prefix(kind, context):
    model = make(kind, context=context)
    prompt, candidates = draw(2, B, D), draw(3, K, B, N, D)
    given = prompt if context == "pooled" else None
    seen, kept = guided(start(model, B, given), candidates)
    for t in range(K):
        for n in range(N):
            prefix = torch.cat([kept[:, :t], candidates[t, :, n : n + 1]], 1)  # (B, t + 1, D)
            want = scores(model, prefix, given)[:, -1]
            assert torch.allclose(seen[t, :, n], want, atol=2e-6, rtol=1e-5)
    assert seen.std() > 0.01
    if context == "pooled" and kind != "ridge":
        other, _ = guided(start(model, B, -prompt), candidates)
        assert (other - seen).abs().max() > 1e-3


def test_one_causal_forward_equals_every_prefix_by_itself(kind):
    model, latents = make(kind), draw(4, B, K, D)
    whole = scores(model, latents)
    parts = torch.stack([scores(model, latents[:, : t + 1])[:, -1] for t in range(K)], 1)
    assert torch.allclose(whole, parts, atol=2e-6, rtol=1e-5)


def test_recomputing_scorer_is_the_twin_of_the_cached_one(kind):
    model, candidates = make(kind, context="pooled"), draw(5, K, B, N, D)
    cached, twin = start(model, B, draw(6, B, D)), start(model, B, draw(6, B, D), recompute=True)
    (a, kept), (b, kept_twin) = guided(cached, candidates), guided(twin, candidates)
    assert torch.allclose(a, b, atol=2e-6, rtol=1e-5) and torch.equal(kept, kept_twin)


@pytest.mark.parametrize("context", ["none", "pooled"])
def test_prefixes_that_the_engine_keeps_score_as_cached_ones(causal_lm, context, monkeypatch):
    """As on a GPU; beams that fork and a look ahead included."""
    candidates, given = draw(5, K, B, N, D), draw(6, B, D) if context == "pooled" else None
    for kind in ("transformer", causal_lm, WithLora(causal_lm)):
        model = make(kind, context=context)
        cached = start(model, B, given)
        with monkeypatch.context() as patch:
            patch.setattr(incremental_scoring, "able", lambda model: True)
            kept = start(model, B, given)
        assert isinstance(kept.model, EngineStates) and not isinstance(cached.model, EngineStates)
        for t in range(K):
            seen = [(s.score_next(candidates[t]), s.look_ahead(candidates[0])) for s in (cached, kept)]
            torch.testing.assert_close(seen[0], seen[1], atol=2e-6, rtol=1e-5)
            forks = torch.tensor([1, 1, *range(N, N + B - 2)])[:B]
            for scorer in (cached, kept):
                scorer.keep(forks)


def test_keeping_a_scored_candidate_costs_no_forward(kind):
    model = make(kind)
    scorer, candidates = start(model, B), draw(7, 2, B, N, D)
    scorer.score_next(candidates[0])
    scorer.keep(torch.arange(B) * N + 2)
    assert scorer.positions == B * N
    prefix = torch.stack([candidates[0, :, 2], candidates[1, :, 1]], 1)
    assert torch.allclose(scorer.score_next(candidates[1])[:, 1], scores(model, prefix)[:, -1], atol=2e-6)


def test_scoring_without_keeping_changes_nothing(kind):
    scorer, candidates = start(make(kind), B), draw(9, B, N, D)
    scorer.score_next(draw(10, B, 1, D))
    scorer.keep(torch.arange(B))
    first = scorer.score_next(candidates)
    scorer.score_next(-candidates)
    assert torch.equal(scorer.score_next(candidates), first)


def test_search_runs_without_dropout(kind):
    model, candidates = make(kind, dropout=0.5), draw(22, K, B, N, D)
    expected, _ = guided(start(model, B), candidates)
    seen, kept = guided(start(model.train(), B), candidates)
    assert torch.equal(seen, expected) and torch.equal(scores(model.train(), kept), scores(model, kept))


def test_rows_do_not_see_each_other_and_candidates_do_not_either(kind):
    model, candidates = make(kind), draw(11, K, B, N, D)
    seen, kept = guided(start(model, B), candidates)
    changed = candidates.clone()
    changed[:, 1:] = draw(12, K, B - 1, N, D)
    assert torch.allclose(guided(start(model, B), changed)[0][:, 0], seen[:, 0], atol=2e-6)
    scorer = start(model, B)
    scorer.score_next(kept[:, :1])
    scorer.keep(torch.arange(B))
    step = candidates[1].clone()
    step[:, 1:] += 1
    assert torch.allclose(scorer.score_next(step)[:, 0], seen[1, :, 0], atol=2e-6)


def test_transformer_reads_earlier_latents_and_ridge_does_not():
    latents = draw(13, B, K, D)
    changed = latents.clone()
    changed[:, 0] += 1
    for kind, reads in (("transformer", True), ("gru", True), ("ridge", False)):
        moved = (scores(make(kind), latents) - scores(make(kind), changed))[:, 1:].abs().max() > 1e-4
        assert bool(moved) == reads


def test_lengths_hide_padding_even_if_it_is_garbage(kind):
    model, latents = make(kind, context="pooled"), draw(14, B, K, D)
    lengths, context = torch.tensor([K, 2, 4]), draw(15, B, D)
    clean = model(latents, context=context)
    padded = torch.arange(K) >= lengths[:, None]
    got = model(latents.masked_fill(padded[..., None], torch.nan), lengths, context)
    assert torch.allclose(got[~padded], clean[~padded], atol=2e-6) and (got[padded] == 0).all()


def test_ridge_is_the_affine_map_of_its_position_and_repeats_its_last_probe():
    model, latents = make("ridge", loss="mse"), draw(16, 2, K + 2, D)
    for b in range(2):
        for k in range(K + 2):
            at = min(k, K - 1)
            x = (latents[b, k] - model.mean) / model.std
            want = sum(float(x[d]) * float(model.weight[at, d]) for d in range(D)) + float(model.bias[at])
            assert model(latents)[b, k].item() == pytest.approx(want, abs=1e-5)


def test_standardisation_makes_the_scores_independent_of_the_units():
    plain, scaled = make("transformer"), make("transformer")
    scaled.mean.mul_(50)
    scaled.std.mul_(50)
    latents = draw(17, B, K, D)
    assert torch.allclose(scores(plain, latents), scores(scaled, 50 * latents), atol=1e-5)


def test_scores_take_float16_arrays_in_batches(kind):
    model, latents = make(kind), draw(18, 7, K, D).half()
    whole, parts = scores(model, latents.numpy()), scores(model, latents, batch=2)
    assert whole.shape == (7, K) and whole.dtype == torch.float32 and torch.allclose(whole, parts, atol=2e-6)
    assert (whole > 0).all() and (whole < 1).all() and scores(model, latents[:0]).shape == (0, K)


def test_head_sits_on_the_final_hidden_state_of_the_causal_lm_and_its_vocabulary_is_gone(causal_lm):
    model, latents = make(causal_lm), draw(19, B, K, D)
    lm = transformers.Qwen2ForCausalLM.from_pretrained(causal_lm)
    weights = model.backbone.body.state_dict()
    lm.model.load_state_dict(weights, strict=False)
    hidden = lm(inputs_embeds=model.embed(latents), output_hidden_states=True).hidden_states[-1]
    assert torch.allclose(model.head(hidden)[..., 0], model(latents), atol=1e-5)
    assert model.config.width == 40 and not [k for k in model.state_dict() if "embed_tokens" in k or "lm_head" in k]


def test_bfloat16_causal_lm_is_held_in_float32(tmp_path):
    write_lm(tmp_path)
    model = build(PRMConfig(backbone=str(tmp_path), latent_width=D))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_lora_is_the_published_formula_on_weights_that_stay_in_their_own_precision(tmp_path):
    write_lm(tmp_path)
    model = make(WithLora(tmp_path))
    kept = {p.dtype for name, p in model.named_parameters() if name not in learned(model)}
    assert kept == {torch.bfloat16} and {p.dtype for p in learned(model).values()} == {torch.float32}
    whole = build(PRMConfig(backbone=str(tmp_path), latent_width=D))
    assert size(model) == size(whole) + 3 * (4 * (16 + 16) + 3 * (16 + 32))  # rank (in + out) for each linear map
    for name, module in model.backbone.body.named_modules():  # W + (alpha / r) B A with alpha = 2 r (Hu et al. 2021)
        if hasattr(module, "lora_A"):
            merged = module.base_layer.weight.float() + 2 * module.lora_B["default"].weight @ module.lora_A["default"].weight
            whole.backbone.body.get_submodule(name).weight.data = merged
    whole.load_state_dict({k: v for k, v in learned(model).items() if "lora_" not in k}, strict=False)
    model.backbone.body.float()
    model.backbone.dtype = torch.float32
    assert torch.allclose(model(draw(22, B, K, D)), whole.eval()(draw(22, B, K, D)), atol=1e-4)


def test_a_lora_prm_is_small_on_disk_and_refuses_other_weights_beneath(tmp_path):
    lm = write_lm(tmp_path / "lm", hidden_size=64, intermediate_size=256, num_hidden_layers=2)
    folder = save(make(WithLora(tmp_path / "lm")), tmp_path / "prm")
    assert (folder / "model.safetensors").stat().st_size < (tmp_path / "lm" / "model.safetensors").stat().st_size / 3
    with torch.no_grad():
        lm.model.layers[1].mlp.up_proj.weight[0, 0] += 0.5  # a fine-tuned variant in the same place
    lm.save_pretrained(tmp_path / "lm")
    with pytest.raises(UserError) as e:
        load(folder)
    assert "has other weights than this PRM was trained on" in one_line(e)


@pytest.mark.parametrize("backbone", ["transformer", "gru", "ridge"])
def test_lora_needs_a_language_model(backbone):
    with pytest.raises(UserError) as e:
        build(PRMConfig(backbone=backbone, lora_rank=4, **SMALL))
    assert f"a {backbone} has no weights to adapt; name a causal LM" in one_line(e)


@pytest.mark.parametrize("context", ["none", "pooled"])
def test_a_saved_model_comes_back_bit_for_bit(kind, context, tmp_path):
    model, latents, prompt = make(kind, context=context), draw(20, B, K, D), draw(21, B, D)
    again = load(save(model, tmp_path / "prm"), latent_width=D)
    assert torch.equal(scores(model, latents, prompt), scores(again, latents, prompt))
    assert again.config == model.config and not again.training
    assert [p.name for p in tmp_path.iterdir()] == ["prm"]


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_folder_and_parent_of_checkpoints_say_where_to_look(tmp_path):
    with pytest.raises(UserError) as e:
        load(tmp_path / "nowhere")
    assert "nowhere: no such folder" in one_line(e)
    for step in (100, 20):
        save(make("gru"), tmp_path / "run" / f"checkpoint-{step}")
    with pytest.raises(UserError) as e:
        load(tmp_path / "run")
    assert "no prm.json here; it holds checkpoint-20, checkpoint-100: give one of these" in one_line(e)
    with pytest.raises(UserError) as e:
        load(tmp_path)
    assert "right folder?" in one_line(e)


def test_wrong_vector_width_names_both_widths(kind, tmp_path):
    model = make(kind)
    for use in (
        lambda: load(save(model, tmp_path / "prm"), latent_width=7),
        lambda: model(draw(0, B, K, 7)),
        lambda: start(model, B).score_next(draw(0, B, N, 7)),
    ):
        with pytest.raises(UserError) as e:
            use()
        assert "7 wide" in one_line(e) and str(D) in one_line(e)


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.99])
def test_truncated_weights_are_one_line(kind, keep, tmp_path):
    file = save(make(kind), tmp_path / "prm") / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: keep if keep in (0, 5) else math.floor(keep * len(data))])
    with pytest.raises(UserError) as e:
        load(tmp_path / "prm")
    assert "truncated or damaged" in one_line(e) and "model.safetensors" in one_line(e)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_incomplete_folders_are_one_line(name, tmp_path):
    (save(make("transformer"), tmp_path / "prm") / name).unlink()
    with pytest.raises(UserError) as e:
        load(tmp_path / "prm")
    assert "prm" in one_line(e) and name in one_line(e)


def test_foreign_description_and_weights_of_another_model_are_one_line(tmp_path):
    folder = save(make("gru"), tmp_path / "prm")
    told = json.loads((folder / "prm.json").read_text())
    (folder / "prm.json").write_text(json.dumps(told | {"width": 16}))
    with pytest.raises(UserError) as e:
        load(folder)
    assert "do not fit together" in one_line(e)
    (folder / "prm.json").write_text(json.dumps(told | {"colour": "red"}))
    with pytest.raises(UserError) as e:
        load(folder)
    assert "colour" in one_line(e)


@pytest.mark.parametrize(("change", "words"), [
    ({"backbone": "/no/such/model"}, "prm.kind: cannot load '/no/such/model'"),
    ({"loss": "hinge"}, "mse, huber, bce, orm, rank, listwise"),
    ({"heads": 3}, "width 32 must be an even multiple of its 3 heads"),
    ({"context": "all"}, "'none' or 'pooled'"),
    ({"latent_width": 0}, "latent_width is 0"),
])
def test_impossible_configurations_are_one_line(change, words):
    with pytest.raises(UserError) as e:
        build(PRMConfig(**(SMALL | change)))
    assert words in one_line(e)


def test_pooled_prm_without_its_context_says_so():
    model = make("transformer", context="pooled")
    with pytest.raises(UserError, match="pass context"):
        model(draw(0, B, K, D))
    assert isinstance(model, PRM)
