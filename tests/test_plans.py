"""Plans read from program text against plans read by eye; what a sample of each way of thinking is, against its text."""

import json
import random
from dataclasses import replace

import pytest
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Latent
from parallax_lib.tasks import plans, prompts, suites
from parallax_lib.translator import alignment, decoding, engine, finetune, latent_steps, models, stopping, training_samples
from parallax_lib.translator.language_model import Translator

OPENMP = """
// #pragma omp parallel for collapse(2)
void seed(double *a, int n) { for (int i = 0; i < n; i++) a[i] = i; }
void show(double *a, int n) { for (int i = 0; i < n; i++) printf("{ %f", a[i]); }
namespace deep {
void work(double *a, int n, double &s) {
  #pragma omp target teams distribute parallel for collapse(2) \\
      map(tofrom: a[:n])
  for (int i = 0; i < n; i++) a[i] += 1;
  #pragma omp parallel for
  for (int i = 0; i < n; i++) {
    #pragma omp atomic
    s += a[i];
  }
  #pragma omp barrier
}
}
int main() { double s = 0;
#pragma omp parallel for reduction(+:s)
  for (int i = 0; i < 9; i++) s += i;
  for (int i = 0; i < 9; i++) s += i;
}
"""
CUDA = """
__global__ void one(int *a, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) a[i] = 1; }
__device__ int help(int x) { for (;;) return x; }
template <class T> __global__ void sum(T *a, T *s) { __shared__ T part[64]; atomicAdd(s, a[threadIdx.x]); }
__global__ void far(int *a, int n) { for (int i = threadIdx.x; i < n; i += blockDim.x * gridDim.x) a[i] = 2; }
__global__ void flat(int *a) { int x = blockIdx.x, y = blockIdx.y; a[x + y] = 0; }
__global__ void alone(int *a) { a[0] = 1; }
int main() { one<<<1, 2>>>(0, 0); for (int i = 0; i < 3; i++) alone<<<1, 1>>>(0); }
"""


def test_plans_say_what_a_reader_sees():
    found = plans.plan_of(OPENMP, "omp")
    assert found == ("serial", "target", "collapse", "parallel", "atomic", "reduction")
    assert plans.plan_of(CUDA, "cuda") == ("map", "shared", "atomic", "stride", "grid", "single")
    assert plans.plan_of("int main() { return 0; }", "omp") == ()


def test_every_bundled_parallel_program_has_a_plan_of_known_words():
    for kernel in suites.read_folder(suites.MINIBENCH, "minibench"):
        for api in ("omp", "cuda"):
            words = plans.plan_of(kernel.sources[api], api)
            assert words and set(words) <= set(plans.WORDS), kernel.name


@pytest.mark.parametrize(("thinks", "between"), [("plan", [1, 2, 3]), ("pause", [3, 3, 3]), ("none", []), ("text", None)])
def test_a_sample_is_prompt_thoughts_and_program(thinks, between, monkeypatch):
    tokenizer = models.byte_tokenizer()
    numbers = {"parallel": 1, "atomic": 2, "none": 3}
    monkeypatch.setattr(training_samples, "plan_token", lambda _, word: numbers[word])
    config = replace(finetune.AdaptConfig(), thinks=thinks, plan_lengths="3")
    pair = ("serial", "omp", "int main() {}", "int main() { }")
    ids, labels = training_samples.sample_ids(tokenizer, pair, ("parallel", "atomic"), config, random.Random(0))
    ask = prompts.prompt_tokens(tokenizer, *pair[:3])
    code = prompts.tokens(tokenizer, pair[3] + prompts.CLOSING) + [tokenizer.eos_token_id]
    middle = ids[len(ask) : len(ids) - len(code)]
    fence = prompts.tokens(tokenizer, prompts.OPENING)
    text = prompts.tokens(tokenizer, "Plan: parallel atomic\n```cpp\n")
    assert ids[: len(ask)] == ask and ids[-len(code) :] == code and middle == (text if between is None else between + fence)
    learnt = {"plan": between, "text": text}.get(thinks, [])
    assert [label for label in labels if label != training_samples.IGNORE] == [*learnt, *code]


def test_pairs_of_a_file_are_samples_as_often_as_asked(tmp_path, monkeypatch):
    rows = [{"direction": "omp-cuda", "source_code": "int a;", "target_code": "__global__ void k() {}"}] * 2
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model, tokenizer = models.random_model()
    tokenizer.save_pretrained(tmp_path / "base")
    config = replace(finetune.AdaptConfig(), samples=0, pairs=str(tmp_path / "pairs.jsonl"), times=3, thinks="none", workers=1)
    found = training_samples.corpus(str(tmp_path / "base"), config)
    assert len(found) == 6 and all("__global__ void k() {}" in tokenizer.decode(ids) for ids, _ in found)
    (tmp_path / "bad.jsonl").write_text(json.dumps(rows[0]) + "\n{}\n")
    with pytest.raises(UserError, match="bad.jsonl: line 2: expected a JSON object with direction"):
        training_samples.file_pairs([tmp_path / "bad.jsonl"])


def test_float32_copies_move_what_bfloat16_steps_would_lose():
    torch.manual_seed(0)
    half = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    masters = finetune.Masters([half])
    optimizer = torch.optim.SGD(masters.copies, lr=1e-4)
    for _ in range(100):  # each step is 1e-4, a 40th of bfloat16's spacing at 1
        (half.sum() * 1.0).backward()
        masters.take_gradients()
        optimizer.step()
        optimizer.zero_grad()
        masters.give_back()
    assert half.grad is None and torch.allclose(half.float(), torch.full((4,), 0.99), atol=4e-3) and half[0] < 1


