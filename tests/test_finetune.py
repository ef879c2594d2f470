"""The adapter's training on several devices against one process that averages by hand; what a sample is drawn from."""

import json
import random
from dataclasses import replace

import pytest
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.tasks.synthetic import composed_patterns, generator
from parallax_lib.translator import finetune, models, packaged_models, training_samples, weights

CONFIG = finetune.AdaptConfig(lr=0.1, warmup=0.0)


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))

    def forward(self, x):
        return self.layers(x)


def loss_of(model, ids, labels):
    return (model(ids.float()) - labels[:, :1].float()).square().mean()


def batches(count):
    draw = torch.Generator().manual_seed(1)
    return [[(torch.randint(0, 5, (3,), generator=draw).tolist(), [k, 0, 0]) for k in range(4)] for _ in range(count)]


def work(rank, world, plan, folder):
    finetune.join(rank, world, folder)
    finetune.loss_of = loss_of  # in this process only
    model = Line()
    finetune._loop(model, plan[rank::world], CONFIG, "cpu", world)
    torch.save(model.state_dict(), folder / f"{rank}.pt")
    lone = torch.nn.Parameter(torch.zeros(2))
    lone.grad = torch.tensor([rank, 10.0 * rank])
    elapsed = finetune.shared([lone], float(rank), world)
    assert lone.grad.tolist() == [0.5, 5.0] and elapsed == 0.5  # means: Adam would hide a sum


@pytest.mark.slow
def test_two_processes_train_as_one_that_averages_both_batches_gradients(tmp_path):
    plan = batches(6)
    torch.multiprocessing.spawn(work, (2, plan, tmp_path), 2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    twin = Line()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=CONFIG.lr, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(3):
        for g in optimizer.param_groups:
            g["lr"] = CONFIG.lr * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 3)).item())
        for group in plan[2 * step : 2 * step + 2]:
            (loss_of(twin, *finetune.collate(group, "cpu")) / 2).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(second[name], first[name], atol=0, rtol=0)


def test_batches_hold_every_sample_once_and_little_more_than_their_tokens():
    rng = random.Random(0)
    samples = [([i] * rng.randrange(100, 1000), []) for i in range(500)] + [([500] * 5000, [])]
    made = list(finetune.batches(samples, 4000, 0))
    assert sorted(ids[0] for group in made for ids, _ in group) == list(range(501)) and [samples[500]] in made
    longest = [max(len(ids) for ids, _ in group) for group in made]
    assert all(len(group) * (width - 60) <= 4000 for group, width in zip(made, longest, strict=True) if len(group) > 1)
    assert all(width - len(group[-1][0]) < 60 for group, width in zip(made, longest, strict=True))


def test_a_folder_of_adapters_names_them(tmp_path):
    for name in ("v2", "v1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="has no adapter_config.json; it holds v1, v2; name a LoRA adapter's own folder"):
        weights.merge_adapter(None, tmp_path)


def test_wide_samples_come_from_the_wide_families_and_the_others_stay_as_they_were(monkeypatch):
    drawn, sample = [], generator.sample

    def watch(seed, families=generator.TRAIN_FAMILIES):
        spec = sample(seed, families)
        drawn.append(spec)
        return spec

    class Words:
        bos_token_id, eos_token_id = None, 0

        def __call__(self, text, add_special_tokens=True):
            return type("Ids", (), {"input_ids": [ord(c) for c in text] if " " not in text[:1] else [1]})

    monkeypatch.setattr(generator, "sample", watch)
    monkeypatch.setattr(training_samples.prompts, "prompt", lambda tokenizer, source, target, code, *_: f"{source} {target}\n{code}")
    settings = [replace(CONFIG, wide=wide) for wide in (0.0, 0.5)]
    plain, mixed = [[training_samples.forge_sample(Words(), seed, each) for seed in range(40)] for each in settings]
    families = [spec.family for spec in drawn]
    assert set(families[:40]) <= set(generator.TRAIN_FAMILIES)
    wide = [k for k, family in enumerate(families[40:]) if family in composed_patterns.FAMILIES]
    assert 10 <= len(wide) <= 30
    assert [plain[k] == mixed[k] for k in range(40)] == [k not in wide for k in range(40)]


def test_wide_programs_have_right_and_wrong_plans_in_every_api():
    specs = [generator.sample(seed, composed_patterns.FAMILIES) for seed in range(60)]
    assert {spec.family for spec in specs} == set(composed_patterns.FAMILIES)
    for spec in specs:
        for api in ("omp", "cuda"):
            plans = generator.right_plans(spec, api)
            assert plans and all(generator.is_right(spec, api, plan) for plan in plans)
    with pytest.raises(UserError, match="unknown family"):
        generator.sample(0, ("w_none",))


@pytest.mark.parametrize("card", [None, "# A card\n"])
def test_what_lies_beside_the_weights_names_no_folder_and_keeps_the_card(card, tmp_path, monkeypatch):
    model, tokenizer = models.random_model()
    base, out = tmp_path / "base", tmp_path / "out"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    if card:
        out.mkdir()
        (out / "README.md").write_text(card)
    monkeypatch.setattr(training_samples, "corpus", lambda folder, config: [([5, 6, 7, 8], [finetune.IGNORE, 6, 7, 8])] * 4)
    monkeypatch.setattr(packaged_models, "fetched", lambda name: base)
    record = finetune.train(finetune.AdaptConfig(rank=2, tokens_per_step=8), "smollm2", out)
    assert record["samples"] == 4 and (out / "adapter_model.safetensors").exists()
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "smollm2"
    assert (out / "README.md").read_text() == card if card else not (out / "README.md").exists()
    assert not [p for p in out.glob("*.*") if p.suffix in (".json", ".md") and str(tmp_path) in p.read_text()]
