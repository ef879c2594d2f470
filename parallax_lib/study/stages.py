"""What the numbered notebooks call: the result of a stage, executed now or, of the study that ships, read from its tables.

Knows the names of the run's tables and in which order a stage makes them.  Holds no method of its own.

n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis import branch_selection, comparisons, metrics
from parallax_lib.analysis import frontier as frontiers
from parallax_lib.core import progress
from parallax_lib.core.settings import Params
from parallax_lib.core.storage import held, run_folder, write_json
from parallax_lib.prm import labels
from parallax_lib.search import arms, choosers, plan_prior, rollouts
from parallax_lib.study import (
    agreement,
    collection,
    cross_validation,
    inference,
    inference_files,
    prm_data,
    prm_registry,
    readings,
    source_runs,
    training,
    training_ablations,
)
from parallax_lib.study.pipeline import MANIFEST
from parallax_lib.study.run import Run, judge_frame, open_params
from parallax_lib.tasks.task import Task


def tour(run: Run) -> tuple[Task, pd.DataFrame]:
    """A task and all its rollouts, judged: an original and its branch-offs."""
    if run.shipped:
        found, _ = collection.shipped_rollouts(run, run.params.latent.steps)
        task = collection.tour_task(run, found)
        return task, found[found["task"] == task.id].sort_values(["branch_depth", "resample"], ignore_index=True)
    task = collection.tour_task(run)
    return task, judge_frame(run, pd.DataFrame(rollouts.generate_one(task, run.params)), [task])


def collect(run: Run, chosen: Sequence[Task]) -> tuple[pd.DataFrame, np.ndarray]:
    """Stage 01: rollouts of the chosen tasks, written and judged here, then those of `collect.shipped`; latents [n, K, D]."""
    if run.shipped:
        return collection.load_rollouts(run)
    rows, latents = collection.with_shipped(run, *(collection.collect_live(run, chosen) if chosen else (None, None)))
    collection.keep_rollouts(run, rows, latents)
    return rows, latents


def training_rows(run: Run) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """(rollouts that a PRM may use, what a PRM reads of their latents [n, K, .], what was removed and why).

    Of the study that ships the latents are as they are: `prm.reads` would ask the translator.
    """
    found, latents = collection.load_rollouts(run)
    rows, removed = labels.filter_training(found)
    labels.check_leakage(rows)
    return rows, (latents if run.shipped else readings.readings(run, latents))[rows.index], removed


def train(run: Run, rows: pd.DataFrame, vectors: np.ndarray) -> pd.DataFrame:
    """Stage 02: the run's PRM and its baselines, trained; how well they rank prefixes of test families, by latent step."""
    if run.shipped:
        return run.table("scores_by_depth")
    if prm_data.given(run.params):
        run.keep("rollouts", collection.load_rollouts(run)[0])
    kind = run.params.prm.kind
    model, history = training.train_prm(run, kind, rows, vectors)
    run.keep("history", history)
    models = {kind: model} | {other: training.train_prm(run, other, rows, vectors)[0] for other in run.params.prm.baselines}
    scores = run.keep("scores", training.score_table(models, rows, vectors, readings.prompt_states(run, rows)))
    test = scores[scores["split"] == "test"]
    run.keep("calibration", metrics.calibration_by(test))
    return run.keep("scores_by_depth", metrics.scores_by_depth(test))


def select_branches(run: Run) -> pd.DataFrame:
    """Stage 03, first half: does the run's PRM pick the best sibling at one latent step, in families of the test split?"""
    if run.shipped:
        return run.table("selection")
    found, latents = collection.load_rollouts(run)
    test = found[found["split"] == "test"]
    folder = prm_registry.prm_folder(run)
    prm_registry.refuse_leaks(folder, test["family"], listed=not run.params.prm.checkpoint)
    model = prm_registry.load_prm(run, latents.shape[2])
    read = readings.readings(run, latents)[test.index]
    branches = run.keep("branches", training.branch_table(model, test, read, readings.prompt_states(run, test)))
    return run.keep("selection", branch_selection.branch_selection(branches, tol=run.params.selection.tolerance))


