"""What the numbered notebooks do to a run folder, one function a step.

Knows every module above and the names of the run's tables.  Holds no method of its own: a formula or a rule found here
belongs in its module.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib import (
    arms,
    audit,
    collect,
    forge,
    influence,
    llvm,
    metrics,
    packed,
    prm,
    rewards,
    runs,
    sandbox,
    scorers,
    search,
    toolchain,
)
from parallax_lib.executors import run_map
from parallax_lib.kernels import Task, split_of, spread
from parallax_lib.models import loaded_translator, width_of
from parallax_lib.params import Params, UserError, dump
from parallax_lib.runs import Run, beside, judge_frame, open_params
from parallax_lib.runs import open_bench as open_bench
from parallax_lib.runs import open_run as open_run
from parallax_lib.scorers import load_prm as load_prm
from parallax_lib.shipped import read_shipped, write_shipped
from parallax_lib.store import (
    derive_seed,
    digest,
    held,
    read_vectors,
    run_folder,
    writable_folder,
    write_atomic,
    write_vectors,
)

REPAIR_SHRINK = 6  # a repair's prompts are three times as long and each row has its own


def all_tasks(run: Run) -> list[Task]:
    """The suite's tasks, without those whose prompt is too long for the run.  UserError where none is left."""
    pool = runs.all_tasks(run)
    long = collect.too_long(pool, run.params)
    if len(long) == len(pool):
        raise UserError(collect.none_left(run.params))
    return [t for t in pool if t.id not in long]


def left_out(run: Run) -> str:
    """What `all_tasks` leaves out, in words; "" for nothing."""
    long = collect.too_long(runs.all_tasks(run), run.params)
    told = ", ".join(f"{name} ({tokens:,})" for name, tokens in sorted(long.items(), key=lambda item: -item[1]))
    most = f"{collect.longest_prompt(run.params):,} tokens (decode.max_prompt, or what the model's positions leave)"
    return f"left out, over {most}: {told}" if long else ""


def task_table(chosen: Sequence[Task], run: Run) -> pd.DataFrame:
    """A row for each task; `oracle` is the strength that the suite's shipped audit measured."""
    strength = audit.bundled_strengths()
    rows = [
        {
            "task": t.id,
            "kernel": t.kernel.name,
            "family": t.kernel.family,
            "source": t.source,
            "target": t.target,
            "direction": t.direction,
            "split": split_of(t.kernel.family, run.params.suite, forge.SEEN_FAMILIES),
            "oracle": strength.get(t.kernel.name, "not audited") if t.kernel.suite == "minibench" else "not audited",
        }
        for t in chosen
    ]
    return pd.DataFrame(rows)


# ---- 01: rollouts ----------------------------------------------------------------------------------------------------


def collect_live(run: Run, chosen: Sequence[Task]) -> tuple[pd.DataFrame, np.ndarray]:
    """Rollouts of the chosen tasks, generated, judged and rewarded; latents float16 [n, K, D]."""
    folder = run.folder / "vectors"
    with beside(run, chosen) as judge:
        collect.collect(list(chosen), run.params, run.journal, folder, run.progress, judge)
    wanted = {collect.capture_id(t, run.params, v, r) for t in chosen for v, r in collect.branches(run.params)}
    frame, vectors = collect.load_rollouts(run.journal, folder, wanted)
    return judge_frame(run, frame, chosen).assign(origin="live"), vectors


def influence_rows(run: Run, chosen: Sequence[Task]) -> pd.DataFrame:
    """The latent-influence probe, judged: one row a program; none with `collect.influence_limit` 0."""
    c = run.params.collect
    some = list(chosen)[: c.influence_limit]
    if not some:
        return pd.DataFrame(columns=["task", "kind", "sigma", "code", "validated", "reason"])
    values = dump(run.params)
    asked = [values["collect"], values["decode"]["redecode_temperature"]]
    key = digest([[collect.capture_id(task, run.params, 0, 0) for task in some], asked])
    rows = (run.journal.get("influence", key) or {}).get("rows")
    if rows is None:
        rows = influence.probe(loaded_translator(run.params.translator), some, run.params, run.progress)
        run.journal.put("influence", key, {"rows": rows})
    return judge_frame(run, pd.DataFrame(rows), some, "validate influence")


