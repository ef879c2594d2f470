"""Stages 04 and 05: every method's programs for the held-out tasks, and repair rounds.

Knows the names of the run's tables.  Holds no method of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis import metrics
from parallax_lib.core.config import dump
from parallax_lib.core.errors import UserError
from parallax_lib.core.executors import run_map
from parallax_lib.core.settings import Translator as TranslatorParams
from parallax_lib.core.storage import digest
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import packed
from parallax_lib.search import arms, guided_search, methods, placement, program_rows, prompt_room
from parallax_lib.study import memory, prm_registry
from parallax_lib.study import run as runs
from parallax_lib.study.collection import all_tasks
from parallax_lib.study.run import Run, beside, judge_frame
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import Task, split_of, spread
from parallax_lib.translator.models import Translator, loaded_translator, width_of

REPAIR_SHRINK = 6  # a repair's prompts are three times as long and each row has its own


def held_out_tasks(run: Run) -> list[Task]:
    """At most `search.limit` tasks of the test families; with `prm.folds` of all families that stage 03 tested."""
    tested, pool = prm_registry.tested_families(run), all_tasks(run)
    if tested is None:
        tested = {f for f in {t.kernel.family for t in pool} if split_of(f, run.params.suite, generator.SEEN_FAMILIES) == "test"}
    held_out = [t for t in pool if t.kernel.family in tested]
    if not held_out:
        raise UserError("suite: no kernel of a test family; raise suite.test_fraction or change suite.split_seed")
    s = run.params.search
    return spread(held_out, s.limit, run.params.seed, s.per_direction)


def loop_parts(run: Run, task: Task) -> tuple[Translator, list]:
    """(the translator, the PRMs that guide a task of this family): what one guided loop needs.

    Of the study that ships, and where the translator is on other machines or lies over several GPUs, the random translator and an
    untrained PRM: the loop runs without a download, its choices mean nothing.
    """
    if run.shipped or run.params.executor.kind != "local" or placement.executor_config(run.params).gpus > 1:
        translator = loaded_translator(TranslatorParams(model="random"))
        return translator, [prm_model.build(prm_model.PRMConfig(backbone="gru", latent_width=translator.width, width=16)).eval()]
    translator = loaded_translator(run.params.translator)
    folders = prm_registry.folders(run, task.kernel.family)
    return translator, [prm_model.load(folder, translator.width, device=translator.device) for folder in folders]


def translate_all(run: Run, chosen: Sequence[Task], prms: Sequence = (), judge: bool = True, **own: methods.Given) -> pd.DataFrame:
    """Every method's programs for the chosen tasks, here or on the executor; finished groups are read from the journal.

    prms: PRMs or modules of one's own, whose mean score guides instead of the run's; nothing tells which families they have
    seen.  judge: False leaves every verdict for later.  own: `methods.using`, such as proposal=f.
    """
    run = runs.using(run, **own)
    return write_programs(run, program_rows.plan_rows(chosen, run.params), prms=prms, judge=judge)


def write_programs(
    run: Run, rows: Sequence[program_rows.Row], what: str = "translate", shrink: int = 1, prms: Sequence = (), judge: bool = True
) -> pd.DataFrame:
    """One result row a program, in the order of `rows`; groups that the journal holds are not written again.

    shrink: divides the batch, for rows that share no prompt.  prms, judge: `translate_all`.
    """
    methods.check(run.params, "proposal", "align", "policy", "arms")
    params, here = run.params, placement.executor_config(run.params).runs_here
    given = [packed.pack_module(prm, here, params.executor.kind == "local") for prm in prms]
    shared = {"params": dump(params), "own": placement.own_methods(params)} | placement.gpus(params)
    teams: dict[tuple[bool, bool, tuple[Path, ...]], list[int]] = {}  # sampled, read by PRMs, which PRMs -> rows
    for i, row in enumerate(rows):
        read = guided_search.is_read(row, params)
        folders = tuple(prm_registry.folders(run, row.task.kernel.family)) if read and not prms else ()
        teams.setdefault((row.sampled, read, folders), []).append(i)
    groups, every, code = [], [], guided_search.made_by(params)  # (key, item of the executor)
    for (sampled, read, folders), indices in teams.items():
        team = (given or _checked_prms(run, folders, {rows[i].task.kernel.family for i in indices})) if read else []
        recipe = [guided_search.recipe(params, sampled), [each["sha256"] for each in team], code]
        for group in program_rows.grouped([rows[i] for i in indices], max(1, params.decode.batch // shrink), params):
            item = shared | placement.heard(params, run.progress) | {"prms": team, "rows": group}
            groups.append((digest([recipe, [r.identity for r in group]]), item))
        every += indices
    keys = [key for key, _ in groups]
    todo = [i for i, key in enumerate(keys) if run.journal.get("translation", key) is None]
    items = [groups[i][1] for i in todo]
    left, tokens = sum(len(item["rows"]) for item in items), 0
    if items:
        memory.refuse(params, "04")
    run.progress(what, len(rows) - left, len(rows), "programs")
    with beside(run, [row.task for row in rows]) if judge else nullcontext(lambda rows: None) as written:
        where = placement.executor_config(params)
        for at, result in run_map(guided_search.translate_item, items, where, say=placement.said(run.progress)):
            if isinstance(result, Exception):
                raise result
            run.journal.put("translation", keys[todo[at]], {"rows": result})
            written(result)
            left, tokens = left - len(result), tokens + sum(row["decode_tokens"] for row in result)
            run.progress(what, len(rows) - left, len(rows), "programs", f"{tokens:,} tokens")
    made = [row for key in keys for row in run.journal.get("translation", key)["rows"]]
    return pd.DataFrame(made, index=every).sort_index()


def _checked_prms(run: Run, folders: Sequence[Path], families: set[str]) -> list[dict]:
    """The PRMs, packed; one that does not fit the translator, or was trained on one of the families, is refused."""
    local = run.params.executor.kind == "local"
    width = width_of(run.params.translator) if local else None
    for folder in folders:
        prm_model.read_config(folder, width)
        prm_registry.refuse_leaks(folder, families, listed=not run.params.prm.checkpoint)
    return [packed.pack(folder, shared_disk=local) for folder in folders]


def repair_rounds(run: Run, results: pd.DataFrame, chosen: Sequence[Task], prms: Sequence = ()) -> pd.DataFrame:
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
        fits = [prompt_room.has_room(by_id[task], run.params, turns) for task, turns in zip(failed["task"], past, strict=True)]
        failed = failed.loc[np.array(fits, dtype=bool)]
        again = [
            program_rows.Row(by_id[r.task], r.arm, r.sample, r.seed, number, turns)
            for r, turns in zip(failed.itertuples(), itertools.compress(past, fits), strict=True)
        ]
        attempts = failed
        if again:
            written = write_programs(run, again, f"repair {number}", REPAIR_SHRINK, prms).set_axis(failed.index)
            attempts = judge_frame(run, written, chosen, f"validate repair {number}")
        rounds.append(arms.next_round(rounds[-1], attempts, number))
    return pd.concat(rounds, ignore_index=True)


def as_text(value) -> str:
    """A cell's text; a missing one is None or NaN, by the column's type."""
    return value if isinstance(value, str) else ""


def paired_table(results: pd.DataFrame, against: str = "unguided") -> pd.DataFrame:
    """Each method minus `against`: difference in points, bootstrap interval, wins, ties, losses, sign test, detectable effect."""
    arms = [a for a in results["arm"].unique() if a != against]
    return pd.DataFrame([{"arm": a, "against": against} | metrics.paired(results, a, against) for a in arms])
