"""Steps of the notebooks on a run folder: repair rounds with real verdicts, resumed from the journal."""

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from parallax_lib.analysis import metrics
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import read_table, write_json
from parallax_lib.prm import model as prm_model
from parallax_lib.search import arms, guided_search, program_rows, rollout_files
from parallax_lib.study import collection, cross_validation, inference, prm_registry, source_runs, stages
from parallax_lib.study import results as study_results
from parallax_lib.study import run as runs
from parallax_lib.study import training as prm_training
from parallax_lib.tasks.synthetic import generator
from parallax_lib.translator.models import loaded_translator
from parallax_lib.verdict import admission

SETTINGS = {
    "suite": {"directions": ["serial-omp"]},
    "translator": {"model": "random", "dtype": "float32"},
    "latent": {"steps": 2, "sigma": 2.0},
    "decode": {"max_new_tokens": 6, "batch": 4},
    "validation": {"races": "off"},
}


@pytest.fixture
def open_run():
    """open_run(**sections) of a fresh folder with an untrained PRM in it."""
    name = f"test-study-{os.getpid()}"

    def make(**sections):
        run = runs.open_run(name, overrides={k: SETTINGS.get(k, {}) | sections.get(k, {}) for k in SETTINGS | sections})
        folder = prm_registry.prm_folder(run)
        if not folder.exists() and "kind" not in sections.get("prm", {}):
            model = prm_model.build(prm_model.PRMConfig(backbone="gru", latent_width=576, width=16, steps=2))
            prm_model.save(model, folder, partial(prm_registry.write_families, []))
        return run

    yield make
    shutil.rmtree(ROOT / "data" / "runs" / name, ignore_errors=True)


@pytest.mark.slow
def test_with_folds_every_held_out_family_is_guided_by_the_prms_that_never_saw_it(open_run):
    sections = {"suite": {"kinds": ["forge"], "forge_count": 40, "forge_families": "all"}, "report": {"seeds": [0, 1]}}
    some = {"arms": ["guided", "unguided"], "limit": 6, "choose": "trajectories"}
    run = open_run(prm={"folds": 2, "kind": "ridge"}, search=some, **sections)
    with pytest.raises(UserError, match="with prm.folds stage 03 trains the PRMs"):
        inference.held_out_tasks(run)
    rollouts, vectors = rollout_files.read_rollouts("data/rollouts", 576)
    rows = collection.with_splits(run, rollouts)
    drawn = rows.groupby(["family", "root"], sort=False).head(3).groupby("family").head(9)
    cross_validation.table(run, drawn.reset_index(drop=True), vectors[drawn.index, :2])
    unseen = set(drawn["family"]) - set(generator.SEEN_FAMILIES)
    tasks = inference.held_out_tasks(run)
    assert {t.kernel.family for t in tasks} <= unseen and len({t.kernel.family for t in tasks}) > 3
    for family in unseen:
        folders = prm_registry.folders(run, family)
        assert len(set(folders)) == 2  # one for each seed
        for folder in folders:
            known = set(json.loads((folder / "families.json").read_text()))
            assert family not in known and len(known) > len(unseen) / 3
            prm_registry.refuse_leaks(folder, [family])
            with pytest.raises(UserError, match=f"trained on family '{min(known)}'"):
                prm_registry.refuse_leaks(folder, known)
    written = inference.translate_all(run, tasks)
    planned = [(t.id, arm) for t in tasks for arm in ("unguided", "guided")]
    assert planned == list(zip(written["task"], written["arm"], strict=True))
    guided = written[written["arm"] == "guided"].set_index("task")
    assert (guided["prm_calls"] == 2 * 2 * run.params.search.branches).all()
    for task in tasks:  # the same as its own two PRMs give it alone
        models = [prm_model.load(folder) for folder in prm_registry.folders(run, task.kernel.family)]
        alone = guided_search.translate(
            loaded_translator(run.params.translator), models, [program_rows.Row(task, "guided", 0, 0)], run.params
        )[0]
        assert alone["score"] == pytest.approx(guided.loc[task.id, "score"], abs=1e-4)
    leak = prm_registry.folders(run, tasks[0].kernel.family)[0] / "families.json"
    leak.write_text(json.dumps([tasks[0].kernel.family]))
    with pytest.raises(UserError, match="which it is to be tested on"):
        inference.translate_all(run, tasks)


