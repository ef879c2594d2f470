"""Import and export of the published file layout: JSONL rows, `<id>.pt`, `<id>_v{i}_r{j}.pt`, `.gz` accepted.

Knows those rows: one for each trajectory, or one for each kernel and direction with its continuations inside.  Knows no verdict.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parallax_lib.core.errors import UserError
from parallax_lib.core.json_lines import read_objects
from parallax_lib.core.storage import write_atomic
from parallax_lib.core.vector_format import is_bfloat16
from parallax_lib.search.field_map import OF_ROLLOUT, FieldMap
from parallax_lib.search.vector_files import place, read_tensor, unzipped, write_tensor

INDEX = ("dataset.jsonl", "dataset.jsonl.gz")
BRANCH = re.compile(r"^(?P<root>.+?)(?:_v(?P<depth>\d+)_r(?P<resample>\d+))?$")  # published naming of a rollout
TAIL = re.compile(r"(?:^|_)v(\d+)_r(\d+)$")
PLAIN = FieldMap()  # obvious names alone
INSIDE = ("kernel", "family", "task", "direction", "source_code", "split")  # what a continuation has of the row that it lies in


@dataclass
class Report:
    """What was read of one JSONL file, what was not and why."""

    file: Path
    rows: int = 0
    inside: int = 0  # continuations in rows
    fields: dict[str, str] = field(default_factory=dict)  # theirs -> ours
    unused: list[str] = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)  # reason -> rows
    example: dict[str, str] = field(default_factory=dict)  # reason -> the first of them
    shape: tuple[int, ...] = ()
    dtype: str = ""
    unnamed: int = 0  # tensors that no row names

    def skip(self, reason: str, which: str) -> None:
        self.skipped[reason] += 1
        self.example.setdefault(reason, which)

    def text(self) -> str:
        """Some lines for a terminal."""
        renamed = ", ".join(f"{theirs} is {ours}" for theirs, ours in self.fields.items() if theirs != ours)
        lines = [f"{self.file}: {self.rows} rows, {self.inside} continuations inside them; latents {list(self.shape)} {self.dtype}"]
        lines += [f"  fields: {renamed}"] if renamed else []
        lines += [f"  carried along: {', '.join(sorted(self.unused))}"] if self.unused else []
        lines += [f"  skipped: {n} {reason}, {self.example[reason]} first" for reason, n in self.skipped.items()]
        lines += [f"  {self.unnamed} tensors in the folder that no row names"] if self.unnamed else []
        return "\n".join(lines)


def export_layout(folder: Path, rollouts: pd.DataFrame, vectors: np.ndarray) -> Path:
    """Write one `.pt` [K, D] a rollout and `dataset.jsonl` whose rows name them; returns the JSONL's path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, wide = [], is_bfloat16(vectors)
    for row, path in zip(rollouts.to_dict("records"), vectors, strict=True):
        file = f"{row['capture_id']}.pt"
        write_tensor(folder / file, path, wide)
        clean = {k: (None if isinstance(v, float) and np.isnan(v) else v) for k, v in row.items()}
        lines.append(json.dumps(clean | {"latents": file}))
    index = folder / INDEX[0]
    write_atomic(index, ("\n".join(lines) + "\n").encode())
    return index


