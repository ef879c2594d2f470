"""Every architecture that the engine takes against its own forward, on tiny random models; those that it does not take are refused.

The twins recompute everything: no cache, one row at a time, the model's own mask and the model's own logits.
"""

import pytest
import tiny_families as tiny
import torch
import transformers

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Latent
from parallax_lib.core.settings import Translator as TranslatorParams
from parallax_lib.study import memory
from parallax_lib.translator import alignment, attention, conformance, decoding, engine, latent_steps, models, proposals, stopping

CLOSE = {"atol": 2e-4, "rtol": 2e-3}
PROMPTS = [tiny.WINDOW + 24, 5]  # tokens: the first passes a window, the second is padded


def translator_of(name):
    return models.Translator(tiny.build(name), models.byte_tokenizer(), name)


def prompts_for(translator, lengths=PROMPTS):
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(1, 250, (length,), generator=draw).tolist() for length in lengths]


def own(translator, embeds):
    """(last hidden states (Q, D), logits (Q, V)) of embeddings (Q, D) by the model's own forward."""
    body, whole = (part(inputs_embeds=embeds[None], use_cache=False) for part in (translator.body, translator.model))
    return body.last_hidden_state[0], whole.logits[0]


def embed(translator, ids):
    return translator.embed(torch.tensor(ids))


def agrees_with_its_own_forward(translator):
    """Prompts, rivals packed and expanded, the winner, a step after it, a squeezed cache: states and logits."""
    ids, draw = prompts_for(translator), torch.Generator().manual_seed(2)
    vectors, winner = torch.randn(2, 3, translator.width, generator=draw), torch.tensor([2, 1])
    state = engine.prefill(translator, ids)
    repeated = engine.select(state, torch.tensor([0, 0, 0, 1, 1, 1]))
    expanded = engine.step(translator, repeated, vectors.reshape(6, -1)).hidden.view(2, 3, -1)
    first, packed = state.hidden, engine.step_candidates(translator, state, vectors)
    torch.testing.assert_close(packed, expanded, **CLOSE)
    state = engine.keep_candidate(state, packed, winner)
    squeezed = engine.compact(engine.select(state, torch.tensor([0, 1])))
    after = [engine.step(translator, s, vectors[:, 0]).hidden for s in (state, squeezed)]
    torch.testing.assert_close(*after, **CLOSE)
    for row, tokens in enumerate(ids):
        embeds = torch.cat([embed(translator, tokens), vectors[row, winner[row]][None], vectors[row, :1]])
        hidden, logits = own(translator, embeds)
        made = torch.stack([first[row], packed[row, winner[row]], after[0][row]])
        torch.testing.assert_close(made, hidden[-3:], **CLOSE)
        torch.testing.assert_close(translator.logits(made), logits[-3:], **CLOSE)


def decodes_like_its_own_forward(translator):
    """Greedy and sampled, with and without drafts, over rows of other lengths and limits."""
    ids, heat, limits, seeds = prompts_for(translator), [0.0, 0.9], [12, 15], [3, 4]
    stops = stopping.stops_of(translator)
    wanted = []
    for tokens, warm, limit, seed in zip(ids, heat, limits, seeds, strict=True):
        draws, out = torch.rand(limit, generator=torch.Generator().manual_seed(seed)).tolist(), []
        while len(out) < limit and not (out and stops(out)):
            logits = own(translator, embed(translator, [*tokens, 65, *out]))[1][-1]
            chances = (logits.double() / warm).softmax(-1).cumsum(-1) if warm else None
            out.append(int((chances < draws[len(out)]).sum()) if warm else int(logits.argmax()))
        wanted.append(out)
    for draft in (0, 6):
        state = engine.prefill(translator, ids)
        told = [ids[0] + wanted[0], ids[1] + wanted[1]] if draft else ids  # what is looked up holds the answer: drafts are taken
        made = decoding.decode(translator, state, told, [65], limits=limits, temperatures=heat, seeds=seeds, draft=draft)
        assert [a.tokens for a in made] == wanted, draft


def thinks_like_its_own_forward(translator):
    """Three latent steps under each alignment, whose twin is made from the ids that the model embeds."""
    ids, picks = prompts_for(translator), torch.tensor([[1, 0, 2], [0, 2, 2]])
    words = embed(translator, list(range(tiny.VOCABULARY)))
    for align in ("soft", "ridge", "identity"):
        params = Latent(steps=3, sigma=0.5, unit="rms", align=align, tau=0.5)
        aligned = alignment.aligner(translator, params)
        state = engine.prefill(translator, ids)
        trajectory = latent_steps.think(
            translator, state, aligned, params, candidates=3, choose=lambda t, *_: picks[:, t], row_seeds=[4, 5], lookahead=align == "soft"
        )
        for row, tokens in enumerate(ids):
            embeds = embed(translator, tokens)
            for chosen in trajectory.latents[row]:
                embeds = torch.cat([embeds, aligned(chosen)[None]])
            torch.testing.assert_close(trajectory.state.hidden[row], own(translator, embeds)[0][-1], **CLOSE)
        if align == "soft":
            chances = (translator.logits(trajectory.latents) / params.tau).softmax(-1)
            torch.testing.assert_close(aligned(trajectory.latents), chances @ words, **CLOSE)
        if align == "ridge":
            torch.testing.assert_close(aligned(trajectory.latents).norm(dim=-1), words.norm(dim=-1).mean().expand(2, 3), **CLOSE)


