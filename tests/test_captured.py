"""Forwards over buffers that stay, in buckets, against the engine without them; a CUDA graph replays the same forward."""

from functools import partial

import pytest
import tiny_families
import torch

from parallax_lib.translator import decoding, engine, models
from parallax_lib.translator.captured import Captured, FixedSlab, bucket

TEXTS = ["int main() { return 0; }", "#pragma omp parallel for\nfor (int i = 0; i < n; i++) a[i] = b[i] + b[i];", "x"]


@pytest.fixture(scope="module")
def translator():
    model, tokenizer = models.random_model()
    return models.Translator(model.eval().requires_grad_(False), tokenizer, "random")


@pytest.fixture(scope="module")
def ids(translator):
    return [translator.tokenizer(t).input_ids for t in TEXTS]


def twin(translator):
    """The same weights, its forwards over buffers; as on a GPU, but not captured: a graph replays what is run here."""
    other = models.Translator(translator.model, translator.tokenizer, translator.name)
    other.__dict__["captured"] = Captured(partial(engine.run_body, other.body), other.width, graphs=False)
    return other


def test_a_bucket_is_the_least_that_is_enough():
    sizes = (1, 2, 4, 8)
    assert [bucket(n, sizes) for n in range(1, 18)] == [1, 2, 4, 4, 8, 8, 8, 8, *[16] * 8, 24]


def walk(translator, ids):
    """Hidden states of prefill, forks, latent steps, rivals, dropped rows and a squeezed cache."""
    draw = torch.Generator().manual_seed(5)
    state = engine.select(engine.prefill(translator, ids), torch.tensor([0, 1, 1, 2, 0]))
    out = [state.hidden]
    for keep in ([0, 1, 2, 3, 4], [4, 1, 2], [1]):
        state = engine.drop(state, torch.tensor(keep))
        state = engine.select(state, torch.arange(state.rows))
        rivals = engine.step_candidates(translator, state, torch.randn(len(keep), 3, translator.width, generator=draw))
        state = engine.keep_candidate(state, rivals, torch.randint(3, (len(keep),), generator=draw))
        state = engine.compact(state)
        state = engine.step(translator, state, torch.randn(len(keep), translator.width, generator=draw))
        out += [rivals, state.hidden]
    return out, state


def test_every_move_of_the_engine_is_the_same_over_buffers(translator, ids):
    fixed = twin(translator)
    (plain, _), (made, state) = walk(translator, ids), walk(fixed, ids)
    assert isinstance(state.slab, FixedSlab)
    for a, b in zip(plain, made, strict=True):
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-4)


def test_decoded_tokens_are_the_same_over_buffers(translator, ids):
    settings = {"limits": [400, 30, 90], "temperatures": [0.0, 0.8, 0.8], "seeds": [1, 2, 3], "draft": 6}
    plain, made = (
        decoding.decode(who, engine.prefill(who, ids), ids, ids[2][:1], **settings) for who in (translator, twin(translator))
    )
    assert [a.tokens for a in made] == [a.tokens for a in plain]


def test_buffers_are_used_again_once_their_holder_is_gone(translator, ids):
    fixed = twin(translator)
    first = walk(fixed, ids)[0]
    one = [id(b) for b in fixed.captured.buffers]
    second, state = walk(fixed, ids)
    assert [id(b) for b in fixed.captured.buffers] == one and len(one) == 1
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)  # what the last holder left in them is seen by nobody
    other = engine.step(fixed, engine.prefill(fixed, ids[:1]), torch.zeros(1, translator.width))
    assert other.slab.buffers is not state.slab.buffers  # both are held


def test_a_window_never_hides_all_columns_from_a_padded_query(ids):
    """Rows and columns that only fill a bucket leave finite values in the buffers, also far behind a sliding window."""
    model = tiny_families.build("mistral")
    plain = models.Translator(model, None, "windowed")
    fixed = twin(plain)
    draw = torch.Generator().manual_seed(3)
    rows = [torch.randint(1, tiny_families.VOCABULARY, (n,), generator=draw).tolist() for n in (40, 60, 23)]
    states = [engine.prefill(who, rows) for who in (plain, fixed)]
    for columns in (4, 3, 8, 5):  # each second one leaves columns of its bucket over
        rivals = torch.randn(3, columns, plain.width, generator=draw)
        hidden = [engine.step_candidates(who, state, rivals) for who, state in zip((plain, fixed), states, strict=True)]
        torch.testing.assert_close(hidden[1], hidden[0], atol=1e-5, rtol=1e-4)
        states = [engine.keep_candidate(state, h, torch.zeros(3, dtype=torch.long)) for state, h in zip(states, hidden, strict=True)]
    assert all(x.isfinite().all() for pair in states[1].slab.layers for x in pair)
    (last,) = [graph for (_, columns, _), graph in states[1].slab.buffers.graphs.items() if columns == 8]
    assert last.positions[:3, :5].min() >= 23 and not last.positions[:3, 5:].any()


