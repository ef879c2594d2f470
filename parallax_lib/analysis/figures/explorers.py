"""Two explorers over the tables of a run: PRM scores and failures (`adjudicate` has the third, for decisions).

Knows which columns to show and what a click means.  Knows no model and judges nothing.  Every callback is a plain
method; row numbers travel in `customdata`; `.static()` is the figure alone, for runs without a browser.
"""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from parallax_lib.analysis.decisions import decide, program_key, read_decisions
from parallax_lib.analysis.figures import methods as method_figures
from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.adjudicator import Adjudicator
from parallax_lib.analysis.figures.escape import label, safe_text
from parallax_lib.analysis.figures.widgets import FULL, Details, Filters, ProgramList, Shown, dropdown, title_of, to_csv
from parallax_lib.analysis.readable import heading
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import write_atomic

__all__ = ["Adjudicator", "FailureExplorer", "ScoreExplorer"]

CROWD = 2000  # points; more of them are drawn smaller and see-through
CERTAIN = 1e-6  # nats a token: what is likelier is drawn here, on a logarithmic axis
X_AXES = {
    "mean_logprob": "mean negative log-probability of the decoded code (nats a token; likelier to the left)",
    "tokens": "decoded tokens",
    "target": "mean reward of all programs beneath this prefix",
}


