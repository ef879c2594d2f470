"""What a run leaves on disk: a crash-safe journal, vector shards, tables, a manifest.

Knows files and rows.  Knows nothing of models, programs or verdicts.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import json
import os
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from parallax_lib.core import renamed
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.vector_format import as_stored, as_vectors

GZIP = b"\x1f\x8b"
WAIT_S = 60.0  # for another process's transaction in the journal
MAKERS = {  # table -> the stage that makes it
    "rollouts": "01",
    **dict.fromkeys(("history", "scores", "scores_by_depth", "calibration"), "02"),
    **dict.fromkeys(("branches", "selection"), "03"),
    **dict.fromkeys(("cross_validation", *(f"cross_validation_{what}" for what in ("differences", "gaps", "families", "filtered"))), "03"),
    "judged_again": "03",
    "translations": "04",
    **dict.fromkeys(("pool", "sampled_pool", "results", "rounds", "arms", "repairs", "paired", "frontier"), "05"),
    "recheck": "06",
    **dict.fromkeys(("differences", "gaps", "breadth", "margins", "variations"), "07"),
}


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
        writable_folder(self.path.parent)
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE IF NOT EXISTS entries (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))")
            db.execute("SELECT kind, key, value FROM entries LIMIT 0")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call; what sqlite says against the file becomes one line with the remedy."""
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)) as db:
                yield db
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.DatabaseError, json.JSONDecodeError) as e:
            raise UserError(f"{self.path}: {_remedy(e, self.path)}") from None

    def get(self, kind: str, key: str) -> dict | None:
        with self._open() as db:
            row = db.execute("SELECT value FROM entries WHERE kind = ? AND key = ?", (kind, key)).fetchone()
            return json.loads(row[0]) if row else None

    def known(self, kind: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys that have a row."""
        with self._open() as db:
            return {key for key in keys if db.execute("SELECT 1 FROM entries WHERE kind = ? AND key = ?", (kind, key)).fetchone()}

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
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(statement, rows)
            db.execute("COMMIT")

    def rows(self, kind: str) -> dict[str, dict]:
        """Every row of a kind by key, in key order."""
        with self._open() as db:
            found = db.execute("SELECT key, value FROM entries WHERE kind = ? ORDER BY key", (kind,)).fetchall()
            return {key: json.loads(value) for key, value in found}


def _remedy(error: Exception, path: Path) -> str:
    """What is wrong with a journal and what helps."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # none: a value that is no text or no JSON
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"another process holds the journal ({error}); wait for it or end it, then run again"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return f"not a journal ({error}); move it away to start afresh"
    if code == sqlite3.SQLITE_CORRUPT:
        saved = f"sqlite3 {path} .recover | sqlite3 {path.with_suffix('.saved')}"
        return f"damaged journal ({error}); move it, its -wal and its -shm away to start afresh, or first save its rows: {saved}"
    return f"cannot write the journal ({error}); rows up to here are kept, free space or choose another folder and run again"


def run_folder(run: str) -> Path:
    """`data/runs/<run>`, made on demand."""
    folder = ROOT / "data" / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder for this process alone; UserError names the process that has it.  The kernel lets go when the process ends.

    Programs that this process starts do not hold it.  On a disk without locks nothing is held.
    """
    with open(writable_folder(folder) / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip()
            raise UserError(f"{folder}: process {pid} is at work here; wait for it or end it, or name another run") from None
        except OSError:
            pass
        file.truncate(0)
        print(os.getpid(), file=file, flush=True)
        try:
            yield
        finally:
            file.truncate(0)  # who reads it sees that nobody is at work


def writable_folder(path: Path) -> Path:
    """The folder, made on demand, after a file was written there on trial.  UserError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as e:
        raise UserError(f"{path}: cannot write here ({e.strerror}); name another one") from None


def writable_file(path: Path) -> None:
    """UserError where no file of that name can be written."""
    writable_folder(path.parent)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a temporary name, fsync, rename: the path holds all of it or nothing."""
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as e:
        remedy = "free space" if e.errno in (errno.ENOSPC, errno.EDQUOT) else "correct the path or its rights"
        raise UserError(f"{path}: cannot write ({e.strerror}); {remedy} and run again, nothing earlier is lost") from None
    finally:
        if os.path.exists(name):
            os.unlink(name)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True, default=str) + "\n").encode())


def write_vectors(path: Path, vectors: np.ndarray, packed: bool = False) -> None:
    """One shard [n, K, D]: float16 as it is; float32 as bfloat16 where all values are such, else as it is.

    packed: compressed, in less than half the room, each of the D dimensions as int8 in steps of a power of two; a value then
    differs by at most 1/63 of the largest one in its dimension, and packed again by nothing."""
    assert vectors.ndim == 3, vectors.shape
    if not packed:
        write_atomic(path, save(as_stored(np.ascontiguousarray(vectors))))
        return
    values = vectors.astype(np.float32)
    assert np.isfinite(values).all()
    most = np.abs(values).max(axis=(0, 1), initial=0)
    step = np.exp2(np.ceil(np.log2(np.where(most > 0, most, 1) / 63))).astype(np.float32)
    whole = np.rint(values / step).astype(np.int8).transpose(2, 1, 0)  # [D, K, n]: neighbours are alike, which compresses best
    write_atomic(path, gzip.compress(save({"whole": np.ascontiguousarray(whole), "step": step}), mtime=0))


def read_vectors(path: Path, width: int | None = None) -> np.ndarray:
    """A shard [n, K, D] as it was written; a truncated file, a wrong width or non-finite values are refused."""
    try:
        data = path.read_bytes()
        vectors = as_vectors(load(gzip.decompress(data) if data.startswith(GZIP) else data))
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
    """The frame of `<name>.parquet`, old names of methods replaced; for a missing or damaged one it is told which stage makes it."""
    import pandas as pd

    path = folder / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"{path}: not there yet; {_maker(folder, name)}")
    try:
        return _renamed(pd.read_parquet(path))
    except Exception as e:
        raise UserError(f"{path}: damaged table ({type(e).__name__}); delete it, then {_maker(folder, name)}") from None


def _renamed(frame):
    """The frame of an older run under today's names of methods, in its columns and in those cells that name methods."""
    for old, new in renamed.VALUES["search.arms"].items():
        frame = frame.rename(columns={old: new})
        for column in {"arm", "against", "comparison"} & set(frame):
            if frame[column].astype(str).str.contains(old).any():
                frame[column] = frame[column].str.replace(rf"\b{old}\b", new, regex=True)
    return frame


def _maker(folder: Path, name: str) -> str:
    """What makes a table of that folder: the stage, and the command that runs whatever is missing."""
    if folder.resolve().parent != (ROOT / "data" / "runs").resolve() or name not in MAKERS:
        return "restore the file"
    file = ROOT / "params" / f"{folder.name}.yaml"
    given = f"params/{folder.name}.yaml" if file.exists() else f"FILE --set run={folder.name}"
    only = " --only 07" if MAKERS[name] == "07" else ""
    return f"stage {MAKERS[name]} makes it: python -m parallax_lib run {given}{only}"


def whole(path: Path) -> bool:
    """Is the file there and not cut short?  Tables and vectors are asked for the length that they should have; little is read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if path.suffix == ".parquet":
                file.seek(max(0, size - 8))
                tail = file.read()
                return tail[4:] == b"PAR1" and int.from_bytes(tail[:4], "little") + 12 <= size
            if path.suffix == ".safetensors":
                header = int.from_bytes(file.read(8), "little")
                head = json.loads(file.read(min(header, size)))
                return 8 + header + max(v["data_offsets"][1] for k, v in head.items() if k != "__metadata__") == size
        return size > 0
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
