"""What a finished run shows: statistics, scores, recheck, the report, the summary that `run` prints.

Knows the tables of a run folder.  Computes no metric itself and runs no model.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from parallax_lib.analysis import findings, metrics, pass_at_k, recheck, validation_stats
from parallax_lib.analysis.decisions import rows_decided
from parallax_lib.analysis.figures import html_report, run_report
from parallax_lib.analysis.readable import as_text
from parallax_lib.analysis.view.desk import weakness
from parallax_lib.core.config import resolve
from parallax_lib.core.storage import read_table
from parallax_lib.search import arms
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import pipeline
from parallax_lib.study.collection import sensitivity_rows
from parallax_lib.study.run import MANIFEST, Run
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import batch

SCORED = ("unguided", "random", "guided", "best_of_n", "compile_filter", "oracle")  # methods whose rows in stage 03 carry the PRM's score
BUNDLED = "data/adapter"  # of the translator whose corpus overuses `parallel`
WIDTH = 118  # characters of a line of the summary
SUMMARY = ["arm", "repair", "n", "unjudged", "validated", "rate", "low", "high", "decode_tokens", "prm_calls", "cost"]

REPORTED = ("rollouts", "scores", "scores_by_depth", "calibration", "history", "selection", "results", "arms", "paired")


def shipped_sensitivity(run: Run) -> pd.DataFrame:
    """Latent sensitivity as measured when the shipped rollouts were collected; empty without them."""
    file = resolve(run.params.collect.shipped) / "latent_sensitivity.jsonl.gz"
    return metrics.latent_sensitivity(pd.read_json(file, lines=True)) if run.params.collect.shipped and file.exists() else pd.DataFrame()


def latent_sensitivity(run: Run, chosen: Sequence[Task]) -> pd.DataFrame:
    """What noise on the latents changes, measured with the run's translator on some of the chosen tasks; of the study that ships, and
    of a run that measures it on no task, as measured when the shipped rollouts were collected."""
    measured = chosen and run.params.collect.sensitivity_limit and not run.shipped
    return metrics.latent_sensitivity(sensitivity_rows(run, chosen)) if measured else shipped_sensitivity(run)


def shown_scores(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rollouts, their scores: capture_id, depth, score, target, model) for the score explorer.

    Of the study that ships: the trajectories that some chooser of stage 03 took, each with its mean score by PRMs of other
    families after the last latent; a trajectory that no chooser took has no score there.
    """
    if not run.shipped:
        rows, scores = run.table("rollouts"), run.table("scores")
        return rows[rows["capture_id"].isin(scores["capture_id"])], scores
    chosen = run.table("cross_validation").dropna(subset="score")
    chosen = chosen[chosen["arm"].isin(SCORED)].drop_duplicates(["capture_id", "seed"])  # several may have taken the same one
    taken = chosen.groupby("capture_id", as_index=False)[["score", "reward"]].mean()
    last = {"depth": run.params.latent.steps - 1, "model": f"{run.params.prm.kind}, other families"}
    rows, _ = read_rollouts(run.params.collect.shipped)
    scores = taken[taken["capture_id"].isin(rows["capture_id"])].rename(columns={"reward": "target"}).assign(**last)
    return rows[rows["capture_id"].isin(scores["capture_id"])], scores


def write_stats(run: Run, results: pd.DataFrame, pool: pd.DataFrame | None = None) -> str:
    """Per direction and in total, as text; of a run also written as `validators_stats_<run>.txt` and `.json`.

    pool: the programs that best-of-N chooses from.  Their pass@k is of those under noise, each a draw like the other.
    """
    rows = results if pool is None else pd.concat([results, arms.drawn(pool)])
    ks = tuple(k for k in (1, 2, 4, 8) if k <= rows.groupby(["arm", "task"]).size().max()) if "arm" in rows else ()
    table = pass_at_k.at_k_table(rows, ks).astype(object) if ks else pd.DataFrame()
    records = table.where(table.notna(), None).to_dict("records")
    counts = validation_stats.stats(results, metrics.clustered)
    if not run.shipped:
        validation_stats.write_stats(counts, run.folder, run.params.run, records)
    return validation_stats.render(counts, run.params.run, records)


