"""Folders of finished rollouts: our own (one table, vector shards, metadata) and the published layout, read alike.

Knows files and columns.  Knows no run and no verdict's rule.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import read_vectors, write_atomic, write_json, write_vectors
from parallax_lib.search.published_format import import_layout

SHARD_ROWS = 3000
NEEDED = ("capture_id", "task", "kernel", "family", "direction", "source_code", "code")
BRANCH = re.compile(r"^(?P<root>.+?)(?:_v(?P<depth>\d+)_r(?P<resample>\d+))?$")  # published naming of a rollout


def write_rollouts(folder: Path, frame: pd.DataFrame, vectors: np.ndarray, extra: dict) -> None:
    """Rollouts as `rollouts.jsonl.gz` and packed `latents-<i>.safetensors.gz`, with `metadata.json` that says what made them."""
    folder.mkdir(parents=True, exist_ok=True)
    for killed in folder.glob(".new-*"):
        shutil.rmtree(killed)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:  # all of it is there before anything is replaced
        for i, at in enumerate(range(0, len(frame), SHARD_ROWS)):
            write_vectors(Path(new) / f"latents-{i}.safetensors.gz", vectors[at : at + SHARD_ROWS], packed=True)
        text = frame.to_json(orient="records", lines=True)
        write_atomic(Path(new) / "rollouts.jsonl.gz", gzip.compress(text.encode(), mtime=0))
        facts = {"rollouts": len(frame), "latents": list(vectors.shape), "latents_sha256": _digest(Path(new))}
        write_json(Path(new) / "metadata.json", extra | facts)
        files = sorted(Path(new).glob("latents-*")) + [Path(new) / name for name in ("rollouts.jsonl.gz", "metadata.json")]
        for stale in {path.name for path in folder.glob("latents-*")} - {path.name for path in files}:
            (folder / stale).unlink()
        for path in files:
            os.replace(path, folder / path.name)


def read_rollouts(path: str, width: int | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """(rollouts, latents float16 [n, K, D]) of a folder that `write_rollouts` wrote or of one in the published layout.

    Raises UserError for a missing folder, a missing column, a damaged file or another model's width.
    """
    folder = resolve(path)
    if (folder / "rollouts.jsonl.gz").exists():
        frame, vectors = _own(folder, width)
    elif any((folder / name).exists() for name in ("dataset.jsonl", "dataset.jsonl.gz")):
        frame, vectors = import_layout(folder)
        frame = _with_tree(frame, folder)
        if width not in (None, vectors.shape[2]):
            raise UserError(f"{folder}: vectors are {vectors.shape[2]} wide, the translator's states {width}; they come from another model")
    elif not folder.is_dir():
        raise UserError(f"{path}: no such folder; name a folder of rollouts, such as data/rollouts")
    else:
        advice = f"it is a run's folder, write its rollouts out first: python -m parallax_lib export {path} --out DIR"
        named = advice if (folder / "rollouts.parquet").exists() else "name a folder of rollouts, or '' for none"
        raise UserError(f"{folder}: neither rollouts.jsonl.gz nor dataset.jsonl here; {named}")
    missing = [name for name in NEEDED if name not in frame]
    if missing:
        raise UserError(f"{folder}: rollouts have no column {missing[0]!r}; needed are {', '.join(NEEDED)}")
    return frame.assign(origin="shipped"), vectors


def _own(folder: Path, width: int | None) -> tuple[pd.DataFrame, np.ndarray]:
    frame = pd.read_json(folder / "rollouts.jsonl.gz", lines=True)
    paths = sorted(folder.glob("latents-*.safetensors.gz"), key=_place)
    shards = [read_vectors(p, width) for p in paths]
    vectors = np.concatenate(shards) if shards else np.zeros((0, 0, 0), np.float16)
    if read_metadata(folder).get("latents_sha256") not in (None, _digest(folder)):
        raise UserError(f"{folder}: the latents are not those that metadata.json names; its writing was cut short, restore it")
    if len(frame) != len(vectors):
        raise UserError(f"{folder}: {len(frame)} rollouts but {len(vectors)} latents; the folder is incomplete, restore it")
    return frame, vectors


def read_metadata(folder: Path) -> dict:
    """What the folder's metadata.json holds; nothing where none can be read.  UserError where the file has its old name."""
    if (folder / "card.json").exists() and not (folder / "metadata.json").exists():
        raise UserError(f"{folder / 'card.json'}: this file is called metadata.json now; rename it")
    try:
        return json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def _digest(folder: Path) -> str:
    """sha256 of the folder's latents, file by file in the order of their rows."""
    paths = sorted(folder.glob("latents-*.safetensors.gz"), key=_place)
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _place(path: Path) -> int:
    return int(re.findall(r"\d+", path.name)[0])


def _with_tree(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Where a rollout branches off, from its name where the rows do not say."""
    if "capture_id" not in frame:
        raise UserError(f"{folder}: rows of dataset.jsonl have no capture_id")
    parts = frame["capture_id"].astype(str).str.extract(BRANCH)
    tree = {
        "root": parts["root"],
        "branch_depth": parts["depth"].fillna("-1").astype(int),
        "resample": parts["resample"].fillna("0").astype(int),
    }
    return frame.assign(**{name: column for name, column in tree.items() if name not in frame})
