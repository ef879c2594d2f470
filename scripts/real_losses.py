"""Does a reward model order the programs of one task?  Losses, controls and rules on the training side of the real code model's rollouts.

    python scripts/real_losses.py                             # the table that ships (docs/REAL_MODEL.md, "A loss within tasks")
    python scripts/real_losses.py --make [--set prm.reads=states]    # trains what is missing and writes the table

Every cluster of the training side is tested once, by models of other clusters.  Rows of test clusters are dropped as soon as the file is
read, before a verdict is looked at.  With params/qwen_picks.yaml as it is --make needs the translator's embeddings (minutes on a CPU).
Knows losses, controls and rules.  Measures are `analysis.sibling_order`'s.

n rollouts, K latent steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from parallax_lib.analysis import sibling_order
from parallax_lib.analysis.readable import as_text
from parallax_lib.core.config import ROOT, load_file
from parallax_lib.core.settings import Params, Suite
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import derive_seed, digest, write_atomic
from parallax_lib.prm import labels
from parallax_lib.prm import model as prm_model
from parallax_lib.prm.losses import averaged, find_loss
from parallax_lib.prm.parallel_training import Material
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import cross_validation, readings, training
from parallax_lib.study import run as runs
from parallax_lib.tasks import split_file
from parallax_lib.tasks.task import split_of

TABLE = ROOT / "data" / "qwen_rollouts" / "losses.csv"
FOLDS = 5
ORDERS, PICKS = (
    ("auroc", "order", "first", "equal_first", "equal_last", "over_control"),
    ("pick", "diff", "over_base", "pick_first", "diff_first"),
)
REFERENCES = ("random sibling", "oracle")


@averaged
def pairs(scores, targets, live, weights, group, options):
    """Logistic loss of the difference of scores of siblings whose labels at one depth differ, weighted by how much they do."""
    apart = targets[:, None] - targets[None]  # (B, B, K)
    siblings = (group[:, None] == group[None])[..., None] & live[:, None] & live[None]
    weight = torch.where(siblings, apart, 0).clamp_min(0)
    return (weight * F.softplus(scores[None] - scores[:, None])).sum(), weight.sum()


pairs.whole_groups = True


class Trained(NamedTuple):
    loss: str | Callable
    centred: bool = False
    shuffled: bool = False  # a control: rewards change hands among the siblings of a task


LOSSES = {
    "bce": Trained("bce"),
    "rank": Trained("rank"),
    "listwise": Trained("listwise"),
    "pairs": Trained(pairs),
    "bce, centred": Trained("bce", centred=True),
}
CONTROLS = {f"{name}, shuffled": each._replace(shuffled=True) for name, each in LOSSES.items()}


def training_side(folder: str, suite: Suite) -> tuple[pd.DataFrame, np.ndarray]:
    """The rollouts of families on the train and valid sides, and their latents; the others are dropped unread."""
    rows, vectors = read_rollouts(folder)
    side = rows["family"].map({family: split_of(family, suite) for family in rows["family"].unique()})
    kept = side.isin(["train", "valid"]).to_numpy()
    return rows[kept].reset_index(drop=True), vectors[kept]


def folds(families: list[str], split: str) -> dict[str, int]:
    """The fold of every family: the split file's for its clusters, by the name's hash for forge's."""
    stated = {row.cluster: row.fold for row in split_file.rows(split).values()}
    return {family: stated.get(family, derive_seed("fold", family) % FOLDS) for family in sorted(families)}


def rewards(rows: pd.DataFrame, trained: Trained, seed: int) -> pd.Series:
    """[n] what a training takes for the reward; centred: half the difference to the task's mean, around 0.5."""
    reward, task = rows["reward"], rows["root"]
    if trained.shuffled:
        rng = np.random.default_rng(derive_seed("shuffled", seed))
        reward = reward.groupby(task).transform(lambda known: rng.permutation(known.to_numpy()))
    return 0.5 + (reward - reward.groupby(task).transform("mean")) / 2 if trained.centred else reward


def scores(run: runs.Run, material: Material, trained: Trained, seed: int) -> np.ndarray:
    """[n, K] raw scores of every prefix by the model that saw nothing of its family; kept in the run's folder."""
    rows, fold_of = material.rows, folds(material.rows["family"].unique(), run.params.suite.split)
    rows = rows.assign(reward=rewards(rows, trained, seed))
    loss = getattr(trained.loss, "__name__", trained.loss)
    code = source_digest(training.trial, cross_validation.splits, find_loss(trained.loss).terms)
    key = [training.prm_settings(run), code, [loss, *trained[1:]], seed, rows["reward"].tolist(), fold_of]
    key.append(readings.read_by(run, material.vectors))
    kept, out = run.folder / "losses" / f"{digest(key)[:20]}.npy", np.full(material.vectors.shape[:2], np.nan)
    if kept.exists():
        return np.load(kept)
    for k in range(FOLDS):
        split = cross_validation.splits(rows, fold_of, k)
        labels.check_leakage(rows.assign(split=split))
        model = training.trial(run.params, run.params.prm.kind, Material(rows, material.vectors), split, loss=trained.loss, seed=seed)
        out[split == "test"] = prm_model.scores(model, material.vectors[split == "test"].astype(np.float32)).numpy()
    kept.parent.mkdir(exist_ok=True)
    np.save(kept.with_suffix(".part.npy"), out)
    kept.with_suffix(".part.npy").rename(kept)
    return out


