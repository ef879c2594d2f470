"""Stage 01: the tasks of a run, their rollouts collected live or taken from a folder, and the latent-sensitivity probe.

Knows the names of the run's tables.  Holds no method of its own.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.core import progress
from parallax_lib.core.config import dump
from parallax_lib.core.errors import UserError
from parallax_lib.core.executors import run_map
from parallax_lib.core.settings import Params
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import (
    derive_seed,
    digest,
    held,
    read_vectors,
    run_folder,
    writable_folder,
    write_atomic,
    write_vectors,
)
from parallax_lib.prm import labels as reward_labels
from parallax_lib.search import latent_sensitivity, methods, placement, prompt_room, rollouts
from parallax_lib.search.rollout_files import read_rollouts, write_rollouts
from parallax_lib.study import memory, prm_data, remembered
from parallax_lib.study import run as runs
from parallax_lib.study.run import Run, beside, judge_frame, open_params
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import Task, split_of, spread
from parallax_lib.translator.models import width_of
from parallax_lib.verdict.assurance import oracle_audit


def all_tasks(run: Run) -> list[Task]:
    """The suite's tasks, without those whose prompt is too long for the run.  UserError where none is left."""
    pool = runs.all_tasks(run)
    long = prompt_room.too_long(pool, run.params)
    if len(long) == len(pool):
        raise UserError(prompt_room.none_left(run.params))
    return [t for t in pool if t.id not in long]


def left_out(run: Run) -> str:
    """What `all_tasks` leaves out, in words; "" for nothing."""
    long = prompt_room.too_long(runs.all_tasks(run), run.params)
    names = ", ".join(f"{name} ({tokens:,})" for name, tokens in sorted(long.items(), key=lambda item: -item[1]))
    most = f"{prompt_room.longest_prompt(run.params):,} tokens (decode.max_prompt, or what the model's positions leave)"
    return f"left out, over {most}: {names}" if long else ""


def task_table(chosen: Sequence[Task], run: Run) -> pd.DataFrame:
    """A row for each task; `oracle` is the strength that the suite's shipped audit measured."""
    strength = oracle_audit.bundled_strengths()
    rows = [
        {
            "task": t.id,
            "kernel": t.kernel.name,
            "family": t.kernel.family,
            "source": t.source,
            "target": t.target,
            "direction": t.direction,
            "split": split_of(t.kernel.family, run.params.suite, generator.SEEN_FAMILIES),
            "oracle": strength.get(t.kernel.name, "not audited") if t.kernel.suite == "minibench" else "not audited",
        }
        for t in chosen
    ]
    return pd.DataFrame(rows)


def tasks_of(run: Run, rows: pd.DataFrame) -> list[Task]:
    """The suite's tasks that the rows name."""
    ids = set(rows["task"])
    return [t for t in runs.all_tasks(run) if t.id in ids]


def tour_task(run: Run, rows: pd.DataFrame | None = None) -> Task:
    """The shortest task from serial to OpenMP: what the tour shows.  With collected `rows` the shortest whose original failed where
    two branch-offs did not, in a family that the translator never saw."""
    pool = [t for t in runs.all_tasks(run) if t.direction == "serial-omp"]
    if rows is not None:
        original = rows["branch_depth"] < 0
        good, first = (rows[kept].groupby("task")["reward"].sum() for kept in (~original, original))
        split = set(good.index[(good >= 2) & (first.reindex(good.index) == 0)])
        pool = [t for t in pool if t.id in split and t.kernel.family not in generator.SEEN_FAMILIES]
    return min(pool, key=lambda t: (len(t.source_code), t.id))


def chosen_tasks(run: Run, pool: list[Task]) -> list[Task]:
    """The tasks of the pool that a run collects live: those of `collect.splits`, all without it; long ones last, among their like."""
    c, suite = run.params.collect, run.params.suite
    if c.splits:
        pool = [t for t in pool if split_of(t.kernel.family, suite, generator.SEEN_FAMILIES) in c.splits]
    if not pool:
        raise UserError(f"collect.splits: the suite has no task of {', '.join(c.splits)}; change suite.kinds or the split")
    return sorted(spread(pool, c.limit, run.params.seed, c.per_direction), key=lambda task: prompt_room.weight(task, run.params))


