"""Small trainings on the run's rollouts: another loss, fewer tasks, another model, a split that leaks.

Knows rollouts, labels and how a PRM is trained.  Knows no translator and no figure.  Each training is kept in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from parallax_lib.analysis import branch_selection, metrics
from parallax_lib.core.config import dump
from parallax_lib.core.settings import Params
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import derive_seed, digest
from parallax_lib.prm import labels as reward_labels
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.losses import find_loss
from parallax_lib.prm.parallel_training import Material, each
from parallax_lib.study.readings import prompt_states, read_by
from parallax_lib.study.run import Run
from parallax_lib.study.training import alone, refuse_leaks, trial

LEAKING = "rows (leaks)"  # siblings of one task stand on both sides
FAMILIES = "families"
COLUMNS = ["study", "setting", "seed", "train_rows", "train_tasks", "auroc", "brier", "ece", "pairwise", "gain"]


@dataclass(frozen=True)
class Variation:
    """One training: what is varied, its value, and everything that it is made with."""

    study: str  # loss | model | share | split
    setting: str
    kind: str
    loss: str
    share: float
    split: str
    seed: int


def plan(run: Run) -> list[Variation]:
    """Every training of the report card: the run's own settings with one of them otherwise."""
    p, c = run.params.prm, run.params.report
    variations = []
    for seed in c.seeds:
        base = Variation("", "", p.kind, p.loss, 1.0, FAMILIES, seed)
        variations += [replace(base, study="loss", setting=loss, loss=loss) for loss in c.losses]
        variations += [replace(base, study="model", setting=kind, kind=kind) for kind in dict.fromkeys((p.kind, *p.baselines))]
        variations += [replace(base, study="share", setting=f"{share:g}", share=share) for share in c.shares]
        variations += [replace(base, study="split", setting=split, split=split) for split in (FAMILIES, LEAKING)]
    return variations


def table(run: Run, rows: pd.DataFrame, vectors: np.ndarray) -> pd.DataFrame:
    """One row a variation: how well the model it trains judges prefixes and picks siblings it has not seen.

    auroc, brier, ece over the judged prefixes of the test split, all depths together; pairwise and gain (share of what a
    perfect pick adds to the original) over its sibling groups.  Equal trainings are done once.
    """
    refuse_leaks(run, rows)
    material = Material(rows, vectors, prompt_states(run, rows))
    inputs = [rows[name].tolist() for name in ("capture_id", "reward", "split")]
    data = digest([dump(run.params)["prm"], run.params.seed, *inputs, read_by(run, vectors), source_digest(measure)])
    code = {name: source_digest(find_loss(name)) for name in dict.fromkeys((run.params.prm.loss, *run.params.report.losses))}
    planned = [(v, digest([data, v.kind, v.loss, code[v.loss], v.share, v.split, v.seed])) for v in plan(run)]
    missing = {key: v for v, key in planned if run.journal.get("variation", key) is None}
    keys, jobs = list(missing), list(missing.values())
    run.progress("other trainings", 0, len(keys), "PRMs")
    for done, (i, row) in enumerate(each(partial(measure, run.params), material, jobs, run.folder, alone(run.params)), 1):
        run.journal.put("variation", keys[i], row)
        run.progress("other trainings", done, len(keys), "PRMs")
    out = [{"study": v.study, "setting": v.setting, "seed": v.seed} | run.journal.get("variation", key) for v, key in planned]
    return pd.DataFrame(out, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[5:], float))


def measure(params: Params, material: Material, v: Variation) -> dict:
    """Train as the variation says, then score its test rows."""
    rows, vectors, contexts = material.rows, material.vectors, material.contexts
    split = resplit(rows, v)
    targets, counts = reward_labels.label(rows, vectors.shape[1])
    model = trial(params, v.kind, material, split, loss=v.loss, seed=params.seed + v.seed)
    test, used = split == "test", rows[split == "train"]
    scores = prm_model.scores(model, vectors[test].astype(np.float32), None if contexts is None else contexts[test]).numpy()
    row = {"train_rows": len(used), "train_tasks": int(used["task"].nunique())}
    return row | judged(scores, targets[test], counts[test], params.prm.threshold) | picked(rows[test], scores)


def resplit(rows: pd.DataFrame, v: Variation) -> np.ndarray:
    """The split of every row [n]: by family with a share of the training tasks, or row by row, which leaks on purpose."""
    split = rows["split"].to_numpy().astype(object)
    if v.split == LEAKING:
        return np.random.default_rng(derive_seed("rows", v.seed)).permutation(split)
    tasks = sorted(rows.loc[rows["split"] == "train", "root"].unique(), key=lambda root: derive_seed("share", v.seed, root))
    kept = set(tasks[: max(1, round(v.share * len(tasks)))])
    return np.where((split == "train") & ~rows["root"].isin(kept).to_numpy(), "unused", split)


def judged(scores: np.ndarray, targets: np.ndarray, counts: np.ndarray, threshold: float) -> dict:
    """auroc, brier and ece of the prefixes that have a label."""
    score, target = scores[counts > 0], targets[counts > 0]
    return {
        "auroc": _known(metrics.auroc(score, target >= threshold)),
        "brier": _known(metrics.brier(score, target)),
        "ece": _known(metrics.ece(score, target)),
    }


def picked(rows: pd.DataFrame, scores: np.ndarray) -> dict:
    """pairwise and gain over the sibling groups whose original is among the rows; only groups whose rewards differ count."""
    groups = reward_labels.branch_groups(rows, scores)
    groups = groups[groups.groupby("group")["reward"].transform("nunique") > 1]
    if groups.empty:
        return {"pairwise": None, "gain": None}
    selection = branch_selection.branch_selection(groups, tol=0.05).iloc[0]
    return {name: _known(float(selection[name])) for name in ("pairwise", "gain")}


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)
