"""vLLM as the decoder: the engine's greedy tokens after the same latents, and one line where it is not installed."""

import importlib.util

import pytest
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Latent
from parallax_lib.translator import alignment, decoding, engine, latent_steps, models, vllm_decoder


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_one_line_says_what_to_do():
    with pytest.raises(UserError, match="decode.engine: vllm is not installed where programs are written"):
        vllm_decoder.refuse("vllm", 1)
    vllm_decoder.refuse("own", 2)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM")
def test_greedy_tokens_are_those_of_the_engine(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    model, tokenizer = models.random_model(width=256)  # heads of 64: vLLM has no attention for 144 on a CPU
    translator = models.Translator(model.eval().requires_grad_(False), tokenizer, "random")
    params = Latent(steps=3)
    align = alignment.aligner(translator, params)
    prompts = [translator.tokenizer.encode(text) for text in ("int main() { return 0; }", "for (int i = 0; i < n; i++)")]
    start, limits = translator.tokenizer.encode("\n"), [24, 12]
    thought = latent_steps.think(
        translator, engine.prefill(translator, prompts), align, params, candidates=1, choose=latent_steps.always_original, row_seeds=[0, 1]
    )
    own = decoding.decode(translator, thought.state, prompts, start, limits=limits)
    more = {"limits": limits, "temperatures": [0.0, 0.0], "seeds": [0, 1], "most": 256}
    theirs = vllm_decoder.decode(translator, prompts, align(thought.latents), start, **more)
    assert [each.tokens for each in theirs] == [each.tokens for each in own]
    for a, b in zip(theirs, own, strict=True):
        assert a.finished == b.finished and a.mean_logprob == pytest.approx(b.mean_logprob, abs=1e-3)
    assert torch.isfinite(thought.latents).all()