def test_repair_rounds_try_again_what_failed_and_nothing_else(open_run):
    run = open_run(search={"repair": 2, "arms": ["unguided", "guided", "best_of_n"], "samples": 2})
    tasks = inference.held_out_tasks(run)[:2]
    written = inference.translate_all(run, tasks)
    written["code"] = [tasks[0].kernel.sources["omp"] if task == tasks[0].id else None for task in written["task"]]
    results = arms.derive(runs.judge_frame(run, written, tasks), run.params.search.arms)
    table = inference.repair_rounds(run, results, tasks)
    assert table.groupby("repair").size().to_dict() == dict.fromkeys(range(3), len(results))
    right, wrong = (table[table["task"] == t.id] for t in tasks)
    assert right["validated"].all() and (right["attempt"] == 0).all()
    assert (wrong["attempt"] == wrong["repair"]).all() and not wrong["validated"].any()
    fed = wrong.groupby(["arm", "repair"])["prefill_tokens"].first().unstack()
    assert (fed[1] > 2 * fed[0]).all() and (fed[2] > fed[1] + fed[0]).all()
    well = results[(results["task"] == tasks[0].id) & (results["arm"] == "unguided")].reset_index(drop=True)
    table = inference.repair_rounds(run, well, tasks[:1])  # nothing to mend
    assert table["validated"].tolist() == [True] * 3 and table["repair"].tolist() == [0, 1, 2] and (table["attempt"] == 0).all()


def test_a_failed_program_without_room_for_another_answer_stays_as_it_is(open_run, monkeypatch):
    run = open_run(search={"repair": 2, "arms": ["unguided"]})
    tasks = inference.held_out_tasks(run)[:2]
    results = arms.derive(runs.judge_frame(run, inference.translate_all(run, tasks).assign(code=None), tasks), run.params.search.arms)
    monkeypatch.setattr(inference.prompt_room, "has_room", lambda task, params, past: task.id == tasks[0].id)
    table = inference.repair_rounds(run, results, tasks).set_index(["task", "repair"])
    assert table["attempt"].unstack().loc[[t.id for t in tasks]].to_numpy().tolist() == [[0, 1, 2], [0, 0, 0]]


def test_repair_rounds_can_be_made_for_a_part_of_the_tasks_under_the_first_seed(open_run):
    run = open_run(search={"repair": 1, "repair_limit": 1, "arms": ["unguided"], "seeds": [5, 3]})
    tasks = inference.held_out_tasks(run)[:3]
    results = arms.derive(runs.judge_frame(run, inference.translate_all(run, tasks), tasks), run.params.search.arms)
    table = inference.repair_rounds(run, results, tasks)
    assert len(results) == 6 and table["repair"].tolist() == [0, 1]
    assert set(table["seed"]) == {5} and table["task"].nunique() == 1


def test_finished_groups_and_rounds_come_from_the_journal(open_run, monkeypatch):
    sections = {"search": {"repair": 1, "arms": ["unguided", "random"], "samples": 2}}
    run = open_run(**sections)
    tasks = inference.held_out_tasks(run)[:3]
    half = inference.write_programs(run, program_rows.plan_rows(tasks, run.params)[:4])  # killed after these
    whole = inference.translate_all(run, tasks)
    results = arms.derive(runs.judge_frame(run, whole, tasks), run.params.search.arms)
    rounds = inference.repair_rounds(run, results, tasks)
    kept = len(run.journal.rows("translation"))

    def refuse(item):
        raise AssertionError("written again")

    monkeypatch.setattr(guided_search, "translate_item", refuse)
    again = open_run(**sections, validation=SETTINGS["validation"] | {"workers": 1})
    assert inference.translate_all(again, tasks).equals(whole) and inference.repair_rounds(again, results, tasks).equals(rounds)
    assert len(run.journal.rows("translation")) == kept and half.equals(whole.iloc[:4])


def test_a_prm_that_reads_the_prompt_is_trained_scored_and_searched_with_it(open_run):
    run = open_run(prm={"context": "pooled", "kind": "gru", "epochs": 1, "width": 16}, search={"arms": ["guided"]}, latent={"sigma": 1.0})
    rollouts, vectors = rollout_files.read_rollouts("data/rollouts", 576)
    known = collection.with_splits(run, rollouts)
    rows = known[known["split"] != "test"].groupby("root").head(2).head(24).reset_index(drop=True)
    rows["source_code"] = rows["source_code"].str[:200]
    model, _ = prm_training.train_prm(run, "gru", rows, vectors[:24, :2])
    contexts = prm_training.prompt_states(run, rows)
    assert contexts.shape == (24, 576)
    assert len(np.unique(contexts.round(4), axis=0)) == len(rows[["direction", "source_code"]].drop_duplicates())
    table = prm_training.score_table({"gru": model}, rows, vectors[:24, :2], contexts)
    other = prm_training.score_table({"gru": model}, rows, vectors[:24, :2], -contexts)
    assert (table["score"] - other["score"]).abs().max() > 0
    assert inference.translate_all(run, inference.held_out_tasks(run)[:1])["score"].between(0, 1).all()


