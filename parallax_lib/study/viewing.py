"""The page of `analysis.view` over an open run, and what it needs of the study: tasks and a bench, when a program is run again.

Knows parameters and folders of runs.  Draws nothing and judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from parallax_lib.analysis.view.api import View
from parallax_lib.analysis.view.dataset import open_dataset
from parallax_lib.analysis.view.notebook import Page
from parallax_lib.analysis.view.rerun import Workshop
from parallax_lib.core.config import check, load_file, resolve
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import run as runs

KEPT = ("suite", "validation", "reward")  # sections that say what a task is and how it is judged


def workshop(params: Mapping[str, dict]) -> Workshop:
    """Tasks and tools of a run with these parameter sections; of the study where there are none."""
    sections = {name: params[name] for name in KEPT if name in params}
    if "suite" in sections and not sections["suite"].get("root"):  # without a checkout: what the other suites hold
        kinds = [kind for kind in sections["suite"].get("kinds", ()) if kind != "hecbench"]
        sections["suite"] = sections["suite"] | ({"kinds": kinds} if kinds else {})
    settings = check(sections, {}, Path("manifest.json")) if sections else load_file(resolve("params/study.yaml"))
    return of_run(runs.open_params(settings.model_copy(update={"run": "view"})))


def of_run(run: runs.Run) -> Workshop:
    """Tasks and tools of an open run."""
    toolchains, level, limits, _ = runs.open_bench(run)
    parts = {"races": run.params.validation.races, "timing": "off"}
    return Workshop({t.id: t for t in runs.all_tasks(run)}, toolchains, level, limits, parts)


def page(run: runs.Run, address: str = "/programs") -> Page:
    """The page over a run's tables, for a notebook's cell; decisions are kept in the run's folder."""
    data = open_dataset("" if run.shipped else run.folder)
    return Page(View(data, workshop=lambda: of_run(run), threshold=run.params.prm.threshold), address)


def step_scores(run: runs.Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rollouts, their scores: capture_id, depth, score, target, model) after each latent step.

    Of the study that ships: every collected trajectory of a family that the translator never saw, scored by ridge probes of other
    families (`scripts/step_scores.py`).
    """
    if not run.shipped:
        rows, scores = run.table("rollouts"), run.table("scores")
    else:
        rows, scores = read_rollouts(run.params.collect.shipped)[0], run.table("step_scores")
    return rows[rows["capture_id"].isin(scores["capture_id"])], scores[scores["capture_id"].isin(rows["capture_id"])]
