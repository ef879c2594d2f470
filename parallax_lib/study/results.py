"""What a finished run shows: statistics, explorers' frames, recheck, the report, the summary that `run` prints.

Knows the tables of a run folder.  Computes no metric itself and runs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from parallax_lib.analysis import comparisons as report_card
from parallax_lib.analysis import metrics, pass_at_k, recheck, subgroups, validation_stats
from parallax_lib.analysis.decisions import rows_decided
from parallax_lib.analysis.figures import html_report
from parallax_lib.analysis.figures import methods as method_figures
from parallax_lib.analysis.figures import report_card as report_figures
from parallax_lib.analysis.figures import training as figures
from parallax_lib.analysis.figures.adjudicator import Adjudicator
from parallax_lib.analysis.readable import as_text
from parallax_lib.core.config import resolve
from parallax_lib.core.storage import read_table
from parallax_lib.search import arms
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study.collection import sensitivity_rows
from parallax_lib.study.run import Run, all_tasks
from parallax_lib.tasks.task import Task

SUMMARY = ["arm", "repair", "n", "unjudged", "validated", "rate", "low", "high", "decode_tokens", "prm_calls", "cost"]


def shipped_sensitivity(run: Run) -> pd.DataFrame:
    """Latent sensitivity as measured when the shipped rollouts were collected; empty without them."""
    file = resolve(run.params.collect.shipped) / "latent_sensitivity.jsonl.gz"
    return metrics.latent_sensitivity(pd.read_json(file, lines=True)) if run.params.collect.shipped and file.exists() else pd.DataFrame()


def latent_sensitivity(run: Run, chosen: Sequence[Task]) -> pd.DataFrame:
    """What noise on the latents changes, measured with the run's translator on some of the chosen tasks; of the study that ships, as
    measured when data/rollouts was collected."""
    return shipped_sensitivity(run) if run.shipped else metrics.latent_sensitivity(sensitivity_rows(run, chosen))


def shown_scores(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rollouts, their scores: capture_id, depth, score, target, model) for the score explorer.

    Of the study that ships: the trajectories that some chooser of stage 03 took, each with its mean score by PRMs of other
    families after the last latent; a trajectory that no chooser took has no score there.
    """
    if not run.shipped:
        rows, scores = run.table("rollouts"), run.table("scores")
        return rows[rows["capture_id"].isin(scores["capture_id"])], scores
    taken = run.table("cross_validation").dropna(subset="score").groupby("capture_id", as_index=False)[["score", "reward"]].mean()
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


def with_sources(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `source_code`: as collected, else from the run's suite."""
    if "source_code" in rows:
        return rows
    sources = {t.id: t.source_code for t in all_tasks(run)}
    return rows.assign(source_code=rows["task"].map(sources).fillna(""))


def recheck_queue(run: Run, results: pd.DataFrame) -> pd.DataFrame:
    return recheck.queue(with_sources(run, results), run.params.prm.threshold)


def open_adjudicator(run: Run, queue: pd.DataFrame, results: pd.DataFrame) -> Adjudicator:
    return Adjudicator(queue, run.folder / "decisions.json", results)


def both_rates(run: Run, results: pd.DataFrame) -> pd.DataFrame:
    """Validated share per method, automatic and after the decisions made so far."""
    return recheck.both_rates(results, rows_decided(results, run.folder / "decisions.json"))


def write_report(run: Run, sensitivity: bool = False) -> Path:
    """`<run>/report/index.html`: every table and figure of the run, interactive and readable offline; `sensitivity`: and of stage 07."""
    t = {
        name: run.table(name)
        for name in ("rollouts", "scores", "scores_by_depth", "calibration", "history", "selection", "results", "arms", "paired")
    }
    params = run.params
    noise = params.latent.unit if params.latent.proposal == "gaussian" else params.latent.proposal
    about = (
        f"Run **{params.run}**, translator {params.translator.model} {params.translator.adapter}, K = {params.latent.steps}, "
        f"N = {params.search.branches}, sigma {params.latent.sigma} ({noise}), reward {params.reward.spec}."
    )
    sections = [
        (
            "What this is",
            [about, "Verdicts come from compiling and running every program on hidden inputs; a part that was not checked says so."],
        ),
        ("Methods", [t["arms"], method_figures.arms(t["arms"]), method_figures.tokens_vs_rate(t["arms"])]),
        *(_sensitivity(run) if sensitivity else ()),
        ("Paired differences", [t["paired"], method_figures.paired_diff(t["paired"])]),
        ("Why programs fail", [method_figures.reason_by(t["results"]), figures.ladder(t["results"])]),
        ("Branch selection", [t["selection"], method_figures.branch_selection(t["selection"])]),
        (
            "The reward model",
            [
                figures.loss_curve(t["history"]),
                t["scores_by_depth"],
                figures.auroc_by_depth(t["scores_by_depth"]),
                figures.score_distributions(t["scores"][t["scores"]["split"] == "test"]),
                figures.calibration(t["calibration"]),
            ],
        ),
        ("Data", [figures.collected(t["rollouts"]), figures.latent_sensitivity(shipped_sensitivity(run))]),
    ]
    return html_report.report_html(sections, run.folder / "report" / "index.html", f"Parallax: run {params.run}")


def _sensitivity(run: Run) -> list[tuple[str, list]]:
    """The sections of the report card's tables, which stage 07 left in the run's folder."""
    t = {name: run.table(name) for name in ("differences", "gaps", "breadth", "margins", "repairs", "variations")}
    trained, against = subgroups.by_setting(t["variations"]), t["differences"].drop(columns="comparison")
    answer = "\n".join(f"- {line}" for line in report_card.headline(t["differences"], t["gaps"]).splitlines())
    return [
        ("Does guidance pay?", [answer, against, method_figures.paired_diff(t["differences"])]),
        ("The oracle's gap", [t["gaps"], report_figures.gap_closed(t["gaps"])]),
        ("Repair rounds", [t["repairs"], report_figures.repair(t["repairs"])]),
        ("Candidates and steps", [report_figures.breadth(t["breadth"])]),
        ("A margin", [t["margins"], report_figures.margins(t["margins"])]),
        ("Other trainings", [trained, report_figures.variations(trained)]),
    ]


def summary(folder: Path) -> str:
    """The table of methods and where things lie: what `run` prints last."""
    lines = []
    if (folder / "arms.parquet").exists():
        arms = read_table(folder, "arms")
        shown = [name for name in SUMMARY if name in arms and (name != "repair" or arms[name].any())]
        lines += ["", as_text(arms[shown]), ""]
    lines += [f"executed notebooks  {folder / 'notebooks'}", f"report              {folder / 'report' / 'index.html'}"]
    return "\n".join(lines)
