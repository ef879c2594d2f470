"""What a finished run shows: statistics, explorers' frames, recheck, the report, the summary that `run` prints.

Knows the tables of a run folder.  Computes no metric itself and runs no model.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from parallax_lib import metrics, plots, plots_arms, recheck, report, tally
from parallax_lib.explore import Adjudicator
from parallax_lib.models import resolve
from parallax_lib.store import read_table
from parallax_lib.study import Run, all_tasks


def shipped_influence(run: Run) -> pd.DataFrame:
    """Latent influence as measured when the shipped rollouts were collected; empty without them."""
    file = resolve(run.params.collect.shipped) / "influence.jsonl.gz"
    return metrics.influence(pd.read_json(file, lines=True)) if run.params.collect.shipped and file.exists() else pd.DataFrame()


def write_stats(run: Run, results: pd.DataFrame) -> str:
    """Per direction and in total, as text; also written as `validators_stats_<run>.txt` and `.json`."""
    _, text = tally.write_stats(tally.stats(results.to_dict("records"), metrics.wilson), run.folder, run.params.run)
    return text.read_text()


def with_sources(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `source_code`, empty where the run's suite does not hold the task (shipped forge programs)."""
    sources = {t.id: t.source_code for t in all_tasks(run)}
    return rows.assign(source_code=rows["task"].map(sources).fillna(""))


def recheck_queue(run: Run, results: pd.DataFrame) -> pd.DataFrame:
    return recheck.queue(with_sources(run, results), run.params.prm.threshold)


def open_adjudicator(run: Run, queue: pd.DataFrame) -> Adjudicator:
    return Adjudicator(queue, run.folder / "decisions.json")


def summary(folder: Path) -> str:
    """The table of arms and where things lie: what `run` prints last."""
    lines = []
    if (folder / "arms.parquet").exists():
        lines += ["", read_table(folder, "arms").round(3).to_string(index=False), ""]
    lines += [f"executed notebooks  {folder / 'notebooks'}", f"report              {folder / 'report' / 'index.html'}"]
    return "\n".join(lines)
