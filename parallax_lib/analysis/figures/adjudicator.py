"""A desk for decisions: one doubtful verdict after the other, accept, reject or unsure, and both rates as they move.

Knows the queue of `recheck` and the file of `decisions`.  Judges nothing: people do.
"""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from parallax_lib.analysis import recheck
from parallax_lib.analysis.decisions import decide, program_key, read_decisions, rows_decided
from parallax_lib.analysis.figures import methods as method_figures
from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import safe_text, table_html
from parallax_lib.analysis.figures.widgets import FULL, Details, Filters, ProgramList, Shown, title_of

BUTTONS = {"accept": ("success", "check"), "reject": ("danger", "times"), "unsure": ("warning", "question")}
MARKS = {"accept": "✓", "reject": "✗", "unsure": "?", "recheck": "⚑"}


class Adjudicator(Shown):
    """Walks a person through the recheck queue and keeps each decision in a file the moment it falls.

    queue: `recheck.queue` (columns row, why, urgency and those of the results), with `source_code` if the source is to
    be shown.  path: JSON file of decisions.  results: the whole table; with it both rates are shown.
    """

    def __init__(self, queue: pd.DataFrame, path: str | Path, results: pd.DataFrame | None = None):
        theme.need(queue, ["row", "task", "code", "reason", "why", "urgency"], "Adjudicator")
        self.queue, self.path, self.results = queue.reset_index(drop=True), Path(path), results
        self.selected: int | None = None
        self.filters = Filters(self.queue, ("why", "arm", "direction", "reason"), self.refresh)
        self.list, self.details = ProgramList(self.select), Details("Choose a program.")
        self.note = widgets.Text(placeholder="note (kept with the decision)", layout=widgets.Layout(width="420px"))
        self.buttons = {}
        for choice, (style, icon) in BUTTONS.items():
            button = widgets.Button(description=choice, icon=icon, button_style=style)
            button.on_click(lambda _, choice=choice: self.decide(choice))
            self.buttons[choice] = button
        self.undo = widgets.Button(description="take back", icon="undo")
        self.undo.on_click(lambda _: self.decide(None))
        self.progress, self.rates_table = widgets.HTML(layout=widgets.Layout(min_width="150px")), widgets.HTML()
        self.refresh()

    @property
    def decisions(self) -> dict[int, str]:
        """{row of the results: choice}, every row whose program was decided: what `recheck.both_rates` takes."""
        return rows_decided(self.queue if self.results is None else self.results, self.path)

    def rates(self) -> pd.DataFrame:
        """Validated share per method by the harness alone and with the decisions laid on top; needs `results`."""
        if self.results is None or self.results.empty:
            return pd.DataFrame()
        return recheck.both_rates(self.results, self.decisions)

    def static(self) -> go.Figure:
        return method_figures.recheck_ranking(self.queue)

    def refresh(self) -> None:
        """List what passes the filters, in order of urgency, each with its mark."""
        rows, found = self.filters.rows(), read_decisions(self.path)
        titles = {}
        for i, row in zip(rows.index, rows.to_dict("records"), strict=True):
            mark = MARKS.get(found.get(program_key(row), {}).get("choice"), "·")
            titles[i] = f"{mark} {title_of(row)} ({row['why']})"
        self.list.fill(titles, self.selected)
        decided = sum(key in found for key in map(program_key, self.queue.to_dict("records")))
        self.progress.value = safe_text(f"{decided} of {len(self.queue)} decided")
        rates = self.rates()
        self.rates_table.value = table_html(rates.to_dict("records")) if len(rates) else ""
        if self.list.select.value is None:
            self.selected = None
            self.details.clear("No program passes these filters." if len(self.queue) else "Nothing needs a human eye.")
        else:
            self.select(self.list.select.value)

    def select(self, at: int) -> None:
        """Show the program at one place of the queue."""
        self.selected = int(at)
        row = self.queue.loc[self.selected].to_dict()
        known = read_decisions(self.path).get(program_key(row))
        self.note.value = known["note"] if known else ""
        said = f". Decided: {known['choice']}" if known else ""
        self.details.show(row, f"{title_of(row)}. Why here: {row['why']}{said}")

    def decide(self, choice: str | None) -> None:
        """Keep a decision on the program shown (None takes it back) and go on to the next one."""
        if self.selected is None:
            return
        decide(self.path, self.queue.loc[self.selected].to_dict(), choice, self.note.value)
        self.refresh()
        if choice is not None:
            self.list.step(1)

    def build(self) -> widgets.VBox:
        buttons = widgets.HBox([*self.buttons.values(), self.undo, self.note, self.progress])
        parts = [self.filters.widget, self.list.widget, buttons, self.details.widget, self.rates_table]
        return widgets.VBox(parts, layout=FULL)
