"""PRM scores of the shipped rollouts after every latent step, by ridge probes that never saw the family, and clusters of latents.

    python scripts/step_scores.py [FOLDER] [--out data/study/step_scores.parquet]   # about a minute on two cores

FOLDER holds collected rollouts (data/rollouts unless one is named).  The folds of unseen families are those of stage 03.  The probes read
the latent states alone, so that no translator is needed; stage 03's reward models read decoded latents too and score whole trajectories.
`cluster` numbers the k-means cluster (eight) of the standardised last latent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from parallax_lib.core.storage import write_table
from parallax_lib.prm import labels, model
from parallax_lib.prm.parallel_training import Material
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import cross_validation, run, training

CLUSTERS = 8


def step_scores(rows: pd.DataFrame, vectors: np.ndarray) -> pd.DataFrame:
    """Columns capture_id, depth, score, target, model: [n, K] in long form, without families that every fold trains on."""
    params = run.open_run("study", overrides={"prm": {"reads": "states", "context": "none"}}).params
    fold_of = cross_validation.folds(rows["family"].unique(), params.prm.folds)
    found = np.full(vectors.shape[:2], np.nan)
    for k in range(params.prm.folds):
        split = cross_validation.splits(rows, fold_of, k)
        probe = training.trial(params, "ridge", Material(rows, vectors), split, seed=params.seed)
        found[split == "test"] = model.scores(probe, vectors[split == "test"].astype(np.float32))
    targets, counts = labels.label(rows, vectors.shape[1])
    long = labels.label_table(rows, targets, counts).assign(score=found.ravel().astype(np.float32), model="ridge probe, other families")
    return long.dropna(subset="score").drop(columns="n").astype({"target": np.float32, "depth": np.int8}).reset_index(drop=True)


def clusters(vectors: np.ndarray) -> np.ndarray:
    """[n] the cluster, from 1, of each trajectory's last latent."""
    last = vectors[:, -1].astype(np.float32)
    scaled = (last - last.mean(0)) / (last.std(0) + 1e-6)
    return 1 + MiniBatchKMeans(CLUSTERS, random_state=0, n_init=3, batch_size=4096).fit_predict(scaled)


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("folder", nargs="?", default="data/rollouts")
    parse.add_argument("--out", type=Path, default=Path("data/study/step_scores.parquet"))
    args = parse.parse_args()
    rows, vectors = read_rollouts(args.folder)
    of = dict(zip(rows["capture_id"], clusters(vectors), strict=True))
    table = step_scores(rows, vectors)
    table = table.assign(cluster=table["capture_id"].map(of).astype(np.int8))
    print(write_table(args.out.parent, args.out.stem, table), f"{len(table):,} rows")
    for depth, part in table.groupby("depth"):
        print(f"step {depth + 1}: correlation of score and target {part['score'].corr(part['target']):.3f}")


if __name__ == "__main__":
    main()
