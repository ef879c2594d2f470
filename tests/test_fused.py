"""Layers through torch.compile against the same layers one kernel after another."""

from dataclasses import replace

import pytest
import tiny_families as tiny
import torch
from transformers import AutoModelForCausalLM

from parallax_lib.prm import backbones, engine_states, incremental_scoring, train
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.model import PRMConfig, build
from parallax_lib.prm.train_config import TrainConfig
from parallax_lib.translator import decoding, engine, fused, joined, models

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    """Without a GPU what is traced runs as it is: a compiler takes minutes for it."""
    if DEVICE == "cpu":
        monkeypatch.setattr(fused, "BACKEND", "eager")


@torch.inference_mode()
def states(translator):
    """Of prompts of several lengths, steps, candidates and drafts, in batches of one row and several."""
    found = []
    for rows, length in ((1, 20), (3, 30), (5, 33)):
        prompts = [[i % 250 + 1 for i in range(length - b)] for b in range(rows)]
        state = engine.prefill(translator, prompts)
        found += [state.hidden, state.pooled]
        vectors = torch.randn(rows, 3, translator.width, generator=torch.Generator().manual_seed(rows)).to(translator.device)
        for _ in range(2):
            hidden = engine.step_candidates(translator, state, vectors)
            state = engine.keep_candidate(state, hidden, torch.arange(rows, device=translator.device) % 3)
        answers = decoding.decode(translator, state, prompts, [65], limits=[8] * rows, draft=6)
        found += [hidden, torch.tensor(sum((answer.tokens for answer in answers), []), device=translator.device)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2, sliding", *(["gemma 2", "mixtral"] if DEVICE == "cuda" else [])])
def test_compiled_layers_give_the_same_states_and_tokens(family):
    """Batches that come later compile nothing: a layer is compiled for one row or several, one column or several."""
    translator = models.Translator(tiny.build(family).to(DEVICE), models.byte_tokenizer(), family)
    plain = states(translator)
    joined.join(translator.body)  # as where a model is loaded: forwards that were captured before read the old weights
    translator = models.Translator(translator.model, translator.tokenizer, family)
    fused.fuse(translator.body)
    assert fused.fused(translator.body)
    torch._dynamo.utils.counters.clear()
    for one, other in zip(plain, states(translator), strict=True):
        torch.testing.assert_close(other, one, atol=2e-4, rtol=2e-3)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    states(translator)
    assert 0 < compiled == torch._dynamo.utils.counters["stats"]["unique_graphs"]


@torch.inference_mode()
def test_one_code_serves_all_layers_and_what_it_leaves_open_are_tokens(monkeypatch):
    graphs = []

    def seen(graph, given):
        graphs.append((len(graph.graph.nodes), sum(isinstance(value, torch.SymInt) for value in given)))
        return graph.forward

    monkeypatch.setattr(fused, "BACKEND", seen)
    config = tiny.build("qwen2").config
    config.num_hidden_layers, config.layer_types = 4, ["full_attention"] * 4
    torch.manual_seed(0)
    translator = models.Translator(AutoModelForCausalLM.from_config(config).eval(), models.byte_tokenizer(), "qwen2")
    prompts = [[1, 2, 3, 4, 5], [6, 7, 8]]
    plain = engine.prefill(translator, prompts).hidden
    fused.fuse(translator.body)
    torch.testing.assert_close(engine.prefill(translator, prompts).hidden, plain)
    assert len(graphs) == 5 and max(graphs)[1] <= 2  # the largest one is norms, products and rotations


@pytest.mark.slow
def test_a_compiled_prm_whose_adapters_are_merged_scores_as_before(tmp_path):
    tiny.build("qwen2").save_pretrained(tmp_path)
    torch.manual_seed(0)
    model = build(PRMConfig(backbone=str(tmp_path), latent_width=24, lora_rank=2)).eval().to(DEVICE)
    for name, value in model.backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.3)  # adapters that were never trained change nothing
    candidates = torch.randn(4, 3, 5, 24, device=DEVICE)

    def scored():
        engine_states.KNOWN.clear()  # as where a model is loaded: no forward was captured before
        scorer = incremental_scoring.Scorer(engine_states.EngineStates(model), engine_states.EngineStates(model).begin(3))
        found = []
        for given in candidates:
            found.append(scorer.score_next(given))
            scorer.keep(torch.tensor([1, 7, 12], device=DEVICE))
        return torch.stack(found)

    plain = scored()
    model.backbone.merge()
    torch.testing.assert_close(scored(), plain, atol=1e-5, rtol=1e-4)
    assert joined.join(model.backbone.body) == 4
    fused.fuse(model.backbone.body)
    torch.testing.assert_close(scored(), plain, atol=1e-5, rtol=1e-4)
    assert plain.std() > 1e-4


