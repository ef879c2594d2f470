"""Text PRMs trained on folders of rollouts: rows and splits, the control of shuffled siblings, figures on held-out families.

Knows columns, families and files.  Models and training are `prm.text_reward`'s and `prm.text_training`'s.

n rows, K scores of a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis import metrics
from parallax_lib.analysis.branch_selection import ordered_pairs
from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Suite
from parallax_lib.core.storage import derive_seed, read_table
from parallax_lib.prm import labels, text_reward, text_rows
from parallax_lib.prm.text_reward import TextConfig, TextPRM
from parallax_lib.prm.text_rows import Texts
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import cross_validation, prm_data, prm_registry
from parallax_lib.tasks.task import split_of

Say = Callable[[str], None]


# rows


def read(rollouts: str = "", jsonl: str = "", spec: str = "executable") -> pd.DataFrame:
    """Rollouts of a folder (a run's, or one that `collect` wrote) or rows of a JSONL file, with `reward`; NaN: not judged.

    UserError for missing columns, or rows that tell neither a verdict nor a reward.
    """
    if jsonl:
        if not resolve(jsonl).is_file():
            raise UserError(f"--jsonl {jsonl}: no such file")
        try:
            rows = pd.read_json(resolve(jsonl), lines=True)
        except ValueError as e:
            raise UserError(f"--jsonl {jsonl}: not a JSON object a line ({str(e)[:100]})") from None
        rows = rows if "capture_id" in rows else rows.assign(capture_id=[f"row-{i}" for i in range(len(rows))])
        rows = prm_data.complete(rows)
    else:
        folder = resolve(rollouts)
        rows = read_table(folder, "rollouts") if (folder / "rollouts.parquet").exists() else read_rollouts(rollouts)[0]
    rows = rows.assign(root=rows["root"].fillna(rows["capture_id"])) if "root" in rows else rows
    return rows.assign(reward=prm_data.rewards_of(rows, spec)).reset_index(drop=True)


def split(rows: pd.DataFrame, valid_fraction: float = 0.15, fold: str = "") -> pd.Series:
    """ "train", "valid" or "test" of every row, by families: the column `split` where there is one; fold "k/n": the k-th of n folds is
    tested and the next one valid, as in stage 03; else a hash draws the valid families and none is tested.

    UserError if a kernel or family is on two sides.
    """
    if fold:
        k, _, n = fold.partition("/")
        if not (k.isdecimal() and n.isdecimal() and int(k) < int(n) >= 3):
            raise UserError(f"--fold {fold}: write k/n with n of at least 3 and k from 0 to n - 1, such as 0/5")
        found = pd.Series(cross_validation.splits(rows, cross_validation.folds(rows["family"].unique(), int(n)), int(k)), rows.index)
    elif "split" in rows:
        found = rows["split"]
    else:
        suite = Suite(test_fraction=0, valid_fraction=valid_fraction)
        found = rows["family"].map({family: split_of(family, suite) for family in rows["family"].unique()})
        found = found if (found == "train").any() else pd.Series("train", rows.index)
    labels.check_leakage(rows.assign(split=found))
    return found


def with_tested(rows: pd.DataFrame, tested: pd.DataFrame) -> pd.DataFrame:
    """The rows and those of another folder, all of these "test".  UserError if a family of theirs is trained on."""
    shared = set(tested["family"]) & set(rows.loc[rows["split"] != "test", "family"])
    if shared:
        raise UserError(f"--test-rollouts: family {min(shared)!r} is among the training rows too; test on other families, or use --fold")
    return pd.concat([rows, tested.assign(split="test")], ignore_index=True)


def share_of_tasks(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """The rows with that share of the training tasks, drawn by hash: a larger share holds a smaller one."""
    place = rows["task"].map({task: derive_seed("share", task) / 16**15 for task in rows["task"].unique()})
    return rows[(rows["split"] != "train") | (place < share)].reset_index(drop=True)


def shuffled(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows with rewards dealt out anew among the judged rows of each task that is not tested: a task's mean stays."""
    reward = rows["reward"].copy()
    for task, part in rows[(rows["split"] != "test") & rows["reward"].notna()].groupby("task"):
        rng = np.random.default_rng(derive_seed(seed, "shuffle", task))
        reward[part.index] = rng.permutation(part["reward"].to_numpy())
    return rows.assign(reward=reward)


def labelled(rows: pd.DataFrame, texts: Texts, reads: str) -> tuple[np.ndarray, np.ndarray]:
    """(targets [n, K], counts [n, K]): a plan's as those of latents, the mean reward beneath each prefix; else the row's own reward."""
    if reads == "plan":
        return labels.label(rows, texts.ends.shape[1])
    reward = rows["reward"].to_numpy(float)[:, None]
    return np.nan_to_num(reward), np.isfinite(reward).astype(int)


# figures


def figures(rows: pd.DataFrame, scores: np.ndarray, texts: Texts, reads: str) -> dict:
    """Of judged and scored rows: counts, base_rate, auroc, pairwise (within siblings of a task), pairs, brier, ece; each direction's;
    of a plan the same by depth."""
    at_end = text_reward.last(scores)
    out = {"all": _figures(rows, at_end)}
    for direction, part in rows.groupby("direction"):
        out[direction] = _figures(part, at_end[part.index])
    if reads == "plan":
        targets, counts = labelled(rows, texts, reads)
        for t in range(scores.shape[1]):
            label = np.where(counts[:, t] > 0, targets[:, t], np.nan)
            out[f"depth {t}"] = _figures(rows, scores[:, t]) | _of_labels(scores[:, t], label)
    return out


def _figures(rows: pd.DataFrame, score: np.ndarray) -> dict:
    """Scores against the rows' own rewards."""
    known = rows.assign(score=score).dropna(subset=["score", "reward"])
    value, reward = known["score"].to_numpy(float), known["reward"].to_numpy(float)
    pairs = [ordered_pairs(part["score"].to_numpy(float), part["reward"].to_numpy(float), 0.0) for _, part in known.groupby("task")]
    right, count = (sum(each) for each in zip(*pairs, strict=True)) if pairs else (0, 0)
    return {
        "rows": len(known), "tasks": known["task"].nunique(), "families": known["family"].nunique(),
        "base_rate": metrics.mean(known["reward"] >= 0.5), "auroc": metrics.auroc(value, reward >= 0.5),
        "pairwise": right / count if count else metrics.NAN, "pairs": count,
        "brier": metrics.brier(value, reward), "ece": metrics.ece(value, reward),
    }  # fmt: skip


def _of_labels(score: np.ndarray, label: np.ndarray) -> dict:
    """Scores of prefixes against the mean reward beneath them."""
    live = np.isfinite(score) & np.isfinite(label)
    return {"spearman_label": metrics.spearman(score[live], label[live]), "brier_label": metrics.brier(score[live], label[live])}


def table(found: dict[str, dict[str, dict]]) -> pd.DataFrame:
    """{split: {slice: figures}} as rows, for a terminal."""
    return pd.DataFrame([{"split": part, "slice": name} | row for part, some in found.items() for name, row in some.items()])


# one training


def train(rows: pd.DataFrame, config: TextConfig, training, out: Path, say: Say, *, shuffle: bool = False, **more) -> dict:
    """Fit on the rows' splits, write out/final and out/metrics.json's figures; returns them."""
    from parallax_lib.prm import text_training

    texts = text_rows.encode(text_reward.tokenizer_of(config), rows, config.reads, config.max_tokens)
    taught = shuffled(rows, training.seed) if shuffle else rows
    targets, counts = labelled(taught, texts, config.reads)
    data = text_rows.prepare(texts, targets, counts, rows["task"], rows["split"])
    say(_counted(rows, texts, data))
    families = rows.loc[rows["split"] != "test", "family"]
    extra = partial(prm_registry.write_families, families)
    model, history = text_training.fit(data, config, training, out, extra=extra, progress=_progress(say), **more)
    tokens = more.get("tokens", 0)
    return {"updates": len(history), "parameters": text_reward.prm_model.size(model)} | measure(model, rows, texts, config.reads, tokens)


def measure(model: TextPRM, rows: pd.DataFrame, texts: Texts, reads: str, tokens: int = 0) -> dict:
    """{split: `figures`} of the valid and tested rows."""
    found = {}
    for part in ("valid", "test"):
        which = (rows["split"] == part).to_numpy()
        if which.any():
            some, given = text_rows.some(texts, which), rows[which].reset_index(drop=True)
            found[part] = figures(given, text_reward.score(model, some, tokens), some, reads)
    return found


def _counted(rows: pd.DataFrame, texts: Texts, data) -> str:
    """What is trained on, for a terminal."""
    judged = rows[rows["reward"].notna()]
    shown = {"rows": ("task", "size"), "tasks": ("task", "nunique"), "families": ("family", "nunique"), "right": ("reward", "mean")}
    counts = judged.groupby("split").agg(**shown)
    distinct = pd.Series(data.split).value_counts().rename("distinct_texts")
    tokens = pd.Series([len(ids) for ids in data.ids]).groupby(data.split).sum().rename("tokens")
    unjudged = f"{int(rows['reward'].isna().sum())} rows not judged"
    lines = [counts.join(distinct).join(tokens).round(3).to_string(), texts.refusals(), unjudged]
    return "\n".join(filter(None, lines))


def _progress(say: Say, every_s: float = 10.0) -> Callable[[dict], None]:
    """A line every ten seconds, and at every evaluation."""
    last = [0.0]

    def progress(row: dict) -> None:
        evaluated = row["valid_loss"] == row["valid_loss"]
        if evaluated or time.monotonic() - last[0] >= every_s:
            last[0] = time.monotonic()
            valid = f", valid loss {row['valid_loss']:.4f}" if evaluated else ""
            say(f"update {row['step']}, {row['done']:.0%}, {row['tokens_per_s']:,.0f} tokens/s: loss {row['train_loss']:.4f}{valid}")

    return progress
