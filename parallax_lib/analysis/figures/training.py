"""Figures of what was collected, what the PRM learned and which branches it picks: DataFrame in, go.Figure out.

Knows which columns a figure needs and what its title may claim.  Reads no files, computes no statistics beyond counts
and shares.  The figures that compare methods (`methods`) and `show`, `use_renderer`, `save_html` (`theme`) can be had
from here too, so that a notebook imports one name.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from parallax_lib.analysis import readable
from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import label
from parallax_lib.analysis.figures.methods import arms, branch_selection, paired_diff, reason_by, recheck_ranking, tokens_vs_rate
from parallax_lib.analysis.figures.theme import empty, finish, need, ordered, save_html, show, use_renderer
from parallax_lib.analysis.validation_stats import LEVELS
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import DIRECTIONS

__all__ = [
    "arms", "auroc_by_depth", "branch_selection", "calibration", "collected", "latent_sensitivity", "ladder", "latent_map",
    "loss_curve", "paired_diff", "reason_by", "recheck_ranking", "save_html", "score_distributions", "show",
    "tokens_vs_rate", "use_renderer",
]  # fmt: skip


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose verdict says something about the program (not `not_checkable`, not `infra_error`)."""
    return rows[~rows["reason"].isin(theme.NOT_JUDGED)]


def share(part: float, whole: float) -> str:
    return f"{part:,} of {whole:,} ({100 * part / whole:.0f} %)" if whole else "0 of 0"


