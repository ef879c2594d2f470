"""Judges shipped rollouts again with this machine's compilers and today's rules, and says which verdicts changed.

Knows a folder of rollouts, or a run's, and its metadata.  Knows no rule of a verdict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.core import progress
from parallax_lib.core.config import check, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import read_table, read_vectors, slug, writable_folder
from parallax_lib.search import rollout_files
from parallax_lib.search.rollout_files import read_rollouts, write_rollouts
from parallax_lib.study import inference_files, row_tasks
from parallax_lib.study import run as runs
from parallax_lib.verdict import batch as judge_batch

KEPT = ("suite", "reward")  # of the parameters: what a task and a reward are


def rejudge(path: str, out: Path | None, workers: int, most: int = 0, say: Callable[[str], None] = print) -> pd.DataFrame:
    """The folder's rows with new verdicts, the earlier reason and toolchain in `was` and `was_toolchain`; written to `out`.

    most: of so many tasks alone, in an order that a hash draws; 0: of all.

    path: a folder of rollouts, or a run's.  Verdicts are kept in the journal of the run `run_name(path)`, so a stopped command
    goes on.  Rows whose source is no longer what the suite holds are judged against the source that they name, on the suite's
    inputs; rows of no known task are told, and `not_checkable`.
    """
    if out:
        writable_folder(out)
    rows, vectors = read_rows(path)
    if most:
        drawn = sorted(rows["task"].unique(), key=lambda task: hashlib.sha256(task.encode()).hexdigest())[:most]
        kept = rows["task"].isin(drawn).to_numpy()
        rows, vectors = rows[kept].reset_index(drop=True), vectors[kept]
    metadata = read_metadata(path)
    sections = {name: metadata["params"][name] for name in KEPT} | {"run": run_name(path)}
    races = {name: value for name, value in metadata["params"].get("validation", {}).items() if name == "races"}  # judged or not, as it was
    sections["validation"] = races | {"workers": workers}
    run = runs.open_params(check(sections, {}, Path("metadata.json")))
    found = row_tasks.find_tasks(rows, runs.all_tasks(run), run.folder / "tasks_of_rows.jsonl")
    if found.older or found.own or None in found.of:
        say(found.text(len(rows)))
    with progress.watched(run.folder / progress.FILE, "", partial(print, flush=True)):
        judged = inference_files.judge_rows(run, rows.drop(columns="origin"), found.of)
    if out:
        write_rollouts(out, judged, vectors, metadata | {"rejudged": judge_batch.machine_text().splitlines()})
    before = {f"was{mark}": rows[name] if name in rows else "not judged" for mark, name in (("", "reason"), ("_toolchain", "toolchain"))}
    return judged.assign(**before)


def read_rows(path: str) -> tuple[pd.DataFrame, np.ndarray]:
    """(rollouts, latents) of a folder of rollouts, or of a run's folder."""
    folder = resolve(path)
    if (folder / "rollouts.parquet").exists():
        return read_table(folder, "rollouts").drop(columns="split"), read_vectors(folder / "latents.safetensors")
    return read_rollouts(path)


def read_metadata(path: str) -> dict:
    """The folder's metadata, of a run's folder its manifest; it names the suite of the tasks.  Raises UserError where there is none."""
    folder = resolve(path)
    name = "metadata.json" if (folder / "metadata.json").exists() or not (folder / "manifest.json").exists() else "manifest.json"
    metadata = rollout_files.read_metadata(folder, name)
    if not set(KEPT) <= set(metadata.get("params", {})):
        needed = " and ".join(f"params.{name}" for name in KEPT)
        raise UserError(f"{folder / name}: no metadata with {needed}; it must name the suite of the rollouts")
    return metadata


def run_name(path: str) -> str:
    folder = resolve(path).resolve()
    return slug(f"rejudge-{folder.name}", [str(folder)])


def changes(judged: pd.DataFrame) -> str:
    """Per direction: rows, equal reasons, equal validated, then every pair of different reasons with its count."""
    lines = []
    for direction, rows in judged.groupby("direction"):
        same, valid = (rows["was"] == rows["reason"]).sum(), ((rows["was"] == "ok") == (rows["reason"] == "ok")).sum()
        lines.append(f"{direction}: {len(rows)} rollouts, {same} with the same reason, {valid} with the same validated")
        other = rows[rows["was"] != rows["reason"]].groupby(["was", "reason"]).size()
        lines += [f"    {count:4}  {was} -> {now}" for (was, now), count in other.items()]
    return "\n".join(lines)
