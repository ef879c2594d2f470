"""Every held-out family tested once: reward models that never saw it pick among the trajectories collected for it.

Knows rollouts, families and how a PRM is trained.  Knows no translator and makes no program: a trajectory's program is there.

Which families a fixed split tests is luck, and families differ more than tasks do.  Here the families that the translator
was not trained on go round in folds; a fold's models are trained on all other families.

n rollouts, K latent steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis.comparisons import GUIDED
from parallax_lib.analysis.subgroups import TOGETHER
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params, Suite
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import derive_seed, digest, write_json
from parallax_lib.prm import labels as reward_labels
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.parallel_training import Material, each
from parallax_lib.search import methods
from parallax_lib.search.choosers import CHECKS, CHOOSERS, FILTERS, READ, Chooser, by_count, choose, named
from parallax_lib.search.untrained_rule import suited
from parallax_lib.study.prm_registry import INDEX, folder_of, write_families
from parallax_lib.study.readings import prompt_states, read_by
from parallax_lib.study.run import Run
from parallax_lib.study.training import alone, most_updates, prm_settings, trial
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import split_of
from parallax_lib.translator.models import pick_device


def folds(families: Sequence[str], count: int, suite: Suite | None = None) -> dict[str, int]:
    """The fold of every family that the translator was not trained on, dealt out in an order that only names decide.

    With a split file in `suite` these are its test clusters alone, and one fold has all of them.
    """
    known = {f for f in families if split_of(f, suite) != "test"} if suite and suite.split else set(generator.SEEN_FAMILIES)
    unseen = sorted(set(families) - known, key=lambda family: derive_seed("fold", family))
    least = 1 if suite and suite.split else 2
    if not least <= count <= len(unseen):
        known = f"{len(unseen)} families that the translator was not trained on"
        raise UserError(f"prm.folds: {count} for {known}; {least} is the least, 0 leaves it out")
    return {family: i % count for i, family in enumerate(unseen)}


def splits(rows: pd.DataFrame, fold_of: dict[str, int], k: int) -> np.ndarray:
    """[n] of train, valid, test: fold k is tested, the next one says when to stop, all other families are trained on.

    Where one fold has all test families, the others stay on the side that `rows` say.
    """
    fold = rows["family"].map(fold_of)
    count = max(fold_of.values()) + 1
    if count == 1:
        return np.where(fold == k, "test", rows["split"])
    return np.where(fold == k, "test", np.where(fold == (k + 1) % count, "valid", "train"))


def table(run: Run, rows: pd.DataFrame, vectors: np.ndarray) -> pd.DataFrame:
    """`choices` under every seed of `report.seeds`, which trains the models anew and draws the random trajectory anew.

    With several seeds one more method, guided_mean, once a task: the trajectory with the highest mean score over all of them.
    """
    steps, seeds = vectors.shape[1], run.params.report.seeds
    fold_of = folds(rows["family"].unique(), run.params.prm.folds, run.params.suite)
    names = [trainings(run, rows, vectors, seed) for seed in seeds]
    train_missing(run, rows, vectors, seeds)
    read = [scores(run, rows, vectors, seed) for seed in seeds]
    tables = [choices(rows, score, seed, steps) for score, seed in zip(read, seeds, strict=True)]
    if len(seeds) > 1:
        together = choices(rows, np.mean(read, axis=0), seeds[0], steps)
        tables.append(together[together["arm"] == GUIDED].assign(arm=TOGETHER))
    write_json(run.folder / INDEX, {family: [name[k] for name in names] for family, k in fold_of.items()})
    return pd.concat(tables, ignore_index=True)


def trainings(run: Run, rows: pd.DataFrame, vectors: np.ndarray, seed: int) -> list[str]:
    """The name of each fold's training: all that can change its model."""
    key = [prm_settings(run), run.params.seed + seed, list(rows["capture_id"]), rows["reward"].tolist(), read_by(run, vectors)]
    key.append(source_digest(trial, splits, folds, *methods.members(run.params, "loss")))
    return [digest([*key, k]) for k in range(run.params.prm.folds)]


def train_missing(run: Run, rows: pd.DataFrame, vectors: np.ndarray, seeds: Sequence[int]) -> None:
    """Train the models of all folds under those seeds that are not there yet, and keep them for stage 04."""
    fold_of = folds(rows["family"].unique(), run.params.prm.folds, run.params.suite)
    jobs = []
    for seed in dict.fromkeys(seeds):
        for k, name in enumerate(trainings(run, rows, vectors, seed)):
            if not folder_of(run, name).exists():
                split = splits(rows, fold_of, k)
                reward_labels.check_leakage(rows.assign(split=split))
                jobs.append((seed, split, folder_of(run, name)))
    if jobs:
        material = Material(rows, vectors, prompt_states(run, rows))
        run.progress("train on the other families", 0, len(jobs), "PRMs")
        most = sum(most_updates(run.params, int((split == "train").sum())) for _, split, _ in jobs)

        def counted(updates: int) -> None:
            run.progress.inside("updates", updates, most, most=True)

        for done, _ in enumerate(each(partial(_train, run.params), material, jobs, run.folder, alone(run.params), counted), 1):
            run.progress("train on the other families", done, len(jobs), "PRMs")