@pytest.mark.parametrize("least", [1, 10**9])
def test_a_large_float32_prm_is_scored_by_tensor_cores_and_learns_without_them(tmp_path, monkeypatch, least):
    monkeypatch.setattr(backbones, "LARGE", least)
    tiny.build("qwen2").save_pretrained(tmp_path)
    torch.manual_seed(0)
    model = build(PRMConfig(backbone=str(tmp_path), latent_width=24)).eval()
    latents, seen = torch.randn(64, 4, 24), []
    plain = prm_model.scores(model, latents)
    model.backbone.body.layers[0].register_forward_pre_hook(lambda *_: seen.append(torch.backends.cuda.matmul.allow_tf32))
    torch.testing.assert_close(prm_model.scores(model.to(DEVICE), latents), plain, atol=5e-3, rtol=0)
    model(latents.to(DEVICE))
    assert seen == [DEVICE == "cuda" and least == 1, False]
    assert not torch.backends.cuda.matmul.allow_tf32 and plain.std() > 1e-3


def test_tensor_cores_are_as_they_were_after_an_error_and_untouched_where_they_are_not_asked_for():
    switch = torch.backends.cuda.matmul
    with pytest.raises(ValueError), backbones._tensor_cores(True):
        assert switch.allow_tf32
        raise ValueError
    assert not switch.allow_tf32
    before, switch.fp32_precision = switch.fp32_precision, "tf32"  # torch's newer name: to read the older one raises RuntimeError then
    try:
        with backbones._tensor_cores(False):
            assert switch.fp32_precision == "tf32"
    finally:
        switch.fp32_precision = before
    assert not switch.allow_tf32


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cpu", reason="prm.compile asks for a GPU, and a CPU traces layers with adapters for minutes")
@pytest.mark.parametrize("precision, within", [("fp32", 1e-4), ("bf16", 2e-2)])  # compiled code rounds less often to bfloat16
def test_training_through_compiled_layers_has_the_same_losses(tmp_path, precision, within):
    tiny.build("qwen2").to(torch.bfloat16 if precision == "bf16" else torch.float32).save_pretrained(tmp_path)
    latents = torch.randn(48, 4, 24, generator=torch.Generator().manual_seed(0)).numpy()
    targets = (latents[:, :1].sum(2) > 0).astype(float).repeat(4, 1)
    data = (latents, targets, targets * 0 + 1, [i // 4 for i in range(48)], ["train"] * 36 + ["valid"] * 12)
    config = TrainConfig(epochs=2, batch=36, device_batch=18, unfreeze_step=0, precision=precision, recompute=True)
    prm = PRMConfig(backbone=str(tmp_path), latent_width=24, lora_rank=2)
    plain = train.fit(*data, config, prm=prm, device=DEVICE)[1]
    history = train.fit(*data, replace(config, compile=True), prm=prm, device=DEVICE)[1]
    columns = ["train_loss", "valid_loss"]
    torch.testing.assert_close(torch.tensor(history[columns].to_numpy()), torch.tensor(plain[columns].to_numpy()), atol=within, rtol=0)