def with_shipped(run: Run, live: pd.DataFrame, vectors: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Live rollouts, then the shipped ones of `collect.shipped`; split by family, leakage refused.

    Shipped latents are cut to the run's K; one made with fewer steps is refused.  Of the shipped tasks a hash draws
    `collect.shipped_limit`, each with all its rollouts.
    """
    frames, parts = [live], [vectors]
    if run.params.collect.shipped:
        frame, more = read_shipped(run.params.collect.shipped, vectors.shape[2])
        steps = vectors.shape[1]
        if more.shape[1] < steps:
            raise UserError(f"collect.shipped: latents have {more.shape[1]} steps, latent.steps is {steps}; lower it or collect again")
        frame = _rewarded(run, frame)
        inside = frame["branch_depth"] < steps
        if run.params.collect.shipped_limit:
            drawn = sorted(frame["task"].unique(), key=lambda task: derive_seed("shipped", task))[: run.params.collect.shipped_limit]
            inside &= frame["task"].isin(drawn)
        frames.append(frame[inside & ~frame["capture_id"].isin(live["capture_id"])])
        parts.append(more[frames[1].index, :steps])
    return with_splits(run, pd.concat(frames, ignore_index=True)), np.concatenate(parts)


def _rewarded(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Shipped rollouts with the run's reward; those that tell no verdict, but a reward, keep it."""
    if {"level", "reason"} <= set(frame):
        return frame.assign(reward=rewards.rewards(frame, run.params.reward.spec))
    if "reward" not in frame:
        raise UserError("collect.shipped: its rollouts have no verdicts; judge them: python -m parallax_lib rejudge FOLDER --out DIR")
    return frame


def with_splits(run: Run, rollouts: pd.DataFrame) -> pd.DataFrame:
    """The rollouts with each one's `split`, its family's; leakage refused."""
    return rewards.assign_split(rollouts, {f: split_of(f, run.params.suite, forge.SEEN_FAMILIES) for f in rollouts["family"].unique()})


def keep_rollouts(run: Run, rollouts: pd.DataFrame, vectors: np.ndarray) -> None:
    write_vectors(run.folder / "latents.safetensors", vectors)
    run.keep("rollouts", rollouts)


def load_rollouts(run: Run) -> tuple[pd.DataFrame, np.ndarray]:
    return run.table("rollouts"), read_vectors(run.folder / "latents.safetensors")


# ---- 04 and 05: arms and verdicts ------------------------------------------------------------------------------------


def held_out_tasks(run: Run) -> list[Task]:
    """At most `search.limit` tasks of the test families; with `prm.folds` of all families that stage 03 tested."""
    tested, pool = scorers.tested_families(run), all_tasks(run)
    if tested is None:
        tested = {f for f in {t.kernel.family for t in pool} if split_of(f, run.params.suite, forge.SEEN_FAMILIES) == "test"}
    held_out = [t for t in pool if t.kernel.family in tested]
    if not held_out:
        raise UserError("suite: no kernel of a test family; raise suite.test_fraction or change suite.split_seed")
    return spread(held_out, run.params.search.limit, run.params.seed)


def translate_all(run: Run, chosen: Sequence[Task]) -> pd.DataFrame:
    """Every arm's programs for the chosen tasks, here or on the executor; finished groups are read from the journal."""
    return write_programs(run, search.plan_rows(chosen, run.params))


def write_programs(run: Run, rows: Sequence[search.Row], what: str = "translate", shrink: int = 1) -> pd.DataFrame:
    """One result row a program, in the order of `rows`; groups that the journal holds are not written again.

    shrink: divides the batch, for rows that share no prompt.
    """
    params, shared = run.params, {"params": dump(run.params), "gpu_share": collect.gpu_share(run.params)}
    teams: dict[tuple[Path, ...], list[int]] = {}  # the PRMs of some rows -> which rows
    for i, row in enumerate(rows):
        teams.setdefault(tuple(scorers.folders(run, row.task.kernel.family)), []).append(i)
    groups, every = [], []  # (key, item of the executor)
    for folders, mine in teams.items():
        prms = _checked_prms(run, folders, {rows[i].task.kernel.family for i in mine})
        recipe = [search.recipe(params), [each["sha256"] for each in prms]]
        for group in search.grouped([rows[i] for i in mine], max(1, params.decode.batch // shrink), params):
            groups.append((digest([recipe, [r.identity for r in group]]), shared | {"prms": prms, "rows": group}))
        every += mine
    keys = [key for key, _ in groups]
    todo = [i for i, key in enumerate(keys) if run.journal.get("translation", key) is None]
    items = [groups[i][1] for i in todo]
    run.progress(what, len(groups) - len(todo), len(groups))
    with beside(run, [row.task for row in rows]) as judge:
        for done, (at, result) in enumerate(run_map(search.translate_item, items, collect.executor_config(params)), 1):
            if isinstance(result, Exception):
                raise result
            run.journal.put("translation", keys[todo[at]], {"rows": result})
            judge(result)
            run.progress(what, len(groups) - len(todo) + done, len(groups))
    written = [row for key in keys for row in run.journal.get("translation", key)["rows"]]
    return pd.DataFrame(written, index=every).sort_index()


def _checked_prms(run: Run, folders: Sequence[Path], families: set[str]) -> list[dict]:
    """The PRMs, packed; one that does not fit the translator, or was trained on one of the families, is refused."""
    local = run.params.executor.kind == "local"
    width = width_of(run.params.translator) if local else None
    for folder in folders:
        prm.read_config(folder, width)
        scorers.refuse_leaks(folder, families, listed=not run.params.prm.checkpoint)
    return [packed.pack(folder, shared_disk=local) for folder in folders]


def repair_rounds(run: Run, results: pd.DataFrame, chosen: Sequence[Task]) -> pd.DataFrame:
    """The results after every round 0..`search.repair`, one below the other; `repair` says which round a row tells of.

    With `search.repair_limit` rounds are made, and told of, for so many tasks under the first seed only.  A failed program stays
    where it and its feedback leave the model no positions for another answer.
    """
    s = run.params.search
    if s.repair_limit:
        some = {t.id for t in spread(list(chosen), s.repair_limit, run.params.seed)}
        results = results[results["task"].isin(some) & (results["seed"] == s.seeds[0])]
    by_id, rounds = {t.id: t for t in chosen}, [results]
    for number in range(1, s.repair + 1):
        failed = rounds[-1][arms.failing(rounds[-1])].sort_values(["seed", "task"], kind="stable")
        past = [(as_text(r.code), arms.feedback(r.reason, as_text(r.log))) for r in failed.itertuples()]
        fits = [collect.has_room(by_id[task], run.params, told) for task, told in zip(failed["task"], past, strict=True)]
        failed = failed.loc[np.array(fits, dtype=bool)]
        again = [
            search.Row(by_id[r.task], r.arm, r.sample, r.seed, number, told)
            for r, told in zip(failed.itertuples(), itertools.compress(past, fits), strict=True)
        ]
        attempts = failed
        if again:
            written = write_programs(run, again, f"repair {number}", REPAIR_SHRINK).set_axis(failed.index)
            attempts = judge_frame(run, written, chosen, f"validate repair {number}")
        rounds.append(arms.next_round(rounds[-1], attempts, number))
    return pd.concat(rounds, ignore_index=True)


def as_text(value) -> str:
    """A cell's text; a missing one is None or NaN, by the column's type."""
    return value if isinstance(value, str) else ""


def paired_table(results: pd.DataFrame, against: str = "unguided") -> pd.DataFrame:
    """Each arm minus `against`: difference in points, bootstrap interval, wins, ties, losses, sign test, detectable effect."""
    arms = [a for a in results["arm"].unique() if a != against]
    return pd.DataFrame([{"arm": a, "against": against} | metrics.paired(results, a, against) for a in arms])


def tasks_of(run: Run, rows: pd.DataFrame) -> list[Task]:
    """The suite's tasks that the rows name."""
    wanted = set(rows["task"])
    return [t for t in runs.all_tasks(run) if t.id in wanted]


def tour_task(run: Run) -> Task:
    """The first serial-omp task of the suite: what the tour shows."""
    return min((t for t in all_tasks(run) if t.direction == "serial-omp"), key=lambda t: (len(t.source_code), t.id))


def machine_text() -> str:
    """Compilers, GPU and sandbox level of this machine."""
    tools = toolchain.detect()
    lines = [f"{api:7} {toolchain.describe(t)}" for api, t in tools.items()]
    return "\n".join([*lines, f"openmp  {llvm.describe((tools['omp'].offloaded or tools['omp']).llvm)}", f"sandbox {sandbox.probe().name}"])


def collect_to(params: Params, out: Path, card: dict) -> None:
    """Stage 01 without a notebook: collect, judge, probe the latents' influence, write a folder that others can add.

    The rollouts of `collect.shipped` are written along.
    """
    writable_folder(out)
    with held(run_folder(params.run)):
        run = open_params(params, say=True)
        pool = all_tasks(run)
        frame, vectors = with_shipped(run, *collect_live(run, spread(pool, params.collect.limit, params.seed)))
        frame = frame.drop(columns=["split", "origin"])
        write_shipped(out, frame, vectors, card)
        if params.collect.influence_limit:
            unseen = [t for t in pool if t.kernel.family not in forge.SEEN_FAMILIES]
            probe = influence_rows(run, spread(unseen, params.collect.influence_limit, params.seed))
            write_atomic(out / "influence.jsonl.gz", gzip.compress(probe.to_json(orient="records", lines=True).encode(), mtime=0))
    print(frame.groupby("direction")["reason"].value_counts().to_string())