def _train(params: Params, material: Material, job: tuple[int, np.ndarray, Path]) -> None:
    """Train a model of other families and keep it, with the list of those it saw."""
    seed, split, kept = job
    model = trial(params, params.prm.kind, material, split, seed=params.seed + seed)
    prm_model.save(model, kept, partial(write_families, material.rows.loc[split != "test", "family"]))


def scores(run: Run, rows: pd.DataFrame, vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """[n] score of each whole trajectory by a model of other families; NaN in families that are always trained on.

    vectors: `modelling.readings` [n, K, .].  `seed` is added to the run's.
    """
    names = trainings(run, rows, vectors, seed)  # before they run: what a method of one's own closes over may change meanwhile
    train_missing(run, rows, vectors, [seed])
    fold_of = folds(rows["family"].unique(), run.params.prm.folds, run.params.suite)
    contexts, out = prompt_states(run, rows), np.full(len(rows), np.nan)
    for k, name in enumerate(names):
        test, model = (
            splits(rows, fold_of, k) == "test",
            prm_model.load(folder_of(run, name), device=pick_device(run.params.translator.device)),
        )
        out[test] = _read(model, vectors, contexts, test)
    return out


def _read(model, vectors: np.ndarray, contexts: np.ndarray | None, test: np.ndarray) -> list[float]:
    read = prm_model.scores(model, vectors[test].astype(np.float32), None if contexts is None else contexts[test])
    return read[:, -1].tolist()


def mean_scores(run: Run, rows: pd.DataFrame, vectors: np.ndarray) -> np.ndarray:
    """[n] mean of `scores` over the seeds of `report.seeds`."""
    return np.mean([scores(run, rows, vectors, seed) for seed in run.params.report.seeds], axis=0)


def looks(rows: pd.DataFrame, score: np.ndarray, seed: int = 0, steps: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the judged and scored rows of roots with an original, how they look to `choosers`), row by row.

    A group is a root: the original, then its branch-offs by depth and draw.  `seed` draws the random pick; a trajectory costs `steps`
    tokens.  The prompt is read once by every chooser and is left out, as the PRM's cost is.
    """
    known = rows.assign(score=score).dropna(subset=["score", "reward"])
    known = known.sort_values(["task", "root", "branch_depth", "resample"], ignore_index=True)
    original = known.groupby(["task", "root"])["branch_depth"].transform("first") < 0
    known = known[original].reset_index(drop=True)  # without an original there is nothing to compare with
    roots = known.groupby(["task", "root"])
    place, size = roots.cumcount(), roots["task"].transform("size")
    drawn = known["task"].map({task: derive_seed("crossfit", seed, task) for task in known["task"].unique()})
    columns = ["level", "reason", "validated", "mean_logprob", "score"]
    return known, known[columns].assign(
        group=roots.ngroup(),
        place=place,
        chance=place == drawn % size,
        suited=suited(known),
        latent_steps=steps,
        think_cost=steps,
        prm_calls=0,
        score_cost=0.0,
        decode_tokens=known["tokens"] if "tokens" in known else 0,
        prompt=0,
        **{name: known[name] for name in READ if name in known},
    )


def choices(
    rows: pd.DataFrame, score: np.ndarray, seed: int = 0, steps: int = 0, chosen_by: Sequence[str | Chooser] = tuple(CHOOSERS)
) -> pd.DataFrame:
    """What each chooser takes among an original and its branch-offs, a row per root and method, for `metrics.paired` and `comparisons`.

    chosen_by: names of `choosers.CHOOSERS`, or functions like those.  One that finds nothing to choose from (no decoded latents or
    no sources for the untrained rule) has no rows.  Beside a row what the choice would cost: latent_steps (`steps` a trajectory),
    decode_tokens, looked_at (programs), compiles, validator_runs.
    """
    known, candidates = looks(rows, score, seed, steps)
    chosen = [choose(candidates, chooser).assign(arm=name) for name, chooser in named(chosen_by).items()]
    return _with_outcomes(known, chosen, ["arm"]).assign(seed=seed)


def filtered(rows: pd.DataFrame, score: np.ndarray, steps: int = 0, filters: Sequence[str | Chooser] = FILTERS) -> pd.DataFrame:
    """What choosers take that run what they have written, if they may write N programs: a row per root, chooser and N.

    With N = 1 guided_filter is `guided` in `choices`, the others `unguided`.
    """
    known, candidates = looks(rows, score, steps=steps)
    kept = known[["task", "root", "family", "direction", "validated", "reason"]]
    return _with_outcomes(kept, [by_count(candidates, named(filters))], ["arm", "N"]).drop(columns=["root", "latent_steps"])


def _with_outcomes(known: pd.DataFrame, tables: list[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    """The rows that were taken, root by root, with what names the choice and what it has cost."""
    found = pd.concat(tables)
    order = {name: i for i, name in enumerate(found["arm"].unique())}
    found = found.assign(_place=found["arm"].map(order)).sort_values(["group", "_place", *keys[1:]], kind="stable")
    taken = known.loc[found.index].reset_index(drop=True)
    columns = [*keys, "latent_steps", "decode_tokens", "looked_at", *CHECKS]
    return taken.assign(**found[columns].reset_index(drop=True))
