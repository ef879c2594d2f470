"""The latent tree of a task: where trajectories leave the original, what their latents decode to, their scores and verdicts.

Knows the columns of rollouts and of scores.  Knows no drawing.  K latent steps.
"""

from __future__ import annotations

import pandas as pd

from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.readable import method
from parallax_lib.analysis.view.dataset import Dataset
from parallax_lib.analysis.view.programs import plain
from parallax_lib.core.errors import UserError

ORIGINAL = -1  # `branch_depth` of the trajectory without a branch-off


def score_table(dataset: Dataset) -> pd.DataFrame:
    """Scores after each step (capture_id, depth, score, target, model): of the run's PRMs, or as shipped; empty where there are none."""
    return dataset.table("scores") if "scores" in dataset.tables else dataset.optional("step_scores")


def tree(dataset: Dataset, task: str, model: str = "") -> dict:
    """{"task", "steps", "models", "model", "roots": [{"root", "leaves": [leaf]}]}, leaves from the original to the latest branch-off.

    A leaf: row, depth (the step, from 0, at which it leaves the original; -1: the original), words (a step each), scores (a step
    each, None where no PRM scored it), reason, level, validated, chosen (who took it), same (rows with the same text).
    """
    if "rollouts" not in dataset.tables:
        raise UserError(f"{dataset.name}: no collected trajectories; the latent tree needs the table rollouts")
    frame = dataset.table("rollouts")
    rows = frame[frame["task"] == task]
    if rows.empty:
        raise UserError(f"no collected trajectory of {task!r}; choose one of the tasks that were collected")
    scores = score_table(dataset)
    models = models_of(scores)
    model = model if model in models else (models[0] if models else "")
    own = _scores_of(scores, rows, model)
    words = rows["plan"].fillna("").str.split() if "plan" in rows else pd.Series([[]] * len(rows), index=rows.index)
    steps = max([*map(len, words), *(len(values) for values in own.values()), int(rows["branch_depth"].max()) + 1, 1])
    taken = chosen_by(dataset, task)
    roots = [
        {"root": str(root), "leaves": [_leaf(row, words, own, taken, steps) for row in _ordered(part)]}
        for root, part in rows.groupby("root", sort=False)
    ]
    return {"task": task, "steps": steps, "models": models, "model": model, "roots": roots}


def models_of(scores: pd.DataFrame) -> list[str]:
    """Names of the models that scored, the run's own PRM first."""
    return theme.ordered(scores["model"].unique(), theme.MODEL_COLOURS) if len(scores) else []


def _ordered(part: pd.DataFrame):
    return part.sort_values(["branch_depth", "resample"]).itertuples()


def _leaf(row, words: pd.Series, own: dict, taken: dict, steps: int) -> dict:
    scores = own.get(row.capture_id, {})
    return {
        "row": int(row.Index),
        "capture_id": str(row.capture_id),
        "depth": int(row.branch_depth),
        "words": (list(words[row.Index]) + [""] * steps)[:steps],
        "scores": [plain(scores.get(step)) for step in range(steps)],
        "reason": str(row.reason),
        "level": plain(getattr(row, "level", None)),
        "validated": bool(row.validated),
        "chosen": taken.get(row.capture_id, []),
    }


def _scores_of(scores: pd.DataFrame, rows: pd.DataFrame, model: str) -> dict[str, dict[int, float]]:
    """{capture_id: {step: score}} of the rows by one model."""
    if scores.empty:
        return {}
    part = scores[scores["capture_id"].isin(rows["capture_id"]) & (scores["model"] == model)]
    found: dict[str, dict[int, float]] = {}
    for row in part.itertuples():
        found.setdefault(row.capture_id, {})[int(row.depth)] = round(float(row.score), 4)
    return found


def chosen_by(dataset: Dataset, task: str) -> dict[str, list[list[str]]]:
    """{capture_id: [["guided", "PRM-guided", "2 of 3 seeds"], ...]}: who took the trajectory, from the tables of choices."""
    choices = dataset.optional("cross_validation")
    if choices.empty or "capture_id" not in choices:
        return {}
    part = choices[choices["task"] == task]
    seeds = part.groupby("arm")["seed"].nunique()
    found: dict[str, list[list[str]]] = {}
    for (name, arm), count in part.groupby(["capture_id", "arm"], sort=False)["seed"].nunique().items():
        found.setdefault(name, []).append([arm, method(arm), "" if seeds[arm] == 1 else f"{count} of {seeds[arm]} seeds"])
    return found


def tasks(dataset: Dataset) -> list[dict]:
    """Every collected task, in the order of the table: task, trajectories, validated."""
    if "rollouts" not in dataset.tables:
        return []
    found = dataset.table("rollouts").groupby("task", sort=False)["validated"].agg(["size", "sum"])
    return [{"task": str(task), "trajectories": int(row["size"]), "validated": int(row["sum"])} for task, row in found.iterrows()]