class ScoreExplorer(Shown):
    """PRM score of every rollout at one depth; a click on a point shows its program, diff, log and verdict.

    rollouts: the table of that name, with `source_code` if the source is to be shown.  scores: capture_id, depth,
    score, target, model.
    """

    def __init__(self, rollouts: pd.DataFrame, scores: pd.DataFrame, x: str = "mean_logprob"):
        theme.need(rollouts, ["capture_id", "task", "reason"], "ScoreExplorer rollouts")
        theme.need(scores, ["capture_id", "depth", "score", "target", "model"], "ScoreExplorer scores")
        self.frame = rollouts.reset_index(drop=True)
        self.frame["verdict"] = [theme.failure_class(reason) for reason in self.frame["reason"]]
        self.scores, self.selected = scores, None
        models, depths = theme.ordered(scores["model"], theme.MODEL_COLOURS), sorted(scores["depth"].unique())
        self.models, self.depths = models or [""], [int(d) for d in depths] or [0]
        self.model = dropdown("model", self.models, first=None)
        steps = [(str(depth + 1), depth) for depth in self.depths]
        self.depth = widgets.SelectionSlider(options=steps, value=self.depths[-1], description="after step")
        axes = [name for name in X_AXES if name == "target" or name in self.frame]
        if x not in axes:
            raise UserError(f"ScoreExplorer: x is {x!r}, must be one of {', '.join(axes)}")
        self.axis = dropdown("x axis", axes, first=None)
        self.axis.value = x
        self.filters = Filters(self.frame, ("direction", "kernel", "family", "verdict", "split"), self.redraw)
        self.details = Details("Click a point to see its program.")
        self.fig: go.FigureWidget | None = None

    def points(self) -> pd.DataFrame:
        """Rows that pass the filters with score and target at the chosen model and depth; `row` numbers rollouts."""
        at_depth = (self.scores["model"] == self.model.value) & (self.scores["depth"] == self.depth.value)
        chosen = self.scores.loc[at_depth, ["capture_id", "score", "target"]]
        rows = self.filters.rows().drop(columns=["score", "target"], errors="ignore").reset_index(names="row")
        return rows.merge(chosen, on="capture_id")

    def traces(self) -> list[dict]:
        """One trace of points per failure class, empty ones too, so that a redraw keeps the number of traces."""
        points = self.points()
        size, opacity = (9, 0.8) if len(points) <= CROWD else (5, 0.3)
        out = []
        for name in theme.FAILURE_CLASSES:
            part = points[points["verdict"] == name]
            marker = dict(color=theme.CLASS_COLOURS[name], symbol=theme.CLASS_SYMBOLS[name], size=size, opacity=opacity)
            text = [f"{label(row.task)}<br>{label(row.reason)}" for row in part.itertuples()]
            x, row = part[self.axis.value].to_numpy(), part["row"].to_numpy()
            if self.axis.value == "mean_logprob":
                x = np.maximum(-x, CERTAIN)
            y = part["score"].to_numpy()
            out.append(dict(name=f"{name} ({len(part)})", x=x, y=y, text=text, marker=marker, customdata=row.reshape(-1, 1)))
        return out

    def titles(self) -> dict:
        title = f"PRM score after latent step {self.depth.value + 1}, {label(self.model.value)}"
        text = theme.titled(title, f"{len(self.points()):,} rollouts; click one to see its program")
        scale = "log" if self.axis.value == "mean_logprob" else "linear"
        axis = {"xaxis.title.text": X_AXES[self.axis.value], "xaxis.type": scale, "xaxis.autorange": True}
        return {"title.text": text} | axis

    def static(self) -> go.Figure:
        """The scatter for the current choices, without widgets."""
        if self.points().empty:
            return theme.empty("PRM scores", "no rollout has a score here")
        return self.figure()

    def figure(self) -> go.Figure:
        fig = go.Figure()
        for trace in self.traces():
            fig.add_scatter(mode="markers", hovertemplate="%{text}<br>score %{y:.3f}<extra></extra>", **trace)
        theme.finish(fig, "", y="PRM score", clickmode="event", height=440)
        fig.update_yaxes(range=[-0.03, 1.03])
        fig.update_xaxes(exponentformat="power")
        return fig.update_layout(self.titles())

    def redraw(self, _change: object = None) -> None:
        if self.fig is None:
            return
        with self.fig.batch_update():
            for drawn, trace in zip(self.fig.data, self.traces(), strict=True):
                drawn.update(trace)
            self.fig.update_layout(self.titles())

    def on_click(self, trace: go.Scatter, points: object, _state: object) -> None:
        if points.point_inds:
            self.select(int(trace.customdata[points.point_inds[0]][0]))

    def select(self, row: int) -> None:
        """Show one rollout by its row number."""
        self.selected = row
        found = self.frame.loc[row].to_dict()
        at = self.points().set_index("row")
        score = f", score {at.loc[row, 'score']:.3f}, target {at.loc[row, 'target']:.2f}" if row in at.index else ""
        self.details.show(found, title_of(found) + score)

    def build(self) -> widgets.VBox:
        self.fig = go.FigureWidget(self.figure().update_layout(width=theme.WIDGET_WIDTH))
        for trace in self.fig.data:
            trace.on_click(self.on_click)
        for box in (self.model, self.depth, self.axis):
            box.observe(self.redraw, "value")
        top = widgets.HBox([self.model, self.depth, self.axis])
        return widgets.VBox([top, self.filters.widget, self.fig, self.details.widget], layout=FULL)


