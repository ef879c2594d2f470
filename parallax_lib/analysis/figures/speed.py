"""How close measurements come to what the machine does at most.

Knows the columns that `study.bench.report.read` gives.  Measures nothing.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import label
from parallax_lib.analysis.figures.theme import empty, finish, need

COLOURS = (theme.BLUE, theme.ORANGE, theme.GREEN, theme.PURPLE, theme.SKY)


def fractions(table: pd.DataFrame) -> go.Figure:
    """A bar for each measurement: its share of the ceiling, by machine.  Needs machine, what, measured, unit, fraction, beside.

    What a machine measured twice is drawn once, as it was last.  Memory, which is held against a plan, is left out.
    """
    title = "Share of the ceiling reached"
    if table.empty:
        return empty(title)
    need(table, ["machine", "what", "measured", "unit", "fraction", "beside"], "fractions")
    rows = table[table["unit"] != "GiB"].dropna(subset="fraction").drop_duplicates(["machine", "what"], keep="last")
    fig, rows = go.Figure(), rows[::-1]
    for i, (machine, some) in enumerate(rows.groupby("machine", sort=False)):
        told = [f"{row.measured:,.3g} {row.unit}" + (f"; {row.beside}" if row.beside else "") for row in some.itertuples()]
        fig.add_bar(
            y=[label(f"{what} ", 90) for what in some["what"]], x=some["fraction"], orientation="h", name=label(machine), customdata=told,
            marker_color=COLOURS[i % len(COLOURS)], hovertemplate="%{y}: %{x:.0%}, %{customdata}<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(tickformat=".0%", rangemode="tozero", title_text="share of the ceiling")
    fig.add_vline(x=1, line_color=theme.GREY, line_dash="dot")
    sub = "copy, product of matrices, plain file"
    return finish(fig, title, sub, height=140 + 28 * len(rows), legend=dict(orientation="h", yanchor="top", y=-0.12, x=0))
