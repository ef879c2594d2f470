"""Stages 01, 02 and 04 on a Dask cluster and through Modal's own client: what comes back is what this process makes itself."""

from pathlib import Path

import dask_cluster
import numpy as np
import pandas as pd
import pytest
from fake_modal import serve

from parallax_lib.core import config
from parallax_lib.core.executors import run_map
from parallax_lib.core.progress import Meter
from parallax_lib.core.storage import Journal
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import packed
from parallax_lib.search import guided_search, placement, program_rows, rollouts, translator_readings
from parallax_lib.study import collection, readings, stages
from parallax_lib.study.run import Run
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.task import tasks
from parallax_lib.translator import models

ROOT = Path(__file__).parents[1]


@pytest.fixture
def modal_server():
    with serve(pythonpath=[ROOT]) as fake:
        yield fake
        assert fake.refused == []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Settings of a cluster whose worker imports torch once for all tests."""
    with dask_cluster.serve(tmp_path_factory.mktemp("cluster"), workers=1) as address:
        yield {"kind": "dask", "workers": 1, "address": address}


def settings(**executor):
    small = {"decode": {"max_new_tokens": 6, "batch": 8}, "search": {"branches": 2, "samples": 1}}
    return config.load("tiny", **small, executor=executor)


CHOSEN = tasks(load_suite(settings().suite), ("serial-omp", "omp-cuda"))[:2]


def collected(where, folder):
    journal = Journal(folder / "journal.sqlite")
    rollouts.collect(CHOSEN, where, journal, folder / "vectors", lambda *counts: None)
    return rollouts.load_rollouts(journal, folder / "vectors")


def opened(folder, **executor):
    """A run whose PRM reads words and prompts, on few rows."""
    small = {"decode": {"max_new_tokens": 6}, "collect": {"limit": 2, "shipped_limit": 8, "sensitivity_branches": 1}}
    prm = {"reads": "both", "context": "pooled", "kind": "gru", "width": 16, "epochs": 1, "folds": 0, "baselines": ["ridge"]}
    params = config.load("tiny", **small, prm=prm, executor=executor)
    return Run(params, folder, Journal(folder / "journal.sqlite"), Meter(lambda levels: None))


@pytest.mark.slow
def test_a_driver_that_can_load_no_translator_completes_stages_01_and_02_on_dask(tmp_path, monkeypatch, cluster):
    def refused(*asked):
        raise AssertionError("a translator on the machine that only drives")

    monkeypatch.setattr(models, "load_translator", refused)
    models.loaded_translator.cache_clear()
    run = opened(tmp_path / "there", **cluster)
    chosen = collection.chosen_tasks(run, collection.all_tasks(run))
    written, _ = stages.collect(run, chosen)
    probe = collection.sensitivity_rows(run, chosen)
    rows, vectors, _ = stages.training_rows(run)
    scores = stages.train(run, rows, vectors)
    picked = stages.select_branches(run)
    assert (written["origin"] == "live").sum() == 2 * 4 and set(probe["kind"]) == {"unperturbed", "noise", "re-decode"}
    assert set(scores["model"]) == {"gru", "ridge"} and len(picked) and vectors.shape[2] == 2 * 576
    monkeypatch.undo()
    here = opened(tmp_path / "here")
    np.testing.assert_allclose(readings.readings(here, vectors[:20, :, :576]), vectors[:20], rtol=2**-8, atol=2**-8)
    monkeypatch.setattr(translator_readings, "prompt_states", refused)
    kept = readings.prompt_states(run, rows)  # these lie in the run's folder
    monkeypatch.undo()
    some = rows["source_code"].str.len() < 2000
    np.testing.assert_allclose(readings.prompt_states(here, rows[some]), kept[some], atol=1e-3)


@pytest.mark.slow
def test_rollouts_made_through_modal_are_those_of_this_process(modal_server, tmp_path):
    where = {"kind": "modal", "workers": 2, "gpu": "A10G", "volume": "weights"}
    here, vectors = collected(settings(), tmp_path / "here")
    there, more = collected(settings(**where), tmp_path / "there")
    assert len(here) == 2 * 4
    pd.testing.assert_frame_equal(here, there)
    np.testing.assert_allclose(vectors, more, rtol=2**-8, atol=2**-10)  # half precision; elsewhere is another number of threads
    assert list(modal_server.functions.values())[-1].definition.resources.gpu_config.gpu_type == "A10G"


@pytest.mark.slow
def test_translations_made_on_dask_are_those_of_this_process(tmp_path, cluster):
    asked = settings(**cluster)
    prm = prm_model.build(prm_model.PRMConfig(latent_width=576, steps=3, width=16, layers=1, heads=2))
    folder = prm_model.save(prm, tmp_path / "prm")
    item = {"params": config.dump(asked), "gpu_share": 1.0, "prms": [packed.pack(folder)]}
    item["rows"] = program_rows.plan_rows(CHOSEN[:1], asked)
    ((_, there),) = run_map(guided_search.translate_item, [item], placement.executor_config(asked))
    here = guided_search.translate_item(item)
    assert {row["arm"] for row in here} == {"unguided", "random", "guided", "redecode", "pool"}
    pd.testing.assert_frame_equal(pd.DataFrame(here), pd.DataFrame(there))
