"""Figures of latent trajectories: what became of the trajectories of one task, and what latents decode to under each method.

Knows which columns a figure needs.  Reads no file and computes nothing beyond counts and shares.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import label
from parallax_lib.analysis.figures.theme import empty, finish, need, ordered
from parallax_lib.analysis.readable import method
from parallax_lib.analysis.validation_stats import LEVELS

PLAIN = ("none", "parallel")  # tokens that say nothing of how a loop is made parallel
SHOWN = 8  # tokens with a bar of their own
TOKEN_COLOURS = (theme.GREY, theme.BLUE, theme.ORANGE, theme.GREEN, theme.PURPLE, theme.VERMILLION, theme.SKY, theme.NAVY)


def task_trajectories(rows: pd.DataFrame) -> go.Figure:
    """How far the program of each trajectory of one task gets.  Needs branch_depth, resample, plan, level, reason."""
    title = "What became of each latent trajectory"
    if rows.empty:
        return empty(title)
    need(rows, ["branch_depth", "resample", "plan", "level", "reason"], "task_trajectories")
    rows = rows.sort_values(["branch_depth", "resample"])
    where = [f"branch-off at h<sub>{r.branch_depth + 1}</sub>" if r.branch_depth >= 0 else "original" for r in rows.itertuples()]
    names = [f"{i + 1}. {name}: <b>{label(plan)}</b>" for i, (name, plan) in enumerate(zip(where, rows["plan"], strict=True))]
    kinds = rows["reason"].map(theme.failure_class)
    fig = go.Figure()
    for kind in ordered(kinds, theme.FAILURE_CLASSES):
        at = (kinds == kind).to_numpy()
        fig.add_bar(
            y=[name for name, own in zip(names, at, strict=True) if own], x=rows.loc[at, "level"], orientation="h", name=kind,
            marker=dict(color=theme.CLASS_COLOURS[kind]), text=rows.loc[at, "reason"], textposition="outside", cliponaxis=False,
        )  # fmt: skip
    rungs = dict(tickvals=list(range(6)), ticktext=[text.replace("nothing extracted", "no code") for text in LEVELS], range=[0, 6.2])
    finish(fig, title, "bold: decoded latents; bar: the last rung that the program reached", height=150 + 34 * len(rows), xaxis=rungs)
    return fig.update_yaxes(categoryorder="array", categoryarray=names[::-1], showgrid=False, ticks="")


def decoded_latents(results: pd.DataFrame) -> go.Figure:
    """Which token a program's latents decode to under each method.  Needs method, plan: tokens, one a latent.

    The token of a program is the first that is neither `none` nor `parallel`, or `parallel` where there is no other.
    """
    title = "What the latents decode to, by method"
    if results.empty:
        return empty(title)
    need(results, ["arm", "plan"], "decoded_latents")
    token = results["plan"].map(deciding_token)
    most = [name for name in token.value_counts().index if name != "parallel"][: SHOWN - 1]
    shares = pd.crosstab(results["arm"], token.where(token.isin(["parallel", *most]), "other"), normalize="index")
    arms = ordered(shares.index, tuple(theme.ARM_COLOURS))
    fig = go.Figure()
    for i, name in enumerate([each for each in ("parallel", *most, "other") if each in shares]):
        colour = "#d0d7de" if name == "other" else TOKEN_COLOURS[i]
        fig.add_bar(
            y=[label(method(arm)) for arm in arms], x=shares.loc[arms, name], orientation="h", name=label(name),
            marker=dict(color=colour, line=dict(color="white", width=0.7)), hovertemplate="%{y}: %{x:.1%}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    sub = "first decoded token of a program that is neither none nor parallel; else parallel"
    finish(fig, title, sub, x="share of programs", barmode="stack", bargap=0.35, height=150 + 34 * len(arms),
           xaxis=dict(tickformat=".0%", range=[0, 1]), legend=dict(traceorder="normal"))  # fmt: skip
    return fig.update_yaxes(autorange="reversed", showgrid=False, ticks="")


def deciding_token(plan: object) -> str:
    """The first of a program's decoded tokens that is neither `none` nor `parallel`; `parallel` where there is no other."""
    tokens = plan.split() if isinstance(plan, str) else []
    return next((token for token in tokens if token not in PLAIN), "parallel")
