"""Scores of rollouts and result tables by PRMs that read text, and what the reading costs.

Knows columns, families and files.  Trains nothing.

n rows, K scores of a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from parallax_lib.core.config import load_file, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.progress import Inside, unheard
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import text_reward, text_rows
from parallax_lib.prm.text_rows import Texts
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import prm_registry
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import tasks
from parallax_lib.translator import models

KEYS = ("capture_id", "task", "seed", "arm", "sample")  # a row of rollouts is known by the first, one of a result table by the others
Say = Callable[[str], None]


def with_sources(rows: pd.DataFrame, sources: str) -> pd.DataFrame:
    """The rows with `source_code` of their tasks: from a folder of rollouts, or from the suite of a parameter file."""
    if not sources:
        if "source_code" not in rows:
            raise UserError("the table has no column 'source_code'; name a folder of rollouts or a parameter file with --sources")
        return rows
    if resolve(sources).suffix in (".yaml", ".yml"):
        suite = load_file(sources).suite
        of = {task.id: task.source_code for task in tasks(suites.load_suite(suite), suite.directions)}
    else:
        found = read_rollouts(sources)[0].drop_duplicates("task")
        of = dict(zip(found["task"], found["source_code"], strict=True))
    known = rows["task"].map(of)
    if known.isna().all():
        raise UserError(f"--sources {sources}: it has none of the table's tasks, such as {rows['task'].iloc[0]!r}")
    return rows.assign(source_code=known)


def score_rows(
    rows: pd.DataFrame, folders: Sequence[Path], say: Say, *, seen: bool = False, device: str = "cpu", tokens: int = 0,
    sizes: int = 0, inside: Inside = unheard,
) -> pd.DataFrame:  # fmt: skip
    """A row each: its keys, score_<reads>, tokens_<reads>, models, and of a plan score_plan_<t> after each word.

    A row's score is the mean of the PRMs that were not trained on its family (`seen`: of all), NaN without one, or where it has
    nothing to read.  sizes: parameters of the translator; then cost_<reads>, what the reading costs in its tokens.
    """
    configs = [text_reward.read_config(folder) for folder in folders]
    if len({(c.reads, c.backbone, c.max_tokens) for c in configs}) > 1:
        raise UserError("--checkpoint: the PRMs read different things, or by different backbones; score with each kind alone")
    reads = configs[0].reads
    texts = text_rows.encode(text_reward.tokenizer_of(configs[0]), rows, reads, configs[0].max_tokens)
    say("; ".join(filter(None, [f"{len(rows)} rows, {int(texts.tokens.sum()):,} tokens to read", texts.refusals()])))
    total, count, weight = np.zeros(texts.ends.shape), np.zeros(len(rows), int), 0
    for folder in folders:
        free = _unseen(rows, folder, seen)
        model = text_reward.load(folder, device) if free.any() else None
        if model is not None:
            weight = prm_model.size(model)
            total[free] += text_reward.score(model, text_rows.some(texts, free), tokens, inside)
        count += free
        say(f"{folder}: {int(free.sum())} rows of families that it was not trained on" if not seen else f"{folder}: {len(rows)} rows")
    if not count.any():
        raise UserError("every row is of a family that these PRMs were trained on; name PRMs of other folds, or say --seen")
    mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)
    return _scored(rows, mean, texts, reads, count, weight / sizes if sizes else 0.0)


def _unseen(rows: pd.DataFrame, folder: Path, seen: bool) -> np.ndarray:
    known = set(prm_registry.read_families(folder))
    return np.ones(len(rows), bool) if seen or "family" not in rows else ~rows["family"].isin(known).to_numpy()


def _scored(rows: pd.DataFrame, mean: np.ndarray, texts: Texts, reads: str, count: np.ndarray, ratio: float) -> pd.DataFrame:
    kept = [name for name in KEYS if name in rows]
    more = {f"score_{reads}": text_reward.last(mean), f"tokens_{reads}": texts.tokens * np.maximum(count, 1), "models": count}
    if ratio:
        more[f"cost_{reads}"] = ratio * more[f"tokens_{reads}"]
    if reads == "plan":
        more |= {f"score_plan_{t}": mean[:, t] for t in range(mean.shape[1])}
    return rows[kept].assign(**more)


def add_scores(rows: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns of a table of `score_rows`, row by row under their keys.  UserError where keys are not unique."""
    keys = ["capture_id"] if {"capture_id"} <= {*rows} & {*scores} else [k for k in KEYS if k in rows and k in scores]
    if not keys or scores.duplicated(keys).any():
        raise UserError(f"scores: the keys {', '.join(keys) or 'of both tables'} do not tell their rows apart; score this table itself")
    new = [name for name in scores if name not in KEYS and name not in rows]
    return rows.merge(scores[[*keys, *new]], on=keys, how="left")


def translator_size(name: str) -> int:
    """Parameters of a language model, tied ones once, from its description alone."""
    from transformers import AutoModelForCausalLM

    config = models.read_config(text_reward.source_of(name))
    with models.one_line(name), torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def counted(say: Say, every_s: float = 5.0) -> Inside:
    """What has been read so far, a line every few seconds."""
    began = last = time.monotonic()

    def inside(what: str, done: int, total: int = 0, unit: str = "", *_) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s or done == total:
            last = now
            say(f"{what}: {done:,}/{total:,} {unit}, {done / max(now - began, 1e-9):,.0f}/s")

    return inside
