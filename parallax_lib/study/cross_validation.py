"""Every held-out family tested once: reward models that never saw it pick among the thoughts collected for it.

Knows rollouts, families and how a PRM is trained.  Knows no translator and makes no program: a thought's program is there.

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

from parallax_lib.analysis.comparisons import CEILING, FLOOR, GUIDED
from parallax_lib.analysis.subgroups import TOGETHER
from parallax_lib.core.config import Params
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import derive_seed, digest, write_json
from parallax_lib.prm import labels as reward_labels
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.parallel_training import Material, each
from parallax_lib.search.arms import runs_alone
from parallax_lib.study.prm_registry import INDEX, folder_of, write_families
from parallax_lib.study.run import Run
from parallax_lib.study.training import alone, prm_settings, prompt_states, read_by, trial
from parallax_lib.tasks.synthetic import generator
from parallax_lib.translator.models import pick_device


def folds(families: Sequence[str], count: int) -> dict[str, int]:
    """The fold of every family that the translator was not trained on, dealt out in an order that only names decide."""
    unseen = sorted(set(families) - set(generator.SEEN_FAMILIES), key=lambda family: derive_seed("fold", family))
    if not 2 <= count <= len(unseen):
        known = f"{len(unseen)} families that the translator was not trained on"
        raise UserError(f"prm.folds: {count} for {known}; 2 is the least, 0 leaves it out")
    return {family: i % count for i, family in enumerate(unseen)}


def splits(rows: pd.DataFrame, fold_of: dict[str, int], k: int) -> np.ndarray:
    """[n] of train, valid, test: fold k is tested, the next one says when to stop, all other families are trained on."""
    fold = rows["family"].map(fold_of)
    count = max(fold_of.values()) + 1
    return np.where(fold == k, "test", np.where(fold == (k + 1) % count, "valid", "train"))


def table(run: Run, rows: pd.DataFrame, vectors: np.ndarray) -> pd.DataFrame:
    """`choices` under every seed of `card.seeds`, which trains the models anew and draws the random thought anew.

    With several seeds one more arm, guided_mean, once a task: the thought with the highest mean score over all of them.
    """
    steps, seeds = vectors.shape[1], run.params.card.seeds
    fold_of = folds(rows["family"].unique(), run.params.prm.folds)
    names = [trainings(run, rows, vectors, seed) for seed in seeds]
    train_missing(run, rows, vectors, seeds)
    read = [scores(run, rows, vectors, seed) for seed in seeds]
    made = [choices(rows, score, seed, steps) for score, seed in zip(read, seeds, strict=True)]
    if len(seeds) > 1:
        together = choices(rows, np.mean(read, axis=0), seeds[0], steps)
        made.append(together[together["arm"] == GUIDED].assign(arm=TOGETHER))
    write_json(run.folder / INDEX, {family: [name[k] for name in names] for family, k in fold_of.items()})
    return pd.concat(made, ignore_index=True)


def trainings(run: Run, rows: pd.DataFrame, vectors: np.ndarray, seed: int) -> list[str]:
    """The name of each fold's training: all that can change its model."""
    key = [prm_settings(run), run.params.seed + seed, list(rows["capture_id"]), rows["reward"].tolist(), read_by(run, vectors)]
    return [digest([*key, k]) for k in range(run.params.prm.folds)]


def train_missing(run: Run, rows: pd.DataFrame, vectors: np.ndarray, seeds: Sequence[int]) -> None:
    """Train the models of all folds under those seeds that are not there yet, and keep them for stage 04."""
    fold_of = folds(rows["family"].unique(), run.params.prm.folds)
    jobs = []
    for seed in dict.fromkeys(seeds):
        for k, name in enumerate(trainings(run, rows, vectors, seed)):
            if not folder_of(run, name).exists():
                split = splits(rows, fold_of, k)
                reward_labels.check_leakage(rows.assign(split=split))
                jobs.append((seed, split, folder_of(run, name)))
    if jobs:
        material = Material(rows, vectors, prompt_states(run, rows))
        for done, _ in enumerate(each(partial(_train, run.params), material, jobs, run.folder, alone(run.params))):
            run.progress("crossfit", done + 1, len(jobs))


def _train(params: Params, material: Material, job: tuple[int, np.ndarray, Path]) -> None:
    """Train a model of other families and keep it, with the list of those it saw."""
    seed, split, kept = job
    model = trial(params, params.prm.kind, material, split, seed=params.seed + seed)
    prm_model.save(model, kept, partial(write_families, material.rows.loc[split != "test", "family"]))


