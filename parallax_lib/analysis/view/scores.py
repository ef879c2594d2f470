"""PRM scores as numbers to draw: a point a trajectory, curves over depth, reliability, tables by group.

Knows scores and verdict columns.  Knows no drawing and no model.  n scored trajectories.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from parallax_lib.analysis import metrics
from parallax_lib.analysis.view.programs import Programs, plain
from parallax_lib.analysis.view.tree import models_of, score_table
from parallax_lib.core.errors import UserError

X_AXES = {
    "uncertainty": "mean negative log-probability of the code (nats a token, logarithmic; likelier to the left)",
    "tokens": "decoded tokens",
    "target": "mean reward of all programs beneath this prefix",
}
CERTAIN = 1e-6  # nats a token: what is likelier is drawn here, on a logarithmic axis
GROUPS = ("direction", "cluster", "family", "plan", "split", "branch_depth")
FEW = 40  # groups that have a line of their own; all others share one that says how many it stands for
BINS = 10
Box = tuple[float, float, float, float] | None


def scored(programs: Programs, model: str = "") -> tuple[pd.DataFrame, list[str]]:
    """(row, depth, score, target and the groups of every scored trajectory, one line a step; the models that scored)."""
    table = score_table(programs.dataset)
    if programs.name != "rollouts" or table.empty:
        return _own_scores(programs), ["score of the table"]
    models = models_of(table)
    model = model if model in models else models[0]
    part = table[table["model"] == model]
    frame = programs.frame
    of = pd.Series(frame.index, index=frame["capture_id"])
    part = part.assign(row=part["capture_id"].map(of)).dropna(subset="row").astype({"row": int})
    groups = [name for name in GROUPS if name in frame and name not in part]
    return part.join(frame[[*groups, "reason", "validated"]], on="row"), models


def _own_scores(programs: Programs) -> pd.DataFrame:
    """The table's own column of scores, as of one step."""
    frame = programs.frame
    if "score" not in frame or not frame["score"].notna().any():
        raise UserError(f"{programs.dataset.name}, table {programs.name}: no PRM score; choose another table or a run after stage 02")
    rows = frame[frame["score"].notna()]
    groups = [name for name in ("arm", *GROUPS) if name in rows]
    target = rows["reward"] if "reward" in rows else rows["validated"].astype(float)
    return rows[[*groups, "score", "reason", "validated"]].assign(row=rows.index, depth=0, target=target.fillna(0.0))


def view(
    programs: Programs, text: str = "", model: str = "", depth: int = -1, x: str = "uncertainty", by: str = "direction", box: Box = None
) -> dict:
    """What the page of scores draws under a filter: points, curves, reliability, groups.  depth -1: the last step.

    box: (least x, most x, least score, most score) of a selection: all but the points are then of the trajectories within it.
    """
    table, models = scored(programs, model)
    passing = np.zeros(len(programs), bool)
    passing[programs.rows(text)] = True
    table = table[passing[table["row"].to_numpy()]]
    steps = sorted(map(int, table["depth"].unique()))
    depth = depth if depth in steps else (steps[-1] if steps else 0)
    here = table[table["depth"] == depth]
    groups = [name for name in ("arm", *GROUPS) if name in here]
    by = by if by in groups else (groups[0] if groups else "")
    cloud = points(programs, here, x)
    if box:
        within = inside(cloud, box)
        here, table = (part[part["row"].isin(within)] for part in (here, table))
    return {
        "models": models, "model": model if model in models else models[0], "steps": steps, "depth": depth, "axes": axes(programs),
        "groups": groups, "by": by, "n": len(cloud["row"]), "selected": here["row"].tolist() if box else None, "points": cloud,
        "curves": curves(table), "reliability": reliability(here), "table": by_group(here, by),
    }  # fmt: skip


def inside(cloud: dict, box: tuple[float, ...]) -> set[int]:
    """Rows of the points within a box."""
    x, y = np.array(cloud["x"]), np.array(cloud["y"])
    kept = (x >= box[0]) & (x <= box[1]) & (y >= box[2]) & (y <= box[3])
    return set(np.array(cloud["row"], int)[kept].tolist())


def axes(programs: Programs) -> dict[str, str]:
    known = {"uncertainty": "mean_logprob" in programs.frame, "tokens": any(c in programs.frame for c in ("tokens", "decode_tokens"))}
    return {name: text for name, text in X_AXES.items() if known.get(name, True)}


def points(programs: Programs, here: pd.DataFrame, x: str) -> dict:
    """Columns of the cloud: row, x, y (the score), reason as a number, and the names of the reasons."""
    x = x if x in axes(programs) else next(iter(axes(programs)))
    if x == "uncertainty":
        value = np.maximum(-programs.frame["mean_logprob"].to_numpy(float)[here["row"]], CERTAIN)
    elif x == "tokens":
        value = programs.frame["tokens" if "tokens" in programs.frame else "decode_tokens"].to_numpy(float)[here["row"]]
    else:
        value = here["target"].to_numpy(float)
    codes, names = pd.factorize(here["reason"])
    known = np.isfinite(value)
    cells = {"row": here["row"].to_numpy()[known], "x": value[known].round(6), "y": here["score"].to_numpy(float)[known].round(4)}
    columns = {name: cell.tolist() for name, cell in cells.items()} | {"reason": codes[known].tolist(), "reasons": list(map(str, names))}
    return columns | {"axis": x, "log": x == "uncertainty", "missing": int((~known).sum())}


def curves(table: pd.DataFrame) -> list[dict]:
    """For validated and other programs: n, and the quartiles of the score after each step."""
    lines = []
    for name, part in (("validated", table[table["validated"].astype(bool)]), ("not validated", table[~table["validated"].astype(bool)])):
        if len(part):
            quartiles = part.groupby("depth")["score"].quantile([0.25, 0.5, 0.75]).unstack()
            rows = [[int(step), *map(plain, row.round(4))] for step, row in zip(quartiles.index, quartiles.to_numpy(), strict=True)]
            lines.append({"name": name, "n": int(part["row"].nunique()), "steps": rows})
    return lines


def reliability(here: pd.DataFrame) -> list[dict]:
    """Per bin of the score: n, mean score, share validated with its 95 % interval (Wilson)."""
    bins = np.clip((here["score"].to_numpy(float) * BINS).astype(int), 0, BINS - 1)
    bars = []
    for b, part in here.groupby(bins):
        good = int(part["validated"].sum())
        low, high = metrics.wilson(good, len(part))
        cells = {"bin": int(b), "n": len(part), "score": part["score"].mean(), "rate": good / len(part), "low": low, "high": high}
        bars.append({name: plain(round(value, 4)) for name, value in cells.items()})
    return bars


def by_group(here: pd.DataFrame, by: str) -> dict:
    """Rows (value, n, validated, mean score, AUROC), the largest groups first; what has no line of its own is said in `rest`."""
    if not by:
        return {"rows": [], "rest": None}
    counts = here[by].astype(str).value_counts()
    names = here[by].astype(str)
    rows = [_group(name, here[names == name]) for name in counts.index[:FEW]]
    rest = counts.index[FEW:]
    return {"rows": rows, "rest": _group(f"{len(rest)} other values", here[names.isin(rest)]) if len(rest) else None}


def _group(name: str, part: pd.DataFrame) -> dict:
    score, good = part["score"].to_numpy(float), part["validated"].to_numpy(bool)
    cells = {"n": len(part), "validated": good.mean(), "score": score.mean(), "auroc": metrics.auroc(score, good)}
    return {"value": str(name)} | {key: plain(round(float(value), 4)) if key != "n" else value for key, value in cells.items()}
