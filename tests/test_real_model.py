"""What the study of a real code model asks of collecting: sides of a split, prompts with rules, answers that open by themselves."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

from parallax_lib.core.config import load
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import run_folder
from parallax_lib.search import prompt_room, rollouts
from parallax_lib.study import collection, training
from parallax_lib.study import run as runs
from parallax_lib.tasks import prompts
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
