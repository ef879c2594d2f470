"""The frontier: validated share of every method and number of programs against what it costs.

Knows the columns of `analysis.frontier.table`.  Computes nothing: what is on a front comes with the table.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from parallax_lib.analysis.comparisons import CEILING
from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import label
from parallax_lib.analysis.figures.theme import arm_colour, empty, finish, need
from parallax_lib.analysis.frontier import base
from parallax_lib.analysis.readable import method

COSTS = {"checks": "compiles and runs of a task", "cost": "tokens forwarded for a task"}


def frontier(table: pd.DataFrame) -> go.Figure:
    """Validated share against compiles and runs, and against tokens; a line a method over N, stars where a PRM ranks, the fronts in grey.

    Needs arm, N, prm, rate, checks, cost, on_checks_front, on_cost_front.
    """
    title = "What a validated program costs"
    if table.empty:
        return empty(title)
    need(table, ["arm", "N", "prm", "rate", "checks", "cost", "on_checks_front", "on_cost_front"], "frontier")
    fig = make_subplots(1, 2, subplot_titles=list(COSTS.values()), shared_yaxes=True, horizontal_spacing=0.04)
    for col, cost in enumerate(COSTS, 1):
        front = table[table[f"on_{cost}_front"]].sort_values(cost)
        steps = dict(mode="lines", name="front", showlegend=col == 1, hoverinfo="skip", zorder=-1)
        line = dict(color=theme.GREY, width=9, shape="hv")
        fig.add_scatter(x=front[cost], y=front["rate"], opacity=0.35, line=line, **steps, row=1, col=col)
        for arm, rows in table.groupby("arm", sort=False):
            fig.add_scatter(**_line(arm, rows.sort_values("N"), cost), showlegend=col == 1, row=1, col=col)
        most = table[cost].max() or 1
        fig.update_xaxes(range=[-0.03 * most, 1.04 * most], tickformat=",~g", row=1, col=col)
    fig.update_yaxes(tickformat=".0%").update_yaxes(title_text="share validated", row=1, col=1).update_annotations(font_size=13)
    sub = "a dot for each number of programs; stars: a PRM ranks; dashes: of the sampled pool; dots: the oracle, on no front"
    return finish(fig, title, sub, height=560, legend=dict(orientation="h", yanchor="top", y=-0.12, x=0))


def _line(arm: str, rows: pd.DataFrame, cost: str) -> dict:
    """The trace of one method over N."""
    colour, star, sampled = arm_colour(base(arm)), bool(rows["prm"].iloc[0]), base(arm) != arm
    dash = "dot" if base(arm) == CEILING else "dash" if sampled else "solid"
    return dict(
        x=rows[cost], y=rows["rate"], customdata=rows["N"], name=label(method(arm)), legendgroup=arm, mode="lines+markers",
        line=dict(color=colour, width=1.5, dash=dash),
        marker=dict(color=colour, size=12 if star else 8, symbol="star" if star else "diamond-open" if sampled else "circle"),
        hovertemplate=f"{label(method(arm))}, %{{customdata}} programs: %{{y:.1%}} at %{{x:,.4~g}}<extra></extra>",
    )  # fmt: skip