def recheck_queue(run: Run, results: pd.DataFrame) -> pd.DataFrame:
    """Distinct programs worth a look, most urgent first."""
    return recheck.queue(results, run.params.prm.threshold, weakness())


def both_rates(run: Run, results: pd.DataFrame) -> pd.DataFrame:
    """Validated share per method, automatic and after the decisions made so far."""
    return recheck.both_rates(results, rows_decided(results, run.folder / "decisions.json"))


def write_report(run: Run, sensitivity: bool = False) -> Path:
    """`<run>/report/index.html`: what the run found, where it comes from, every table and figure; `sensitivity`: and those of stage 07.

    One file, interactive and readable offline.
    """
    tables = {name: table_or_none(run.folder, name) for name in (*run_report.TABLES, *(run_report.SENSITIVITY if sensitivity else ()))}
    measured = {"latent_sensitivity": shipped_sensitivity(run), "rates": both_rates(run, tables["results"])}
    sections = run_report.sections(tables | measured, provenance(run))
    limits = findings.Finding("Look next", 'docs/RESULTS.md, "Read this first": what the whole study shows, and what it does not.')
    lead = run_report.lead([*found(run.folder), limits])
    return html_report.report_html(sections, run.folder / "report" / "index.html", f"Parallax: run {run.params.run}", lead)


def provenance(run: Run) -> dict[str, object]:
    """What made the run, a line each: commit, seeds, machine, versions, models; `params`: every setting."""
    about = pipeline.manifest(run.params)
    p = run.params
    seeds = f"run {p.seed}; search {list(p.search.seeds)}; trainings {list(p.report.seeds)}"
    packages = ", ".join(f"{name} {version}" for name, version in sorted(about["packages"].items()))
    models = " + ".join(filter(None, (p.translator.model, p.translator.adapter)))
    known = {"commit": about["commit"], "library": about["library"], "seeds": seeds, "translator": models, "machine": about["machine"]}
    tools = dict(line.split(maxsplit=1) for line in batch.machine_text().splitlines())
    more = {"python": about["python"], "packages": packages, "written": time.strftime("%Y-%m-%d %H:%M")}
    return known | tools | more | {"params": about["params"]}


def found(folder: Path) -> list[findings.Finding]:
    """What the tables of a run's folder say, in sentences; those of stages that have not run are not there."""
    tables = (table_or_none(folder, name) for name in ("cross_validation", "judged_again", "results"))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) if (folder / MANIFEST).exists() else {}
    adapter = manifest.get("params", {}).get("translator", {}).get("adapter", "")
    return findings.findings(*tables, overuses=adapter == BUNDLED)


def table_or_none(folder: Path, name: str) -> pd.DataFrame:
    """A table of a run's folder; an empty one where its stage has not made it."""
    return read_table(folder, name) if (folder / f"{name}.parquet").exists() else pd.DataFrame()


def arm_text(folder: Path) -> str:
    """The run's table of methods: validated share with its interval, cost."""
    arms = read_table(folder, "arms")
    return as_text(arms[[name for name in SUMMARY if name in arms and (name != "repair" or arms[name].any())]])


def summary(folder: Path) -> str:
    """What was found, a sentence each, and where to look next: what `run` prints last."""
    said = found(folder)
    lines = []
    if (folder / "arms.parquet").exists() and not any(each.label == "Illustration" for each in said):
        lines += ["", arm_text(folder)]
    places = {folder / "report" / "index.html": "report", folder / "notebooks": "executed notebooks"}
    written = "".join(f"{path} ({what}), " for path, what in places.items() if path.exists())
    where = f"{written}docs/RESULTS.md (the study's results and limits)."
    whole = {"subsequent_indent": " " * 14, "break_long_words": False, "break_on_hyphens": False}
    for label, text in [*said, ("Look next", where)]:
        lines += ["", *textwrap.wrap(f"{label:13} {text}", WIDTH, **whole)]
    return "\n".join(lines)
