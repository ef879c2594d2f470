"""Text nobody vouches for (programs, plans, logs, names of kernels) as HTML that shows it and obeys none of it.

Knows how to escape and lay out text.  Knows no widgets, no figures and no meaning of a verdict.
"""

from __future__ import annotations

import html
import math
import numbers
import re
import unicodedata
from collections.abc import Iterable, Mapping

import pandas as pd

from parallax_lib.analysis.readable import heading

MAX_CHARS = 20_000  # of one text: a page stays readable, a browser stays alive
MAX_CELL = 200
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, bidi, zero-width, lone surrogates ...
STYLE = """<style>
.px { font: 13px/1.45 system-ui, sans-serif; color: #1b1f24; }
.px-table { border-collapse: collapse; font: 13px/1.4 system-ui, sans-serif; color: #1b1f24; background: #fff; }
.px-table th, .px-table td { border: 1px solid #d0d7de; padding: 3px 9px; text-align: left; vertical-align: top; }
.px-table caption { text-align: left; color: #57606a; padding: 2px 0; }
.px-table th { background: #f6f8fa; } .px-table td.px-number { text-align: right; font-variant-numeric: tabular-nums; }
</style>"""


class Html(str):
    """A string that is already safe HTML: the result of a function of this module."""


def visible_text(value: object, limit: int = MAX_CHARS) -> str:
    """Plain text of at most `limit` characters; hidden ones become ⟨U+202E⟩, None and NaN become nothing."""
    if value is None or (not isinstance(value, str) and str(value) in ("nan", "<NA>", "NaT")):
        return ""
    text = str(value).replace("\r\n", "\n")
    more = f"… [{len(text) - limit:,} more characters]" if len(text) > limit else ""
    return re.sub(r"[^\n\t -~]", _reveal, text[:limit]) + more


def _reveal(match: re.Match) -> str:
    char = match.group()
    return f"⟨U+{ord(char):04X}⟩" if unicodedata.category(char) in HIDDEN else char


def safe_text(value: object, limit: int = MAX_CHARS) -> Html:
    """`value` escaped for HTML text, attributes and plotly labels (which know numeric entities, not &quot;)."""
    return Html(html.escape(visible_text(value, limit)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"))


def label(value: object, limit: int = 60) -> Html:
    """`value` as one short line for an axis, a legend or a hover box."""
    return safe_text(" ".join(str(value).split()), limit)


def table_html(rows: Iterable[Mapping], digits: int = 3, caption: str = "") -> Html:
    """Rows of one table, columns as in the first row; every cell and heading escaped and capped."""
    rows = [dict(row) for row in rows]
    if not rows:
        return Html('<p class="px">No rows.</p>')
    head = "".join(f'<th scope="col">{safe_text(heading(name), MAX_CELL)}</th>' for name in rows[0])
    body = "".join("<tr>" + "".join(_cell(row.get(name), digits) for name in rows[0]) + "</tr>" for row in rows)
    told = f"<caption>{safe_text(caption, MAX_CELL)}</caption>" if caption else ""
    return Html(f'<table class="px-table">{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _cell(value: object, digits: int) -> str:
    if isinstance(value, Html):
        return f"<td>{value}</td>"
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or math.isnan(value):
        return f"<td>{safe_text(value, MAX_CELL)}</td>"
    whole = math.isfinite(value) and float(value).is_integer() and abs(value) < 1e15
    return f'<td class="px-number">{f"{int(value):,}" if whole else f"{float(value):.{digits}f}"}</td>'


def to_csv(rows: pd.DataFrame) -> str:
    """CSV in which no text starts a spreadsheet formula: such a cell gets an apostrophe in front."""
    text = rows.select_dtypes(include=["object", "string"]).columns
    return rows.assign(**{name: rows[name].map(_defused, na_action="ignore") for name in text}).to_csv(index=False)


def _defused(value: object) -> object:
    risky = isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if risky else value
