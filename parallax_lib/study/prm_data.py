"""Rows that a PRM is trained and tested on, read from JSONL files and folders of tensors: no translator, no compiler, no stage 01.

Knows the settings `prm.train_jsonl`, `prm.valid_jsonl`, `prm.vectors` and `prm.fields`.  Knows nothing of how rows were made.

n rollouts, K latent steps, D translator width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.prm import labels
from parallax_lib.prm import model as prm_model
from parallax_lib.search.field_map import read_map
from parallax_lib.search.published_format import Report, read_jsonl, with_tree
from parallax_lib.tasks.suites import MINIBENCH, families
from parallax_lib.tasks.task import split_of

LEVELS = (("compiled", 2), ("ran", 3), ("validated", 5))  # what a row may tell instead of a reward -> rung of the ladder


def given(params: Params) -> bool:
    """Whether the PRM's rows come from files."""
    return bool(params.prm.train_jsonl or params.prm.valid_jsonl)


def load(params: Params, say: Callable[[str], None] | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """(rollouts with their splits, latents [n, K, D]) of `prm.train_jsonl` and `prm.valid_jsonl`; `say` gets a report of each file.

    Rows of the second file are "test".  The first file's families are drawn into train, valid and, without a second file, test.
    UserError if a family is in both files.
    """
    named = [getattr(params.prm, name) for name in ("train_jsonl", "valid_jsonl", "vectors", "fields")]
    changed = tuple(path.stat().st_mtime_ns for path in map(resolve, filter(None, named)) if path.exists())
    rows, vectors, reports = _read(*named, _width(params), changed)
    for report in reports if say else ():
        say(report.text())
    rows = rows.assign(split=_splits(rows, params), reward=rewards_of(rows, params.reward.spec))
    refuse_shared(rows, params)
    return rows, vectors


def refuse_shared(rows: pd.DataFrame, params: Params) -> None:
    """UserError that names a family which is in both files: a PRM must not be tested on what it was trained on."""
    sides = {side: set(part["family"]) for side, part in rows.groupby("file")}
    shared = sorted(set.intersection(*sides.values())) if len(sides) > 1 else []
    if shared:
        files = f"{params.prm.train_jsonl} and {params.prm.valid_jsonl}"
        hint = "name the training file without the tested families in prm.train_jsonl, or leave prm.valid_jsonl out"
        raise UserError(f"{files}: {len(shared)} families are in both, {shared[0]!r} first; {hint}")
    labels.check_leakage(rows)


def _width(params: Params) -> tuple[int | None, str]:
    """(D of the PRM that these rows are for, its name): known where one is given."""
    folder = params.prm.checkpoint or params.prm.init
    if not folder or params.prm.reads == "both":
        return None, ""
    return prm_model.read_config(resolve(folder)).state_width, f"the PRM in {folder}"


@functools.lru_cache(maxsize=1)  # a stage asks for the same rows several times; nobody writes into them
def _read(
    train: str, valid: str, vectors: str, fields: str, expected: tuple, changed: tuple
) -> tuple[pd.DataFrame, np.ndarray, list[Report]]:
    names, base = read_map(fields), resolve(vectors) if vectors else None
    if base is not None and not base.is_dir():
        raise UserError(f"prm.vectors: {vectors} is no folder; name the base folder of the tensors")
    parts = []
    for side, given in (("train", train), ("valid", valid)):
        if given:
            if not resolve(given).is_file():
                raise UserError(f"prm.{side}_jsonl: {given}: no such file; name a JSONL file of rows")
            parts.append((side, *read_jsonl(Path(resolve(given)), base, names, *expected)))
            expected = (parts[-1][2].shape[2], f"{train or 'the first file'}'s PRM")
    frames = [complete(frame).assign(file=side) for side, frame, _, _ in parts]
    shapes = [part.shape[1:] for _, _, part, _ in parts]
    if len(set(shapes)) > 1:
        raise UserError(f"{valid}: latents have {shapes[1][0]} steps, those of {train} {shapes[0][0]}; collect both with the same K")
    return pd.concat(frames, ignore_index=True), np.concatenate([part for _, _, part, _ in parts]), [report for *_, report in parts]


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that training and testing ask for, from what a foreign row tells: kernel, family, task, direction, tree, code."""
    frame = with_tree(frame)
    if "kernel" not in frame and "task" not in frame:
        raise UserError(f"rows tell no kernel (their fields: {', '.join(frame)}); say which field it is: prm.fields")
    if "kernel" not in frame:
        frame = frame.assign(kernel=frame["task"])
    direction = frame["direction"].fillna("unknown") if "direction" in frame else "unknown"
    frame = frame.assign(kernel=frame["kernel"].astype(str), direction=direction)
    own = frame["kernel"].map(families(MINIBENCH)).fillna(frame["kernel"])
    named = frame["family"].fillna(own) if "family" in frame else own
    frame = frame.assign(family=named.astype(str), task=frame.get("task", frame["kernel"] + "." + frame["direction"]))
    absent = [name for name in ("code", "source_code") if name not in frame]
    return frame.assign(**dict.fromkeys(absent))


def _splits(rows: pd.DataFrame, params: Params) -> pd.Series:
    """ "train", "valid" or "test" of every row.  Rows of a file that is named for testing are all tested."""
    drawn = {family: split_of(family, params.suite) for family in rows["family"].unique()}
    split = rows["family"].map(drawn)
    if params.prm.valid_jsonl:  # the training file has a valid part only
        held = params.suite.model_copy(update={"test_fraction": 0.0})
        split = rows["family"].map({family: split_of(family, held) for family in drawn})
        split = split.where(rows["file"] != "valid", "test")
    if not (split == "train").any() and (rows["file"] == "train").any():
        split = split.where(rows["file"] != "train", "train")  # one family: nothing can be held out of it
    return split


def rewards_of(rows: pd.DataFrame, spec: str) -> pd.Series:
    """The reward that a row tells, else that of its verdict; NaN where it tells none."""
    if {"level", "reason"} <= set(rows):
        return labels.rewards(rows, spec)
    if "reward" in rows:
        reward = pd.to_numeric(rows["reward"], errors="coerce")
    elif levels := [name for name, _ in LEVELS if name in rows]:
        level = pd.concat([rows[name].fillna(False).astype(bool) * dict(LEVELS)[name] for name in levels], axis=1).max(axis=1)
        reward = labels.rewards(pd.DataFrame({"level": level, "reason": ""}), spec)
    else:
        raise UserError(f"rows tell no reward and no verdict (their fields: {', '.join(rows)}); say which field it is: prm.fields")
    if ((reward < 0) | (reward > 1)).any():
        raise UserError(f"rows have rewards from {reward.min():g} to {reward.max():g}; they lie in 0..1")
    return reward