def collected(rollouts: pd.DataFrame) -> go.Figure:
    """Programs per direction, stacked by reason.  Needs direction, reason."""
    title = "Collected programs by direction and verdict"
    if rollouts.empty:
        return empty(title)
    need(rollouts, ["direction", "reason"], "collected")
    counts = pd.crosstab(rollouts["reason"], rollouts["direction"])
    directions = ordered(counts.columns, DIRECTIONS)
    fig = go.Figure()
    for reason in ordered(counts.index, theme.REASONS):
        values = counts.loc[reason, directions]
        fig.add_bar(
            y=[label(d) for d in directions], x=values, name=label(reason), orientation="h",
            marker=dict(color=theme.REASON_COLOURS.get(reason, theme.GREY), line=dict(color="white", width=0.7)),
            hovertemplate="%{y}: %{x} programs<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    sub = f"{share(int((rollouts['reason'] == 'ok').sum()), len(rollouts))} validated"
    finish(fig, title, sub, x="programs", barmode="stack", bargap=0.35, legend=dict(traceorder="normal"))
    return fig.update_yaxes(autorange="reversed", showgrid=False, ticks="")


def ladder(rows: pd.DataFrame) -> go.Figure:
    """Share of judged programs that reach each rung of the outcome ladder, a line per direction."""
    title = "How far programs get on the outcome ladder"
    if rows.empty:
        return empty(title)
    need(rows, ["direction", "level", "reason"], "ladder")
    known = judged(rows)
    fig = go.Figure()
    for direction in ordered(known["direction"], DIRECTIONS):
        level = known.loc[known["direction"] == direction, "level"].to_numpy()
        reached = np.array([(level >= rung).sum() for rung in range(1, 6)])
        fig.add_scatter(
            x=list(LEVELS[1:]), y=reached / len(level), customdata=reached, mode="lines+markers",
            name=f"{label(direction)} (n={len(level)})",
            line=dict(color=theme.DIRECTION_COLOURS.get(direction), width=2),
            marker=dict(symbol=theme.DIRECTION_SYMBOLS.get(direction, "circle"), size=9),
            hovertemplate="%{x}: %{y:.1%}, %{customdata} programs<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    sub = f"{share(len(known), len(rows))} judged; the rest is counted nowhere"
    axis = dict(range=[0, 1.04], tickformat=".0%")
    return finish(fig, title, sub, x="rung reached", y="share of programs", yaxis=axis)


def latent_sensitivity(table: pd.DataFrame) -> go.Figure:
    """Do the latents decide anything?  Rows: one sigma each, with `control` true for the re-decode control's row.

    Needs sigma, distinct_programs (per task), changed_outcomes and oracle_rate (shares), control (bool).
    """
    title = "What noise on the latents changes"
    if table.empty:
        return empty(title)
    need(table, ["sigma", "distinct_programs", "changed_outcomes", "oracle_rate", "control"], "latent_sensitivity")
    noise, control = table[~table["control"].astype(bool)].sort_values("sigma"), table[table["control"].astype(bool)]
    panels = {"distinct_programs": "distinct programs<br>a task", "changed_outcomes": "tasks whose<br>outcome changes",
              "oracle_rate": "tasks with a<br>validated branch"}  # fmt: skip
    fig = make_subplots(1, 3, subplot_titles=list(panels.values()), horizontal_spacing=0.09)
    for col, name in enumerate(panels, 1):
        fig.add_scatter(
            x=noise["sigma"], y=noise[name], mode="lines+markers", name="noise on latents", showlegend=col == 1,
            line=dict(color=theme.BLUE, width=2), marker=dict(size=8), row=1, col=col,
        )  # fmt: skip
        if len(control):
            fig.add_scatter(
                x=[noise["sigma"].min(), noise["sigma"].max()], y=[control[name].mean()] * 2, mode="lines",
                name="re-decode control", showlegend=col == 1, line=dict(color=theme.ORANGE, dash="dash", width=2),
                row=1, col=col,
            )  # fmt: skip
        fig.update_yaxes(rangemode="tozero", tickformat=None if col == 1 else ".0%", row=1, col=col)
    fig.update_annotations(font_size=12)
    sub = "lines above the dashed control: the latents matter more than another decoding seed"
    return finish(fig, title, sub, x="noise sigma", margin=dict(t=120), legend=theme.TOP_LEGEND)


def latent_map(latents: np.ndarray, rollouts: pd.DataFrame, depth: int = -1) -> go.Figure:
    """First two principal components of latents [n, K, D] at `depth`, coloured by the reward of the row's program."""
    title = "Latents, first two principal components"
    if len(latents) != len(rollouts):
        raise UserError(f"latent_map: {len(latents)} latents for {len(rollouts)} rollouts; pass the rows they are of")
    if len(rollouts) < 3:
        return empty(title, "fewer than three rollouts")
    x = np.asarray(latents, dtype=np.float64)[:, depth]  # (n, D)
    x = x - x.mean(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    points, part = u[:, :2] * s[:2], s**2 / max((s**2).sum(), 1e-12)
    reward = rollouts["reward"].to_numpy(dtype=float)
    judged = ~np.isnan(reward)
    fig = go.Figure()
    for mask, name, marker in (
        (~judged, "not judged", dict(color=theme.GREY, symbol="circle-open", size=7)),
        (judged, "judged", dict(color=reward[judged], colorscale="Cividis", cmin=0, cmax=1, size=8, opacity=0.85,
                              colorbar=dict(title=dict(text="reward", **theme.BESIDE), thickness=14),
                              line=dict(color=theme.GREY, width=0.5))),
    ):  # fmt: skip
        at = np.flatnonzero(mask)
        fig.add_scatter(
            x=points[at, 0], y=points[at, 1], mode="markers", name=name, marker=marker, customdata=at, showlegend=False,
            text=[label(task) for task in rollouts["task"].iloc[at]],
            hovertemplate="%{text}<br>row %{customdata}<extra></extra>",
        )  # fmt: skip
    step = depth % latents.shape[1] + 1
    sub = f"step {step} of {latents.shape[1]}, {len(x):,} rollouts; grey rings: no verdict"
    axes = [f"component {i + 1} ({100 * part[i]:.0f} % of variance)" for i in range(2)]
    return finish(fig, title, sub, x=axes[0], y=axes[1], height=480)


def loss_curve(history: pd.DataFrame) -> go.Figure:
    """Training and validation loss by step, with the step marked at which the backbone joins.

    Needs step, phase (any label; a change is marked), train_loss, valid_loss (NaN where not measured).  A ridge probe has
    no steps: its history has a penalty `alpha` a row, and one that was `chosen`.
    """
    title = "PRM training: loss by step"
    if history.empty:
        return empty(title)
    if "alpha" in history:
        return _penalty_curve(history)
    need(history, ["step", "phase", "train_loss", "valid_loss"], "loss_curve")
    history = history.sort_values("step")
    fig = go.Figure()
    valid = history.dropna(subset=["valid_loss"])
    fig.add_scatter(x=history["step"], y=history["train_loss"], name="training", mode="lines", line_color=theme.SKY)
    fig.add_scatter(x=valid["step"], y=valid["valid_loss"], name="validation", mode="lines+markers")
    fig.data[1].update(line=dict(color=theme.BLUE, width=2.5))
    later = history[history["phase"] != history["phase"].iloc[0]]
    sub = "adapter and head only; the backbone stays frozen"
    if len(later):
        at = later["step"].iloc[0]
        fig.add_vline(x=at, line=dict(color=theme.BLACK, dash="dot"), annotation_text="backbone unfrozen",
                      annotation_xshift=4)  # fmt: skip
        sub = f"adapter and head alone before step {at}, then the backbone too"
    if len(valid):
        best = valid.loc[valid["valid_loss"].idxmin()]
        sub += f"; lowest validation loss {best['valid_loss']:.4f} at step {int(best['step'])}"
    return finish(fig, title, sub, x="optimizer step", y="loss")


def _penalty_curve(history: pd.DataFrame) -> go.Figure:
    need(history, ["alpha", "chosen", "train_loss", "valid_loss"], "loss_curve")
    fig = go.Figure()
    fig.add_scatter(x=history["alpha"], y=history["train_loss"], name="training", mode="lines", line_color=theme.SKY)
    fig.add_scatter(x=history["alpha"], y=history["valid_loss"], name="validation", mode="lines+markers", line_color=theme.BLUE)
    best = history[history["chosen"]].iloc[0]
    fig.update_xaxes(type="log")
    sub = f"closed form, one fit a penalty; chosen is {best['alpha']:g} with a validation loss of {best['valid_loss']:.4f}"
    return finish(fig, "Ridge probe: squared error by penalty", sub, x="penalty on the weights", y="loss")


def score_distributions(scores: pd.DataFrame, threshold: float = 0.5, depth: int | None = None) -> go.Figure:
    """Histograms of PRM scores of passing (target >= threshold) and failing prefixes, a panel per model.

    Under the `paper` reward a wrong output that compiles and runs scores 0.55: choose the threshold knowing that.
    """
    title = "PRM scores of prefixes that lead to success and to failure"
    if scores.empty:
        return empty(title)
    need(scores, ["model", "depth", "score", "target"], "score_distributions")
    depth = int(scores["depth"].max()) if depth is None else depth
    rows = scores[(scores["depth"] == depth) & scores["target"].notna()]
    models = ordered(rows["model"], theme.MODEL_COLOURS)
    if not models:
        return empty(title, f"no scores at depth {depth}")
    names = [label(readable.model(model)) for model in models]
    fig = make_subplots(1, len(models), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.04)
    groups = ((f"target below {threshold:g}", False, theme.FAIL, "/"),
              (f"target {threshold:g} or more", True, theme.PASS, ""))  # fmt: skip
    for col, model in enumerate(models, 1):
        of = rows[rows["model"] == model]
        for name, above, colour, pattern in groups:
            fig.add_histogram(
                x=of.loc[(of["target"] >= threshold) == above, "score"], name=name, histnorm="percent", opacity=0.65,
                xbins=dict(start=0, end=1.0001, size=0.05), showlegend=col == 1, legendgroup=name,
                marker=dict(color=colour, pattern=dict(shape=pattern, size=5, solidity=0.25, fillmode="overlay")),
                row=1, col=col,
            )  # fmt: skip
    fig.update_xaxes(range=[0, 1]).update_annotations(font_size=13)
    sub = f"after latent step {depth + 1}; {rows['model'].value_counts().max():,} prefixes a model"
    finish(fig, title, sub, x="score", barmode="overlay", margin=dict(t=105), legend=theme.TOP_LEGEND)
    return fig.update_yaxes(title_text="% of the group", row=1, col=1)


def calibration(bins: pd.DataFrame) -> go.Figure:
    """Mean score against observed mean target per bin, with the diagonal, and the bins' counts underneath.

    Needs model, score, target, count.
    """
    title = "Calibration: does a score of 0.7 mean 70 %?"
    if bins.empty:
        return empty(title)
    need(bins, ["model", "score", "target", "count"], "calibration")
    fig = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.76, 0.24], vertical_spacing=0.06)
    fig.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="perfect", line=dict(color=theme.GREY, dash="dash"))
    for model in ordered(bins["model"], theme.MODEL_COLOURS):
        rows = bins[bins["model"] == model].sort_values("score")
        colour = theme.MODEL_COLOURS.get(model, theme.VERMILLION)
        fig.add_scatter(
            x=rows["score"], y=rows["target"], customdata=rows["count"], mode="lines+markers", name=label(readable.model(model)),
            line=dict(color=colour, width=2), marker=dict(size=8), legendgroup=str(model),
            hovertemplate="score %{x:.2f}, observed %{y:.2f}, n = %{customdata}",
        )  # fmt: skip
        fig.add_scatter(
            x=rows["score"], y=rows["count"], mode="markers", marker=dict(color=colour, symbol="square", size=4),
            error_y=dict(array=0 * rows["count"], arrayminus=rows["count"], symmetric=False, width=0, thickness=4,
                         color=colour),
            showlegend=False, legendgroup=str(model), name=label(readable.model(model)), row=2, col=1,
        )  # fmt: skip
    fig.update_xaxes(range=[-0.02, 1.02])
    finish(fig, title, "points on the dashed line are calibrated; a bin holds the count below it", height=520)
    fig.update_yaxes(title_text="observed mean target", range=[-0.02, 1.02], row=1, col=1)
    fig.update_yaxes(title_text="prefixes", rangemode="tozero", row=2, col=1)
    return fig.update_xaxes(title_text="mean score of the bin", row=2, col=1)


