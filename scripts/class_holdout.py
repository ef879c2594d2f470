"""What a PRM gains on functions that accumulate if it was trained on none: such families held out as a class, not some at a time.

    python scripts/class_holdout.py --set prm.reads=states --seeds 1    # minutes on a CPU; without --set it needs the translator

The rollouts are data/rollouts, the PRM is that of params/study.yaml.  A family accumulates if most of its tasks hold a function that
does (`parallax_lib.search.untrained_rule`).  `class`: trained on families that do not accumulate.  `control`: as stage 03, trained on
all families of other folds, cut to as many tasks.  Both pick among the trajectories of accumulating families that the translator never saw.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from parallax_lib.analysis import comparisons, metrics
from parallax_lib.core.config import ROOT, load_file
from parallax_lib.core.storage import derive_seed
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.parallel_training import Material
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.search.untrained_rule import accumulating
from parallax_lib.study import cross_validation, readings, training
from parallax_lib.study import run as runs
from parallax_lib.tasks.synthetic.generator import SEEN_FAMILIES


def families_that_accumulate(rows: pd.DataFrame) -> set[str]:
    tasks = rows.drop_duplicates("task")
    share = tasks["source_code"].map(lambda source: any(accumulating(source))).groupby(tasks["family"]).mean()
    return set(share.index[share > 0.5])


def class_split(rows: pd.DataFrame, held_out: set[str], parts: int = 5) -> np.ndarray:
    """[n] of train, valid, test, and "" for accumulating families that the translator knows."""
    other = {f: "valid" if derive_seed("class", f) % parts == 0 else "train" for f in set(rows["family"]) - held_out}
    return rows["family"].map(other | {f: "" if f in SEEN_FAMILIES else "test" for f in held_out}).to_numpy()


def control_splits(rows: pd.DataFrame, held_out: set[str], tasks: int, count: int = 5) -> list[np.ndarray]:
    """Stage 03's splits, only accumulating families tested, with so many training tasks drawn by hash."""
    fold_of, splits = cross_validation.folds(rows["family"].unique(), count), []
    for k in range(count):
        split = np.where(rows["family"].isin(held_out) | (cross_validation.splits(rows, fold_of, k) != "test"),
                         cross_validation.splits(rows, fold_of, k), "")  # fmt: skip
        train = sorted(rows.loc[split == "train", "task"].unique(), key=lambda task: derive_seed("control", task))
        splits.append(np.where((split == "train") & ~rows["task"].isin(train[:tasks]), "", split))
    return splits


def score(params, material: Material, splits: list[np.ndarray], seed: int) -> np.ndarray:
    """[n] each tested trajectory's score by the model of its split; NaN elsewhere."""
    out = np.full(len(material.rows), np.nan)
    for split in splits:
        model, test = training.trial(params, params.prm.kind, material, split, seed=seed), split == "test"
        out[test] = prm_model.scores(model, material.vectors[test].astype(np.float32)).numpy()[:, -1]
    return out


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--set", action="append", default=[], help="a setting of params/study.yaml, such as prm.reads=states")
    ask.add_argument("--seeds", type=int, default=3)
    args = ask.parse_args()
    params = load_file(ROOT / "params" / "study.yaml", ("run=class_holdout", *args.set))
    rows, vectors = read_rollouts("data/rollouts")
    rows, held_out = rows.reset_index(drop=True), families_that_accumulate(rows)
    material = Material(rows, readings.readings(runs.open_params(params), vectors))
    split = class_split(rows, held_out)
    tasks = rows.loc[split == "train", "task"].nunique()
    for name, splits in (("class", [split]), ("control", control_splits(rows, held_out, tasks))):
        tables = [cross_validation.choices(rows, score(params, material, splits, seed), seed) for seed in range(args.seeds)]
        chosen = pd.concat(tables)
        print(f"{name}: {tasks} training tasks, {chosen['family'].nunique()} families tested")
        for against in ("unguided", "random", "untrained_rule"):
            difference, whole = metrics.paired(chosen, "guided", against), comparisons.over_families(chosen, "guided", against)
            points = [100 * value for value in (difference["diff"], difference["low"], difference["high"], whole.low, whole.high)]
            text = "guided - {}: {:+.1f} points [{:+.1f}, {:+.1f}], families resampled [{:+.1f}, {:+.1f}], {} tasks"
            print(text.format(against, *points, difference["tasks"]), flush=True)


if __name__ == "__main__":
    main()
