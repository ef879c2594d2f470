"""Judges shipped rollouts again with this machine's compilers and today's rules, and says which verdicts changed.

Knows a folder of rollouts and its metadata.  Knows no rule of a verdict.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from parallax_lib.core.config import check, resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import slug, writable_folder
from parallax_lib.search import rollout_files
from parallax_lib.search.rollout_files import read_rollouts, write_rollouts
from parallax_lib.study import run as runs
from parallax_lib.verdict import batch as judge_batch

KEPT = ("suite", "reward")  # of the parameters: what a task and a reward are


def rejudge(path: str, out: Path | None, workers: int) -> pd.DataFrame:
    """The folder's rows with new verdicts, the earlier reason and toolchain in `was` and `was_toolchain`; written to `out`.

    Verdicts are kept in the journal of the run `run_name(path)`, so a stopped command goes on.  Raises UserError for rows whose
    source is no longer what the suite holds: their hidden inputs would be those of another program.
    """
    if out:
        writable_folder(out)
    rows, vectors = read_rollouts(path)
    metadata = read_metadata(path)
    sections = {name: metadata["params"][name] for name in KEPT} | {"run": run_name(path)}
    races = {name: value for name, value in metadata["params"].get("validation", {}).items() if name == "races"}  # judged or not, as it was
    sections["validation"] = races | {"workers": workers}
    run = runs.open_params(check(sections, {}, Path("metadata.json")), say=True)
    by_id = {t.id: t for t in runs.all_tasks(run)}
    stale = sorted({r.task for r in rows.itertuples() if r.task not in by_id or by_id[r.task].source_code != r.source_code})
    if stale:
        raise UserError(f"{path}: {len(stale)} tasks, {stale[0]} first, have another source than the suite has now; collect them again")
    judged = runs.judge_frame(run, rows.drop(columns="origin"), [by_id[t] for t in rows["task"].unique()])
    if out:
        write_rollouts(out, judged, vectors, metadata | {"rejudged": judge_batch.machine_text().splitlines()})
    before = {f"was{mark}": rows[name] if name in rows else "not judged" for mark, name in (("", "reason"), ("_toolchain", "toolchain"))}
    return judged.assign(**before)


def read_metadata(path: str) -> dict:
    """The folder's metadata.  Raises UserError where there is none: it says which suite the tasks are of."""
    folder = resolve(path)
    metadata = rollout_files.read_metadata(folder)
    if not set(KEPT) <= set(metadata.get("params", {})):
        needed = " and ".join(f"params.{name}" for name in KEPT)
        raise UserError(f"{folder / 'metadata.json'}: no metadata with {needed}; it must name the suite of the rollouts")
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
