"""Figures of the report card: the oracle's gap, families, candidates and steps, margins, small trainings.

Knows which columns a figure needs.  Computes no interval: bounds come with the table.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import label
from parallax_lib.analysis.figures.theme import arm_colour, empty, finish, need, ordered, small
from parallax_lib.analysis.readable import method
from parallax_lib.search.arms import ARMS

STUDIES = {"loss": "loss", "model": "model", "share": "share of the training tasks", "split": "split by"}


def gap_closed(table: pd.DataFrame) -> go.Figure:
    """Share of the gap between the unguided method and the oracle that each method closes, with its interval.

    Needs arm, gap, closed, low, high (shares).
    """
    title = "Share of the oracle's gap that each method closes"
    if table.empty:
        return empty(title)
    need(table, ["arm", "gap", "closed", "low", "high"], "gap_closed")
    rows = table.dropna(subset=["closed"])
    if rows.empty:
        return empty(title, "no gap between the unguided method and the oracle")
    fig = go.Figure()
    rows = rows.sort_values("closed", kind="stable")
    places = theme.beside_zero(rows["closed"], max(rows["high"].max(), 1) - min(rows["low"].min(), 0))
    for r, place in zip(rows.itertuples(), places, strict=True):
        bar = dict(symmetric=False, array=[r.high - r.closed], arrayminus=[r.closed - r.low], thickness=2.5, width=5)
        fig.add_scatter(x=[r.closed], y=[label(method(r.arm))], error_x=bar, mode="markers+text", text=[f"{r.closed:z.0%}"],
                        textposition=place, marker=dict(color=arm_colour(r.arm), size=11))  # fmt: skip
    for at in (0, 1):
        fig.add_vline(x=at, line=dict(color=theme.BLACK, dash="dash", width=1))
    sub = f"0: unguided, 1: oracle, {100 * rows['gap'].iloc[0]:.1f} points apart; bars: interval over tasks"
    return finish(fig, title, sub, x="share closed", showlegend=False, height=150 + 44 * len(rows),
                  xaxis=dict(tickformat=".0%"), yaxis=dict(showgrid=False, range=[-0.5, len(rows) - 0.3]))  # fmt: skip


def bought(table: pd.DataFrame, arms: pd.DataFrame) -> go.Figure:
    """What writing N programs and choosing among them reaches, against what the methods of one program reach.

    table: arm, N, cost (tokens of a task), rate; arms: arm, cost, rate, of which those that write one program are drawn.
    """
    title = "What more programs buy"
    if table.empty:
        return empty(title)
    need(table, ["arm", "N", "cost", "rate"], "bought")
    fig = go.Figure()
    for arm, rows in table.groupby("arm", sort=False):
        fig.add_scatter(x=rows["cost"], y=rows["rate"], name=label(method(arm)), mode="lines+markers", customdata=rows["N"],
                        marker=dict(color=arm_colour(arm), size=7), line=dict(color=arm_colour(arm)),
                        hovertemplate="%{customdata} programs, %{x:,.0f} tokens: %{y:.1%}")  # fmt: skip
    for r in arms[~arms["arm"].isin(table["arm"]) & ~arms["arm"].str.contains("@")].itertuples():
        fig.add_scatter(x=[r.cost], y=[r.rate], name=label(method(r.arm)), mode="markers",
                        marker=dict(color=arm_colour(r.arm), size=12, symbol="star" if r.arm == "guided" else "diamond"))  # fmt: skip
    sub = f"dots: at most 1 to {table['N'].max()} programs of a task's pool; star and diamonds: methods that write one program"
    return finish(fig, title, sub, x="tokens forwarded for a task", y="share validated", height=430,
                  xaxis=dict(rangemode="tozero", tickformat=","), yaxis=dict(tickformat=".0%"))  # fmt: skip


def by_programs(table: pd.DataFrame, arm: str = "guided_filter") -> go.Figure:
    """Shares that choosers validate by the number of programs that they may run, and what `arm` gains over each of the others.

    Needs N, against, rate_a, rate_b, diff, low, high (shares): `comparisons.by_programs`.
    """
    title = "What guidance adds where programs are run"
    if table.empty:
        return empty(title)
    need(table, ["N", "against", "rate_a", "rate_b", "diff", "low", "high"], "by_programs")
    fig = make_subplots(1, 2, subplot_titles=("share validated", f"{label(method(arm))} minus each"), horizontal_spacing=0.12)
    lines = {arm: table.drop_duplicates("N").set_index("N")["rate_a"]}
    lines |= {against: rows.set_index("N")["rate_b"] for against, rows in table.groupby("against", sort=False)}
    for name, rates in lines.items():
        fig.add_scatter(x=rates.index, y=rates, name=label(method(name)), mode="lines+markers", line=dict(color=arm_colour(name)),
                        hovertemplate="%{x} programs: %{y:.1%}", row=1, col=1)  # fmt: skip
    for i, (against, rows) in enumerate(table.groupby("against", sort=False)):
        bar = dict(symmetric=False, array=100 * (rows["high"] - rows["diff"]), arrayminus=100 * (rows["diff"] - rows["low"]))
        fig.add_scatter(x=rows["N"] + 0.15 * i, y=100 * rows["diff"], error_y=bar | dict(thickness=2, width=4), mode="markers",
                        showlegend=False, marker=dict(color=arm_colour(against), size=9),
                        hovertemplate=f"{label(method(against))}, %{{x}} programs: %{{y:+.1f}} points", row=1, col=2)  # fmt: skip
    fig.add_hline(y=0, line=dict(color=theme.BLACK, dash="dash", width=1), row=1, col=2)
    fig.update_yaxes(tickformat=".0%", row=1, col=1).update_yaxes(title_text="points", rangemode="tozero", row=1, col=2)
    fig.update_xaxes(title_text="programs at most", dtick=1)
    sub = f"{table['tasks'].iloc[0]:,} tasks of collected trajectories; bars: interval over tasks" if "tasks" in table else ""
    return finish(fig, title, sub, height=430, legend=dict(orientation="h", yanchor="top", y=-0.22, x=0))


def families(table: pd.DataFrame, arm: str = "guided", against: str = "unguided") -> go.Figure:
    """One method minus another in every family, least first from below; a dot's area is the family's number of tasks.

    Needs family, tasks and both methods (shares); takes suite, which colours the dots.
    """
    title = f"{label(method(arm))} minus {label(method(against))}, family by family"
    if table.empty:
        return empty(title)
    need(table, ["family", "tasks", arm, against], "families")
    rows = table.assign(gain=100 * (table[arm] - table[against])).dropna(subset=["gain"])
    if rows.empty:
        return empty(title, "no family was judged under both methods")
    rows = rows.sort_values(["gain", "family"], kind="stable", ignore_index=True)
    suites = sorted(rows["suite"].unique()) if "suite" in rows else [""]
    fig, names = go.Figure(), [f"{label(r.family)} " + small(f"n={r.tasks}") for r in rows.itertuples()]
    sizes = dict(sizemode="area", sizeref=rows["tasks"].max() / 15**2, sizemin=3, opacity=1)
    for name, colour in zip(suites, theme.TEMPLATE.layout.colorway * len(suites), strict=False):
        part = rows[rows["suite"] == name] if name else rows
        rates = [f"\u2002{a:.0f} → {b:.0f} %\u2002" for a, b in zip(100 * part[against], 100 * part[arm], strict=True)]
        side = ["middle left" if gain < 0 else "middle right" for gain in part["gain"]]
        fig.add_scatter(x=part["gain"], y=part.index, mode="markers+text", text=rates, textposition=side, textfont_size=11,
                        name=label(name), marker=dict(color=colour, size=part["tasks"], **sizes), cliponaxis=False)  # fmt: skip
    stems = [edge for gain in rows["gain"] for edge in (0, gain, None)], [edge for i in rows.index for edge in (i, i, None)]
    below = dict(mode="lines", showlegend=False, hoverinfo="skip", zorder=-1)
    fig.add_scatter(x=stems[0], y=stems[1], line=dict(color=theme.GREY, width=1), **below)
    fig.add_scatter(x=[0, 0], y=[-1, len(rows)], line=dict(color=theme.BLACK, dash="dash", width=1), **below)
    low, high = rows["gain"].min(), rows["gain"].max()
    room = 0.2 * max(high - low, 1)  # for what stands beside the outermost dots
    names = dict(tickvals=list(rows.index), ticktext=names, range=[-0.7, len(rows) - 0.3], showgrid=False, ticks="")
    shares = f"{label(method(against))} → {label(method(arm))}"
    sub = f"beside each dot: {shares}; n: tasks, the dot's area; extremes of so many are partly chance"
    return finish(fig, title, sub, x="difference in validated share (percentage points)", height=150 + 20 * len(rows), yaxis=names,
                  xaxis=dict(range=[low - room, high + room]), showlegend=len(suites) > 1, legend=theme.TOP_LEGEND)  # fmt: skip


def repair(table: pd.DataFrame) -> go.Figure:
    """Validated rate of every method after each repair round.  Needs arm, repair, rate, low, high, n."""
    title = "What repair rounds add"
    if table.empty:
        return empty(title)
    need(table, ["arm", "repair", "rate", "low", "high", "n"], "repair")
    fig, arms = go.Figure(), ordered(table["arm"], ARMS)
    for i, arm in enumerate(arms):
        rows = table[table["arm"] == arm].sort_values("repair")
        bar = dict(symmetric=False, array=rows["high"] - rows["rate"], arrayminus=rows["rate"] - rows["low"], thickness=1, width=3)
        fig.add_scatter(x=rows["repair"] + 0.02 * (i - len(arms) / 2), y=rows["rate"], error_y=bar, mode="lines+markers",
                        name=label(method(arm)),
                        line=dict(color=arm_colour(arm), dash="dot" if "@" in arm else "solid"))  # fmt: skip
    axes = dict(xaxis=dict(tickvals=sorted(table["repair"].unique())), yaxis=dict(rangemode="tozero", tickformat=".0%"))
    sub = "bars: interval of the table" + ("; dotted: held to the guided method's cost" if any("@" in arm for arm in arms) else "")
    return finish(fig, title, sub, x="repair rounds", y="validated share", height=480, **axes)


def breadth(table: pd.DataFrame) -> go.Figure:
    """Two heat maps over candidates N and latent steps K: what the PRM's pick gains over the original, and the best pick.

    Needs depth, n, groups, prm, oracle, original (mean rewards).
    """
    title = "How many candidates, at how many latent steps?"
    if table.empty:
        return empty(title)
    need(table, ["depth", "n", "groups", "prm", "oracle", "original"], "breadth")
    fig = make_subplots(1, 2, subplot_titles=["picked by the PRM", "picked by an oracle"], shared_yaxes=True, horizontal_spacing=0.04)
    most = max(float((table["oracle"] - table["original"]).abs().max()), 0.01)
    for col, name in enumerate(("prm", "oracle"), 1):
        grid = table.assign(gain=table[name] - table["original"]).pivot(index="depth", columns="n", values="gain")
        fig.add_heatmap(
            z=grid.to_numpy(), x=[str(n) for n in grid.columns], y=[str(k) for k in grid.index], zmin=-most, zmax=most,
            colorscale=theme.PALE_SIGNED, texttemplate="%{z:+.2f}", textfont=dict(color=theme.BLACK), showscale=col == 2, xgap=2, ygap=2,
            colorbar=dict(title=dict(text="reward gained", **theme.BESIDE), thickness=14, tickformat="+.1f"),
            hovertemplate="N = %{x}, K = %{y}: %{z:+.3f}<extra></extra>", row=1, col=col,
        )  # fmt: skip
    fig.update_xaxes(type="category", showgrid=False).update_yaxes(type="category", showgrid=False).update_annotations(font_size=13)
    sub = f"mean over all draws of N candidates; at most {table['groups'].max()} tasks"
    return finish(fig, title, sub, height=380).update_xaxes(title_text="candidates N").update_yaxes(title_text="latent steps K", col=1)


def margins(table: pd.DataFrame) -> go.Figure:
    """Gain of the pick over the original by the margin it must lead by.  Needs margin, moved, gain, low, high, possible."""
    title = "How sure must the PRM be to leave the original?"
    if table.empty:
        return empty(title)
    need(table, ["margin", "moved", "gain", "low", "high", "possible"], "margins")
    if table["gain"].isna().all():
        return empty(title, "no sibling groups")
    fig = go.Figure()
    bar = dict(symmetric=False, array=table["high"] - table["gain"], arrayminus=table["gain"] - table["low"], thickness=1.5, width=4)
    at = [f"{r.margin:g}<br>{r.moved:.0%} moved" for r in table.itertuples()]
    fig.add_scatter(x=at, y=table["gain"], error_y=bar, mode="lines+markers", name="picked by the PRM", line_color=theme.BLUE)
    fig.add_scatter(x=at, y=table["possible"], mode="lines", name="a perfect pick", line=dict(color=theme.GREEN, dash="dash"))
    fig.add_hline(y=0, line=dict(color=theme.BLACK, dash="dot", width=1))
    return finish(fig, title, "sibling groups; bars: interval over tasks", x="margin in score", y="reward gained over the original",
                  xaxis=dict(type="category"))  # fmt: skip


def variations(summary: pd.DataFrame) -> go.Figure:
    """AUROC on test prefixes of every small training, a panel per study; bars run over the seeds.

    Needs study, setting, auroc, auroc_low, auroc_high.
    """
    title = "Small trainings: what helps the PRM?"
    if summary.empty:
        return empty(title)
    need(summary, ["study", "setting", "auroc", "auroc_low", "auroc_high"], "variations")
    studies = ordered(summary["study"], STUDIES)
    names = [STUDIES.get(s, label(s)) for s in studies]
    fig = make_subplots(1, len(studies), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.03)
    for col, name in enumerate(studies, 1):
        rows = summary[summary["study"] == name]
        bar = dict(symmetric=False, array=rows["auroc_high"] - rows["auroc"], arrayminus=rows["auroc"] - rows["auroc_low"])
        fig.add_scatter(x=[label(s) for s in rows["setting"]], y=rows["auroc"], error_y=bar, row=1, col=col,
                        mode="lines+markers" if name == "share" else "markers", marker=dict(color=theme.BLUE, size=10))  # fmt: skip
    fig.add_hline(y=0.5, line=dict(color=theme.BLACK, dash="dot", width=1)).update_annotations(font_size=13)
    fig.update_xaxes(type="category", tickangle=-40)
    sub = "AUROC on prefixes of the test split, dotted: chance; a split by rows leaks, and says nothing of new families"
    fig.update_yaxes(title_text="AUROC", col=1)
    return finish(fig, title, sub, showlegend=False, height=440)