def test_a_pool_of_memory_is_given_up_with_its_last_graph(translator, ids):
    """torch ends the process's use of a pool with the last graph in it, and refuses to capture into it later."""
    fixed = twin(translator)
    state = engine.step(fixed, engine.prefill(fixed, ids[:1]), torch.zeros(1, translator.width))
    for graph in state.slab.buffers.graphs.values():
        graph.graph = graph  # as if captured
    fixed.captured.pool = "held"
    several = engine.select(engine.prefill(fixed, ids), torch.tensor([0, 1, 2]))
    several = engine.step(fixed, several, torch.zeros(3, translator.width))
    assert fixed.captured.pool == "held"  # the first row's buffers are in use
    del state
    many = engine.select(engine.prefill(fixed, ids), torch.tensor([0, 1, 2] * 5))
    engine.step(fixed, many, torch.zeros(15, translator.width))
    assert fixed.captured.pool is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_batches_that_grow_are_captured_too(ids):
    model, tokenizer = models.random_model()
    translator = models.Translator(model.eval().requires_grad_(False).cuda(), tokenizer, "random")
    for rows in (1, 3, 40, 2, 200):
        for _ in range(2):
            state = engine.select(engine.prefill(translator, ids[:1]), torch.zeros(rows, dtype=torch.long, device="cuda"))
            decoding.decode(translator, state, ids[:1] * rows, [65], limits=[20] * rows, draft=0)
        assert translator.captured.graphs and any(g.graph for b in translator.captured.buffers for g in b.graphs.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_captured_forward_is_the_eager_one(ids):
    model, tokenizer = models.random_model()
    translator = models.Translator(model.eval().requires_grad_(False).cuda(), tokenizer, "random")
    eager = models.Translator(translator.model, tokenizer, "random")
    eager.__dict__["captured"] = None
    settings = {"limits": [200] * 3, "draft": 6}
    for _ in range(3):
        answers = [decoding.decode(who, engine.prefill(who, ids), ids, ids[2][:1], **settings) for who in (eager, translator)]
        assert [a.tokens for a in answers[0]] == [a.tokens for a in answers[1]]
    assert any(g.graph is not None for b in translator.captured.buffers for g in b.graphs.values())


def test_drafts_are_priced_by_what_a_bucket_computes(translator):
    """3 rows are computed as 4; 1, 2, 3, 4, 5 and 6 columns as 1, 2, 4, 4, 8 and 8.  Without buffers each is what it is."""
    assert decoding.costs(twin(translator), 3, 5, 100).tolist() == [104, 108, 116, 116, 132, 132]
    assert decoding.costs(translator, 3, 5, 100).tolist() == [103, 106, 109, 112, 115, 118]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CPU waits for nothing")
@pytest.mark.parametrize("draft", [0, 6])
def test_between_two_looks_the_host_waits_for_nothing(ids, draft, monkeypatch):
    """Forwards 17 to 22, sampled rows among them: torch raises at whatever waits for the GPU."""
    model, tokenizer = models.random_model()
    translator = models.Translator(model.eval().requires_grad_(False).cuda(), tokenizer, "random")
    ask = {"limits": [40] * 3, "temperatures": [0.8, 0.0, 1.2], "seeds": [1, 2, 3], "draft": draft}
    for _ in range(2):  # captures its graphs
        first = decoding.decode(translator, engine.prefill(translator, ids), ids, [65], **ask)
    check, calls = decoding._check, []

    def watched(*given):
        calls.append(len(calls))
        torch.cuda.set_sync_debug_mode("error" if 17 <= calls[-1] < 23 else "default")
        return check(*given)

    monkeypatch.setattr(decoding, "_check", watched)
    try:
        again = decoding.decode(translator, engine.prefill(translator, ids), ids, [65], **ask)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(calls) > 23
    assert [a.tokens for a in again] == [a.tokens for a in first]
