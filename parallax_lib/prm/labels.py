"""Outcomes -> rewards -> labels of every latent prefix -> rows a PRM can train on, split by kernel family.

Knows verdict columns and the tree of branch-offs.  Knows no model.

n rollouts, K latent steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from parallax_lib.core.errors import UserError
from parallax_lib.core.tables import find
from parallax_lib.verdict.reasons import UNKNOWN


def executable(rows: pd.DataFrame) -> pd.Series:
    """1 for a validated program, else 0."""
    return (rows["level"] >= 5).astype(float)


def paper(rows: pd.DataFrame) -> pd.Series:
    """0.30 compiles + 0.25 runs + 0.45 validated.  A wrong output scores 0.55: a 0.5 threshold calls it positive."""
    return 0.30 * (rows["level"] >= 2) + 0.25 * (rows["level"] >= 3) + 0.45 * (rows["level"] >= 5)


REWARDS = {"executable": executable, "paper": paper}  # rows with verdict columns [n] -> rewards [n] in 0..1


def rewards(rows: pd.DataFrame, spec: str | Callable[[pd.DataFrame], pd.Series]) -> pd.Series:
    """Reward of each row from its verdict columns, by a name of `REWARDS` or a function; NaN where the verdict does not say.

    UserError for an unknown name, another number of rewards, or one outside 0..1.
    """
    values = np.asarray(find(REWARDS, spec, "reward.spec")(rows), dtype=float)
    if values.shape != (len(rows),):
        raise UserError(f"reward.spec: {spec!r} gives {list(values.shape)} for {len(rows)} rows; return a reward for each row")
    values = pd.Series(values, index=rows.index)
    values = values.where(~rows["reason"].isin(UNKNOWN))
    if ((values < 0) | (values > 1)).any():
        raise UserError(f"reward.spec: {spec!r} gives rewards from {values.min():g} to {values.max():g}; they lie in 0..1")
    return values


def prefix_keys(rollouts: pd.DataFrame, steps: int) -> np.ndarray:
    """[n, K] ids of the latent prefix h_0..h_t of each rollout: a branch-off at v shares the original's before v."""
    depth = rollouts["branch_depth"].to_numpy()[:, None]
    shared = (depth < 0) | (np.arange(steps)[None] < depth)
    root, own = rollouts["root"].to_numpy()[:, None], rollouts["capture_id"].to_numpy()[:, None]
    return np.where(shared, root, own) + np.array([f"@{t}" for t in range(steps)])[None]


def label(rollouts: pd.DataFrame, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(targets [n, K], counts [n, K]): mean reward of all judged rollouts beneath each prefix, and how many.

    A rollout without a verdict counts nowhere; a prefix with none beneath it gets target 0 and count 0.
    """
    keys = prefix_keys(rollouts, steps)
    reward = np.repeat(rollouts["reward"].to_numpy(dtype=float)[:, None], steps, axis=1)
    flat = pd.DataFrame({"key": keys.ravel(), "reward": reward.ravel()})
    found = flat.groupby("key")["reward"].agg(["mean", "count"])
    at = found.loc[flat["key"]]
    shape = keys.shape
    return np.nan_to_num(at["mean"].to_numpy().reshape(shape)), at["count"].to_numpy().reshape(shape)


def label_table(rollouts: pd.DataFrame, targets: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
    """Long form: capture_id, depth, target, n."""
    n, steps = targets.shape
    return pd.DataFrame(
        {
            "capture_id": np.repeat(rollouts["capture_id"].to_numpy(), steps),
            "depth": np.tile(np.arange(steps), n),
            "target": targets.ravel(),
            "n": counts.ravel(),
        }
    )


def assign_split(rollouts: pd.DataFrame, families: Mapping[str, str]) -> pd.DataFrame:
    """The rows with a `split` column by kernel family; refuses a family without a split or a kernel on two sides."""
    missing = sorted(set(rollouts["family"]) - set(families))
    if missing:
        raise UserError(f"split: family {missing[0]!r} of the rollouts is in no split; collect with the same suite parameters")
    out = rollouts.assign(split=rollouts["family"].map(families))
    check_leakage(out)
    return out


def check_leakage(rows: pd.DataFrame) -> None:
    """Raise UserError naming a kernel or family that stands on both sides of train / valid / test."""
    for column in ("kernel", "family"):
        sides = rows.groupby(column)["split"].nunique()
        both = sorted(sides[sides > 1].index)
        if both:
            found = ", ".join(sorted(rows.loc[rows[column] == both[0], "split"].unique()))
            raise UserError(f"split: {column} {both[0]!r} is in {found}; a {column} may be on one side only")


def check_families(rows: pd.DataFrame, families: Mapping[str, str]) -> None:
    """Raise UserError naming a row whose split is not its family's: a test family among training rows, whoever put it there.

    `check_leakage` sees a family on two sides of the rows at hand; this also sees one that stands whole on the wrong side.
    """
    known = rows["family"].map(families)
    wrong = rows[known != rows["split"]]
    if len(wrong):
        row, belongs = wrong.iloc[0], known[wrong.index[0]]
        name = repr(row["family"])
        why = f"its family {name} belongs to {belongs}" if isinstance(belongs, str) else f"family {name} has no split"
        raise UserError(f"split: rollout {row['capture_id']} is in {row['split']}, but {why}; split the rollouts again (stage 01)")
    check_leakage(rows)


def filter_training(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows a PRM may use, what was removed and why): unjudged rollouts, and programs that repeat a test source."""
    unjudged = rows["reward"].isna()
    test_code = set(rows.loc[(rows["split"] == "test") & rows["code"].notna(), "code"])
    repeats = (rows["split"] != "test") & rows["code"].isin(test_code)
    why = np.where(unjudged, "no verdict", np.where(repeats, "same program as a test row", ""))
    removed = rows.assign(why=why).loc[why != "", ["capture_id", "task", "split", "why"]]
    return rows.loc[why == ""], removed


def branch_groups(rollouts: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """Siblings at one (root, depth): the original and its branch-offs there, with reward and score at that depth.

    scores: [n, K].  Columns: group, task, direction, depth, capture_id, is_original, score, reward.
    """
    judged = rollouts.assign(at=np.arange(len(rollouts))).dropna(subset=["reward"])
    originals = judged[judged["branch_depth"] < 0].set_index("root")
    offs = judged[(judged["branch_depth"] >= 0) & judged["root"].isin(originals.index)]
    rows = []
    for (root, depth), siblings in offs.groupby(["root", "branch_depth"]):
        group = pd.concat([originals.loc[[root]].assign(root=root), siblings])
        for row in group.itertuples():
            rows.append(
                {
                    "group": f"{root}@{depth}",
                    "task": row.task,
                    "direction": row.direction,
                    "depth": depth,
                    "capture_id": row.capture_id,
                    "is_original": row.branch_depth < 0,
                    "score": float(scores[row.at, depth]),
                    "reward": row.reward,
                }
            )
    columns = ["group", "task", "direction", "depth", "capture_id", "is_original", "score", "reward"]
    return pd.DataFrame(rows, columns=columns)
