"""Reward models that read text: planted rules, controls, batches, interrupted trainings, commands."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from parallax_lib.__main__ import main
from parallax_lib.core.errors import UserError
from parallax_lib.prm import text_reward, text_rows, text_training
from parallax_lib.prm.text_reward import TextConfig
from parallax_lib.prm.text_training import TextTraining
from parallax_lib.study import text_prm
from parallax_lib.tasks import prompts

WORDS = "for i a b sum n ; = + ( ) { } #pragma omp parallel atomic reduction none tile loop".split()
QUICK = TextTraining(epochs=3, lr=1e-2, backbone_lr_factor=1.0, batch=16, unfreeze_step=10, warmup=2, evaluations=2)
SHORT = TextTraining(epochs=2, lr=1e-2, batch=16, unfreeze_step=4, warmup=2, evaluations=3, patience=0)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A random Qwen2 of one layer with a byte-level tokenizer that knows some words whole, as a download would lie there."""
    folder = tmp_path_factory.mktemp("backbone")
    raw = Tokenizer(BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learn = BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<end>"], show_progress=False)
    raw.train_from_iterator([" ".join([*WORDS, prompts.SYSTEM, "Translate to", *prompts.NAMES.values()])] * 9, learn)
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<end>").save_pretrained(folder)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = transformers.Qwen2Config(vocab_size=400, **sizes, tie_word_embeddings=True, initializer_range=0.05)
    model = transformers.Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    return str(folder)


def make_rows(tasks=72, siblings=6, seed=0):
    """Rollouts of a tree, half of each task's right: a program is right if it says atomic, as its plan's second word does."""
    rng, rows = np.random.default_rng(seed), []
    for task in range(tasks):
        source = " ".join(rng.choice(WORDS[:13], size=int(rng.integers(3, 8))))
        good = rng.permutation(np.arange(siblings) % 2 == 0)
        for s in range(siblings):
            right = good[s]
            noise = list(rng.choice(WORDS[:13], size=int(rng.integers(2, 9))))
            for _ in range(2):
                noise.insert(int(rng.integers(len(noise))), "atomic" if right else "parallel")
            name = f"t{task}" + (f"_v{s % 2}_r{s}" if s else "")
            rows.append({
                "capture_id": name, "root": f"t{task}", "branch_depth": s % 2 if s else -1, "resample": s, "task": f"k{task}.serial-omp",
                "kernel": f"k{task}", "family": f"f{task % 18}", "direction": "serial-omp", "source_code": source,
                "plan": f"loop {'atomic' if right else 'parallel'} none", "code": " ".join(noise), "reward": float(right),
                "split": ("train", "train", "train", "train", "valid", "test")[task % 6],
            })  # fmt: skip
    return pd.DataFrame(rows)


def trained(rows, backbone, reads, out=None, shuffle=False, training=QUICK, **more):
    config = TextConfig(backbone, reads, lora_rank=4)
    taught = text_prm.shuffled(rows, 0) if shuffle else rows
    texts = text_rows.encode(text_reward.tokenizer_of(config), rows, reads, config.max_tokens)
    targets, counts = text_prm.labelled(taught, texts, reads)
    data = text_rows.prepare(texts, targets, counts, rows["task"], rows["split"])
    model, history = text_training.fit(data, config, training, out, **more)
    return model, history, texts


def held_out(rows, model, texts, reads):
    return text_prm.measure(model, rows, texts, reads)["test"]


def test_it_learns_what_programs_show_and_nothing_of_shuffled_siblings(backbone):
    rows = make_rows()
    model, history, texts = trained(rows, backbone, "program")
    found = held_out(rows, model, texts, "program")["all"]
    assert found["auroc"] > 0.95 and found["pairwise"] > 0.95 and found["families"] == 3
    assert set(history["phase"]) == {1, 2} and history["valid_loss"].notna().sum() == 6
    assert apart(rows, text_reward.score(model, texts)) > 0.8
    model, _, texts = trained(rows, backbone, "program", shuffle=True)
    assert abs(apart(rows, text_reward.score(model, texts))) < 0.15


def apart(rows, scores):
    """Mean score of the right programs among the tested ones, minus that of the wrong ones."""
    held = rows.assign(score=scores[:, 0]).query("split == 'test'").groupby("reward")["score"].mean()
    return held[1.0] - held[0.0]


def test_shuffling_deals_each_tasks_rewards_out_anew_and_leaves_tested_ones():
    rows = make_rows(tasks=36)
    again = text_prm.shuffled(rows, 0)
    tested = rows["split"] == "test"
    assert again.loc[tested, "reward"].equals(rows.loc[tested, "reward"])
    assert (again.groupby("task")["reward"].sum() == rows.groupby("task")["reward"].sum()).all()
    moved = (again["reward"] != rows["reward"])[~tested].mean()
    assert 0.35 < moved < 0.65 and not text_prm.shuffled(rows, 1)["reward"].equals(again["reward"])


def test_a_plan_is_scored_after_each_word(backbone):
    rows = make_rows()
    model, _, texts = trained(rows, backbone, "plan")
    scores = text_reward.score(model, texts)
    assert scores.shape == (len(rows), 3) and np.isfinite(scores).all()
    found = held_out(rows, model, texts, "plan")
    assert found["depth 1"]["auroc"] > 0.95 and found["depth 0"]["pairwise"] == 0.5  # all plans begin with the same word
    words = len(text_reward.tokenizer_of(model.config)(rows["source_code"][0]).input_ids)
    assert texts.ends[0].tolist()[1:] == [texts.ends[0][0] + 1, texts.ends[0][0] + 2] and texts.ends[0][0] >= words


def test_labels_of_plans_are_those_of_latents_and_texts_that_recur_weigh_as_often():
    rows = make_rows(tasks=6)
    ids = [np.array([1, 2, 3 + len(plan)], np.int32) for plan in rows["plan"]]
    texts = text_rows.Texts(ids, np.tile([0, 1, 2], (len(rows), 1)), np.full(len(rows), "", object))
    targets, counts = text_prm.labelled(rows, texts, "plan")
    first = rows[rows["task"] == rows["task"][0]]
    assert targets[0, 0] == first.loc[(first["branch_depth"] != 0), "reward"].mean() and counts[0, 2] == 1
    data = text_rows.prepare(texts, targets, counts, rows["task"], ["train"] * len(rows))
    assert len(data.ids) < len(rows) and data.weights.sum() == len(rows) * 3
    assert float((data.weights * data.targets).sum()) == pytest.approx(targets.sum(), rel=1e-6)


def test_source_alone_cannot_order_siblings(backbone):
    rows = make_rows(tasks=36)
    model, _, texts = trained(rows, backbone, "source")
    found = held_out(rows, model, texts, "source")["all"]
    assert found["pairwise"] == 0.5 and found["pairs"] > 0


def test_scores_hang_on_no_other_row(backbone):
    rows = make_rows(tasks=12)
    model, _, texts = trained(rows, backbone, "program", training=SHORT)
    alone = [text_reward.score(model, text_rows.some(texts, np.arange(len(rows)) == i))[0, 0] for i in range(8)]
    for tokens in (1, 100, 10**6):
        assert text_reward.score(model, texts, tokens)[:8, 0] == pytest.approx(alone, abs=1e-5)
    ids = torch.tensor(texts.ids[3][None].astype(np.int64))  # by the body itself, without padding
    state = model.backbone.body(input_ids=ids).last_hidden_state[0, -1].detach()
    raw = model.head.weight[0] @ ((state - model.mean) / model.std) + model.head.bias
    assert 1 / (1 + math.exp(-raw.item())) == pytest.approx(alone[3], abs=1e-5)


def test_an_interrupted_training_ends_with_the_same_weights(backbone, tmp_path):
    rows = make_rows(tasks=24)
    whole, history, _ = trained(rows, backbone, "program", tmp_path / "whole", training=SHORT)

    def stop(row):
        if row["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(rows, backbone, "program", tmp_path / "cut", training=SHORT, progress=stop)
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) and not (tmp_path / "cut" / "final").exists()
    again, rest, texts = trained(rows, backbone, "program", tmp_path / "cut", training=SHORT)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    pd.testing.assert_frame_equal(history, rest)
    read = text_reward.load(tmp_path / "cut" / "final")
    assert np.array_equal(text_reward.score(read, texts), text_reward.score(again, texts))
    with pytest.raises(UserError, match="other settings, data or code"):
        trained(rows.assign(reward=1 - rows["reward"]), backbone, "program", tmp_path / "cut", training=SHORT)


def test_where_memory_runs_out_batches_are_halved_and_the_update_is_the_same(backbone, monkeypatch):
    rows = make_rows(tasks=12)
    whole, history, _ = trained(rows, backbone, "program", training=SHORT)
    forward, seen = text_reward.TextPRM.forward, []

    def small(self, ids, ends):
        seen.append(ids.numel())
        if ids.numel() > 200:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, ids, ends)

    monkeypatch.setattr(text_reward.TextPRM, "forward", small)
    _, less, _ = trained(rows, backbone, "program", training=SHORT)
    assert max(seen) > 200 and history["train_loss"].tolist() == pytest.approx(less["train_loss"].tolist(), abs=1e-3)
    monkeypatch.setattr(text_reward.TextPRM, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(UserError, match="lower --max-tokens"):
        trained(rows, backbone, "program", training=SHORT)


def test_rows_that_cannot_be_read_are_told(backbone):
    rows = make_rows(tasks=6)
    rows.loc[0, "code"], rows.loc[1, "code"] = None, "a " * 500
    texts = text_rows.encode(text_reward.tokenizer_of(TextConfig(backbone)), rows, "program", 200)
    assert texts.refusals() == "1 rows not read: no program; 1 rows not read: more than 200 tokens"
    model = text_reward.build(TextConfig(backbone, lora_rank=2))
    scores = text_reward.score(model, texts)[:, 0]
    assert np.isnan(scores[:2]).all() and np.isfinite(scores[2:]).all()


def test_the_commands_train_score_and_refuse(backbone, tmp_path, capsys):
    rows = make_rows(tasks=36)
    rows.drop(columns="split").to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    quick = ["--lora-rank", "2", "--batch", "16", "--unfreeze-step", "2", "--backbone", backbone, "--device", "cpu"]
    learn = ["train-text", "--jsonl", str(tmp_path / "rows.jsonl"), "--reads", "plan", *quick]
    for fold in ("0/3", "1/3"):
        assert main([*learn, "--fold", fold, "--out", str(tmp_path / f"fold{fold[0]}")]) == 0
    found = json.loads((tmp_path / "fold0" / "metrics.json").read_text())
    assert {"all", "depth 0", "depth 2", "serial-omp"} <= set(found["test"]) and found["settings"]["fold"] == "0/3"
    assert main([*learn, "--out", str(tmp_path / "fold0")]) == 2 and "holds a trained PRM" in capsys.readouterr().err
    assert main([*learn, "--fold", "2/2", "--out", str(tmp_path / "x")]) == 2 and "--fold 2/2" in capsys.readouterr().err
    pool = rows.drop(columns=["capture_id", "root"]).assign(arm="pool", sample=rows["resample"], seed=0)
    pool.to_parquet(tmp_path / "pool.parquet")
    pool.drop(columns="source_code").to_parquet(tmp_path / "bare.parquet")
    finals = [str(tmp_path / f"fold{k}" / "final") for k in (0, 1)]
    score = ["score-text", "--checkpoint", *finals, "--out", str(tmp_path / "scores.parquet"), "--device", "cpu"]
    assert main([*score, "--table", str(tmp_path / "bare.parquet")]) == 2 and "--sources" in capsys.readouterr().err
    assert main([*score, "--table", str(tmp_path / "pool.parquet"), "--translator", backbone]) == 0
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    trained_on = [set(json.loads((tmp_path / f"fold{k}" / "final" / "families.json").read_text())) for k in (0, 1)]
    assert scores["models"].tolist() == [sum(family not in some for some in trained_on) for family in pool["family"]]
    assert (scores["score_plan"].isna() == (scores["models"] == 0)).all() and 0 < scores["score_plan"].isna().mean() < 1
    assert main([*score, "--table", str(tmp_path / "pool.parquet"), "--seen", "--add"]) == 0
    whole = pd.read_parquet(tmp_path / "scores.parquet")
    assert len(whole) == len(pool) and whole["score_plan"].notna().all() and whole["code"].equals(pool["code"])
    model = text_reward.load(finals[0])
    texts = text_rows.encode(text_reward.tokenizer_of(model.config), pool, "plan", 8192)
    both = (text_reward.score(model, texts) + text_reward.score(text_reward.load(finals[1]), texts)) / 2
    assert whole[["score_plan_0", "score_plan_2", "score_plan"]].to_numpy() == pytest.approx(both[:, [0, 2, 2]], abs=1e-5)
