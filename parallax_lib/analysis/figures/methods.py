"""Figures that compare: branches picked, arms, costs, reasons, and what a human should look at first.

Knows which columns a figure needs.  Computes no interval: rates, differences and their bounds come with the table.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import label
from parallax_lib.analysis.figures.theme import arm_colour, empty, finish, need, ordered, small
from parallax_lib.analysis.readable import heading, method, model, versus
from parallax_lib.core.settings import DIRECTIONS
from parallax_lib.search.arms import ARMS

REFERENCES = {
    "random": ("random pick", theme.VERMILLION, "dot"),
    "original": ("always the original", theme.BLACK, "solid"),
}
METRICS = {
    "best": "picks within tolerance of the best sibling",
    "gt": "picks better than the original",
    "ge": "picks no worse than the original",
    "regret": "reward lost against the best sibling",
}


def branch_selection(table: pd.DataFrame, metric: str = "best") -> go.Figure:
    """Bars of a metric per slice for each picker, with the random and always-original picks as lines across them.

    Needs slice ("all", a direction, "depth 2" ...), picker ("random" and "original" become the lines) and the metric's
    column: best, gt, ge (shares) or regret (reward); takes `<metric>_low`, `<metric>_high` and groups (count).
    """
    title = f"Branch selection: {METRICS.get(metric, metric)}"
    if table.empty:
        return empty(title)
    need(table, ["slice", "picker", metric], "branch_selection")
    slices = list(table["slice"].drop_duplicates())
    values = table.pivot_table(metric, "slice", "picker").reindex(slices)
    pickers = [name for name in ordered(values.columns, theme.MODEL_COLOURS) if name not in REFERENCES]
    at, fig = list(range(len(slices))), go.Figure()
    for name in pickers:
        rows = table[table["picker"] == name].set_index("slice").reindex(slices)
        fig.add_bar(x=at, y=values[name], name=label(model(name)), marker_color=theme.MODEL_COLOURS.get(name, theme.SKY),
                    error_y=_bars(rows, metric, f"{metric}_low", f"{metric}_high"),
                    text=values[name].map("{:.2f}".format), textposition="inside",
                    insidetextanchor="start",
                    insidetextfont=dict(color=theme.text_on(theme.MODEL_COLOURS.get(name, theme.SKY))))  # fmt: skip
    for name, (text, colour, dash) in REFERENCES.items():
        if name not in values:
            continue
        x = [edge for i in at for edge in (i - 0.42, i + 0.42, None)]
        y = [edge for value in values[name] for edge in (value, value, None)]
        fig.add_scatter(x=x, y=y, mode="lines", name=text, line=dict(color=colour, dash=dash, width=3))
    groups = table.groupby("slice")["groups"].max() if "groups" in table else {}
    names = [label(name) + ("<br>" + small(f"n={groups[name]}") if name in groups else "") for name in slices]
    ticks = dict(tickvals=at, ticktext=names, showgrid=False)
    y = "mean regret (reward)" if metric == "regret" else "share of sibling groups"
    side = "below" if metric == "regret" else "above"
    sub = f"siblings share a task and a depth; a picker helps where its bar ends {side} both lines"
    return finish(fig, title, sub, y=y,
                  xaxis=ticks, yaxis=dict(rangemode="tozero"), barmode="group", bargap=0.25)  # fmt: skip


def _bars(rows: pd.DataFrame, value: str, low: str = "low", high: str = "high") -> dict | None:
    """Error bars from bounds, or none where the table has none."""
    if low not in rows or high not in rows:
        return None
    return dict(symmetric=False, array=(rows[high] - rows[value]).to_numpy(), width=4, thickness=1.5,
                arrayminus=(rows[value] - rows[low]).to_numpy())  # fmt: skip


def arms(table: pd.DataFrame) -> go.Figure:
    """Validated rate of every method with its interval, best on top.

    Needs arm, rate, low, high (shares), n (programs), decode_tokens (mean per task).
    """
    title = "Validated translations by method"
    if table.empty:
        return empty(title)
    need(table, ["arm", "rate", "low", "high", "n", "decode_tokens"], "arms")
    rows = _with_rounds(table).dropna(subset=["rate"]).sort_values("rate", kind="stable")
    names = [f"<b>{label(method(r.arm))}</b><br>" + small(f"n={r.n:,}, {r.decode_tokens:,.0f} tokens") for r in rows.itertuples()]
    fig = _intervals(rows, "rate", names, [arm_colour(arm) for arm in rows["arm"]], "{:.1%}",
                     ["top center" if rate > 0.03 else "top right" for rate in rows["rate"]])  # fmt: skip
    sub = "dot: share validated; bar: interval of the table; tokens: decoded a task, all candidates counted"
    return finish(fig, title, sub, x="validated share", height=150 + 52 * len(rows), showlegend=False,
                  xaxis=dict(range=[0, 1], tickformat=".0%"))  # fmt: skip


def _with_rounds(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the repair round in the method's name: `guided+repair2`."""
    if "repair" not in table:
        return table
    names = [f"{arm}+repair{n}" if n else arm for arm, n in zip(table["arm"], table["repair"], strict=True)]
    return table.assign(arm=names)