def import_layout(folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """(rollouts, latents [n, K, D]) of a folder in the published layout, all of it.  Raises UserError naming the file."""
    index = next((folder / n for n in INDEX if (folder / n).exists()), None)
    if index is None:
        raise UserError(f"{folder}: no dataset.jsonl or dataset.jsonl.gz")
    frame, vectors, report = read_jsonl(index)
    for reason in report.skipped:
        raise UserError(f"{folder}: {report.example[reason]}: {reason}; restore it, or take its row out of {index.name}")
    return frame, vectors


def read_jsonl(
    index: Path, base: Path | None = None, names: FieldMap = PLAIN, width: int | None = None, owner: str = "the PRM"
) -> tuple[pd.DataFrame, np.ndarray, Report]:
    """(rollouts, latents [n, K, D] float16 or float32, report) of one JSONL file and the tensors that its rows name.

    base: folder of the tensors; else beside the file, or in vectors/ there.  width: D that `owner` takes, checked with the
    first tensor.  Rows whose tensor is missing are skipped and told.  UserError for a damaged row or tensor, or none at all.
    """
    bases = [base] if base else [index.parent, index.parent / "vectors"]
    report, rows, vectors, names_read = Report(index), [], [], set()
    for where, row in _rollouts(index, names, report):
        name = row["capture_id"]
        if name in names_read:
            report.skip("rows repeat an earlier id", name)
            continue
        path = place(bases, row.pop("latents", None) or f"{name}.pt", where)
        if path is None:
            report.skip("named in dataset.jsonl but missing" if index.name in INDEX else "rows have no tensor in the folder", f"{name}.pt")
            continue
        names_read.add(name)
        value = read_tensor(path)
        if width is not None and value.shape[1] != width:
            raise UserError(f"{path}: latents are {value.shape[1]} wide, {owner} takes {width}; they come from another model")
        rows.append(row)
        vectors.append(value)
    if not rows:
        reason = next(iter(report.skipped), "")
        why = f" ({report.example[reason]}: {reason})" if reason else ""
        raise UserError(f"{index}: no row with latents in {' or '.join(map(str, bases))}{why}; name the tensors' folder: prm.vectors")
    return pd.DataFrame(rows), _stacked(vectors, index.parent, report), report


def _stacked(vectors: list[np.ndarray], folder: Path, report: Report) -> np.ndarray:
    shapes = sorted({v.shape for v in vectors})
    if len(shapes) != 1:
        raise UserError(f"{folder}: latents have {len(shapes)} different shapes {shapes[:3]}, expected one [K, D]")
    latents = np.stack(vectors)  # float32 where some are bfloat16
    report.shape, report.dtype = latents.shape, "bfloat16" if is_bfloat16(latents) else str(latents.dtype)
    return latents


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, the object) of every line of a JSONL file, .gz too.  UserError for a line that is none."""
    return read_objects(unzipped(path), path, "not a row with a capture_id")


def _rollouts(index: Path, names: FieldMap, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of every trajectory: the rows, and the continuations inside them."""
    for where, given in read_lines(index):
        report.rows += 1
        _note(report, names, given)
        row = names.read(given, OF_ROLLOUT)
        if not isinstance(row.get("capture_id"), (str, int)):
            raise UserError(f"{where}: not a row with a capture_id (its fields: {', '.join(sorted(given)) or 'none'})")
        row["capture_id"] = str(row["capture_id"])
        inside = row.pop("continuations", None)
        yield where, row
        for each in _listed(inside):
            report.inside += 1
            yield where, _continuation(row, names.read(each, OF_ROLLOUT), where)


def _listed(inside: Any) -> list[dict]:
    """Continuations as a list of objects: they come as a list, or by their name."""
    if isinstance(inside, dict):
        inside = [{"capture_id": name} | each for name, each in inside.items() if isinstance(each, dict)]
    return [each for each in inside if isinstance(each, dict)] if isinstance(inside, list) else []


def _continuation(row: dict, own: dict, where: str) -> dict:
    """A continuation as a row of its own, named `<id>_v{i}_r{j}` after the row that it lies in."""
    root, named = row["capture_id"], TAIL.search(str(own.get("capture_id", "")))
    depth, resample = named.groups() if named else (own.get("branch_depth", ""), own.get("resample", 0))
    if not str(depth).isdigit() or not str(resample).isdigit():
        raise UserError(f"{where}: a continuation of {root} tells no latent index; it has {', '.join(sorted(own))}")
    tree = {"capture_id": f"{root}_v{depth}_r{resample}", "root": root, "branch_depth": int(depth), "resample": int(resample)}
    return {key: row[key] for key in INSIDE if key in row} | own | tree


def with_tree(frame: pd.DataFrame) -> pd.DataFrame:
    """Where each rollout branches off, from its name where its row does not say."""
    parts = frame["capture_id"].astype(str).str.extract(BRANCH)
    tree = {"root": parts["root"], "branch_depth": parts["depth"].fillna("-1"), "resample": parts["resample"].fillna("0")}
    for name, column in tree.items():
        said = frame[name].where(frame[name].notna(), column) if name in frame else column
        frame = frame.assign(**{name: said if name == "root" else said.astype(float).astype(int)})
    return frame


def _note(report: Report, names: FieldMap, row: dict) -> None:
    """Keep what the row's fields are taken for."""
    found = names.found(row, OF_ROLLOUT)
    report.fields |= {theirs: ours for ours, theirs in found.items()}
    known = {*found.values(), *names.ignored, *report.unused}
    report.unused += [name for name in row if name not in known]