def collect_live(run: Run, chosen: Sequence[Task], judge: bool = True, **own: methods.Given) -> tuple[pd.DataFrame, np.ndarray]:
    """Rollouts of the chosen tasks, generated, judged and rewarded; latents [n, K, D].

    judge: False writes them only; their verdicts are made later.
    own: names or functions instead of the settings, proposal=, align=, reward=; `runs.using` keeps them for later stages too.
    """
    run = runs.using(run, **own)
    methods.check(run.params, "proposal", "align", "reward")
    memory.refuse(run.params, "01")
    folder = run.folder / "vectors"
    with beside(run, chosen) if judge else nullcontext(lambda rows: None) as written:
        rollouts.collect(list(chosen), run.params, run.journal, folder, run.progress, written)
    frame, vectors = rollouts.load_rollouts(run.journal, folder, rollouts.chunk_keys(list(chosen), run.params))
    return (judge_frame(run, frame, chosen) if judge else frame).assign(origin="live"), vectors


def sensitivity_rows(run: Run, chosen: Sequence[Task]) -> pd.DataFrame:
    """The probe of latent sensitivity, judged: one row a program; none with `collect.sensitivity_limit` 0."""
    c = run.params.collect
    some = list(chosen)[: c.sensitivity_limit]
    if not some:
        return pd.DataFrame(columns=["task", "kind", "sigma", "code", "validated", "reason"])
    methods.check(run.params, "proposal", "align", "reward")
    values = dump(run.params)
    code = [source_digest(latent_sensitivity.probe), rollouts.made_by(run.params)]
    asked = [values["collect"], values["decode"]["redecode_temperature"], code]
    key = digest([[rollouts.capture_id(task, run.params, 0, 0) for task in some], asked])
    rows = (run.journal.get("latent_sensitivity", key) or {}).get("rows")
    if rows is None:
        rows = _probed(run, some)
        run.journal.put("latent_sensitivity", key, {"rows": rows})
    return judge_frame(run, pd.DataFrame(rows), some, "validate latent sensitivity")


def _probed(run: Run, chosen: Sequence[Task]) -> list[dict]:
    """The probe's rows, written where the run's programs are."""
    item = {"params": dump(run.params), "own": placement.own_methods(run.params), "tasks": list(chosen)} | placement.gpus(run.params)
    where = placement.executor_config(run.params)
    item |= {"progress": run.progress} if where.runs_here else {}
    run.progress("latent_sensitivity", 0, len(latent_sensitivity.probe_rows(chosen, run.params)), "programs")
    ((_, rows),) = run_map(latent_sensitivity.probe_item, [item], where, say=placement.said(run.progress))
    if isinstance(rows, Exception):
        raise rows
    return rows


