"""What a run leaves on disk: a crash-safe journal, vector shards, tables, a manifest.

Knows files and rows.  Knows nothing of models, programs or verdicts.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from parallax_lib.params import ROOT, UserError

GZIP = b"\x1f\x8b"


def digest(value: Any) -> str:
    """sha256 of canonical JSON: the identity of anything made of plain data."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def slug(text: str, identity: Any) -> str:
    """A safe file name: at most 48 readable characters and 12 of the identity's hash."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:48]
    return f"{readable}-{digest(identity)[:12]}"


def derive_seed(*parts: Any) -> int:
    """A 63-bit seed from (run seed, task, depth, branch, ...): independent of order and of resuming."""
    return int(digest(parts)[:15], 16)


class Journal:
    """Rows of JSON under (kind, key) in one sqlite file that survives kill -9; the first write of a key wins, unless asked otherwise."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._open() as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("CREATE TABLE IF NOT EXISTS entries (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))")
        except sqlite3.OperationalError as e:
            raise UserError(f"{self.path}: cannot write the journal ({e}); free space or choose another folder") from None
        except sqlite3.DatabaseError as e:
            raise UserError(f"{self.path}: not a journal ({e}); move it away to start afresh") from None

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60, isolation_level=None)

    def get(self, kind: str, key: str) -> dict | None:
        db = self._open()
        row = db.execute("SELECT value FROM entries WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        db.close()
        return json.loads(row[0]) if row else None

    def put(self, kind: str, key: str, value: dict) -> None:
        self.put_many(kind, [(key, value)])

    def put_many(self, kind: str, rows: Iterable[tuple[str, dict]], replace: bool = False) -> None:
        """All rows or none: one transaction.  replace: the last write of a key wins."""
        verb = "REPLACE" if replace else "IGNORE"
        self._all(f"INSERT OR {verb} INTO entries VALUES (?, ?, ?)", [(kind, key, json.dumps(value)) for key, value in rows])

    def forget(self, kind: str, keys: Iterable[str]) -> None:
        """Rows that are to be made anew; unknown keys are no error."""
        self._all("DELETE FROM entries WHERE kind = ? AND key = ?", [(kind, key) for key in keys])

    def _all(self, statement: str, rows: list[tuple]) -> None:
        db = self._open()
        try:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(statement, rows)
            db.execute("COMMIT")
        except sqlite3.OperationalError as e:
            raise UserError(f"{self.path}: cannot write ({e}); rows up to here are kept, free space and run again") from None
        finally:
            db.close()

    def rows(self, kind: str) -> dict[str, dict]:
        """Every row of a kind by key, in key order."""
        db = self._open()
        found = db.execute("SELECT key, value FROM entries WHERE kind = ? ORDER BY key", (kind,)).fetchall()
        db.close()
        return {key: json.loads(value) for key, value in found}


def run_folder(run: str) -> Path:
    """`data/runs/<run>`, made on demand."""
    folder = ROOT / "data" / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a temporary name, fsync, rename: the path holds all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as e:
        raise UserError(f"{path}: cannot write ({e.strerror}); free space and run again, nothing earlier is lost") from None
    finally:
        if os.path.exists(name):
            os.unlink(name)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True, default=str) + "\n").encode())


def write_vectors(path: Path, vectors: np.ndarray, packed: bool = False) -> None:
    """One shard: float16 [n, K, D].  packed: compressed, in less than half the room, each of the D dimensions as int8 in
    steps of a power of two; a value then differs by at most 1/63 of the largest one in its dimension, and packed again by nothing."""
    assert vectors.ndim == 3, vectors.shape
    if not packed:
        write_atomic(path, save({"latents": np.ascontiguousarray(vectors, dtype=np.float16)}))
        return
    values = vectors.astype(np.float32)
    assert np.isfinite(values).all()
    most = np.abs(values).max(axis=(0, 1), initial=0)
    step = np.exp2(np.ceil(np.log2(np.where(most > 0, most, 1) / 63))).astype(np.float32)
    whole = np.rint(values / step).astype(np.int8).transpose(2, 1, 0)  # [D, K, n]: neighbours are alike, which compresses best
    write_atomic(path, gzip.compress(save({"whole": np.ascontiguousarray(whole), "step": step}), mtime=0))


def read_vectors(path: Path, width: int | None = None) -> np.ndarray:
    """A shard as float16 [n, K, D], packed or not; a truncated file, a wrong width or non-finite values are refused."""
    try:
        data = path.read_bytes()
        parts = load(gzip.decompress(data) if data.startswith(GZIP) else data)
        vectors = (parts["whole"].transpose(2, 1, 0) * parts["step"]).astype(np.float16) if "whole" in parts else parts["latents"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such vector shard; collect again or restore the file") from None
    except (SafetensorError, KeyError, ValueError, OSError, EOFError, zlib.error) as e:
        raise UserError(f"{path}: damaged vector shard ({e}); delete it and run the collection again") from None
    if vectors.ndim != 3 or (width is not None and vectors.shape[2] != width):
        raise UserError(f"{path}: vectors are {list(vectors.shape)}, expected [n, K, {width}]; another model made them")
    if not np.isfinite(vectors).all():
        raise UserError(f"{path}: vectors hold NaN or infinity; delete the shard and collect again")
    return vectors


def write_table(folder: Path, name: str, frame) -> Path:
    """A pandas frame as `<name>.parquet`, replaced atomically."""
    path = folder / f"{name}.parquet"
    write_atomic(path, frame.to_parquet(index=False))
    return path


def read_table(folder: Path, name: str):
    """The frame of `<name>.parquet`; a missing one says which stage makes it."""
    import pandas as pd

    path = folder / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"{path}: not there yet; run the earlier stages first (python -m parallax_lib run params/<run>.yaml)")
    try:
        return pd.read_parquet(path)
    except Exception as e:
        raise UserError(f"{path}: damaged table ({type(e).__name__}); delete it and run its stage again") from None
