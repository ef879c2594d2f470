"""What is looked at: the tables of a run folder, of the study that ships, of a folder of rollouts or of one imported file.

Knows files and columns.  Knows nothing of filters, pages or verdict rules.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.json

from parallax_lib.core.config import ROOT, resolve
from parallax_lib.core.errors import UserError, nearest
from parallax_lib.core.storage import digest, read_table, run_folder
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.hecbench import masked

STUDY = ROOT / "data" / "study"
ROLLOUTS = "rollouts.jsonl.gz"
BLOCK = 64 << 20  # bytes that are read at once: longer than any line
PROGRAMS = ("results", "rollouts", "translations")  # tables with a program a row; the first one there is shown first
READERS = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".jsonl": lambda path: read_lines(path),
    ".gz": lambda path: read_lines(path),
    ".json": pd.read_json,
}


def read_lines(path: Path) -> pd.DataFrame:
    """A frame from JSON lines, packed or not; columns that hold several kinds of values are read by pandas, which takes twice as long."""
    try:
        return pyarrow.json.read_json(path, read_options=pyarrow.json.ReadOptions(block_size=BLOCK)).to_pandas()
    except pyarrow.ArrowInvalid:
        return pd.read_json(path, lines=True)


@dataclass
class Dataset:
    """Tables by name, read when they are first asked for.  `notes`: the file of decisions.  `params`: the run's parameter sections."""

    name: str
    folder: Path
    tables: tuple[str, ...]
    notes: Path
    params: dict = field(default_factory=dict)
    given: dict[str, pd.DataFrame] = field(default_factory=dict)
    rollouts: Path | None = None
    checkout: Path | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def table(self, name: str) -> pd.DataFrame:
        """The frame of one table, its rows numbered from 0; UserError for a name that is not there."""
        if name not in self.tables:
            raise UserError(f"{self.name}: no table {name!r}{nearest(name, self.tables)}")
        with self.lock:
            if name not in self.given:
                self.given[name] = self._filled(self._read(name))
            return self.given[name]

    def _read(self, name: str) -> pd.DataFrame:
        if name == "rollouts" and self.rollouts:
            return _completed(read_lines(self.rollouts))
        frame = read_table(self.folder, name)
        return _completed(frame) if name in PROGRAMS else frame

    def _filled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the sources that do not ship, from the checkout that was named."""
        if self.checkout is None or "source_code" not in frame:
            return frame
        absent = frame["source_code"].map(masked.digest_of)
        texts = masked.sources(self.checkout, frame.loc[absent != "", "kernel"].unique()) if "kernel" in frame else {}
        return frame.assign(source_code=absent.map(texts).fillna(frame["source_code"]))

    def optional(self, name: str) -> pd.DataFrame:
        """The table, or an empty frame where there is none."""
        return self.table(name) if name in self.tables else pd.DataFrame()

    @property
    def programs(self) -> list[str]:
        """Tables with a program a row, the one that is shown first at the head."""
        return [name for name in self.tables if name in PROGRAMS or name in self.given]

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """{task: source code} as collected; tasks that were never collected are missing."""
        found: dict[str, str] = {}
        for name in self.programs:
            frame = self.table(name) if name in self.given or name == "rollouts" else pd.DataFrame()
            if "source_code" in frame:
                texts = frame.drop_duplicates("task")
                found |= dict(zip(texts["task"], texts["source_code"], strict=True))
        return found

    @cached_property
    def other_judge(self) -> Mapping[str, dict]:
        """{identity of a CUDA program: its verdict on a GPU}, where a folder of rollouts keeps them."""
        file = self.rollouts.with_name("gpu.jsonl.gz") if self.rollouts else None
        if file is None or not file.exists():
            return {}
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return {row["id"]: row for row in map(json.loads, lines)}


def program_id(task: str, code: str) -> str:
    """The name of a written program in `gpu.jsonl.gz`."""
    kernel, _, direction = task.rpartition(".")
    return f"written/{kernel}/{direction}/{digest(code)[:12]}"


def open_dataset(name: str | Path = "", checkout: str | Path = "") -> Dataset:
    """The study that ships for "", else a run's name, a run's folder, a folder of rollouts, or a table in one file.

    checkout: of HeCBench, for rows whose sources do not ship.  UserError where there is no such thing, or where it has no programs.
    """
    found = _opened(name)
    if checkout:
        hecbench.listed(Path(checkout))
        found.checkout = Path(checkout).expanduser()
        found.params = found.params | {"suite": found.params.get("suite", {}) | {"root": str(found.checkout)}}
        found.given = {name: found._filled(frame) for name, frame in found.given.items()}
    return found


def _opened(name: str | Path) -> Dataset:
    if not str(name):
        return _folder(STUDY, "study", ROOT / "data" / "rollouts" / ROLLOUTS)
    path = resolve(str(name)) if resolve(str(name)).exists() else ROOT / "data" / "runs" / str(name)
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        runs = sorted(folder.name for folder in (ROOT / "data" / "runs").glob("*") if any(folder.glob("*.parquet")))
        known = f"; runs in data/runs are {', '.join(runs)}" if runs else ""
        raise UserError(f"{name}: no such run, folder or file{known}; without a name the study that ships is shown")
    if path.resolve() == STUDY or (path == ROOT / "data" / "runs" / "study" and not (path / "manifest.json").exists()):
        return _opened("")
    shipped = path / ROLLOUTS
    return _folder(path, path.name, shipped if shipped.exists() else None)


def _folder(path: Path, name: str, rollouts: Path | None) -> Dataset:
    tables = {file.stem for file in path.glob("*.parquet")} | ({"rollouts"} if rollouts and rollouts.exists() else set())
    order = [table for table in PROGRAMS if table in tables]
    if not order:
        raise UserError(f"{path}: no table {' or '.join(PROGRAMS)} here; name a run's folder, a folder of rollouts or a file")
    ships = path.resolve().parent == STUDY.parent  # what ships is left as it is
    notes = run_folder(name) if ships else path
    return Dataset(name, path, (*order, *sorted(tables - set(order))), notes / "decisions.json", _params(path, name), rollouts=rollouts)


def _file(path: Path) -> Dataset:
    """One table in a file of its own: its columns may lack all but a task and a text."""
    if path.suffix not in READERS:
        raise UserError(f"{path}: cannot be read; a table ends in {', '.join(READERS)}")
    try:
        frame = READERS[path.suffix](path)
    except Exception as e:
        raise UserError(f"{path}: not a table ({type(e).__name__}: {e}); it needs a row a program") from None
    missing = [name for name in ("task", "code") if name not in frame]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}; a program needs task and code, and has {', '.join(map(str, frame.columns))}")
    folder = run_folder(f"view-{path.stem}") if not _writable(path.parent) else path.parent
    notes = folder / f"{path.name}.decisions.json"
    return Dataset(path.name, path.parent, ("imported",), notes, _params(path.parent, ""), {"imported": _completed(frame)})


def frame_dataset(tables: Mapping[str, pd.DataFrame], notes: str | Path, name: str = "", params: dict | None = None) -> Dataset:
    """Frames at hand, by table name, as a dataset: what the notebook's explorers show."""
    given = {table: _completed(frame) if "code" in frame else frame for table, frame in tables.items()}
    return Dataset(name, Path(notes).parent, tuple(given), Path(notes), params or {}, given)


def _completed(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows numbered from 0, with the columns that every page reads."""
    frame = frame.reset_index(drop=True)
    if "task" in frame and "direction" not in frame:
        frame["direction"] = frame["task"].astype(str).str.rpartition(".")[2]
    if "reason" not in frame:
        frame["reason"] = "not_checkable"
    if "validated" not in frame:
        frame["validated"] = frame["reason"] == "ok"
    return frame


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


def _params(path: Path, name: str) -> dict:
    """Parameter sections of what made the tables: of a manifest, a rollouts folder, or the file in params/ of that name."""
    for file in (path / "manifest.json", path / "metadata.json"):
        if file.exists():
            return json.loads(file.read_text(encoding="utf-8")).get("params", {})
    from parallax_lib.core.config import dump, load_file

    file = ROOT / "params" / f"{name}.yaml"
    return dump(load_file(file)) if name and file.exists() else {}
