"""One page that tells a run: titled sections of text, tables and interactive figures in one file, readable without a network.

Knows how to lay out sections.  Knows no run folder and no table: the caller decides what is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from parallax_lib.analysis.figures.escape import STYLE, Html, safe_text, table_html, visible_text
from parallax_lib.analysis.figures.theme import title_of
from parallax_lib.analysis.readable import method
from parallax_lib.core.errors import UserError

Part = str | Html | pd.DataFrame | go.Figure
MAX_ROWS = 200  # of one table
WIDE, LONG = 8, 20  # a table with more columns or rows is folded
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
PAGE_STYLE = """<style>
body { margin: 0; font: 15px/1.55 system-ui, sans-serif; color: #1b1f24; background: #fff; }
main { max-width: 980px; margin: 0 auto; padding: 24px 20px 80px; }
.part table:not(.px-table) { border-collapse: collapse; } .part table:not(.px-table) :is(th, td) { padding: 3px 9px;
  border: 1px solid #d0d7de; }
h1 { font-size: 26px; } h2 { font-size: 20px; margin-top: 44px; border-bottom: 1px solid #d0d7de; padding-bottom: 4px; }
h2 a { color: inherit; text-decoration: none; } h2 a:hover::after { content: " #"; color: #8c959f; }
nav { background: #f6f8fa; border: 1px solid #d0d7de; border-radius: 6px; padding: 8px 16px; } nav ol { columns: 2; }
code { background: #f6f8fa; padding: 1px 4px; border-radius: 3px; } .part { margin: 14px 0; overflow-x: auto; }
details > summary { cursor: pointer; color: #0550ae; padding: 4px 0; }
.lead { border-left: 4px solid #0550ae; background: #f6f8fa; padding: 8px 18px; margin: 18px 0; font-size: 16px; }
.lead dt { font-weight: 600; margin-top: 8px; } .lead dd { margin: 0 0 8px; }
figure > div { min-width: 700px; }
@media (prefers-color-scheme: dark) { body, .px, .px-table { color: #e6edf3; background: #0d1117; }
  nav, .lead, code, .px-table th { background: #161b22; }
  a, details > summary { color: #79c0ff; } .px-table caption { color: #a3adb8; }
  nav, h2, .part :is(th, td) { border-color: #3d444d !important; }
  .lead { border-color: #79c0ff; } figure { filter: invert(0.92) hue-rotate(180deg); } }
@media (max-width: 600px) { main { padding: 12px 10px 40px; } nav ol { columns: 1; } }
@media print { details > * { display: block; } nav { display: none; } }
</style>"""


def report_html(sections: Sequence[tuple[str, Part | Iterable[Part]]], path: str | Path, title: str, lead: Part = "") -> Path:
    """Write one page of `lead`, contents and `sections`, each (title, part or parts); return the page's path.

    A part is a figure, a DataFrame, `Html` from `escape`, or markdown in which HTML is shown, not obeyed.  plotly.js (4.8 MB) is
    part of the page, which forbids itself every network access.  Raises UserError for any other type.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(_section(i, name, parts) for i, (name, parts) in enumerate(sections, 1))
    links = "".join(f'<li><a href="#s{i}">{safe_text(name)}</a></li>' for i, (name, _) in enumerate(sections, 1))
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{safe_text(title)}</title>{STYLE}{PAGE_STYLE}<script>{get_plotlyjs()}</script></head>
<body><main><h1>{safe_text(title)}</h1>{part_html(lead) if lead else ""}
<nav aria-label="Contents"><ol>{links}</ol></nav>
{body}</main></body></html>
"""
    path.write_text(page, encoding="utf-8")
    return path


def _section(number: int, name: str, parts: Part | Iterable[Part]) -> str:
    single = isinstance(parts, (str, pd.DataFrame, go.Figure))
    inner = "".join(f'<div class="part">{part_html(part, name)}</div>' for part in ([parts] if single else parts))
    head = f'<h2 id="s{number}"><a href="#s{number}">{number}. {safe_text(name)}</a></h2>'
    return f"<section>{head}{inner}</section>\n"


def part_html(part: Part, where: str = "report") -> str:
    """HTML of one part of a section."""
    if isinstance(part, go.Figure):
        config = dict(displaylogo=False, responsive=True)
        figure = go.Figure(part).update_layout(width=None, autosize=True)
        drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
        return f'<figure aria-label="{safe_text(title_of(part))}" style="margin:0">{drawn}</figure>'
    if isinstance(part, pd.DataFrame):
        return frame_html(part, caption=where)
    if isinstance(part, Html):
        return part
    if isinstance(part, str):
        return markdown_html(part)
    raise UserError(f"report section {where!r}: cannot show {type(part).__name__}; pass a figure, a table or markdown")


def frame_html(frame: pd.DataFrame, digits: int = 3, caption: str = "") -> Html:
    """A DataFrame as an escaped table of at most MAX_ROWS rows; a named index becomes the first columns, methods get their words."""
    rows = frame.reset_index() if any(name is not None for name in frame.index.names) else frame
    rows = rows.assign(arm=rows["arm"].map(_with_words)) if "arm" in rows else rows
    table = table_html(rows.head(MAX_ROWS).to_dict("records"), digits, f"{caption}: {len(rows):,} rows" if caption else "")
    left = len(rows) - MAX_ROWS
    table += f'<p class="px">and {left:,} more rows</p>' if left > 0 else ""
    if len(rows.columns) <= WIDE and len(rows) <= LONG:
        return Html(table)
    return folded(f"Table: {len(rows):,} rows, {len(rows.columns)} columns", Html(table))


def _with_words(name: object) -> str:
    """`PRM-guided (guided)`: the words of figures beside the name that settings take."""
    return str(name) if method(name) == name else f"{method(name)} ({name})"


def folded(summary: str, inner: Html) -> Html:
    """Something that a click opens."""
    return Html(f"<details><summary>{safe_text(summary)}</summary>{inner}</details>")


def markdown_html(text: str) -> Html:
    """Markdown with tables; raw HTML in it is escaped, and a link that would run a script loses its target."""
    import mistune

    return Html(mistune.create_markdown(escape=True, plugins=["table"])(visible_text(text, 100_000)))
