"""An open run: its parameters, folder and journal, its tasks, and the verdicts on what was written for them.

Knows suites and verdicts.  Knows nothing of models, latents or methods.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from parallax_lib.core import progress
from parallax_lib.core.config import ROOT, load
from parallax_lib.core.errors import UserError, one_line_in_cells
from parallax_lib.core.settings import Params
from parallax_lib.core.storage import Journal, read_table, run_folder, write_table
from parallax_lib.prm import labels as reward_labels
from parallax_lib.sandbox import sandbox
from parallax_lib.search import methods
from parallax_lib.study.pipeline import MANIFEST
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import Task, tasks
from parallax_lib.translator.models import pick_device
from parallax_lib.verdict import batch as judge_batch
from parallax_lib.verdict import toolchain, validate

JUDGES = 2  # batches judged at once, by half of the workers each: the last slow programs of one do not hold up the next
STUDY, SHIPPED = "study", ROOT / "data" / "study"  # the run whose tables ship, and where they lie


@dataclass(frozen=True)
class Run:
    """An open run folder.  `shipped`: the study as it ships; its tables are read from data/study and no stage is executed."""

    params: Params
    folder: Path
    journal: Journal
    progress: progress.Meter
    shipped: bool = False

    @property
    def tables(self) -> Path:
        """The folder that `table` reads."""
        return SHIPPED if self.shipped else self.folder

    def table(self, name: str) -> pd.DataFrame:
        return read_table(self.tables, name)

    def has(self, name: str) -> bool:
        """Whether a stage has made that table."""
        return (self.tables / f"{name}.parquet").exists()

    def keep(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame, written as a table of the run; nothing is written beside tables that ship."""
        if not self.shipped:
            write_table(self.folder, name, frame)
        return frame


def open_run(run: str, seed: int = 0, overrides: Mapping[str, dict] | None = None) -> Run:
    """The run of a notebook's parameters cell: `params/<run>.yaml` with `overrides` ({section: {key: value}}) laid on top.

    `study` is the study as it ships until a study of one's own has started in data/runs/study, or settings are overridden.
    A name that no file and no folder has is taken for a new run only with settings of its own; alone it is a misspelt one.
    """
    one_line_in_cells()
    known, overrides = known_runs(), dict(overrides or {})
    if run not in known and not any(overrides.values()):
        near = "".join(f"; did you mean {name!r}?" for name in difflib.get_close_matches(run, known, n=1))
        raise UserError(f"run {run!r}: no params/{run}.yaml and no data/runs/{run}{near}; known are {', '.join(known)}")
    opened = open_params(load(run, seed=seed, **overrides))
    own = run != STUDY or any(overrides.values()) or (opened.folder / MANIFEST).exists()
    return replace(opened, shipped=not own)


def title(run: Run) -> str:
    """What a notebook prints first: which run it shows and where its tables come from."""
    p = run.params
    of = "the study's tables that ship in data/study; no stage is executed" if run.shipped else f"executed in data/runs/{p.run}"
    return f"run {p.run!r}, seed {p.seed}: {of}\ntranslator {' + '.join(filter(None, (p.translator.model, p.translator.adapter)))}"


def known_runs() -> list[str]:
    """Names of the parameter files and of the folders of runs."""
    existing = (path.name for path in (ROOT / "data" / "runs").glob("*") if path.is_dir())
    return sorted({path.stem for path in (ROOT / "params").glob("*.yaml")} | set(existing))


def open_params(params: Params) -> Run:
    """The run of these parameters; how far its work has come stands in its folder, and below a notebook's cell."""
    folder = run_folder(params.run)
    return Run(params, folder, Journal(folder / "journal.sqlite"), progress.to_file(folder / progress.FILE))


def using(run: Run, **own: methods.Given) -> Run:
    """The run with other methods than its settings name: using(run, proposal=f, loss="rank"); keys are those of `methods.SETTINGS`."""
    return replace(run, params=methods.using(run.params, **own))


def all_tasks(run: Run) -> list[Task]:
    return tasks(suites.load_suite(run.params.suite), run.params.suite.directions)


def open_bench(run: Run) -> tuple:
    """(toolchains, sandbox level, limits, journal): what `validate.judge(code, task, *bench)` takes besides the program."""
    v = run.params.validation
    return toolchain.on_gpus(toolchain.detect(v.cuda), v.gpus), sandbox.probe(unsafe=v.unsafe), run_limits(run.params), run.journal


def judging(params: Params) -> int:
    """Programs judged at once."""
    v = params.validation
    return v.max_parallel * len(v.gpus) if v.max_parallel else v.workers


def run_limits(params: Params) -> sandbox.Limits:
    """Of one run of a judged program."""
    v = params.validation
    return sandbox.Limits(cpu_s=v.cpu_s, wall_s=10 * v.cpu_s, memory_mb=v.memory_mb, processes=v.processes)


def judge_frame(run: Run, frame: pd.DataFrame, chosen: Sequence[Task], what: str = "validate") -> pd.DataFrame:
    """The rows with their verdict columns, `validated` and `reward`."""
    methods.check(run.params, "reward")
    run.progress(what, 0)
    by_id = {t.id: t for t in chosen}
    items = [(code if isinstance(code, str) else None, by_id[task]) for code, task in zip(frame["code"], frame["task"], strict=True)]
    v = run.params.validation
    more = {"workers": judging(run.params), "races": v.races, "timing": v.timing}
    more["progress"] = lambda done, total: run.progress(what, done, total, "verdicts")
    verdicts = judge_batch.judge_many(items, *open_bench(run), **more)
    table = pd.DataFrame([validate.to_row(v) for v in verdicts], index=frame.index)
    out = frame.drop(columns=[c for c in table if c in frame]).join(table)
    return out.assign(reward=reward_labels.rewards(out, run.params.reward.spec))


@contextmanager
def beside(run: Run, chosen: Sequence[Task]) -> Iterator[Callable[[list[dict]], None]]:
    """judge(rows): programs just written are compiled and run while a GPU writes the next ones; their verdicts are kept.

    Nothing is judged early where this machine's CPU writes: the two would only slow each other.  Whoever wants the verdicts judges all
    rows afterwards and finds those that are there in the journal.
    """
    if run.params.executor.kind == "local" and pick_device(run.params.translator.device) == "cpu":
        yield lambda rows: None
        return
    v = run.params.validation
    half = v.model_copy(update={"workers": max(1, judging(run.params) // JUDGES), "max_parallel": 0})
    each = run.params.model_copy(update={"validation": half})
    quiet = replace(run, params=each, progress=progress.Meter(lambda levels: None))
    pool = ThreadPoolExecutor(max_workers=JUDGES)
    try:
        yield lambda rows: pool.submit(judge_frame, quiet, pd.DataFrame(rows), chosen)
    finally:
        pool.shutdown(cancel_futures=True)  # waits for the batches in hand only
