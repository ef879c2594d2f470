"""What choosers gain that see no latent: a table of plans, a linear model of plan and source, and a rule that nobody trained.

    python scripts/text_choosers.py [FOLDER] [--out data/study/text_choosers.parquet]   # some 5 minutes on two cores

FOLDER holds collected rollouts (data/rollouts unless one is named).  They pick among the same trajectories, in the same folds of
unseen families, as stage 03's reward models do.  A plan is what the latents decode to, one token a function.

plan_table: the mean reward that a plan had in that direction among the training families, towards their mean by 20 more rows.
plan_text: logistic regression on the plan, the direction, the n-grams (1 to 4) of the source before `main`, and these times
the plan's first word.  Names and numbers of the source are one token each; the penalty is the best of three on the valid fold.
untrained_rule: `parallax_lib.search.untrained_rule`, which reads the source for accumulations and learns nothing.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pandas as pd
from page_words import RESAMPLED, captioned
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from parallax_lib.analysis.comparisons import FLOOR, GUIDED
from parallax_lib.analysis.subgroups import beside_readers
from parallax_lib.core.storage import write_table
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import cross_validation

TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|<<<|>>>|[-+*/%<>=!&|]=?|[^\w\s]")
WORDS = frozenset(
    "for if else while do int long unsigned double float void const return size_t min max fmin fmax pragma omp parallel simd reduction"
    " atomic critical single master barrier ordered task teams distribute target collapse schedule shared private firstprivate"
    " lastprivate __global__ __shared__ __device__ __syncthreads threadIdx blockIdx blockDim gridDim x y z atomicAdd atomicMax"
    " atomicMin atomicExch atomicCAS".split()
)
READERS = ("plan_table", "plan_text")  # trained
RULE = "untrained_rule"
ROWS = 20  # by which a plan's mean is drawn to the mean of all
PENALTIES = (1e-1, 1e-2, 1e-3)
LEADS = 10  # first words of a plan that have weights of their own for every n-gram


def grams(source: str) -> list[str]:
    """n-grams of 1 to 4 tokens of what stands before `main`; a name is `v`, a number `0`."""
    found = TOKEN.findall(source.split("int main(")[0])
    kinds = ["0" if t[0].isdigit() else "v" if (t[0].isalpha() or t[0] == "_") and t not in WORDS else t for t in found]
    return [" ".join(run) for n in range(1, 5) for run in zip(*(kinds[i:] for i in range(n)), strict=False)]


def words(plan: str) -> list[str]:
    return [plan, *(f"{i}:{word}" for i, word in enumerate(plan.split()))]


def plan_table(rows: pd.DataFrame, split: np.ndarray) -> np.ndarray:
    """[n] smoothed mean reward of each row's plan and direction among the rows of the split `train`."""
    key, train = rows["plan"] + "|" + rows["direction"], rows[split == "train"]
    known = train["reward"].groupby(key[train.index]).agg(["sum", "size"])
    mean = (known["sum"] + ROWS * train["reward"].mean()) / (known["size"] + ROWS)
    return key.map(mean).fillna(train["reward"].mean()).to_numpy(float)


def features(rows: pd.DataFrame, least: int = 20) -> sparse.csr_matrix:
    """[n, f] counts of 0 and 1; n-grams of fewer than `least` sources are left out."""
    sources = rows.drop_duplicates("task").set_index("task")["source_code"]
    counts = CountVectorizer(analyzer=grams, min_df=least, max_features=4000, binary=True).fit_transform(sources)
    text = counts[sources.index.get_indexer(rows["task"])].astype(np.float32)
    plans = CountVectorizer(analyzer=words).fit_transform(rows["plan"]).astype(np.float32)
    ways = sparse.csr_matrix(pd.get_dummies(rows["direction"]).to_numpy(np.float32))
    first = rows["plan"].str.split().str[0]
    crossed = [text.multiply((first == word).to_numpy(np.float32)[:, None]) for word in first.value_counts().index[:LEADS]]
    return sparse.hstack([plans, ways, text, *crossed], format="csr")


def plan_text(given: sparse.csr_matrix, good: np.ndarray, split: np.ndarray) -> np.ndarray:
    """[n] log-odds of a good outcome by the model whose penalty the split `valid` likes best."""
    train, valid = split == "train", split == "valid"
    fits = [
        SGDClassifier("log_loss", alpha=a, max_iter=10, tol=None, average=True, random_state=0).fit(given[train], good[train])
        for a in PENALTIES
    ]
    return min(fits, key=lambda fit: log_loss(good[valid], fit.predict_proba(given[valid])[:, 1], labels=[0, 1])).decision_function(given)


def choices(rows: pd.DataFrame, count: int = 5, least: int = 20) -> pd.DataFrame:
    """`cross_validation.choices` of all three and of the original; `count` folds."""
    rows = rows.dropna(subset=["reward"]).reset_index(drop=True)
    fold_of, given, good = (
        cross_validation.folds(rows["family"].unique(), count),
        features(rows, least),
        (rows["reward"] >= 0.5).to_numpy(int),
    )
    scores = {name: np.full(len(rows), np.nan) for name in READERS}
    for k in range(count):
        split = cross_validation.splits(rows, fold_of, k)
        test = split == "test"
        scores["plan_table"][test] = plan_table(rows, split)[test]
        scores["plan_text"][test] = plan_text(given, good, split)[test]
    tables = [cross_validation.choices(rows, score, chosen_by=[GUIDED]).assign(arm=name) for name, score in scores.items()]
    return pd.concat([cross_validation.choices(rows, scores[READERS[0]], chosen_by=[FLOOR, RULE]), *tables], ignore_index=True)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", nargs="?", default="data/rollouts")
    ask.add_argument("--out", type=Path, help="a .parquet for the choices, without texts")
    args = ask.parse_args()
    chosen = choices(read_rollouts(args.folder)[0])
    print(captioned(RESAMPLED, beside_readers(chosen), rate_a="of the first named"))
    if args.out:
        kept = ["task", "family", "direction", "kernel", "arm", "seed", "capture_id", "validated", "reward", "reason", "level"]
        write_table(args.out.parent, args.out.stem, chosen[kept])


if __name__ == "__main__":
    main()