def test_a_prm_that_reads_words_is_trained_scored_and_searched_with_them(open_run):
    run = open_run(prm={"reads": "both", "kind": "gru", "epochs": 1, "width": 16}, search={"arms": ["guided"]}, latent={"sigma": 1.0})
    rollouts, vectors = rollout_files.read_rollouts("data/rollouts", 576)
    known = collection.with_splits(run, rollouts)
    rows = known[known["split"] != "test"].groupby("root").head(2).head(24).reset_index(drop=True)
    seen = prm_training.readings(run, vectors[:24, :2])
    words = loaded_translator(run.params.translator).model.get_input_embeddings().weight.numpy()
    state = vectors[0, 0].astype(np.float32)
    logits = words @ state / run.params.latent.tau  # tied embeddings
    weights = np.exp(logits - logits.max())
    np.testing.assert_allclose(seen[0, 0], np.concatenate([state, weights / weights.sum() @ words]), atol=2e-3)
    model, _ = prm_training.train_prm(run, "gru", rows, seen)
    assert model.config.latent_width == 2 * 576
    assert inference.translate_all(run, inference.held_out_tasks(run)[:1])["score"].between(0, 1).all()


def test_a_trained_prm_is_never_there_without_the_families_it_has_seen(open_run, monkeypatch):
    run = open_run(prm={"kind": "ridge"}, search={"arms": ["guided"]})
    rollouts, vectors = rollout_files.read_rollouts("data/rollouts", 576)
    rows = collection.with_splits(run, rollouts)
    rows = rows[rows["split"] != "test"].groupby("family").head(2)
    here = prm_registry.prm_folder(run)
    with monkeypatch.context() as killed:
        killed.setattr(prm_training, "write_families", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prm_training.train_prm(run, "ridge", rows, vectors[rows.index, :2])
    assert not here.exists()
    prm_training.train_prm(run, "ridge", rows, vectors[rows.index, :2])
    assert json.loads((here / prm_registry.FAMILIES).read_text()) == sorted(set(rows["family"]))
    (here / prm_registry.FAMILIES).unlink()  # as runs before left it when they were killed there
    tasks = inference.held_out_tasks(run)[:1]
    with pytest.raises(UserError, match="families.json: not there, .* train it again"):
        inference.translate_all(run, tasks)
    assert len(inference.translate_all(open_run(prm={"kind": "ridge", "checkpoint": str(here)}, search={"arms": ["guided"]}), tasks)) == 1


def test_two_kinds_of_one_name_have_folders_of_their_own(tmp_path):
    prm = SimpleNamespace(checkpoint=None, save_path="", kind="/models/v2/qwen")
    run = SimpleNamespace(folder=tmp_path, params=SimpleNamespace(prm=prm))
    kinds = ("/models/v1/qwen", "/models/v2/qwen", "gru")
    made = [prm_training._fresh_folder(run, kind, ["same"]) for kind in kinds]
    assert len(set(made)) == 3 and made[2].name == "prm-gru" and made[1].name.startswith("prm-qwen-")
    assert prm_registry.prm_folder(run) == made[1] / "final" and len({(p / "identity.txt").read_text() for p in made}) == 3


def with_steps(params, steps):
    return params.model_copy(update={"latent": params.latent.model_copy(update={"steps": steps})})


def test_some_of_the_shipped_tasks_come_whole_with_their_own_latents(open_run):
    whole, vectors = rollout_files.read_rollouts("data/rollouts", 576)
    places = {name: i for i, name in enumerate(whole["capture_id"])}
    live, none = whole.head(0).drop(columns="origin"), np.zeros((0, 2, 576), np.float16)
    drawn = {}
    for limit in (20, 40):
        run = open_run(collect={"shipped": "data/rollouts", "shipped_limit": limit})
        rows, latents = collection.with_shipped(run, live, none)
        alone, theirs = collection.with_shipped(replace(run, params=with_steps(run.params, 2)), None, None)  # nothing is collected live
        pd.testing.assert_frame_equal(alone, rows)
        np.testing.assert_array_equal(theirs, latents)
        assert rows["task"].nunique() == limit and rows["family"].nunique() > 8
        inside = whole[whole["task"].isin(rows["task"]) & (whole["branch_depth"] < 2)]
        assert list(rows["capture_id"]) == list(inside["capture_id"])
        np.testing.assert_array_equal(latents, vectors[[places[name] for name in rows["capture_id"]], :2])
        drawn[limit] = set(rows["task"])
    assert drawn[20] < drawn[40]


def test_shipped_rollouts_have_the_reward_that_the_run_asks_for(open_run):
    live, none = rollout_files.read_rollouts("data/rollouts", 576)[0].head(0).drop(columns="origin"), np.zeros((0, 2, 576), np.float16)
    rows, _ = collection.with_shipped(
        open_run(collect={"shipped": "data/rollouts", "shipped_limit": 60}, reward={"spec": "paper"}), live, none
    )
    worth = {0: 0.0, 1: 0.0, 2: 0.3, 3: 0.55, 4: 0.55, 5: 1.0}
    judged = rows[~rows["reason"].isin(["not_checkable", "infra_error"])]
    assert judged["reward"].tolist() == pytest.approx([worth[level] for level in judged["level"]])
    assert judged["reward"].nunique() == 4


def test_what_can_change_the_probe_makes_it_anew(open_run):
    few = {"sensitivity_limit": 1, "sensitivity_sigmas": [0.0], "sensitivity_branches": 1}
    other = [{"decode": {"max_new_tokens": 7}}, {"decode": {"redecode_temperature": 0.5}}, {"collect": few | {"sensitivity_branches": 2}}]
    for given in ({}, *other, {}):
        run = open_run(**{"collect": few} | given)
        collection.sensitivity_rows(run, collection.all_tasks(run)[:1])
    collection.sensitivity_rows(open_run(collect=few), collection.all_tasks(run)[1:2])
    assert len(run.journal.rows("latent_sensitivity")) == 5  # the settings, the three others, another task
    none = collection.sensitivity_rows(open_run(collect={"sensitivity_limit": 0}), collection.all_tasks(run))
    assert none.empty and metrics.latent_sensitivity(none).empty


def test_a_leaked_row_stops_the_training(open_run):
    run = open_run()
    rollouts, vectors = rollout_files.read_rollouts("data/rollouts", 576)
    rows = collection.with_splits(run, rollouts)
    kept = rows[rows["split"] != "test"]
    prm_training.refuse_leaks(run, kept)
    leaked = rows[rows["split"] == "test"].head(1).assign(split="train")
    family = leaked["family"].iloc[0]
    mixed = pd.concat([kept, leaked])
    with pytest.raises(UserError, match=f"is in train, but its family '{family}' belongs to test"):
        prm_training.train_prm(run, "ridge", mixed, vectors[mixed.index])


@pytest.mark.slow
def test_programs_are_judged_beside_the_gpu_that_writes_the_next_ones(open_run, monkeypatch):
    run = open_run()
    tasks = inference.held_out_tasks(run)[:2]
    rows = [{"task": t.id, "code": t.kernel.sources["omp"]} for t in tasks]
    with runs.beside(run, tasks) as judge:
        judge(rows)
    assert not run.journal.rows("verdict")  # where a CPU writes, nothing is judged early
    monkeypatch.setattr(runs, "pick_device", lambda device: "cuda")
    with runs.beside(run, tasks) as judge:
        judge(rows[:1]).result()
    early = run.journal.rows("verdict")
    assert len(early) == 1
    judged = runs.judge_frame(run, pd.DataFrame(rows), tasks)
    assert judged["validated"].all() and len(run.journal.rows("verdict")) == 2
    assert early.items() <= run.journal.rows("verdict").items()


def test_tasks_with_too_long_a_prompt_are_left_out_and_told(open_run):
    lengths = {t.id: len(t.source_code) for t in runs.all_tasks(open_run())}
    middle = sorted(lengths.values())[len(lengths) // 2]
    run = open_run(decode={"max_prompt": middle + 300})  # one token a byte, and what is asked around it
    kept = {t.id for t in collection.all_tasks(run)}
    gone = set(lengths) - kept
    assert kept and gone and max(lengths[t] for t in kept) <= min(lengths[t] for t in gone)
    told = collection.left_out(run)
    assert all(f"{name} (" in told for name in gone) and not any(f"{name} (" in told for name in kept)
    assert collection.left_out(open_run()) == ""
    with pytest.raises(UserError, match="decode.max_prompt: every prompt has more than 10 tokens"):
        collection.all_tasks(open_run(decode={"max_prompt": 10}))


@pytest.mark.parametrize("sections", [{}, {"suite": {}, "prm": {}}])
def test_a_run_that_nobody_knows_is_a_misspelt_one_unless_it_has_settings(sections):
    with pytest.raises(UserError, match="run 'demoo': no params/demoo.yaml and .*; did you mean 'demo'.; known are .*study"):
        runs.open_run("demoo", overrides=sections)
    folder = ROOT / "data" / "runs" / "demoo"
    assert not folder.exists()
    folder.mkdir(parents=True)
    try:
        assert runs.open_run("demoo", overrides=sections).folder == folder  # as `run --set run=demoo` makes it before its notebooks
    finally:
        shutil.rmtree(folder)


def test_the_study_ships_until_one_of_ones_own_has_started(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "run_folder", lambda name: tmp_path)
    shipped = runs.open_run("study")
    assert shipped.shipped and "data/study" in runs.title(shipped)
    rows = len(read_table(runs.SHIPPED, "results"))
    assert len(shipped.table("results")) == rows and shipped.keep("results", pd.DataFrame()).empty
    assert not (tmp_path / "results.parquet").exists() and len(shipped.table("results")) == rows > 10_000
    with pytest.raises(UserError, match="not there yet"):
        shipped.table("scores")
    assert not runs.open_run("demo").shipped and not runs.open_run("study", overrides={"latent": {"sigma": 1.0}}).shipped
    assert runs.open_run("study", overrides={"latent": {}}).shipped
    write_json(tmp_path / "manifest.json", {})
    own = runs.open_run("study")
    assert not own.shipped and f"executed in data/runs/{own.params.run}" in runs.title(own)
    with pytest.raises(UserError, match="not there yet"):
        own.table("results")


def test_what_a_stage_returns_of_the_study_that_ships_are_its_tables():
    run = runs.open_run("study")
    if not run.shipped:
        pytest.skip("data/runs/study holds a study of one's own")
    task, rows = stages.tour(run)
    assert set(rows["task"]) == {task.id} and rows["reward"].iloc[0] == 0 and rows["reward"].sum() >= 2
    results, pool, repairs = stages.judge(run)
    assert len(pool) == 8 * (results["arm"] == "guided").sum() == 7200 and set(repairs["repair"]) == {0, 1, 2, 3}
    chosen, ran = stages.cross_validate(run)
    assert chosen["task"].nunique() == ran["task"].nunique() == 1888
    scored, scores = study_results.shown_scores(run)
    assert set(scored["capture_id"]) == set(scores["capture_id"]) and scores["score"].between(0, 1).all()
    assert "rate" in study_results.write_stats(run, results, pool) and not list(run.folder.glob("validators_stats*"))


def test_a_sampled_pool_is_written_beside_what_is_kept_and_runs_beside_its_source(open_run, monkeypatch):
    monkeypatch.setattr(admission, "PARTS", ())
    sections = {"search": {"arms": ["unguided", "first_survivor"], "samples": 2}}
    run = open_run(**sections)
    tasks = inference.held_out_tasks(run)[:1]
    plain = inference.translate_all(run, tasks)
    kept = set(run.journal.rows("translation"))
    names = ["unguided", "first_survivor", "sampled", "sampled:first_agreeing", "sampled:majority"]
    more = {"search": sections["search"] | {"sampled": 3, "arms": names}, "validation": SETTINGS["validation"] | {"agree": True}}
    run = open_run(**more)
    both = inference.translate_all(run, tasks)
    assert both.iloc[: len(plain)].equals(plain) and kept < set(run.journal.rows("translation"))
    assert (both["arm"] == "sampled_pool").sum() == 3

    sources = tasks[0].kernel.sources
    texts = [sources["omp" if r.arm == "sampled_pool" and r.sample else "serial"] for r in both.itertuples()]
    judged = source_runs.with_agreement(run, runs.judge_frame(run, both.assign(code=texts), tasks), tasks)
    pool = judged[judged["arm"] == "sampled_pool"]
    assert pool["agrees"].tolist() == [0, 1, 1]  # the first is not parallel: it is not run
    assert pool["printed"].nunique() == 1 and pool["printed"].isna().tolist() == [True, False, False]
    assert judged.loc[judged["arm"] == "unguided", "agrees"].isna().all()
    table = arms.derive(judged, run.params.search.arms).set_index("arm")
    spent = table.groupby("arm")[["validated", "looked_at", "compiles", "validator_runs"]].mean()
    assert spent.loc["sampled:first_agreeing"].tolist() == [1, 2, 3, 4]  # two built, both run, one once more; the source
    assert spent.loc["sampled:majority"].tolist() == [1, 3, 3, 5] and spent.loc["sampled"].tolist() == [0, 1, 0, 0]
    monkeypatch.setattr(source_runs.batch.source_output, "_observed", None)  # nothing is run again
    again = source_runs.with_agreement(open_run(**more), judged, tasks)
    pd.testing.assert_frame_equal(again, judged)