class FailureExplorer(Shown):
    """Counts by reason and method (direction, kernel, family); a click on a cell lists its programs, one is shown whole.

    results: the table of that name, or rollouts; with `source_code` if the source is to be shown.  notes: file that
    keeps "look again" marks (`decisions`); without it nothing is kept.
    """

    COLUMNS = ("direction", "kernel", "family", "reason", "arm")

    def __init__(self, results: pd.DataFrame, notes: str | Path | None = None, by: str | None = None):
        theme.need(results, ["task", "direction", "reason"], "FailureExplorer")
        self.frame, self.notes, self.selected = results.reset_index(drop=True), notes, None
        groups = [name for name in ("arm", "direction", "kernel", "family") if name in self.frame]
        self.by = dropdown("columns", groups, first=None)
        self.by.options = [(heading(name), name) for name in groups]
        self.by.value = by or groups[0]
        self.filters = Filters(self.frame, self.COLUMNS, self.refresh)
        self.list, self.details = ProgramList(self.select), Details("Choose a program, or click a cell of the map.")
        self.note = widgets.Text(placeholder="why should somebody look again?", layout=widgets.Layout(width="340px"))
        self.mark_button = widgets.Button(description="mark: look again", icon="flag")
        self.unmark_button = widgets.Button(description="remove mark")
        self.path = widgets.Text(value="selection.csv", description="file", layout=widgets.Layout(width="280px"))
        self.export_button = widgets.Button(description="export selection", icon="download")
        self.status = widgets.HTML()
        self.fig: go.FigureWidget | None = None
        self.refresh()

    def selection(self) -> pd.DataFrame:
        """The rows that pass every filter."""
        return self.filters.rows()

    def static(self) -> go.Figure:
        """The map over the rows that pass the filters on anything but its own two axes."""
        return method_figures.reason_by(self.filters.rows(except_for=("reason", self.by.value)), self.by.value)

    def refresh(self, _change: object = None) -> None:
        """Draw the map and fill the list anew; the program shown stays if it still passes the filters."""
        if self.fig is not None and self.fig.data:
            self.redraw(self.static())
        rows = self.selection()
        titles = {i: title_of(row) for i, row in zip(rows.index, rows.to_dict("records"), strict=True)}
        self.list.fill(titles, self.selected)
        if self.list.select.value is None:
            self.selected = None
            self.details.clear("No program passes these filters.")
        else:
            self.select(self.list.select.value)

    def redraw(self, new: go.Figure) -> None:
        """Put another map's cells and titles into the one on screen."""
        with self.fig.batch_update():
            for name in ("z", "x", "y", "text", "customdata"):
                self.fig.data[0][name] = new.data[0][name] if new.data else []
            self.fig.update_layout(title=new.layout.title, height=new.layout.height)
            self.fig.update_xaxes(title_text=self.by.value)

    def on_click(self, trace: go.Heatmap, points: object, _state: object) -> None:
        """Filter by the clicked cell's reason and column."""
        if points.point_inds:
            at = points.point_inds[0]
            row, column = at if isinstance(at, (list, tuple)) else divmod(at, len(trace.x))
            self.choose_cell(*trace.customdata[row][column])

    def choose_cell(self, reason: str, value: str) -> None:
        self.filters.choose(reason=str(reason), **{self.by.value: str(value)})

    def select(self, row: int) -> None:
        """Show one program by its row number, with its mark if it has one."""
        self.selected = int(row)
        found = self.frame.loc[self.selected].to_dict()
        self.details.show(found, title_of(found))
        mark = read_decisions(self.notes).get(program_key(found)) if self.notes else None
        self.note.value = mark["note"] if mark else ""
        self.status.value = safe_text(f"decision on file: {mark['choice']}" if mark else "")

    def mark(self, _button: object = None) -> None:
        """Keep "look again" and the note for the program shown."""
        self._write("recheck")

    def unmark(self, _button: object = None) -> None:
        self._write(None)

    def _write(self, choice: str | None) -> None:
        if self.notes is None or self.selected is None:
            self.status.value = "Nothing kept: give FailureExplorer a notes file and choose a program."
            return
        decide(self.notes, self.frame.loc[self.selected].to_dict(), choice, self.note.value)
        self.select(self.selected)

    def export(self, _button: object = None) -> Path:
        """Write the rows that pass every filter as CSV."""
        rows, path = self.selection(), Path(self.path.value)
        write_atomic(path, to_csv(rows).encode())
        self.status.value = safe_text(f"{len(rows):,} rows written to {path}")
        return path

    def build(self) -> widgets.VBox:
        self.fig = go.FigureWidget(self.static().update_layout(width=theme.WIDGET_WIDTH))
        for trace in self.fig.data:
            trace.on_click(self.on_click)
        self.by.observe(self.refresh, "value")
        self.mark_button.on_click(self.mark)
        self.unmark_button.on_click(self.unmark)
        self.export_button.on_click(self.export)
        marks = widgets.HBox([self.note, self.mark_button, self.unmark_button])
        files = widgets.HBox([self.path, self.export_button, self.status])
        parts = [self.by, self.filters.widget, self.fig, self.list.widget, marks, files, self.details.widget]
        return widgets.VBox(parts, layout=FULL)
