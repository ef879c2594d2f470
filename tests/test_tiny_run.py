"""The tiny run, headless: every stage and every other notebook executed with papermill, against a small golden summary.

What depends on the processor (floats of a training, a random model's tokens) is not compared: rows, rungs and names are.
A change of the tiny run that is meant: `python tests/test_tiny_run.py data/runs/tiny > tests/golden_tiny.json`, then read the difference.
"""

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from parallax_lib.core.config import ROOT, load_file
from parallax_lib.core.storage import MAKERS, read_table
from parallax_lib.study import pipeline

pytestmark = pytest.mark.slow  # ten kernels
OTHERS = ("00_tour", "explore_failures", "explore_scores")  # no stages
VARIES = {"calibration"}  # bins that hold a score: a training's floats decide
METHODS = ("translations", "results", "cross_validation", "cross_validation_filtered")  # tables with a row a method


def summary(folder: Path) -> dict:
    """Rows of every table, rungs of the ladder that programs reach, names of the methods."""
    tables = {name: read_table(folder, name) for name in sorted(set(MAKERS) - VARIES)}
    levels = {name: Counter(tables[name]["level"].tolist()) for name in ("rollouts", "results")}
    return {
        "rows": {name: len(table) for name, table in tables.items()},
        "levels": {name: {str(level): count for level, count in sorted(found.items())} for name, found in levels.items()},
        "methods": {name: sorted(set(tables[name]["arm"])) for name in METHODS},
    }


@pytest.fixture(scope="module")
def finished(forked_kernels):
    """(parameters, folder) of a finished tiny run."""
    params = load_file(ROOT / "params" / "tiny.yaml", (f"run=test-tiny-{os.getpid()}",))
    try:
        yield params, pipeline.run(params, say=lambda text: None)
    finally:
        shutil.rmtree(ROOT / "data" / "runs" / params.run, ignore_errors=True)


def test_every_stage_makes_what_the_golden_summary_says(finished):
    assert summary(finished[1]) == json.loads((ROOT / "tests" / "golden_tiny.json").read_text())


def test_each_table_is_made_by_the_stage_that_an_error_names(finished):
    made = {}
    for record in sorted((finished[1] / "notebooks").glob("*.run.json")):
        entry = json.loads(record.read_text())
        assert entry["status"] == "ok", entry
        made |= {name.removesuffix(".parquet"): record.name[:2] for name in entry["files"] if name.endswith(".parquet")}
    assert made == MAKERS and (finished[1] / "report" / "index.html").exists()


def test_the_notebooks_that_are_no_stage_show_the_run(finished):
    params, folder = finished
    for name in OTHERS:
        stage = pipeline.Stage(name[:2], ROOT / "notebooks" / f"{name}.ipynb")
        pipeline.execute(stage, params, folder, "", folder / "others" / f"{name}.json", lambda text: None)
        assert f"executed in data/runs/{params.run}" in (folder / "notebooks" / f"{name}.ipynb").read_text()


if __name__ == "__main__":
    print(json.dumps(summary(Path(sys.argv[1])), indent=1))
