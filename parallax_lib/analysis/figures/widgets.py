"""Building blocks of the explorers: filters over a table, and a pane that shows one program from every side.

Knows columns by name and skips those a table lacks.  Knows no figure and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets
import pandas as pd

from parallax_lib.analysis.figures.escape import STYLE, code_html, diff_html, pair_html, safe_text, verdict_html, visible_text
from parallax_lib.analysis.readable import heading

ALL = "all"
FULL = widgets.Layout(width="100%")
NARROW = widgets.Layout(width="220px")


def dropdown(name: str, values: Sequence, first: str | None = ALL) -> widgets.Dropdown:
    """A choice among `values`, with "all" first unless `first` is None."""
    options = [(visible_text(value, 60), value) for value in values]
    if first is not None:
        options = [(first, ALL), *options]
    return widgets.Dropdown(options=options, description=name, layout=NARROW)


class Shown:
    """An explorer: `.widget`, made by its `build` on first use, is also what a cell that ends with it displays."""

    box: widgets.VBox | None = None

    @property
    def widget(self) -> widgets.VBox:
        if self.box is None:
            self.box = self.build()
        return self.box

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)


class Filters:
    """One dropdown per column; `changed()` is called after any of them changes."""

    def __init__(self, frame: pd.DataFrame, columns: Sequence[str], changed: Callable[[], None]):
        self.frame, self.changed = frame, changed
        known = [column for column in columns if column in frame]
        self.boxes = {column: dropdown(heading(column), sorted(frame[column].astype(str).unique())) for column in known}
        for box in self.boxes.values():
            box.observe(self.on_change, "value")
        self.widget = widgets.HBox(list(self.boxes.values()), layout=widgets.Layout(flex_flow="row wrap"))

    def on_change(self, _change: object) -> None:
        self.changed()

    def choose(self, **values: str) -> None:
        """Set several filters and report one change."""
        for column, value in values.items():
            box = self.boxes[column]
            box.unobserve(self.on_change, "value")
            box.value = value
            box.observe(self.on_change, "value")
        self.changed()

    def rows(self, except_for: Sequence[str] = ()) -> pd.DataFrame:
        """The rows that pass every filter, those of the columns in `except_for` left out."""
        keep = pd.Series(True, index=self.frame.index)
        for column, box in self.boxes.items():
            if box.value != ALL and column not in except_for:
                keep &= self.frame[column].astype(str) == box.value
        return self.frame[keep]


class Details:
    """Title, source beside translation, diff, log and verdict of one row; every text of it is escaped."""

    TABS = ("side by side", "diff", "log", "plan, verdict")

    def __init__(self, hint: str):
        self.head = widgets.HTML(f'<div class="px px-title">{safe_text(hint)}</div>')
        self.panes = {name: widgets.HTML(layout=FULL) for name in self.TABS}
        self.tabs = widgets.Tab(children=list(self.panes.values()), titles=list(self.TABS), layout=FULL)
        self.widget = widgets.VBox([widgets.HTML(STYLE), self.head, self.tabs], layout=FULL)

    def show(self, row: Mapping, title: str) -> None:
        source, code = row.get("source_code"), row.get("code")
        self.head.value = f'<div class="px px-title">{safe_text(title, 300)}</div>'
        contents = (
            pair_html(source, code),
            diff_html(source, code),
            code_html(row.get("log") or "the log is empty", "compiler and run log"),
            code_html(row.get("plan") or "no plan", "plan: what the latents decode to") + verdict_html(row),
        )
        for pane, content in zip(self.panes.values(), contents, strict=True):
            pane.value = content

    def clear(self, hint: str) -> None:
        self.head.value = f'<div class="px px-title">{safe_text(hint)}</div>'
        for pane in self.panes.values():
            pane.value = ""


class ProgramList:
    """A list to choose one row from, with previous and next; `chosen(row)` is called with the row's number."""

    LISTED = 1000

    def __init__(self, chosen: Callable[[int], None]):
        self.chosen = chosen
        self.select = widgets.Select(options=[], layout=widgets.Layout(width="100%", height="200px"))
        self.count = widgets.HTML()
        self.previous = widgets.Button(description="previous", icon="arrow-left", layout=widgets.Layout(width="110px"))
        self.next = widgets.Button(description="next", icon="arrow-right", layout=widgets.Layout(width="110px"))
        self.previous.on_click(lambda _: self.step(-1))
        self.next.on_click(lambda _: self.step(1))
        self.select.observe(self.on_select, "value")
        self.widget = widgets.VBox([self.select, widgets.HBox([self.previous, self.next, self.count])], layout=FULL)

    def fill(self, titles: Mapping[int, str], keep: int | None = None) -> None:
        """List {row number: title} and choose `keep` where it is still listed, else the first."""
        shown = list(titles.items())[: self.LISTED]
        more = f", first {self.LISTED:,} listed" if len(titles) > self.LISTED else ""
        self.count.value = safe_text(f"{len(titles):,} programs{more}")
        rows = [row for row, _ in shown]
        selected = keep if keep in rows else (rows[0] if rows else None)
        self.select.unobserve(self.on_select, "value")
        self.select.options = [(visible_text(title, 150), row) for row, title in shown]
        self.select.value = selected
        self.select.observe(self.on_select, "value")

    def on_select(self, change: Mapping) -> None:
        if change["new"] is not None:
            self.chosen(int(change["new"]))

    def step(self, by: int) -> None:
        """Choose the row `by` places further down; stops at both ends."""
        if self.select.index is not None:
            self.select.index = min(max(self.select.index + by, 0), len(self.select.options) - 1)


def title_of(row: Mapping) -> str:
    """`saxpy.serial-omp, method guided, seed 0: wrong_output`."""
    facts = [f"{heading(name)} {row[name]}" for name in ("arm", "seed", "sample", "branch_depth", "resample") if name in row]
    return ", ".join([str(row["task"]), *facts]) + f": {row['reason']}"


def to_csv(rows: pd.DataFrame) -> str:
    """CSV in which no text starts a spreadsheet formula: such a cell gets an apostrophe in front."""
    text = rows.select_dtypes(include=["object", "string"]).columns
    return rows.assign(**{name: rows[name].map(_defused, na_action="ignore") for name in text}).to_csv(index=False)


def _defused(value: object) -> object:
    risky = isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if risky else value