def paired_diff(rows: pd.DataFrame, title: str = "Paired differences between methods, task by task") -> go.Figure:
    """Paired differences with their intervals, zero marked.

    Needs comparison ("guided - unguided"), diff, low, high (shares), wins, ties, losses (tasks).
    """
    if rows.empty:
        return empty(title)
    need(rows, ["comparison", "diff", "low", "high", "wins", "ties", "losses"], "paired_diff")
    rows = rows.dropna(subset=["diff"]).iloc[::-1]
    first = {str(name).partition(" - ")[0] for name in rows["comparison"]}
    shared = first.pop() if len(first) == 1 and len(rows) > 1 else ""  # told once, beneath the axis
    said = [f"minus {method(name.partition(' - ')[2])}" if shared else versus(name) for name in rows["comparison"]]
    counts = [small(f"{r.wins} wins, {r.ties} ties, {r.losses} losses") for r in rows.itertuples()]
    names = [f"<b>{label(name)}</b><br>{count}" for name, count in zip(said, counts, strict=True)]
    clear = (rows["low"] > 0) | (rows["high"] < 0)
    points = rows.assign(**{name: 100 * rows[name] for name in ("diff", "low", "high")})
    span = max(points["high"].max(), 0) - min(points["low"].min(), 0)
    colours = [theme.BLUE if sure else theme.GREY for sure in clear]
    fig = _intervals(points, "diff", names, colours, "{:+.1f} pp", theme.beside_zero(points["diff"], span))
    fig.add_vline(x=0, line=dict(color=theme.BLACK, dash="dash", width=1))
    sub = "blue: the interval excludes zero; grey: it does not"
    what = f"{label(method(shared))} minus each, validated share" if shared else "difference in validated share"
    return finish(fig, title, sub, x=f"{what} (percentage points)", showlegend=False, height=150 + 52 * len(rows))  # fmt: skip


def _intervals(rows: pd.DataFrame, value: str, names: list[str], colours: list[str], text: str, places: list[str]) -> go.Figure:
    """A dot and its interval per row, one trace each so that dot and bar share a colour; the value stands at its place by the dot."""
    fig = go.Figure()
    for row, name, colour, place in zip(rows.to_dict("records"), names, colours, places, strict=True):
        bar = dict(symmetric=False, array=[row["high"] - row[value]], arrayminus=[row[value] - row["low"]],
                   thickness=2.5, width=5, color=colour)  # fmt: skip
        tip = f"{text.format(row[value])} [{text.format(row['low'])}, {text.format(row['high'])}]<extra></extra>"
        fig.add_scatter(x=[row[value]], y=[name], error_x=bar, mode="markers+text", text=[text.format(row[value])],
                        textposition=place, marker=dict(color=colour, size=11),
                        hovertemplate=tip, cliponaxis=False)  # fmt: skip
    return fig.update_yaxes(range=[-0.5, len(rows) - 0.3], showgrid=False, ticks="")


def tokens_vs_rate(table: pd.DataFrame) -> go.Figure:
    """What a validated rate costs in decoded tokens.  Needs arm, rate, low, high, decode_tokens (mean per task)."""
    title = "What each method costs and what it reaches"
    if table.empty:
        return empty(title)
    need(table, ["arm", "rate", "low", "high", "decode_tokens"], "tokens_vs_rate")
    fig = go.Figure()
    for row in _dodged(_with_rounds(table)).to_dict("records"):
        colour = arm_colour(row["arm"])
        bar = dict(symmetric=False, array=[row["high"] - row["rate"]], arrayminus=[row["rate"] - row["low"]],
                   thickness=1.5, width=4, color=colour)  # fmt: skip
        tip = f"{row['rate']:.1%}, {row['decode_tokens']:,.0f} tokens"
        fig.add_scatter(x=[row["at"]], y=[row["rate"]], error_y=bar, mode="markers", name=label(method(row["arm"])),
                        marker=dict(color=colour, size=10), hovertemplate=tip, cliponaxis=False,
                        customdata=[row["decode_tokens"]])  # fmt: skip
    axes = dict(xaxis=dict(rangemode="tozero"), yaxis=dict(range=[0, 1], tickformat=".0%"))
    sub = "up and left is better; methods of nearly equal cost are drawn side by side"
    return finish(fig, title, sub, x="decoded tokens a task, all candidates counted", y="validated share", **axes)


