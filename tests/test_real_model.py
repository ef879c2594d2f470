"""What the study of a real code model asks of collecting: sides of a split, prompts with rules, answers that open by themselves."""

import hashlib
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from parallax_lib.core.config import ROOT, load
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import run_folder
from parallax_lib.search import prompt_room, rollout_files, rollouts
from parallax_lib.study import collection, training
from parallax_lib.study import run as runs
from parallax_lib.tasks import prompts, split_file
from parallax_lib.tasks.task import split_of
from parallax_lib.translator import models
from parallax_lib.translator.language_model import Translator

SPLIT = {"kinds": ["minibench", "forge"], "split": "data/splits/handwritten.yaml", "forge_count": 6}


@pytest.fixture
def opened():
    """opened(**sections): a run of the split on the random translator, in a folder that is gone afterwards."""
    name = f"test-real-{os.getpid()}"
    yield lambda **over: runs.open_params(load(name, suite=SPLIT, translator={"model": "random"}, **over))
    shutil.rmtree(run_folder(name), ignore_errors=True)


def test_collecting_stays_on_the_sides_that_are_asked_for_and_leaves_long_tasks_for_last(opened):
    run = opened(collect={"limit": 12, "splits": ["train", "valid"]})
    pool = runs.all_tasks(run)
    chosen = collection.chosen_tasks(run, pool)
    assert len(chosen) == 12 and {task.kernel.suite for task in chosen} == {"forge"}
    assert not [task for task in chosen if split_of(task.kernel.family, run.params.suite) == "test"]
    sizes = [prompt_room.weight(task, run.params) for task in chosen]
    assert sizes == sorted(sizes)
    held = [task for task in pool if task.kernel.suite == "minibench"]
    with pytest.raises(UserError, match="collect.splits: the suite has no task of train, valid"):
        collection.chosen_tasks(run, held)


def test_no_latent_step_collects_originals_and_trains_nothing(opened, tmp_path):
    run = opened(latent={"steps": 0}, collect={"limit": 1, "resamples": 0}, decode={"max_new_tokens": 3})
    assert rollouts.branches(run.params) == [(rollouts.ORIGINAL, 0)]
    with pytest.raises(UserError, match="latent.steps: 0 thinks nothing that a PRM could read"):
        training.fit_rows(run.params, "gru", pd.DataFrame({"split": ["train"]}), np.zeros((1, 0, 8)), tmp_path)


@pytest.mark.parametrize("target", ["omp", "cuda"])
def test_rules_say_what_a_translation_must_do_and_the_short_prompt_does_not(target):
    tokenizer = models.byte_tokenizer()
    short, rules = (prompts.prompt(tokenizer, "serial", target, "int main() {}", None, style) for style in ("short", "rules"))
    assert prompts.RULES[target] in rules and "print the same output" in rules and "int main() {}" in rules
    assert "print the same output" not in short and rules.startswith(short.rstrip("\n"))


def test_an_answer_whose_plan_is_text_begins_with_it(opened, monkeypatch):
    model, tokenizer = models.random_model()
    translator = Translator(model.eval(), tokenizer, "random", "rules")
    params = load("tiny", decode={"opening": "plan"}, collect={"resamples": 0})
    heard = {}

    def decode(_, state, asked, start, **settings):
        heard.update(start=start, opened=settings["opened"], asked=asked)
        return [rollouts.decoding.Answer(tokens=tokenizer(" map\n```cpp\nint main() { return 0; }").input_ids, finished=True)]

    monkeypatch.setattr(rollouts.decoding, "decode", decode)
    task = runs.all_tasks(opened())[0]
    rows, _ = rollouts.generate(translator, [task], params)
    assert tokenizer.decode(heard["start"]) == "Plan:" and heard["opened"] is False
    assert "print the same output" in tokenizer.decode(heard["asked"][0]) and rows[0]["code"].strip() == "int main() { return 0; }"