def with_shipped(run: Run, live: pd.DataFrame | None, vectors: np.ndarray | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Live rollouts, if there are any, then the shipped ones of `collect.shipped`; split by family, leakage refused.

    Shipped latents are cut to the run's K; one made with fewer steps is refused.  Of the shipped tasks a hash draws
    `collect.shipped_limit`, each with all its rollouts.
    """
    if live is None or vectors is None:
        frame, found = shipped_rollouts(run, run.params.latent.steps, width_of(run.params.translator))
        return with_splits(run, frame), found
    frames, parts = [live], [vectors]
    if run.params.collect.shipped:
        frame, more = shipped_rollouts(run, vectors.shape[1], vectors.shape[2])
        fresh = (~frame["capture_id"].isin(live["capture_id"])).to_numpy()
        frames.append(frame[fresh])
        parts.append(more[fresh])
    return with_splits(run, pd.concat(frames, ignore_index=True)), np.concatenate(parts)


def shipped_rollouts(run: Run, steps: int, width: int | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """The rollouts of `collect.shipped` with the run's reward, and the first `steps` of their latents, float16 [n, steps, D]."""
    frame, vectors = read_rollouts(run.params.collect.shipped, width)
    if vectors.shape[1] < steps:
        raise UserError(f"collect.shipped: latents have {vectors.shape[1]} steps, latent.steps is {steps}; lower it or collect again")
    frame = _rewarded(run, frame)
    inside = frame["branch_depth"] < steps
    if run.params.collect.shipped_limit:
        drawn = sorted(frame["task"].unique(), key=lambda task: derive_seed("shipped", task))[: run.params.collect.shipped_limit]
        inside &= frame["task"].isin(drawn)
    return frame[inside].reset_index(drop=True), vectors[inside.to_numpy(), :steps]


def _rewarded(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Shipped rollouts with the run's reward; those that tell no verdict, but a reward, keep it."""
    if {"level", "reason"} <= set(frame):
        return frame.assign(reward=reward_labels.rewards(frame, run.params.reward.spec))
    if "reward" not in frame:
        raise UserError("collect.shipped: its rollouts have no verdicts; judge them: python -m parallax_lib rejudge FOLDER --out DIR")
    return frame


def with_splits(run: Run, rollouts: pd.DataFrame) -> pd.DataFrame:
    """The rollouts with each one's `split`, its family's; leakage refused."""
    return reward_labels.assign_split(
        rollouts, {f: split_of(f, run.params.suite, generator.SEEN_FAMILIES) for f in rollouts["family"].unique()}
    )


def keep_rollouts(run: Run, rollouts: pd.DataFrame, vectors: np.ndarray) -> None:
    write_vectors(run.folder / "latents.safetensors", vectors)
    run.keep("rollouts", rollouts)


def load_rollouts(run: Run) -> tuple[pd.DataFrame, np.ndarray]:
    """(rollouts with their splits, latents [n, K, D]) of the run: those of its JSONL files, else stage 01's; of the study that
    ships, those of data/rollouts."""
    if prm_data.given(run.params):
        return prm_data.load(run.params)
    if run.shipped:
        frame, vectors = shipped_rollouts(run, run.params.latent.steps)
        return with_splits(run, frame), vectors
    return run.table("rollouts"), read_vectors(run.folder / "latents.safetensors")


def collect_to(params: Params, out: Path, metadata: dict, force: bool = False, judge: bool = True) -> None:
    """Stage 01 without a notebook: collect, judge, probe how sensitive programs are to latents, write a folder that others can add.

    The rollouts of `collect.shipped` are written along.  force: what the run remembers of them is forgotten first.  judge: False
    writes programs and latents alone, without verdicts and without the probe, which are verdicts; `rejudge` judges them.
    """
    writable_folder(out)
    folder = run_folder(params.run)
    with held(folder), progress.watched(folder / progress.FILE, "", partial(print, flush=True)):
        if force:
            remembered.forget(folder, "01")
        run = open_params(params)
        pool = all_tasks(run)
        chosen = chosen_tasks(run, pool) if params.collect.limit else []
        frame, vectors = with_shipped(run, *(collect_live(run, chosen, judge) if chosen else (None, None)))
        frame = frame.drop(columns=["split", "origin"])
        write_rollouts(out, frame, vectors, metadata)
        if judge and params.collect.sensitivity_limit:
            unseen = [t for t in pool if t.kernel.family not in generator.SEEN_FAMILIES]
            probe = sensitivity_rows(run, spread(unseen, params.collect.sensitivity_limit, params.seed))
            write_atomic(out / "latent_sensitivity.jsonl.gz", gzip.compress(probe.to_json(orient="records", lines=True).encode(), mtime=0))
    if judge:
        print(frame.groupby("direction")["reason"].value_counts().to_string())
    else:
        print(f"{len(frame)} rollouts, not judged; judge them: python -m parallax_lib rejudge {out} --out DIR")
