"""What the numbered notebooks do to a run folder, one function a step.

Knows every module above and the names of the run's tables.  Holds no method of its own: a formula or a rule found here
belongs in its module.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib import collect, influence, metrics, rewards, sandbox, suite, toolchain, validate
from parallax_lib.kernels import Task, spread, split_of, tasks
from parallax_lib.models import load_translator, resolve
from parallax_lib.params import Params, UserError, dump, load
from parallax_lib.pipeline import manifest, progress_writer
from parallax_lib.store import Journal, read_table, read_vectors, run_folder, write_atomic, write_json, write_table, write_vectors

SHARD_ROWS = 3000


@dataclass(frozen=True)
class Run:
    """An open run folder."""

    params: Params
    folder: Path
    journal: Journal
    progress: Callable[[str, int, int], None]

    def table(self, name: str) -> pd.DataFrame:
        return read_table(self.folder, name)

    def keep(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        write_table(self.folder, name, frame)
        return frame


def open_run(run: str, seed: int = 0, **sections: dict) -> Run:
    """The run of a notebook's parameters cell: `params/<run>.yaml` with the cell's sections laid on top."""
    params = load(run, seed=seed, **sections)
    folder = run_folder(params.run)
    return Run(params, folder, Journal(folder / "journal.sqlite"), progress_writer(folder))


def all_tasks(run: Run) -> list[Task]:
    return tasks(suite.load_suite(run.params.suite), run.params.suite.directions)


def task_table(chosen: Sequence[Task], run: Run) -> pd.DataFrame:
    rows = [{"task": t.id, "kernel": t.kernel.name, "family": t.kernel.family, "source": t.source, "target": t.target,
             "direction": t.direction, "split": split_of(t.kernel.family, run.params.suite)} for t in chosen]  # fmt: skip
    return pd.DataFrame(rows)


# ---- 01: rollouts ----------------------------------------------------------------------------------------------------


def collect_live(run: Run, chosen: Sequence[Task]) -> tuple[pd.DataFrame, np.ndarray]:
    """Rollouts of the chosen tasks, generated, judged and rewarded; latents float16 [n, K, D]."""
    folder = run.folder / "vectors"
    collect.collect(list(chosen), run.params, run.journal, folder, run.progress)
    wanted = {collect.capture_id(t, run.params, v, r) for t in chosen for v, r in collect.branches(run.params)}
    frame, vectors = collect.load_rollouts(run.journal, folder, wanted)
    return judge_frame(run, frame, chosen).assign(origin="live"), vectors


def judge_frame(run: Run, frame: pd.DataFrame, chosen: Sequence[Task], what: str = "validate") -> pd.DataFrame:
    """The rows with their verdict columns, `validated` and `reward`."""
    by_id = {t.id: t for t in chosen}
    items = [(code if isinstance(code, str) else None, by_id[task]) for code, task in zip(frame["code"], frame["task"], strict=True)]
    v = run.params.validation
    limits = sandbox.Limits(cpu_s=v.cpu_s, wall_s=10 * v.cpu_s, memory_mb=v.memory_mb)
    verdicts = validate.judge_many(items, toolchain.detect(), sandbox.probe(unsafe=v.unsafe), limits, journal=run.journal,
                                   workers=v.workers, progress=lambda done, total: run.progress(what, done, total))  # fmt: skip
    table = pd.DataFrame([validate.to_row(v) for v in verdicts], index=frame.index)
    out = frame.drop(columns=[c for c in table if c in frame]).join(table)
    return out.assign(validated=out["level"] >= 5, reward=rewards.rewards(out, run.params.reward.spec))


def influence_rows(run: Run, chosen: Sequence[Task]) -> pd.DataFrame:
    """The latent-influence probe, judged: one row a program."""
    c = run.params.collect
    some = list(chosen)[: c.influence_limit]
    key = collect.capture_id(some[0], run.params, 0, 0) + json.dumps(dump(run.params)["collect"]) if some else ""
    rows = (run.journal.get("influence", key) or {}).get("rows")
    if rows is None:
        rows = influence.probe(load_translator(run.params.translator), some, run.params, run.progress)
        run.journal.put("influence", key, {"rows": rows})
    return judge_frame(run, pd.DataFrame(rows), some, "validate influence")


def write_shipped(folder: Path, frame: pd.DataFrame, vectors: np.ndarray, extra: dict) -> None:
    """Rollouts as `rollouts.jsonl.gz` and `latents-<i>.safetensors`, with `card.json` that says what made them."""
    for i, at in enumerate(range(0, len(frame), SHARD_ROWS)):
        write_vectors(folder / f"latents-{i}.safetensors", vectors[at : at + SHARD_ROWS])
    text = frame.to_json(orient="records", lines=True)
    write_atomic(folder / "rollouts.jsonl.gz", gzip.compress(text.encode(), mtime=0))
    write_json(folder / "card.json", extra | {"rollouts": len(frame), "latents": list(vectors.shape)})


def read_shipped(path: str, width: int | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """What `write_shipped` wrote.  Raises UserError for a missing folder, a damaged shard or another model's width."""
    folder = resolve(path)
    file = folder / "rollouts.jsonl.gz"
    if not file.exists():
        raise UserError(f"collect.shipped: {file} not found; set it to '' or to a folder that `collect` wrote")
    frame = pd.read_json(file, lines=True)
    shards = [read_vectors(p, width) for p in sorted(folder.glob("latents-*.safetensors"), key=lambda p: int(p.stem.split("-")[1]))]
    vectors = np.concatenate(shards) if shards else np.zeros((0, 0, 0), np.float16)
    if len(frame) != len(vectors):
        raise UserError(f"{folder}: {len(frame)} rollouts but {len(vectors)} latents; the folder is incomplete, restore it")
    return frame.assign(origin="shipped"), vectors