def auroc_by_depth(table: pd.DataFrame) -> go.Figure:
    """How well each model ranks prefixes at each latent step, a line per model and split.

    Needs model, depth (from 0), auroc; takes split, and low and high (bounds of the auroc).
    """
    title = "How well scores rank prefixes, by latent step"
    if table.empty:
        return empty(title)
    need(table, ["model", "depth", "auroc"], "auroc_by_depth")
    fig = go.Figure()
    models, dashes = ordered(table["model"], theme.MODEL_COLOURS), {"train": "dot", "valid": "dash"}
    split = table["split"] if "split" in table else pd.Series("", index=table.index)
    lines = [(model, name) for model in models for name in ordered(split, ("train", "valid", "test"))]
    for i, (model, name) in enumerate(lines):
        rows = table[(table["model"] == model) & (split == name)].sort_values("depth")
        bars, beside = None, 0.1 * (i / len(lines) - 0.5)
        if "low" in rows and "high" in rows:
            up, down = rows["high"] - rows["auroc"], rows["auroc"] - rows["low"]
            bars = dict(symmetric=False, array=up, arrayminus=down, width=4)
        fig.add_scatter(
            x=rows["depth"] + 1 + beside, y=rows["auroc"], error_y=bars, mode="lines+markers",
            name=label(f"{readable.model(model)}, {name}" if name else readable.model(model)), marker=dict(size=8),
            line=dict(color=theme.MODEL_COLOURS.get(model, theme.VERMILLION), width=2, dash=dashes.get(name, "solid")),
        )  # fmt: skip
    dashed = dict(color=theme.GREY, dash="dash")
    fig.add_hline(y=0.5, line=dashed, annotation_text="chance", annotation_position="bottom right")
    lowest = min(table["auroc"].min(), table.get("low", table["auroc"]).min())
    low = min(0.4, lowest - 0.03) if lowest == lowest else 0.4
    sub = "0.5 is chance, 1 ranks every success above every failure"
    axes = dict(xaxis=dict(dtick=1), yaxis=dict(range=[low, 1.02]))
    return finish(fig, title, sub, x="latent steps scored", y="AUROC", **axes)
