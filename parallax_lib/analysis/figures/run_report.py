"""What a run's report holds: its findings first, where it comes from, then every table beside its figure.

Knows the tables of a run by name, any of which may be missing.  Reads no folder and writes no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from parallax_lib.analysis import comparisons, metrics, subgroups
from parallax_lib.analysis.figures import methods as method_figures
from parallax_lib.analysis.figures import report_card as report_figures
from parallax_lib.analysis.figures import training as figures
from parallax_lib.analysis.figures import trajectories
from parallax_lib.analysis.figures.escape import Html, safe_text, table_html
from parallax_lib.analysis.figures.html_report import Part, folded
from parallax_lib.analysis.findings import FEW, Finding

TABLES = ("rollouts", "scores", "scores_by_depth", "calibration", "history", "selection", "results", "arms", "paired",
          "cross_validation", "cross_validation_differences", "judged_again")  # fmt: skip
SENSITIVITY = ("differences", "gaps", "breadth", "margins", "repairs", "variations")
Section = tuple[str, list[Part]]


def lead(said: Iterable[Finding]) -> Html:
    """The findings as the first thing on the page."""
    items = "".join(f"<dt>{safe_text(label)}</dt><dd>{safe_text(text)}</dd>" for label, text in said)
    return Html(f'<dl class="lead">{items}</dl>') if items else Html("")


def sections(t: Mapping[str, pd.DataFrame], made_by: Mapping[str, object]) -> list[Section]:
    """(title, parts) in the order of the study; a section whose tables are not there is left out.

    made_by: what made the run, `params` among it.
    """
    found = [
        provenance(made_by),
        *(_collected_trajectories(t) if len(t["cross_validation"]) else ()),
        *(_methods(t) if len(t["results"]) else ()),
        *(_sensitivity(t) if len(t.get("differences", ())) else ()),
        ("Branch selection at one latent step", _branches(t) if len(t["selection"]) else []),
        ("The reward model", _reward_model(t) if len(t["scores"]) else []),
        ("Collected data", _collected(t) if len(t["rollouts"]) else []),
    ]
    return [(name, parts) for name, parts in found if parts]


def _branches(t: Mapping[str, pd.DataFrame]) -> list:
    return [t["selection"], method_figures.branch_selection(t["selection"])]


def _collected(t: Mapping[str, pd.DataFrame]) -> list:
    return [figures.collected(t["rollouts"]), figures.ladder(t["rollouts"]), figures.latent_sensitivity(t["latent_sensitivity"])]


def provenance(made_by: Mapping[str, object]) -> Section:
    """Commit, seeds, machine, versions; every setting behind a fold."""
    rows = [{"what": name, "value": value} for name, value in made_by.items() if name != "params"]
    settings = [
        {"setting": f"{section}.{key}" if key else section, "value": str(value)}
        for section, values in made_by["params"].items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    ]
    every = folded(f"All {len(settings)} settings", table_html(settings, caption="Settings of the run"))
    return "Where this comes from", [table_html(rows, caption="What made this run"), every]


def _collected_trajectories(t: Mapping[str, pd.DataFrame]) -> list[Section]:
    chosen = t["cross_validation"]
    shares = metrics.arm_table(chosen)[["arm", "n", "rate", "low", "high", "looked_at", "validator_runs"]]
    families = report_figures.families(subgroups.families(subgroups.with_suite(chosen)))
    title = "Among collected trajectories: guided minus every other"
    parts = [shares, method_figures.paired_diff(t["cross_validation_differences"], title), families, t["cross_validation_differences"]]
    again = t["judged_again"]
    if len(again):
        counts = pd.crosstab([again["chosen"], again["was_reason"]], again["reason"]).reset_index()
        parts += ["Collected verdicts (`was_reason`) against those of this machine, of chosen and of other programs:", counts]
    return [("Choosers among collected trajectories, on families the PRMs never saw", parts)]


def _methods(t: Mapping[str, pd.DataFrame]) -> list[Section]:
    results, tasks = t["results"], t["results"]["task"].nunique()
    few = f"An illustration: {tasks} tasks, too few for a rate." if tasks < FEW else f"{tasks} tasks."
    name = "Live translations" + (" (illustration)" if tasks < FEW else "")
    rates = "Validated share by the harness alone, and with the decisions of a person laid on top (`rechecked`; equal where none was made):"
    figures_of = [method_figures.arms(t["arms"]), method_figures.tokens_vs_rate(t["arms"])] if tasks >= FEW else []
    paired = [t["paired"], method_figures.paired_diff(t["paired"])] if tasks >= FEW and len(t["paired"]) else [t["paired"]]
    shown = subgroups.without_equal_cost(results)[0]
    return [
        (name, [few, t["arms"], *figures_of, *paired, trajectories.decoded_latents(shown)]),
        ("Automatic and adjudicated rates", [rates, t["rates"]]),
        ("Why programs fail", [method_figures.reason_by(results), figures.ladder(results)]),
    ]


def _reward_model(t: Mapping[str, pd.DataFrame]) -> list[Part]:
    test = t["scores"][t["scores"]["split"] == "test"]
    ranked = [t["scores_by_depth"], figures.auroc_by_depth(t["scores_by_depth"])]
    return [figures.loss_curve(t["history"]), *ranked, figures.score_distributions(test), figures.calibration(t["calibration"])]


def _sensitivity(t: Mapping[str, pd.DataFrame]) -> list[Section]:
    """The sections of stage 07's tables."""
    trained, against = subgroups.by_setting(t["variations"]), t["differences"].drop(columns="comparison")
    answer = "\n".join(f"- {line}" for line in comparisons.headline(t["differences"], t["gaps"]).splitlines())
    return [
        ("Does guidance pay?", [answer, against, method_figures.paired_diff(t["differences"])]),
        ("The oracle's gap", [t["gaps"], report_figures.gap_closed(t["gaps"])]),
        ("Repair rounds", [t["repairs"], report_figures.repair(t["repairs"])]),
        ("Candidates and steps", [report_figures.breadth(t["breadth"])]),
        ("A margin", [t["margins"], report_figures.margins(t["margins"])]),
        ("Other trainings", [trained, report_figures.variations(trained)]),
    ]
