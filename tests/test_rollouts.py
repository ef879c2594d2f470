"""Where rollouts branch off, and which of their latents are perturbed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from training_rows import write_lm

from parallax_lib.core.config import dump, load
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Translator
from parallax_lib.core.storage import Journal
from parallax_lib.prm import labels as reward_labels
from parallax_lib.search import latent_sensitivity, prompt_room, rollout_files, rollouts
from parallax_lib.tasks.prompts import OPENING, prompt
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.task import Kernel, Task, tasks
from parallax_lib.translator import models

TEXT = "int main() { return 0; }"
TASK = Task(Kernel("k", "f", "minibench", {"serial": TEXT, "omp": TEXT}, ("1",), (("1",),)), "serial", "omp")


def settings(**given):
    latent = {"steps": 3, "proposal": "gaussian", "unit": "absolute", "sigma": 1000.0}
    return load("x", latent=latent, decode={"max_new_tokens": 2}, collect=given)


def test_depths_say_where_rollouts_branch_off_and_how_often():
    assert rollouts.branches(settings()) == [(-1, 0), (0, 0), (1, 0), (2, 0)]
    assert rollouts.branches(settings(depths=[1, 0, 0], resamples=2)) == [(-1, 0), *[(0, r) for r in range(4)], (1, 0), (1, 1)]
    with pytest.raises(UserError, match="collect.depths: 3 is not a latent index"):
        rollouts.branches(settings(depths=[0, 3]))
    with pytest.raises(UserError, match="collect.depths: -1 is not a latent index"):
        rollouts.branches(settings(depths=[0, -1]))


@pytest.mark.parametrize("onward", [False, True])
def test_which_latents_are_perturbed(onward):
    """Noise of 1000 shows in a latent's size; what comes before it is the original's, which the labels rely on."""
    model, tokenizer = models.random_model()
    translator = models.Translator(model.eval().requires_grad_(False), tokenizer, "random")
    rows, vectors = rollouts.generate(translator, [TASK], settings(onward=onward))
    assert [row["branch_depth"] for row in rows] == [-1, 0, 1, 2]
    large = np.abs(vectors).max(-1) > 100
    for v, perturbed in enumerate(large[1:]):
        assert perturbed.tolist() == [t >= v if onward else t == v for t in range(3)]
        np.testing.assert_array_equal(vectors[v + 1, :v], vectors[0, :v])
    assert not large[0].any()


def sized(size, name="k"):
    text = TEXT + "/" * (size - len(TEXT))
    return Task(Kernel(name, "f", "minibench", {"serial": text, "omp": text}, ("1",), (("1",),)), "serial", "omp")


def test_chunks_count_long_tasks_as_several_rows():
    """4 rollouts a task, 40 rows: ten short tasks, five of twice 4,096 tokens, and one that is longer than all of it alone."""
    params = load("x", latent={"steps": 3}, decode={"batch": 40, "max_new_tokens": 1600})
    short, double, huge = sized(3000), sized(3 * 6000), sized(3 * 50000)
    assert [prompt_room.weight(t, params) for t in (short, double, huge)] == [1, 2, 13]
    assert [len(c) for c in rollouts.chunked([short] * 23, params)] == [10, 10, 3]
    assert [len(c) for c in rollouts.chunked([double] * 11, params)] == [5, 5, 1]
    assert [len(c) for c in rollouts.chunked([huge, short, huge], params)] == [1, 1, 1]
    rng = np.random.default_rng(0)
    mixed = [sized(int(n), f"k{i}") for i, n in enumerate(rng.integers(100, 60000, 200))]
    chunks = rollouts.chunked(mixed, params)
    assert [t for c in chunks for t in c] == mixed
    for chunk, after in zip(chunks, [*chunks[1:], None], strict=True):
        assert len(chunk) == 1 or len(chunk) * max(prompt_room.weight(t, params) for t in chunk) <= 10
        if after:  # nothing was cut too early
            assert (len(chunk) + 1) * max(prompt_room.weight(t, params) for t in [*chunk, after[0]]) > 10


def test_the_influence_probe_counts_long_tasks_as_several_rows(monkeypatch):
    params = load("x", latent={"steps": 3}, decode={"batch": 8, "max_new_tokens": 1600}, collect={"sensitivity_branches": 3})
    seen = []
    monkeypatch.setattr(latent_sensitivity, "_write", lambda translator, rows, params, inside: seen.append(len(rows)) or [{}] * len(rows))
    for size, expected in ((3000, [8, 6]), (3 * 6000, [4, 4, 4, 2])):  # two tasks of seven rows
        seen.clear()
        latent_sensitivity.probe(None, [sized(size, "a"), sized(size, "b")], params)
        assert seen == expected


def test_too_long_prompts_are_those_that_the_tokenizer_says():
    pool = [sized(n, f"k{n}") for n in (100, 1000, 1500, 2000, 2200, 2600, 5000)]
    params = load("x", translator={"model": "random"}, decode={"max_prompt": 2222})
    translator = models.load_translator(params.translator)
    counted = {t.id: len(row) for t, row in zip(pool, rollouts.ask(translator, pool), strict=True)}
    assert prompt_room.too_long(pool, params) == {name: n for name, n in counted.items() if n > 2222}
    assert 0 < len(prompt_room.too_long(pool, params)) < len(pool)


@pytest.mark.parametrize("positions, new", [(8192, 1600), (2048, 3072), (1500, 400), (10**6, 3072), (230, 64)])
def test_prompt_latents_and_answer_fit_the_models_positions(positions, new, monkeypatch):
    monkeypatch.setattr(prompt_room, "positions_of", lambda translator: positions)
    params = load("x", decode={"max_prompt": 7000, "max_new_tokens": new})
    fits = [n for n in range(7001) if n + len(OPENING) + params.latent.steps + prompt_room.token_limit(n, params) <= positions]
    assert prompt_room.longest_prompt(params) == pytest.approx(max(fits), abs=1)
    assert prompt_room.longest_prompt(params) in fits
    assert prompt_room.none_left(params).startswith("decode.max_prompt" if max(fits) == 7000 else "decode.max_new_tokens")


@pytest.mark.parametrize("program", ["int main() {}\n" * 40, "int main() { return 0; }"])
def test_a_repair_prompt_has_room_from_as_many_positions_on_as_it_its_answer_and_the_latents_take(program, monkeypatch):
    params, past = load("x", translator={"model": "random"}, decode={"max_new_tokens": 300}), (program, "main.cpp:1: error: what is this?")
    tokenizer = models.load_tokenizer(params.translator)
    asked, whole = (len(tokenizer(prompt(tokenizer, TASK.source, TASK.target, TASK.source_code, p)).input_ids) for p in (None, past))
    taken = whole + len(OPENING) + params.latent.steps + prompt_room.token_limit(asked, params)
    for positions, fits in ((taken - 1, False), (taken, True), (10**6, True)):
        monkeypatch.setattr(prompt_room, "positions_of", lambda translator, n=positions: n)
        assert prompt_room.has_room(TASK, params, past) == fits


def test_positions_are_those_of_the_model(tmp_path, monkeypatch):
    write_lm(tmp_path, max_position_embeddings=777)
    assert models.positions_of(Translator(model=str(tmp_path))) == 777
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert models.positions_of(Translator(model=f"~/{tmp_path.name}")) == 777
    model = models.load_translator(Translator(model="random")).model
    assert models.positions_of(Translator(model="random")) == model.config.max_position_embeddings


def test_rollouts_made_with_other_noise_have_other_names():
    names = {rollouts.capture_id(TASK, settings(onward=onward), 1, 0) for onward in (False, True)}
    assert len(names) == 2


def test_rollouts_that_other_settings_would_have_written_have_other_names():
    other = [{}, {"decode": {"temperature": 1.0}}, {"decode": {"max_new_tokens": 60}}, {"translator": {"dtype": "float32"}}]
    names = [rollouts.capture_id(TASK, load("x", **given), -1, 0) for given in [*other, {"decode": {"batch": 3, "draft": 0}}]]
    assert len(set(names[:4])) == 4 and names[4] == names[0]  # how many rows at once, or drafted, changes no program


def test_shipped_rollouts_are_named_as_their_parameters_say():
    frame, _ = rollout_files.read_rollouts("data/rollouts")
    params = load("rollouts")
    some = tasks(load_suite(params.suite.model_copy(update={"kinds": ("minibench",)})), params.suite.directions)
    assert {rollouts.capture_id(t, params, v, r) for t in some for v, r in rollouts.branches(params)} <= set(frame["capture_id"])


def test_a_chunk_whose_shard_is_lost_is_collected_anew(tmp_path):
    params = load("x", translator={"model": "random"}, latent={"steps": 3}, decode={"max_new_tokens": 3})
    journal, made, told = Journal(tmp_path / "journal.sqlite"), [], []
    for _ in range(3):
        rollouts.collect([TASK], params, journal, tmp_path, lambda *counts: told.append(counts), made.append)
        frame, vectors = rollouts.load_rollouts(journal, tmp_path)
        assert vectors.shape[:2] == (4, 3) and len(frame) == 4
        if len(made) == 1:
            next(tmp_path.glob("*.safetensors")).unlink()
    assert len(made) == 2
    tokens = sum(row["tokens"] for row in made[0])
    assert told[:2] == [("collect", 0, 4, "programs"), ("collect", 4, 4, "programs", f"{tokens:,} tokens")] and tokens > 4


def test_a_lost_chunk_is_not_done_before_all_of_it_is_there_again(tmp_path, monkeypatch):
    params = load("x", translator={"model": "random"}, latent={"steps": 3}, decode={"max_new_tokens": 3})
    journal = Journal(tmp_path / "journal.sqlite")

    def build():
        rollouts.collect([TASK], params, journal, tmp_path, lambda *told: None)

    build()
    next(tmp_path.glob("*.safetensors")).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "put_many", lambda *given, **more: (_ for _ in ()).throw(KeyboardInterrupt))  # killed after the shard
        with pytest.raises(KeyboardInterrupt):
            build()
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 and not journal.rows("chunk")
    build()
    assert len(rollouts.load_rollouts(journal, tmp_path)[0]) == 4 and journal.rows("chunk")


def test_a_shared_first_latent_is_labelled_by_all_that_go_on_from_it():
    """Original and the branch-off at 1 share the latent at 0; by hand: mean of 1 and 0, two rollouts."""
    rows = pd.DataFrame({"capture_id": ["a", "a_v0_r0", "a_v1_r0"], "root": "a", "branch_depth": [-1, 0, 1], "reward": [1.0, 1.0, 0.0]})
    targets, counts = reward_labels.label(rows, 3)
    assert targets[:, 0].tolist() == [0.5, 1.0, 0.5] and counts[:, 0].tolist() == [2, 1, 2]
    assert targets[:, 2].tolist() == [1.0, 1.0, 0.0]


def test_after_memory_ran_out_a_chunk_is_collected_in_parts_and_is_the_same():
    params = load("x", translator={"model": "random", "dtype": "float32"}, latent={"steps": 3}, decode={"max_new_tokens": 3})
    chosen = [replace(TASK, kernel=replace(TASK.kernel, name=f"k{i}")) for i in range(3)]
    item = {"params": dump(params), "tasks": chosen, "gpu_share": 1.0}
    whole, parts = rollouts.generate_item(item), rollouts.generate_item(item, shrink=2)
    assert whole["rows"] and [r["code"] for r in whole["rows"]] == [r["code"] for r in parts["rows"]]
    assert [r["capture_id"] for r in whole["rows"]] == [r["capture_id"] for r in parts["rows"]]
    np.testing.assert_allclose(whole["vectors"], parts["vectors"], rtol=2**-8, atol=2**-10)