@pytest.mark.parametrize("check", [agrees_with_its_own_forward, decodes_like_its_own_forward, thinks_like_its_own_forward])
def test_every_supported_family_is_its_own_forward(check):
    with torch.inference_mode():
        for name in tiny.SUPPORTED:
            try:
                check(translator_of(name))
            except Exception as e:
                raise AssertionError(f"{name}: {e}") from e


def test_logit_noise_moves_a_family_s_own_logits_by_sigma(monkeypatch):
    """Scaled heads: a draw of one for one word adds one to its logit, as the model's own forward gives it."""
    monkeypatch.setattr(proposals, "normal", lambda seeds, shape: torch.eye(4).expand(len(seeds), 4, 4))
    params = Latent(proposal="logits", sigma=1.0, words=4)
    for name in ("granite", "cohere", "llama 2"):
        translator = translator_of(name)
        state = engine.prefill(translator, prompts_for(translator)).hidden
        moved = proposals.propose(state, 5, params, [0] * len(state), translator=translator)[:, 1:]
        before, after = translator.logits(state), translator.logits(moved)
        likeliest = before.topk(4).indices
        change = (after - before[:, None]).gather(2, likeliest[:, None].expand(-1, 4, -1))
        torch.testing.assert_close(change, torch.eye(4).expand(2, 4, 4), atol=0.02, rtol=0)


def test_the_check_passes_what_is_supported_and_says_what_it_compared(monkeypatch):
    for name in tiny.SUPPORTED:
        said = conformance.check(translator_of(name))
        windowed = tiny.SUPPORTED[name][1].get("sliding_window") or name == "gemma 3 with eyes"
        assert f"of 12 and {40 if windowed else 96} tokens" in said and "not passed" not in said, name
    monkeypatch.setattr(conformance, "LONGEST", 20)
    said = []
    assert [conformance.check(translator_of("mistral"), said.append)] == said
    assert said[0].endswith("96 tokens; its window of 16 tokens was not passed")


def test_the_check_refuses_in_one_line_what_the_engine_does_not_compute():
    for name, kind, words in tiny.REFUSED:
        with pytest.raises(UserError) as e:
            conformance.check(translator_of(name))
        said = str(e.value)
        assert said.startswith(f"translator.model: {kind} is not supported: ") and words in said and "\n" not in said, said


def test_the_check_refuses_an_engine_that_leaves_out_what_a_layer_asks_for(monkeypatch):
    """Negative control: the engine as it was.  Half precision and a window are the hard case: the long prompt is compared in float32."""
    real = attention.grouped_attention
    for name, dropped, dtype in (
        ("mistral", "sliding_window", torch.float32),
        ("mistral", "sliding_window", torch.bfloat16),
        ("gemma 3", "sliding_window", torch.bfloat16),
        ("gemma 2", "softcap", torch.bfloat16),
        ("gpt-oss", "s_aux", torch.bfloat16),
    ):
        translator = models.Translator(tiny.build(name).to(dtype), models.byte_tokenizer(), name)
        conformance.check(translator)
        with monkeypatch.context() as patch:
            broken = lambda *a, dropped=dropped, **k: real(*a, **{key: v for key, v in k.items() if key != dropped})  # noqa: E731
            patch.setitem(transformers.AttentionInterface._global_mapping, attention.attention_name(), broken)
            with pytest.raises(UserError, match="differ from the model's own by .*% of their spread"):
                conformance.check(translator)
    with monkeypatch.context() as patch:
        patch.setattr(models.Translator, "logits", lambda self, hidden: self.model.get_output_embeddings()(hidden))
        for name in ("granite", "cohere", "gemma 2"):
            with pytest.raises(UserError, match="logits differ"):
                conformance.check(translator_of(name))


def test_every_supported_family_is_saved_and_loaded(tmp_path):
    """All names of weights find their place, and loading compares the engine."""
    for name in tiny.SUPPORTED:
        folder = tmp_path / name.replace(" ", "-")
        model = tiny.build(name)
        model.save_pretrained(folder)
        models.byte_tokenizer().save_pretrained(folder)
        loaded = models.load_translator(TranslatorParams(model=str(folder), device="cpu"))
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.model.parameters(), strict=True))
        assert loaded.width == models.width_of(TranslatorParams(model=str(folder))) == 32


def test_rotations_that_change_with_length_end_the_positions_where_they_change(tmp_path):
    for name, expected in (("phi 4", 256), ("llama 3", 512)):
        folder = tmp_path / name.replace(" ", "-")
        tiny.build(name).config.save_pretrained(folder)
        assert models.positions_of(TranslatorParams(model=str(folder))) == expected


def test_a_column_of_the_cache_takes_what_is_told():
    """Latent attention keeps less than its heads; a family may have its own width of a head."""
    for name in ("deepseek v2 lite", "gemma 3 with eyes", "qwen3", "mistral"):
        translator = translator_of(name)
        state = engine.prefill(translator, [[1, 2, 3]])
        held = sum(t[:, :, :3].numel() * t.element_size() for layer in state.slab.layers for t in layer)
        assert held == 3 * memory.LM(translator.model, translator.tokenizer, torch.float32).column_bytes, name