def test_words_that_latents_stand_for_begin_an_answer_that_nothing_opens(opened, monkeypatch):
    """Fed as tokens they are what the model would have written: the whole answer is that without latents, letter for letter."""
    model, tokenizer = models.random_model()
    translator, task = Translator(model.eval(), tokenizer, "random", "rules"), runs.all_tasks(opened())[0]
    monkeypatch.setattr(rollouts.extraction, "extract", lambda text, needs_main: text)
    said = {}
    for steps in (0, 5):
        decode = {"opening": "free", "max_new_tokens": 16 - steps}
        params = load("tiny", decode=decode, latent={"steps": steps, "align": "token"}, collect={"resamples": 0})
        said[steps] = rollouts.generate(translator, [task], params)[0][0]
    assert said[0]["tokens"] == 16 and said[5]["tokens"] == 11 and said[5]["code"] == said[0]["code"]


def test_rollouts_that_ship_hold_a_hash_instead_of_hecbench_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import real_study

    source = "#pragma omp parallel for reduction(+:total)"
    theirs = [name for suite, name in split_file.rows(real_study.SPLIT) if suite == "hecbench"]
    bundled = {name for suite, name in split_file.rows(real_study.SPLIT) if suite == "minibench"}
    twin = next(name for name in theirs if name in bundled)  # HeCBench's kernel of a bundled one's name is called NAME-hecbench
    own = next(name for name in theirs if name not in bundled)
    kernels = ["saxpy", f"{twin}-hecbench", own, "made_by_forge"]
    for folder, part in (("a", kernels[:2]), ("b", kernels[2:])):
        rows = pd.DataFrame({"kernel": part, "source_code": source, "code": [source + " //", None], "log": "a.cpp:1: " + "x" * 400})
        rows = rows.assign(capture_id=part, root=part, task=part, family="f", direction="serial-omp", branch_depth=-1, resample=0)
        rollout_files.write_rollouts(tmp_path / folder, rows, np.full((2, 1, 4), folder == "b", dtype="float16"), {})
    real_study.ship(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    rows, latents = rollout_files.read_rollouts(str(tmp_path / "out"))
    masked = rows["source_code"].str.startswith(real_study.MASK)
    assert rows["kernel"].tolist() == kernels and masked.tolist() == [False, True, True, False]
    assert hashlib.sha256(source.encode()).hexdigest() in rows["source_code"][1]
    assert rows["code"][2].startswith(real_study.MASK) and [isinstance(code, str) for code in rows["code"]] == [True, False, True, False]
    assert (rows["log"].str.len() == [300, 0, 0, 300]).all() and rows["accumulates"].all()
    assert latents[:, 0, 0].tolist() == [0, 0, 1, 1]


def test_scores_rank_programs_of_a_task_and_pick_one(monkeypatch):
    """By hand: two tasks of three programs; the pairs of right and wrong ones of a task are (b > a), (b < c) and (f > d), (f = e)."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import real_model

    rows = pd.DataFrame({"capture_id": list("abcdef"), "task": [1, 1, 1, 2, 2, 2], "branch_depth": [-1, 0, 0, -1, 0, 0]})
    rows["validated"] = [False, True, False, False, False, True]
    scores = pd.DataFrame({"capture_id": list("fedcba"), "score_plan": [0.5, 0.5, 0.1, 0.9, 0.8, 0.3]})
    ranked, taken = real_model.picks(rows, scores)
    assert ranked.loc[0, ["reads", "programs", "pairs"]].tolist() == ["plan", 6, 4]
    assert ranked["pairwise"][0] == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    right, wrong = [0.8, 0.5], [0.3, 0.9, 0.1, 0.5]
    assert ranked["auroc"][0] == pytest.approx(np.mean([(r > w) + (r == w) / 2 for r in right for w in wrong]))
    assert taken[taken["arm"] == "plan"].set_index("task")["capture_id"].to_dict() == {1: "c", 2: "e"}  # of equal ones the first
    assert taken[taken["arm"] == "unguided"]["capture_id"].tolist() == ["a", "d"]