def _dodged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows by cost, with `at` to draw them: those closer than 3 % of the axis are fanned out around their cost."""
    rows = table.dropna(subset=["rate"]).sort_values("decode_tokens", kind="stable")
    top = rows["decode_tokens"].max()
    cluster = (rows["decode_tokens"].diff() > 0.03 * top).cumsum()
    place = rows.groupby(cluster).cumcount() - (rows.groupby(cluster)["arm"].transform("size") - 1) / 2
    return rows.assign(at=rows["decode_tokens"] + 0.018 * top * place)


def reason_by(results: pd.DataFrame, by: str = "arm") -> go.Figure:
    """Heat map of reason x `by` (arm, direction, kernel, family): counts as text, share of the column as colour.

    `customdata` holds (reason, column value) of each cell, so that a click can filter.
    """
    title = f"Verdicts by {heading(by)}"
    if results.empty:
        return empty(title)
    need(results, ["reason", by], "reason_by")
    counts = pd.crosstab(results["reason"], results[by].astype(str))
    known = {"arm": tuple(ARMS), "direction": DIRECTIONS}.get(by, ())
    reasons, columns = ordered(counts.index, theme.REASONS), ordered(counts.columns, known)
    counts = counts.loc[reasons, columns]
    fig = go.Figure(go.Heatmap(
        z=(counts / counts.sum()).to_numpy(), x=[label(method(c) if by == "arm" else c) for c in columns], y=[label(r) for r in reasons],
        text=counts.map(lambda n: str(n or "")).to_numpy(), texttemplate="%{text}",
        customdata=[[(r, c) for c in columns] for r in reasons],
        colorscale=theme.PALE, zmin=0, zmax=1, textfont=dict(color=theme.BLACK), xgap=2, ygap=2,
        colorbar=dict(title=dict(text="share of column", **theme.BESIDE), tickformat=".0%", thickness=14),
        hovertemplate="%{y}, %{x}: %{text} programs, %{z:.0%} of the column<extra></extra>",
    ))  # fmt: skip
    fig.update_yaxes(autorange="reversed", type="category").update_xaxes(type="category", side="bottom")
    sub = f"{len(results):,} programs; a column's shares add to 100 %"
    return finish(fig, title, sub, x=heading(by), height=max(300, 150 + 34 * len(reasons)),
                  xaxis=dict(showgrid=False, ticks=""), yaxis=dict(showgrid=False, ticks=""))  # fmt: skip


def recheck_ranking(table: pd.DataFrame, top: int = 20) -> go.Figure:
    """The programs a human should look at first, and why.  Needs task, why, urgency; `arm` if known."""
    title = "What needs a human eye"
    if table.empty:
        return empty(title, "nothing to recheck")
    need(table, ["task", "why", "urgency"], "recheck_ranking")
    rows = table.sort_values("urgency", ascending=False, kind="stable").head(top).reset_index(drop=True)
    names = [f"{i + 1}. {label(row.task)}" + (f", {label(method(row.arm))}" if "arm" in rows else "")
             for i, row in enumerate(rows.itertuples())]  # fmt: skip
    fig, whys = go.Figure(), list(rows["why"].drop_duplicates())
    for why, colour in zip(whys, theme.TEMPLATE.layout.colorway * len(whys), strict=False):
        at = rows.index[rows["why"] == why]
        fig.add_bar(y=[names[i] for i in at], x=rows.loc[at, "urgency"], orientation="h", name=label(why, 90),
                    marker_color=colour, customdata=at)  # fmt: skip
    axis = dict(autorange="reversed", categoryorder="array", categoryarray=names, showgrid=False, ticks="")
    legend = dict(orientation="h", traceorder="normal", y=-60 / (24 * len(rows)))
    return finish(fig, title, f"first {len(rows)} of {len(table):,}", x="urgency", barmode="stack", yaxis=axis,
                  height=170 + 24 * len(rows), showlegend=True, legend=legend)  # fmt: skip