def scores(run: Run, rows: pd.DataFrame, vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """[n] score of each whole thought by a model of other families; NaN in families that are always trained on.

    vectors: `modelling.readings` [n, K, .].  `seed` is added to the run's.
    """
    train_missing(run, rows, vectors, [seed])
    fold_of, contexts, out = folds(rows["family"].unique(), run.params.prm.folds), prompt_states(run, rows), np.full(len(rows), np.nan)
    for k, name in enumerate(trainings(run, rows, vectors, seed)):
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
    """[n] mean of `scores` over the seeds of `card.seeds`."""
    return np.mean([scores(run, rows, vectors, seed) for seed in run.params.card.seeds], axis=0)


def filtered(rows: pd.DataFrame, score: np.ndarray) -> pd.DataFrame:
    """What is taken of a root's first N programs when all N are run, a row per root, N and chooser.

    Both choosers leave out what `arms.runs_alone` speaks against, or take their best of all where nothing stays.  run_filter:
    the original and the branch-offs as they were drawn, of which the likeliest is taken.  guided_filter: the N thoughts with
    the highest scores, of which the best-scored is taken; N = 1 is `guided` in `choices`.  Roots without an original are left out.
    """
    known = rows.assign(score=score, sound=runs_alone(rows)).dropna(subset=["score", "reward"])
    known = known.sort_values(["task", "root", "branch_depth", "resample"], ignore_index=True)
    at, made = [], []
    for where in known.groupby(["task", "root"]).indices.values():
        if known.at[where[0], "branch_depth"] >= 0:
            continue
        part = known.iloc[where]
        worth = {name: list(zip(part["sound"], part[name], strict=True)) for name in ("mean_logprob", "score")}
        by_score = np.argsort(-part["score"].to_numpy(), kind="stable")
        for arm, order, value in (("run_filter", range(len(part)), "mean_logprob"), ("guided_filter", by_score, "score")):
            best = order[0]
            for n, i in enumerate(order, 1):
                best = i if worth[value][i] > worth[value][best] else best
                at.append(where[best])
                made.append({"N": n, "arm": arm})
    kept = ["task", "family", "direction", "validated", "reason"]
    return known.loc[at, kept].reset_index(drop=True).assign(**pd.DataFrame(made))


def choices(rows: pd.DataFrame, score: np.ndarray, seed: int = 0, steps: int = 0) -> pd.DataFrame:
    """What each chooser takes among an original and its branch-offs, a row per root and arm, for `metrics.paired` and the card.

    unguided: the original.  random: any of them.  guided: the highest score, ties to the original.  best_of_n: the highest
    mean log-probability of the decoded program (none told: the first).  compile_filter: the same among programs that
    compile.  run_filter: the same among programs that `arms.runs_alone`.  oracle: a validated one if there is one.  Beside
    it what this would cost: latent_steps (`steps` a thought), decode_tokens, looked_at (programs), compiles,
    validator_runs.  The prompt is read once by every arm and is left out.
    """
    known = rows.assign(score=score).dropna(subset=["score", "reward"])
    known = known.sort_values(["task", "root", "branch_depth", "resample"])
    at, made = [], []  # positions among the known rows, and what is said of each
    for (task, _), where in sorted(known.groupby(["task", "root"]).indices.items()):
        part = known.iloc[where]
        if part["branch_depth"].iloc[0] >= 0:
            continue  # without its original there is nothing to compare with
        n, compiles, sound, likely = len(part), part["level"] >= 2, runs_alone(part), part["mean_logprob"].fillna(-np.inf)
        alone, all_of_them = (1, 1), (n, n)
        taken = {  # arm: (which one, thoughts and programs to be made, compiles, runs of the validator)
            FLOOR: (0, alone, 0, 0),
            "random": (derive_seed("crossfit", seed, task) % n, alone, 0, 0),
            GUIDED: (part["score"].argmax(), (n, 1), 0, 0),
            "best_of_n": (likely.argmax(), all_of_them, 0, 0),
            "compile_filter": (likely.where(compiles | ~compiles.any()).argmax(), all_of_them, n, 0),
            "run_filter": (likely.where(sound | ~sound.any()).argmax(), all_of_them, n, int(compiles.sum())),
            CEILING: (part["reward"].argmax(), all_of_them, n, int(compiles.sum())),
        }
        for arm, (pick, (thoughts, programs), built, ran) in taken.items():
            at.append(where[pick])
            tokens = part["tokens"].sum() if programs > 1 else part["tokens"].iloc[pick]
            spent = {"latent_steps": steps * thoughts, "decode_tokens": tokens, "looked_at": programs}
            made.append({"arm": arm, "seed": seed} | spent | {"compiles": built, "validator_runs": ran})
    return known.iloc[at].reset_index(drop=True).assign(**pd.DataFrame(made))