def cross_validate(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stage 03, second half, with `prm.folds`: (what every chooser takes among the collected trajectories of each task, by PRMs
    that never saw its family; what choosers that run N programs take).  Empty without folds."""
    if run.shipped:
        return run.table("cross_validation"), run.table("cross_validation_filtered")
    if not run.params.prm.folds:
        return pd.DataFrame(), pd.DataFrame()
    rows, vectors, _ = training_rows(run)
    chosen = run.keep("cross_validation", cross_validation.table(run, rows, vectors))
    run.progress("compare the choosers", 0)
    run.keep("cross_validation_differences", comparisons.differences(chosen))
    run.keep("cross_validation_gaps", comparisons.gap_closed(chosen))
    run.keep("cross_validation_families", comparisons.by_family(chosen))
    ran = cross_validation.filtered(rows, cross_validation.mean_scores(run, rows, vectors))
    return chosen, run.keep("cross_validation_filtered", ran)


def judge_again(run: Run) -> pd.DataFrame:
    """Stage 03, with `validation.again`: of some tasks the program that guided took and another, judged on this machine once more;
    `was`: the collected verdict.  Empty without folds or where none are asked for.
    """
    if run.shipped:
        return run.table("judged_again")
    if not (run.params.prm.folds and run.params.validation.again):
        return pd.DataFrame()
    return run.keep("judged_again", agreement.judged_again(run, run.table("cross_validation"), run.table("rollouts")))


def translate(run: Run, judge: bool = True) -> pd.DataFrame:
    """Stage 04: every method's programs for held-out tasks, a row each, and the pool that best-of-N chooses from; written as
    `inference_result_<run>.jsonl` too.

    judge: False compiles and runs nothing beside the writing.  Of the study that ships: the programs that the methods took.
    """
    if run.shipped:
        return run.table("results")
    chosen = inference.held_out_tasks(run)
    translations = run.keep("translations", inference.translate_all(run, chosen, judge=judge))
    inference_files.write_results(run, translations, chosen)
    return translations


def translate_to(params: Params, metadata: dict, judge_them: bool = True) -> Path:
    """Stages 04 and 05 without notebooks, into the run's folder, which is returned; written programs are not written again.

    metadata: the folder's manifest.  judge_them: False writes programs alone; the same call with True judges them.
    """
    folder = run_folder(params.run)
    with held(folder), progress.watched(folder / progress.FILE, "", partial(print, flush=True)):
        write_json(folder / MANIFEST, metadata)
        run = open_params(params)
        translations = translate(run, judge_them)
        if judge_them:
            judge(run)
    print(f"{len(translations)} programs of {translations['task'].nunique()} tasks: {folder}")
    return folder


def judge(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Stage 05: (every method's programs with their verdicts, the pool's, methods by repair round); the judged programs are
    written as `inference_output_<run>.jsonl` and `validators_results_<run>.txt` too."""
    if run.shipped:
        return run.table("results"), run.table("pool"), run.table("repairs")
    translations = run.table("translations")
    tasks = collection.tasks_of(run, translations)
    judged = source_runs.with_agreement(run, judge_frame(run, translations, tasks), tasks)
    inference_files.write_outputs(run, judged)
    judged = _with_prior(run, judged)
    pool = run.keep("pool", judged[judged["arm"] == arms.POOL])
    run.keep("sampled_pool", judged[judged["arm"] == arms.SAMPLED])
    results = run.keep("results", arms.derive(judged, run.params.search.arms))
    run.keep("arms", metrics.arm_table(results))
    run.keep("paired", inference.paired_table(results))
    rounds = run.keep("rounds", inference.repair_rounds(run, results, tasks))
    return results, pool, run.keep("repairs", metrics.arm_table(rounds))


def _with_prior(run: Run, judged: pd.DataFrame) -> pd.DataFrame:
    """With the prior of `choosers.prior_corrected`, where it is named, or no method is and there is a sampled pool to compare it with."""
    search = run.params.search
    if choosers.prior_corrected.__name__ not in search.arms and (search.arms or not search.sampled) or not run.has("rollouts"):
        return judged
    found = run.table("rollouts")
    other = (found["split"] == "train") & ~found["family"].isin(judged["family"])  # nothing of a tested family
    return judged.assign(prior=plan_prior.prior(judged, found[other]))


def frontier(run: Run) -> pd.DataFrame:
    """What every method validates, compiles, runs and forwards for each number of programs (`analysis.frontier.table`), from stage 05's
    tables; repair rounds are in it where they were made for every task."""
    pools = [run.table(name) for name in ("pool", "sampled_pool") if run.has(name)]
    rounds = run.table("rounds") if run.has("rounds") else None
    return run.keep("frontier", frontiers.table(frontiers.rows(run.table("results"), *pools, rounds=rounds)))


def compare(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stage 07: guided minus every other method, and the share of the oracle's gap that each closes."""
    results = run.table("results")
    return run.keep("differences", comparisons.differences(results)), run.keep("gaps", comparisons.gap_closed(results))


def sensitivity(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Stage 07: what another number of candidates, another margin, another training would have given."""
    if run.shipped:
        return run.table("breadth"), run.table("margins"), run.table("variations")
    found, _ = collection.load_rollouts(run)
    trajectories = comparisons.trajectories(found, run.table("scores"), run.params.prm.kind)
    breadth = run.keep("breadth", comparisons.breadth(trajectories))
    margins = run.keep("margins", comparisons.margin_sweep(run.table("branches"), run.params.report.margins))
    rows, vectors, _ = training_rows(run)
    return breadth, margins, run.keep("variations", training_ablations.table(run, rows, vectors))
