"""Stages 01 and 04 on a Dask cluster and through Modal's own client: what comes back is what this process makes itself."""

from pathlib import Path

import dask_cluster
import numpy as np
import pandas as pd
import pytest
from fake_modal import serve

from parallax_lib import collect, packed, params, prm, search
from parallax_lib.executors import run_map
from parallax_lib.kernels import tasks
from parallax_lib.store import Journal
from parallax_lib.suite import load_suite

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modal_server():
    with serve(pythonpath=[ROOT]) as fake:
        yield fake
        assert fake.refused == []


@pytest.fixture(params=["modal", "dask"])
def where(request, tmp_path):
    """`executor` settings of each kind."""
    if request.param == "modal":
        request.getfixturevalue("modal_server")
        yield {"kind": "modal", "workers": 2, "gpu": "A10G", "volume": "weights"}
        return
    with dask_cluster.serve(tmp_path) as address:
        yield {"kind": "dask", "workers": 2, "address": address}


def settings(**executor):
    small = {"decode": {"max_new_tokens": 6, "batch": 8}, "search": {"branches": 2, "samples": 1}}
    return params.load("tiny", **small, executor=executor)


CHOSEN = tasks(load_suite(settings().suite), ("serial-omp", "omp-cuda"))[:2]


def collected(where, folder):
    journal = Journal(folder / "journal.sqlite")
    collect.collect(CHOSEN, where, journal, folder / "vectors", lambda what, done, total: None)
    return collect.load_rollouts(journal, folder / "vectors")


@pytest.fixture(scope="module")
def collected_here(tmp_path_factory):
    return collected(settings(), tmp_path_factory.mktemp("here"))


@pytest.mark.slow
def test_rollouts_made_elsewhere_are_those_of_this_process(where, collected_here, request, tmp_path):
    here, vectors = collected_here
    there, more = collected(settings(**where), tmp_path / "there")
    assert len(here) == 2 * 4
    pd.testing.assert_frame_equal(here, there)
    np.testing.assert_allclose(vectors, more, rtol=2**-8, atol=2**-10)  # half precision; elsewhere is another number of threads
    if where["kind"] == "modal":
        modal_server = request.getfixturevalue("modal_server")
        assert list(modal_server.functions.values())[-1].definition.resources.gpu_config.gpu_type == "A10G"


@pytest.mark.slow
def test_translations_made_elsewhere_are_those_of_this_process(where, tmp_path):
    asked = settings(**where)
    folder = prm.save(prm.build(prm.PRMConfig(latent_width=576, steps=3, width=16, layers=1, heads=2)), tmp_path / "prm")
    item = {"params": params.dump(asked), "gpu_share": 1.0, "prms": [packed.pack(folder)]}
    item["rows"] = search.plan_rows(CHOSEN[:1], asked)
    ((_, there),) = run_map(search.translate_item, [item], collect.executor_config(asked))
    here = search.translate_item(item)
    assert {row["arm"] for row in here} == {"unguided", "random", "guided", "redecode", "pool"}
    pd.testing.assert_frame_equal(pd.DataFrame(here), pd.DataFrame(there))