def test_the_loss_in_parts_is_cross_entropy_with_its_gradients(monkeypatch):
    model, _ = models.random_model()

    class Based(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def get_base_model(self):
            return self.inner

    ids = torch.randint(1, 200, (3, 40))
    labels = ids.clone()
    labels[:, :10] = finetune.IGNORE
    logits, targets = model(ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    whole = torch.nn.functional.cross_entropy(logits, targets, ignore_index=finetune.IGNORE)
    whole.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    monkeypatch.setattr(finetune, "POSITIONS", 7)
    loss = finetune.loss_of(Based(), ids, labels)
    loss.backward()
    torch.testing.assert_close(loss, whole, atol=1e-5, rtol=1e-5)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name], atol=1e-5, rtol=1e-3)


@torch.inference_mode()
def test_token_and_pause_alignments_feed_embeddings_of_tokens():
    model, tokenizer = models.random_model()
    translator = Translator(model.eval(), tokenizer, "random")
    state = engine.prefill(translator, [[5, 6, 7], [8, 9]])
    how, always = alignment.token(translator, Latent()), latent_steps.always_original
    written = latent_steps.think(translator, state, how, Latent(steps=2), candidates=1, choose=always, row_seeds=[0, 0])
    for row, prompt in enumerate(([5, 6, 7], [8, 9])):
        ids = list(prompt)
        for t in range(2):  # greedy decoding, one token at a time
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            assert int(translator.logits(written.latents)[row, t].argmax()) == ids[-1]
        last = model.get_decoder()(torch.tensor([ids])).last_hidden_state[0, -1]
        torch.testing.assert_close(written.state.hidden[row], last, atol=1e-4, rtol=1e-4)
    blank = alignment.pause(translator, Latent())(torch.randn(2, 3, translator.width))
    assert blank.shape == (2, 3, translator.width) and torch.equal(blank[0, 0], blank[1, 2])


@torch.inference_mode()
def test_an_answer_without_a_start_is_the_models_own_from_its_first_token():
    model, tokenizer = models.random_model()
    translator = Translator(model.eval(), tokenizer, "random")
    prompts_ = [[5, 6, 7], [8, 9]]
    answers = decoding.decode(translator, engine.prefill(translator, prompts_), prompts_, [], limits=[6, 6], opened=False)
    for ids, answer in zip(prompts_, answers, strict=True):
        grown = list(ids)
        for token in answer.tokens:
            assert token == int(model(torch.tensor([grown])).logits[0, -1].argmax())
            grown.append(token)
        assert answer.finished or len(answer.tokens) == 6


def test_the_first_fence_opens_a_block_where_none_was_opened():
    text = "Plan: parallel\n```cpp\nint a;\n```"
    tokens = list(range(len(text)))
    for opened, ends in ((False, [len(text)]), (True, [len("Plan: parallel\n```"), len(text)])):
        stops = stopping.Stops(frozenset(), frozenset(tokens), lambda ids: "".join(text[i] for i in ids), opened)
        whole = [n for n in range(1, len(text) + 1) if text[:n].endswith("```") and stops(tokens[:n])]
        assert whole == ends


def test_a_fence_among_the_words_of_latents_is_the_one_that_opens(monkeypatch):
    """Given the words that the model would begin with: the answer after them ends where the whole one does."""
    model, tokenizer = models.random_model()
    translator, whole = Translator(model.eval(), tokenizer, "random"), tokenizer("```c\nint x;\n```b").input_ids
    fence = tokenizer("`").input_ids[-1]
    stops = stopping.Stops(frozenset(), frozenset([fence]), tokenizer.decode, False)
    monkeypatch.setattr(decoding, "stops_of", lambda translator, opened: stops)
    ends = len(whole) - 1  # behind the closing fence
    for cut in (0, 4, 9):
        state = engine.prefill(translator, [[5, 6, *whole[:cut]]])
        answers = decoding.decode(
            translator, state, [[5, 6]], [7], limits=[len(whole) - cut], given=[whole[cut:]], opened=False, thought=[whole[:cut]]
        )
        assert answers[0].finished and answers[0].tokens == whole[cut:ends], cut


def test_kept_samples_are_those_that_would_be_made_anew(tmp_path):
    models.random_model()[1].save_pretrained(tmp_path / "base")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"direction": "omp-cuda", "source_code": "int a;", "target_code": "int b;"}))
    config = replace(finetune.AdaptConfig(), samples=0, pairs=str(tmp_path / "pairs.jsonl"), thinks="none", workers=1)
    first = training_samples.kept_corpus(str(tmp_path / "base"), config, tmp_path / "samples.pt")
    written = (tmp_path / "samples.pt").stat().st_mtime_ns
    assert training_samples.kept_corpus(str(tmp_path / "base"), replace(config, rank=2), tmp_path / "samples.pt") == first
    assert (tmp_path / "samples.pt").stat().st_mtime_ns == written
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"direction": "omp-cuda", "source_code": "int a;", "target_code": "int c;"}))
    assert training_samples.kept_corpus(str(tmp_path / "base"), config, tmp_path / "samples.pt") != first
    tokenizer = models.byte_tokenizer()
    tokenizer.add_tokens(["int a;"])
    tokenizer.save_pretrained(tmp_path / "other")
    again, other = (training_samples.kept_corpus(str(tmp_path / name), config, tmp_path / "samples.pt") for name in ("base", "other"))
    assert len(other[0][0]) < len(again[0][0])  # another base with another tokenizer