def rules(rows: pd.DataFrame, fold_of: dict[str, int]) -> dict[str, np.ndarray]:
    """[n] scores without a model: of a word's mean reward only what other families' tasks say."""
    original = rows["root"].map(rows[rows["branch_depth"] < 0].set_index("root")["plan"])
    shared = [sum(a == b for a, b in zip(p.split(), o.split(), strict=False)) for p, o in zip(rows["plan"], original, strict=True)]
    noise = rows["branch_depth"].where(rows["branch_depth"] >= 0, rows["branch_depth"].max() + 1)
    centred = rewards(rows, Trained("", centred=True), 0)
    return {
        "first word": _by_word(rows, rows["reward"], fold_of),
        "first word, centred": _by_word(rows, centred, fold_of),
        "words of the unperturbed plan": np.array(shared, float),
        "least noise": noise.to_numpy(float),
    }


def _by_word(rows: pd.DataFrame, reward: pd.Series, fold_of: dict[str, int]) -> np.ndarray:
    key, fold, out = sibling_order.target(rows) + " " + sibling_order.first_word(rows), rows["family"].map(fold_of), np.zeros(len(rows))
    for k in range(FOLDS):
        mean = reward[fold != k].groupby(key[fold != k]).mean()
        out[fold == k] = key[fold == k].map(mean).fillna(reward[fold != k].mean())
    return out


def make(params: Params, folder: str, out: Path) -> None:
    """Train what is missing, measure everything, write the table."""
    rows, vectors = training_side(folder, params.suite)
    run = runs.open_params(params)
    material = Material(rows, readings.readings(run, vectors))
    known = rows["reward"].notna().to_numpy()
    found = {}
    for done, (name, trained) in enumerate((LOSSES | CONTROLS).items()):
        run.progress("train losses", done, len(LOSSES | CONTROLS), "losses")
        found[name] = [scores(run, material, trained, seed)[known] for seed in params.report.seeds]
    fold_of, judged = folds(rows["family"].unique(), params.suite.split), rows[known].reset_index(drop=True)
    for name, score in rules(judged, fold_of).items():
        found[name] = [np.repeat(score[:, None], vectors.shape[1], axis=1)]
    draws = np.random.default_rng(derive_seed("random sibling")).random((20, len(judged)))
    references = ([draw[:, None] for draw in draws], [judged["reward"].to_numpy()[:, None]])
    found |= dict(zip(REFERENCES, references, strict=True))
    kinds = dict.fromkeys(LOSSES, "loss") | dict.fromkeys(CONTROLS, "control") | dict.fromkeys(REFERENCES, "reference")
    table = sibling_order.table(judged, found, {name: f"{name}, shuffled" for name in LOSSES})
    table.insert(1, "kind", table["score"].map(kinds).fillna("rule"))
    write_atomic(out, table.round(4).to_csv(index=False).encode())


def decided(table: pd.DataFrame) -> pd.Series:
    """What the rule that was fixed beforehand says of each loss: "guide", "order only" or "none"."""
    losses, rule = table[table["kind"] == "loss"], table[table["kind"] == "rule"]
    guide = (losses["diff"] > 0) & (losses["p_holm"] < 0.05) & (losses["pick"] >= rule["pick"].max())
    order = (losses["equal_last_low"] > 0.5) & (losses["over_control_low"] > 0) & (losses["equal_last"] >= rule["equal_last"].max())
    order &= losses["over_base_low"] > 0
    return pd.Series(np.select([guide, order], ["guide", "order only"], "none"), index=losses["score"])


def show(table: pd.DataFrame) -> None:
    """Shares in %, differences in points."""
    for measures in (ORDERS, PICKS):
        text = {name: _with_interval(table, name) for name in measures}
        extra = ["pairs", "clusters", "order_mde"] if measures == ORDERS else ["p_holm", "mde"]
        print(as_text(table[["score", "kind"]].assign(**text).join(table[extra])), end="\n\n")
    print(as_text(table[["score", *(c for c in table if c.startswith(("word_", "share_", "bits_")))]]), end="\n\n")
    print(as_text(decided(table).rename("decision").reset_index()))


def _with_interval(table: pd.DataFrame, name: str) -> pd.Series:
    value, sign = 100 * table[name], "+" if name.startswith(("diff", "over")) else ""
    if f"{name}_low" not in table:
        return value.map("{:.1f}".format)
    bounds = zip(value, 100 * table[f"{name}_low"], 100 * table[f"{name}_high"], strict=True)
    return pd.Series(["" if np.isnan(v) else f"{v:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]" for v, low, high in bounds], table.index)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", nargs="?", default="data/qwen_rollouts")
    ask.add_argument("--make", action="store_true", help="train what is missing and write the table")
    ask.add_argument("--set", action="append", default=[], help="a setting of params/qwen_picks.yaml, such as prm.reads=states")
    ask.add_argument("--out", type=Path, default=TABLE)
    args = ask.parse_args()
    if args.make:
        make(load_file(ROOT / "params" / "qwen_picks.yaml", ("run=real_losses", *args.set)), args.folder, args.out)
    show(pd.read_csv(args.out))


if __name__ == "__main__":
    main()
