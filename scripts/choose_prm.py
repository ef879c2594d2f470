"""Trains reward models with other settings on a run's rollouts and judges them on its valid families; test rows are not read.

    python scripts/choose_prm.py study [--seeds 2] [--set loss=listwise] [--set reads=both,width=64] ...

Each --set is one setting, laid over the run's `prm` section; without any, the grid below is tried.  Columns: AUROC over
prefixes; `pairs`, how many pairs of one task's trajectories differ in outcome and the share ordered right; the validated
share if each task's original, any of its trajectories, the best-scored or a validated one is taken.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import yaml

from parallax_lib.analysis import metrics
from parallax_lib.core.settings import Prm
from parallax_lib.prm import labels as reward_labels
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import parallel_training
from parallax_lib.study import collection, cross_validation
from parallax_lib.study import readings as prm_readings
from parallax_lib.study import run as runs
from parallax_lib.study import training as prm_training

GRID = ("", "reads=embeddings", "reads=both", "loss=mse", "loss=rank", "loss=listwise", "width=64", "width=256", "dropout=0.2",
        "dropout=0.6", "layers=1", "kind=gru", "kind=ridge", "reads=both,loss=listwise")  # fmt: skip


def ordered(rows: pd.DataFrame, score: np.ndarray) -> tuple[int, int]:
    """(pairs of one task's trajectories with different rewards, how many of them the score orders right)."""
    pairs = right = 0
    for _, part in rows.assign(score=score).dropna(subset=["reward"]).groupby("task"):
        good, bad = (part.loc[part["reward"] == r, "score"].to_numpy() for r in (1.0, 0.0))
        pairs += len(good) * len(bad)
        right += int((good[:, None] > bad[None]).sum())
    return pairs, right


def measure(run: runs.Run, rows: pd.DataFrame, vectors: np.ndarray, seed: int) -> dict:
    targets, _ = reward_labels.label(rows, vectors.shape[1])
    contexts, split = prm_readings.prompt_states(run, rows), rows["split"].to_numpy()
    model = prm_training.trial(run.params, run.params.prm.kind, parallel_training.Material(rows, vectors, contexts), split, seed=seed)
    valid = split == "valid"
    read = prm_model.scores(model, vectors[valid].astype(np.float32), None if contexts is None else contexts[valid]).numpy()
    pairs, right = ordered(rows[valid], read[:, -1])
    taken = cross_validation.choices(rows[valid], read[:, -1]).groupby("arm")["reward"].mean()
    auroc = metrics.auroc(read.ravel(), targets[valid].ravel() >= run.params.prm.threshold)
    row = {"auroc": auroc, "pairs": pairs, "ordered": right / max(1, pairs)}
    return row | {arm: taken[arm] for arm in ("unguided", "random", "guided", "oracle")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="settings of one training, such as loss=rank,width=64")
    args = parser.parse_args()
    base = runs.open_run(args.run)
    rollouts, latents = collection.load_rollouts(base)
    rows, _ = reward_labels.filter_training(rollouts[rollouts["split"] != "test"])
    for text in args.set or GRID:
        given = dict(item.split("=", 1) for item in text.split(",") if item)
        values = base.params.prm.model_dump() | {name: yaml.safe_load(value) for name, value in given.items()}
        run = runs.open_run(args.run, overrides={"prm": Prm(**values).model_dump()})
        readings = prm_readings.readings(run, latents[rows.index])
        means = pd.DataFrame([measure(run, rows, readings, seed) for seed in range(args.seeds)]).mean()
        print(f"{text or 'as it is':28}", means.round(3).to_dict(), flush=True)


if __name__ == "__main__":
    main()
