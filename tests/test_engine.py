"""The engine against naive twins: no cache, one row at a time, the model's own mask."""

import random
from types import SimpleNamespace

import naive_lookup
import numpy as np
import pytest
import torch

from parallax_lib.tasks import prompts
from parallax_lib.translator import answer_rows, attention, decoding, engine, models
from parallax_lib.translator.drawing import draw
from parallax_lib.translator.lookup import Lookups
from parallax_lib.translator.stopping import Stops, stops_of

TEXTS = ["int main() { return 0; }", "#pragma omp parallel for\nfor (int i = 0; i < n; i++) a[i] = b[i] + b[i];", "x"]


@pytest.fixture(scope="module")
def translator():
    model, tokenizer = models.random_model()
    return models.Translator(model.eval().requires_grad_(False), tokenizer, "random")


@pytest.fixture(scope="module")
def ids(translator):
    return [translator.tokenizer(t).input_ids for t in TEXTS]


def naive_hidden(translator, embeds):
    """Last hidden states (Q, D) of one row of embeddings (Q, D), no cache, HF's own causal mask."""
    return translator.model.base_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[0]


def embed(translator, tokens):
    return translator.model.get_input_embeddings()(torch.tensor(tokens))


def test_prefill_of_a_padded_batch_equals_each_row_alone(translator, ids):
    state = engine.prefill(translator, ids)
    for row, tokens in enumerate(ids):
        torch.testing.assert_close(state.hidden[row], naive_hidden(translator, embed(translator, tokens))[-1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_a_prompt_read_in_parts_is_the_prompt_read_at_once(translator, ids, columns, monkeypatch):
    whole = engine.prefill(translator, ids)
    monkeypatch.setattr(engine, "PREFILL", columns)
    assert max(map(len, ids)) > columns
    parts = engine.prefill(translator, ids)
    assert parts.position.tolist() == [len(row) for row in ids] and torch.equal(parts.visible, whole.visible)
    for name in ("hidden", "pooled"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), atol=1e-5, rtol=1e-4)
    vector = torch.randn(len(ids), translator.width, generator=torch.Generator().manual_seed(3))
    after = [engine.step(translator, state, vector).hidden for state in (parts, whole)]
    torch.testing.assert_close(*after, atol=1e-5, rtol=1e-4)


def candidates_three_ways(translator, ids, vectors):
    """Hidden states (B, N, D) after rival embeddings (B, N, D): packed, expanded, recomputed."""
    B, N, D = vectors.shape
    packed = engine.step_candidates(translator, engine.prefill(translator, ids), vectors)
    repeated = engine.select(engine.prefill(translator, ids), torch.arange(B).repeat_interleave(N))
    expanded = engine.step(translator, repeated, vectors.reshape(B * N, D)).hidden.view(B, N, D)
    alone = [
        [naive_hidden(translator, torch.cat([embed(translator, ids[b]), vectors[b, n : n + 1]]))[-1] for n in range(N)] for b in range(B)
    ]
    return packed, expanded, torch.stack([torch.stack(row) for row in alone])


@pytest.mark.parametrize("length", [16, 19])
def test_one_mask_serves_layers_with_other_numbers_of_key_heads(length):
    """Against attention that repeats the keys of each group; a model's layers may differ in their groups."""
    torch.manual_seed(0)
    query, mask = torch.randn(2, 4, 3, 8), torch.rand(2, 1, 3, length) > 0.4
    mask[..., -1] = True
    seen = attention.Seen(torch.zeros(2, 3), torch.zeros(2, length), torch.zeros(2, 1, 3, length).masked_fill(~mask, float("-inf")))
    for heads in (4, 2, 1, 2):
        key, value = torch.randn(2, heads, length, 8), torch.randn(2, heads, length, 8)
        out, _ = attention.grouped_attention(None, query, key, value, seen.handle())
        repeated = (x.repeat_interleave(4 // heads, dim=1) for x in (key, value))
        wanted = torch.nn.functional.scaled_dot_product_attention(query, *repeated, attn_mask=mask)
        torch.testing.assert_close(out, wanted.transpose(1, 2))


def test_a_model_that_does_not_say_that_its_layers_hand_masks_on_is_given_real_ones(translator, ids, monkeypatch):
    """Prompts of several chunks, then steps: as with packed prompts and no mask."""
    monkeypatch.setattr(engine, "PREFILL", 5)
    vector, found = torch.randn(len(ids), translator.width, generator=torch.Generator().manual_seed(0)), []
    for says in (True, False):
        monkeypatch.setattr(type(translator.body), "_supports_attention_backend", says)
        assert engine.hands_on(translator.body) == says
        state = engine.prefill(translator, ids)
        found.append((state.hidden, state.pooled, engine.step(translator, state, vector).hidden))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_packed_expanded_and_recomputed_candidates_agree(translator, ids):
    vectors = torch.randn(len(ids), 4, translator.width, generator=torch.Generator().manual_seed(0))
    packed, expanded, alone = candidates_three_ways(translator, ids, vectors)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(expanded, alone, atol=1e-5, rtol=1e-4)


def test_candidates_that_see_each_other_are_caught(translator, ids):
    """Negative control: the plain causal mask among rivals gives other states."""
    vectors = torch.randn(len(ids), 4, translator.width, generator=torch.Generator().manual_seed(0))
    state = engine.prefill(translator, ids)
    with torch.inference_mode():
        wrong = engine.forward(translator, state, vectors, torch.ones(len(ids), 4, dtype=torch.bool))
    _, _, alone = candidates_three_ways(translator, ids, vectors)
    assert (wrong[:, 1:] - alone[:, 1:]).abs().max() > 1e-2


def test_keeping_a_candidate_equals_having_fed_only_it(translator, ids):
    vectors = torch.randn(len(ids), 3, translator.width, generator=torch.Generator().manual_seed(1))
    winner = torch.tensor([2, 0, 1])
    state = engine.prefill(translator, ids)
    hidden = engine.step_candidates(translator, state, vectors)
    state = engine.step(translator, engine.keep_candidate(state, hidden, winner), vectors[:, 0])
    for row, tokens in enumerate(ids):
        alone = torch.cat([embed(translator, tokens), vectors[row, winner[row]][None], vectors[row, :1]])
        torch.testing.assert_close(state.hidden[row], naive_hidden(translator, alone)[-1], atol=1e-5, rtol=1e-4)


def naive_decode(translator, tokens, count, stops):
    """Greedy decoding that recomputes everything: the twin."""
    out = []
    while len(out) < count:
        hidden = naive_hidden(translator, embed(translator, tokens + out))[-1]
        out.append(int(translator.model.get_output_embeddings()(hidden).argmax()))
        if stops(out):
            break
    return out


@pytest.mark.parametrize("draft", [0, 1, 7])
def test_greedy_decoding_equals_the_recomputing_twin(translator, ids, draft):
    start, stops = translator.tokenizer(prompts.OPENING).input_ids, stops_of(translator)
    answers = decoding.decode(translator, engine.prefill(translator, ids), ids, start, limits=[40, 12, 25], draft=draft)
    for tokens, limit, answer in zip(ids, [40, 12, 25], answers, strict=True):
        assert answer.tokens == naive_decode(translator, tokens + start, limit, stops)


@pytest.mark.parametrize("draft", [0, 7])
def test_decoding_counts_its_tokens_after_every_forward(translator, ids, draft):
    start, limits, heard = translator.tokenizer(prompts.OPENING).input_ids, [40, 12, 25], []
    state = engine.prefill(translator, ids)
    answers = decoding.decode(translator, state, ids, start, limits=limits, draft=draft, progress=lambda *counts: heard.append(counts))
    lengths = [len(answer.tokens) for answer in answers]
    assert heard[-1] == (sum(lengths), sum(lengths), 3)
    assert [tokens for tokens, _, _ in heard] == sorted({tokens for tokens, _, _ in heard})  # each forward adds some
    assert all(tokens <= most <= sum(limits) and sum(lengths) <= most for tokens, most, _ in heard)
    if not draft:  # a token a row and forward: so many rows have ended after i forwards
        assert [ended for _, _, ended in heard] == [sum(length <= i for length in lengths) for i in range(1, max(lengths) + 1)]


@pytest.mark.parametrize("draft", [0, 5])
def test_sampled_decoding_takes_each_position_s_own_draw(translator, ids, draft):
    """The twin recomputes everything and looks each row's n-th draw up in the cumulated softmax."""
    start, stops, heat, seeds = [65], stops_of(translator), [0.8, 0.0, 1.2], [5, 6, 7]
    state = engine.prefill(translator, ids)
    answers = decoding.decode(translator, state, ids, start, limits=[30] * 3, temperatures=heat, seeds=seeds, draft=draft)
    for tokens, warm, seed, answer in zip(ids, heat, seeds, answers, strict=True):
        if not warm:
            assert answer.tokens == naive_decode(translator, tokens + start, 30, stops)
            continue
        draws, out = torch.rand(30, generator=torch.Generator().manual_seed(seed)).tolist(), []
        while len(out) < 30 and not (out and stops(out)):
            hidden = naive_hidden(translator, embed(translator, tokens + start + out))[-1]
            chances = (translator.model.get_output_embeddings()(hidden).double() / warm).softmax(-1).cumsum(-1)
            out.append(int((chances < draws[len(out)]).sum()))
        assert answer.tokens == out


@pytest.mark.parametrize("sizes", [range(1, 11), (1, 2, 4, 8, 10)])
@pytest.mark.parametrize("fixed", [1, 28, 1000])
@pytest.mark.parametrize("right", [0.0, 0.3, 0.9, 1.0])
def test_drafts_are_cut_where_a_column_promises_most_tokens(sizes, fixed, right):
    """Against the mean over the place of the first wrong token; of equal widths, as in a bucket, the widest."""

    def expected(n):  # tokens of a row that is fed n drafted ones
        return sum((1 + k) * right**k * (1 - right if k < n else 1) for k in range(n + 1))

    rng = random.Random(fixed)
    for _ in range(30):
        counts = [rng.choice([0, 0, 1, 2, 5, 9]) for _ in range(rng.randint(1, 6))]
        costs = [fixed + len(counts) * min(size for size in sizes if size > q) for q in range(10)]
        worth = [sum(expected(min(n, q)) for n in counts) / cost for q, cost in enumerate(costs)]
        best = max(q for q, value in enumerate(worth) if value > max(worth) * (1 - 1e-12))
        assert decoding.best_width(np.array(counts), right, np.array(costs)) == best


@pytest.mark.parametrize("good", [0, 2, 4])
@pytest.mark.parametrize("width", [0, 1, 4])
def test_how_often_drafts_are_right_is_known_at_every_width(translator, monkeypatch, good, width):
    """Of drafts of four tokens the first `good` are right; one more than is fed is compared."""
    ids, heard = [translator.tokenizer("abc").input_ids], []
    truth = decoding.decode(translator, engine.prefill(translator, ids), ids, [65], limits=[40], draft=0)[0].tokens

    def draft(lookups, most, columns, width):
        at = int(lookups.size[0]) - len(ids[0]) - 1
        row = [token + (i >= good) for i, token in enumerate(truth[at : at + min(4, int(most[0]))])]
        return torch.tensor([row + [0] * (4 - len(row))]), torch.tensor([len(row)])

    monkeypatch.setattr(Lookups, "draft", draft)
    monkeypatch.setattr(decoding, "best_width", lambda counts, right, costs: (heard.append(right), width)[1])
    assert decoding.decode(translator, engine.prefill(translator, ids), ids, [65], limits=[40], draft=4)[0].tokens == truth
    at, tried, stood, wanted = 0, 0, 0, []
    while at < 40:
        wanted.append((answer_rows.KNOWN * answer_rows.RIGHT + stood) / (answer_rows.KNOWN + tried))
        compared = min(4, 40 - at - 1, width + 1)
        tried, stood = tried + min(good + 1, compared), stood + min(good, compared)
        at += 1 + min(good, width, 40 - at - 1)
    assert heard == pytest.approx(wanted)


def test_drafts_change_neither_sampled_tokens_nor_log_probabilities(translator, ids):
    start = translator.tokenizer(prompts.OPENING).input_ids
    heat = [0.8, 0.0, 1.2]
    runs = []
    for draft in (0, 6):
        state = engine.prefill(translator, ids)
        runs.append(decoding.decode(translator, state, ids, start, limits=[60] * 3, temperatures=heat, seeds=[5, 6, 7], draft=draft))
    assert [a.tokens for a in runs[0]] == [a.tokens for a in runs[1]]
    assert [a.logprob for a in runs[0]] == pytest.approx([a.logprob for a in runs[1]], rel=1e-4)


@pytest.mark.parametrize(("right", "forwards"), [(True, 13), (False, 65)])
def test_right_drafts_save_forwards_and_wrong_ones_cost_none(translator, monkeypatch, right, forwards):
    """Counts work, not seconds: 65 tokens in forwards of one token and four drafts."""
    ids = [translator.tokenizer("abc").input_ids]
    truth = decoding.decode(translator, engine.prefill(translator, ids), ids, [65], limits=[65], draft=0)[0].tokens
    calls, real = [], engine.forward

    def draft(lookups, most, columns, width):
        written = int(lookups.size[0]) - len(ids[0]) - 1
        drafts = [t if right else t + 1 for t in truth[written : written + min(4, int(most[0]))]]
        return torch.tensor([drafts + [0] * (columns - len(drafts))]), torch.tensor([len(drafts)])

    state = engine.prefill(translator, ids)
    monkeypatch.setattr(Lookups, "draft", draft)
    monkeypatch.setattr(engine, "forward", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    assert decoding.decode(translator, state, ids, [65], limits=[65], draft=4)[0].tokens == truth
    assert len(calls) == forwards


def drafted(lookup, length):
    """What a table of one row drafts."""
    tokens, count = lookup.draft(torch.tensor([length]), length)
    return tokens[0, : int(count[0])].tolist()


def extended(lookup, tokens, fed):
    lookup.extend(torch.tensor([tokens]), torch.tensor([len(tokens)]), torch.tensor([fed]))


def test_lookup_copies_what_followed_the_same_words_next_after_the_last_copy():
    lookup = Lookups([[1, 2, 3, 40, 41, 1, 2, 3, 50, 51, 1, 2, 3]], 20, torch.device("cpu"))
    assert drafted(lookup, 2) == [40, 41]  # nothing was copied yet: the first place
    extended(lookup, [40, 41, 1], 2)  # all right, and one more token
    assert drafted(lookup, 2) == [2, 3]
    extended(lookup, [2, 3], 2)
    assert drafted(lookup, 2) == [50, 51]  # the next place, not the first again
    extended(lookup, [9], 2)
    assert drafted(lookup, 3) == []


def test_a_draft_that_fails_is_followed_by_a_shorter_one():
    lookup = Lookups([[1, 2, *range(10, 40), 1, 2]], 60, torch.device("cpu"))
    assert len(drafted(lookup, 20)) == 4
    extended(lookup, [10, 11, 12, 13, 14], 4)
    assert len(drafted(lookup, 20)) == 8
    extended(lookup, [99, 1, 2], 8)
    assert len(drafted(lookup, 20)) <= 3


@pytest.mark.parametrize("letters", [2, 4, 12])
def test_drafts_of_many_rows_are_those_of_each_row_alone(letters):
    """Against dictionaries of one row, over random texts, widths, agreements and rows that are dropped."""
    rng = random.Random(letters)
    texts = [[rng.randrange(letters) for _ in range(rng.choice([0, 1, 2, 3, 9, 30]))] for _ in range(12)]
    table, alone = Lookups(texts, 300, torch.device("cpu")), [naive_lookup.Lookup(text) for text in texts]
    for _ in range(25):
        most = [rng.randint(0, 9) for _ in alone]
        drafts, counts = table.draft(torch.tensor(most), 9, max(len(twin.tokens) for twin in alone))
        assert [row[:n] for row, n in zip(drafts.tolist(), counts.tolist(), strict=True)] == [
            twin.draft(m) for twin, m in zip(alone, most, strict=True)
        ]
        fed = [rng.randint(0, n) for n in counts.tolist()]
        new = [
            row[: rng.randint(0, n)] + [rng.randrange(letters)] for row, n in zip(drafts.tolist(), fed, strict=True)
        ]
        padded = torch.tensor([[*row, *[0] * (10 - len(row))] for row in new])
        table.extend(padded, torch.tensor([len(row) for row in new]), torch.tensor(fed))
        for twin, row, n in zip(alone, new, fed, strict=True):
            twin.extend(row, n)
        if len(alone) > 4 and rng.random() < 0.3:
            stay = sorted(rng.sample(range(len(alone)), len(alone) - 1))
            table.keep(torch.tensor(stay))
            alone = [alone[i] for i in stay]


@pytest.mark.parametrize("fenced", [False, True])
@pytest.mark.parametrize("draft", [0, 6, 24])
@pytest.mark.parametrize("apart", [2, 5, 64])
def test_a_host_that_looks_rarely_gets_the_same_answers(translator, ids, apart, draft, fenced, monkeypatch):
    """Rows that have ended go on for nobody until the host looks; drafts come from texts that hold parts of the answers."""
    ends, strings = frozenset(range(7, 512, 50)), frozenset(range(1, 512, 9))  # fences in strings end nothing
    fences, text = ends | strings, lambda tokens: "".join("\n```" if t in ends else '"```' if t in strings else "x" for t in tokens)
    stops = Stops(frozenset(), fences, text) if fenced else Stops(ends, frozenset(), translator.tokenizer.decode)
    monkeypatch.setattr(decoding, "stops_of", lambda translator, opened: stops)
    calls, real, look_up = [], engine.forward, Lookups.draft

    def draft_of(lookups, most, columns, width):
        assert width >= int(lookups.size.max())
        return look_up(lookups, most, columns, width)

    monkeypatch.setattr(engine, "forward", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    monkeypatch.setattr(Lookups, "draft", draft_of)
    rows = [0, 1, 2, 0, 1, 2]
    ask = {"limits": [40, 12, 25, 60, 60, 1], "temperatures": [0.9, 0.0, 1.1, 0.7, 0.0, 0.0], "seeds": [1, 2, 3, 4, 5, 6]}

    def told(texts, draft):
        calls.clear()
        state = engine.prefill(translator, [ids[row] for row in rows])
        return decoding.decode(translator, state, texts, [65], draft=draft, **ask), len(calls)

    often, most = told([ids[row] for row in rows], 0)
    monkeypatch.setattr(decoding, "looks_apart", lambda translator, columns: apart)
    parts = [[token if i % (5 + b) else 0 for i, token in enumerate(answer.tokens)] for b, answer in enumerate(often)]
    rarely, forwards = told([ids[row] + part for row, part in zip(rows, parts, strict=True)], draft)
    assert [a.tokens for a in rarely] == [a.tokens for a in often] and [a.finished for a in rarely] == [a.finished for a in often]
    assert any(a.finished and 1 < len(a.tokens) < 40 for a in often)
    assert [a.logprob for a in rarely] == pytest.approx([a.logprob for a in often], rel=1e-4)
    assert forwards % apart == 0 and (forwards < most if draft and apart < 10 else forwards < most + apart)


def test_drafts_that_the_host_has_not_seen_are_checked_whole(translator, monkeypatch):
    """At each look the row has no draft, and after it right ones of four tokens."""
    ids, calls = [translator.tokenizer("abc").input_ids], []
    truth = decoding.decode(translator, engine.prefill(translator, ids), ids, [65], limits=[40], draft=0)[0]

    def draft(lookups, most, columns, width):
        at = int(lookups.size[0]) - len(ids[0]) - 1
        row = truth.tokens[at : at + min(4, int(most[0]))] if len(calls) % 3 else []
        calls.append(len(row))
        return torch.tensor([row + [0] * (4 - len(row))]), torch.tensor([len(row)])

    monkeypatch.setattr(Lookups, "draft", draft)
    monkeypatch.setattr(decoding, "best_width", lambda counts, right, costs: 4)
    monkeypatch.setattr(decoding, "looks_apart", lambda translator, columns: 3)
    (answer,) = decoding.decode(translator, engine.prefill(translator, ids), ids, [65], limits=[40], draft=4)
    assert answer.tokens == truth.tokens and answer.logprob == pytest.approx(truth.logprob, rel=1e-4)
    assert calls[:5] == [0, 4, 4, 0, 4] and len(calls) <= 13


def test_a_gpu_goes_on_without_the_host_but_where_many_logits_would_be_for_nobody():
    gpu, cpu = (SimpleNamespace(device=torch.device(name)) for name in ("cuda", "cpu"))
    assert [decoding.looks_apart(gpu, columns) for columns in (1, 1024, 1025)] == [8, 8, 1] and decoding.looks_apart(cpu, 1) == 1


@pytest.mark.parametrize("draft", [0, 6])
def test_given_tokens_begin_an_answer_and_have_the_model_s_log_probability(translator, ids, draft):
    """As in forced decoding; after them the answer is the likeliest continuation."""
    given = [[7, 8, 9, 7, 8, 9, 7, 8], [], [11] * 5]
    state = engine.prefill(translator, ids)
    answers = decoding.decode(translator, state, ids, [65], limits=[9, 3, 5], draft=draft, given=given)
    for tokens, known, answer, limit in zip(ids, given, answers, [9, 3, 5], strict=True):
        assert answer.tokens[: len(known)] == known and len(answer.tokens) == limit
        hidden = naive_hidden(translator, embed(translator, tokens + [65] + answer.tokens))
        said = translator.model.get_output_embeddings()(hidden).log_softmax(-1)[len(tokens) : len(tokens) + limit]
        assert answer.logprob == pytest.approx(float(said.gather(1, torch.tensor(answer.tokens)[:, None]).sum()), rel=1e-4)
        assert answer.tokens[len(known) :] == said.argmax(-1).tolist()[len(known) :]


@pytest.mark.parametrize("layers, width", [(2, 64), (6, 64), (2, 512)])
def test_what_a_forward_costs_besides_its_columns_on_a_gpu(layers, width):
    """Layers are launched one by one, and a column takes as long as the body has parameters: its layers and the last norm."""
    model, _ = models.random_model(layers=layers, width=width)
    body = sum(p.numel() for p in [*model.model.layers.parameters(), *model.model.norm.parameters()])
    there = SimpleNamespace(model=model, body=model.model, device=torch.device("cuda"))
    assert decoding.overhead(there) == decoding.GPU_OVERHEAD + int(decoding.GPU_LAUNCH * layers / body)
    here = SimpleNamespace(model=model, body=model.model, device=torch.device("cpu"))
    assert decoding.overhead(here) == decoding.CPU_OVERHEAD


def test_compacting_changes_nothing(translator, ids):
    state = engine.prefill(translator, ids)
    squeezed = engine.compact(engine.select(state, torch.arange(len(ids))))
    z = torch.randn(len(ids), translator.width, generator=torch.Generator().manual_seed(2))
    assert squeezed.slab.length == max(map(len, ids))
    torch.testing.assert_close(engine.step(translator, squeezed, z).hidden, engine.step(translator, state, z).hidden, atol=1e-5, rtol=1e-4)


def test_inverse_cdf_draws_follow_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0])
    u = (torch.arange(6000) + 0.5) / 6000
    drawn = draw(logits.expand(6000, 3), torch.full((6000,), 2.0), u)
    expected = (logits / 2.0).softmax(0) * 6000
    assert torch.bincount(drawn, minlength=3).tolist() == pytest.approx(expected.tolist(), abs=1.5)


@pytest.mark.parametrize("u, token", [(0.0, 1), (0.5, 2), (1 - 2**-24, 2)])
def test_a_token_of_probability_zero_is_never_drawn(u, token):
    logits = torch.tensor([[-2000.0, 0.0, 0.0, -2000.0]])
    assert draw(logits, torch.tensor([1.0]), torch.tensor([u])).tolist() == [token]


def test_a_fence_ends_an_answer_only_at_the_start_of_a_line():
    pieces = ["x = 1;\n", "```", "   ", 'puts("', "<end>", "\n```", "*/ ", "` `"]
    stops = Stops(frozenset({4}), frozenset({1, 5}), lambda tokens: "".join(pieces[t] for t in tokens))
    ends = {(0, 1), (1,), (0, 2, 1), (3, 5), (4,)}
    for tokens in ends | {(0, 3, 1), (0,), (0, 6, 1), (7,)}:
        assert stops(list(tokens)) == (tokens in ends), tokens
